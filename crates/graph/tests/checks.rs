//! Warnings: which are given, and which are not.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use std::path::Path;

use bld_dockerfile::Diagnostic;
use bld_dockerfile::ignore::Patterns;
use bld_graph::{LowerOptions, Plan};
use bld_oci::ImageConfig;
use serde_json::Value;
use support::{Images, amd64, lower_with, options};

fn rules(found: &[Diagnostic]) -> Vec<&'static str> {
    found.iter().filter_map(|found| found.rule).collect()
}

fn warnings(source: &str, options: &LowerOptions) -> Plan {
    lower_with(source, options, &mut Images::busybox()).unwrap()
}

#[test]
fn examples_of_the_rules() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/lint_cases.json");
    let Ok(cases) = std::fs::read(file) else { return };
    let cases: Value = serde_json::from_slice(&cases).unwrap();
    let mut options = options();
    options.ignore = Some(Patterns::parse("*/tmp/*\n*.tmp\n").unwrap());
    let mut python = ImageConfig::for_platform(&amd64());
    python.config.env = vec!["PYTHON_VERSION=3.14".to_owned()];
    let mut images = Images::any().with("python:latest", python);
    let mut failures = Vec::new();
    for case in cases.as_array().unwrap() {
        let rule = case["rule"].as_str().unwrap();
        for (kind, expected) in [("bad", true), ("good", false)] {
            for source in case[kind].as_array().into_iter().flatten() {
                let source = example(source.as_str().unwrap());
                let parsed = bld_dockerfile::parse(&source);
                let found = bld_graph::check(&parsed.dockerfile, &source, &options, &mut images);
                if rules(&found).contains(&rule) != expected {
                    failures.push(format!("{rule} ({kind})\n{source}\n{:?}", rules(&found)));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// An example as a whole file: some lack the `FROM`, some are abridged.
fn example(source: &str) -> String {
    let from = source.lines().any(|line| line.to_lowercase().starts_with("from"));
    let from = if from { "" } else { "FROM scratch\n" };
    format!("{from}{}", source.replace("...\n", ""))
}

#[test]
fn variables_must_be_known() {
    let source = "\
FROM busybox
ARG declared
ARG name=1
RUN echo $nothing
COPY $declared $undeclared $naem ${x:-default} /
COPY <<EOF /
$inside
EOF
";
    let plan = warnings(source, &options());
    let found: Vec<_> = plan.warnings.iter().map(|found| found.message.as_str()).collect();
    assert_eq!(
        found,
        [
            "Usage of undefined variable '$undeclared'",
            "Usage of undefined variable '$naem' (did you mean $name?)",
            "Usage of undefined variable '$x'",
            "Usage of undefined variable '$inside'",
        ]
    );
}

#[test]
fn only_stages_that_are_built_are_checked() {
    let source = "FROM scratch AS Unused\nMAINTAINER me\nFROM scratch\nMAINTAINER me\n";
    assert_eq!(rules(&warnings(source, &options()).warnings), ["MaintainerDeprecated"]);
    let parsed = bld_dockerfile::parse(source);
    let all = bld_graph::check(&parsed.dockerfile, source, &options(), &mut Images::busybox());
    assert_eq!(rules(&all), ["StageNameCasing", "MaintainerDeprecated", "MaintainerDeprecated"]);
}

#[test]
fn comments_directives_and_arguments_choose_the_checks() {
    let noisy = "FROM scratch\n# check=skip=UndefinedVar\nLABEL a=$b\nLABEL c=$d\n";
    assert_eq!(warnings(noisy, &options()).warnings.len(), 1);
    let quiet = format!("# check=skip=all\n{noisy}");
    assert_eq!(warnings(&quiet, &options()).warnings, []);

    let strict = format!("# check=error=true\n{noisy}");
    let found = lower_with(&strict, &options(), &mut Images::busybox()).err().unwrap();
    assert!(found.iter().any(|found| found.is_error() && found.message.contains("UndefinedVar")));

    let mut given = options();
    given.build_args.insert("BUILDKIT_DOCKERFILE_CHECK".to_owned(), "skip=all".to_owned());
    assert_eq!(warnings(&strict, &given).warnings, []);
}

#[test]
fn a_base_image_may_choose_the_shell() {
    let mut config = ImageConfig::for_platform(&amd64());
    config.config.shell = Some(vec!["/bin/bash".to_owned(), "-c".to_owned()]);
    let mut images = Images::default().with("bash:latest", config);
    let plan = lower_with("FROM bash AS a\nCMD x\nFROM a\nCMD y\n", &options(), &mut images);
    assert_eq!(rules(&plan.unwrap().warnings), [] as [&str; 0]);
}

#[test]
fn ignored_files_can_not_be_copied() {
    let found = |ignore: &str, source: &str| {
        let options = LowerOptions { ignore: Some(Patterns::parse(ignore).unwrap()), ..options() };
        rules(&warnings(&format!("FROM busybox\n{source}\n"), &options).warnings).len()
    };
    assert_eq!(found("a\nb/*", "COPY a /"), 1);
    assert_eq!(found("a\nb/*", "ADD ./b/c x /"), 1);
    assert_eq!(found("a", "COPY --from=busybox a /"), 0);
    assert_eq!(found("a\n!a/b", "COPY a /"), 0, "exceptions can't be told");
    assert_eq!(found("a", "COPY . /"), 0);
    assert_eq!(found("*", "COPY . /"), 1);
}

#[test]
fn build_arguments_should_be_of_use() {
    let mut options = options();
    for name in
        ["version", "HTTPS_PROXY", "BUILDKIT_INLINE_CACHE", "TARGETARCH", "trigger", "vresion"]
    {
        options.build_args.insert(name.to_owned(), "1".to_owned());
    }
    let source = "ARG version\nFROM busybox\nONBUILD ARG trigger\n";
    let found = warnings(source, &options).warnings;
    let messages: Vec<_> = found.iter().map(|found| found.message.as_str()).collect();
    let message = "build argument \"vresion\" was not consumed (did you mean version?)";
    assert_eq!(messages, [message]);
}
