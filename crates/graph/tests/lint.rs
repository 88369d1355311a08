//! What BuildKit's checks warn of and what they pass, rule by rule, in files of our own.
//!
//! Each file is looked at as `--check` does. A warning is expected where a line ends in `#! Rule`,
//! which is taken away before; of two rules on one line both are named.

mod support;

use bld_dockerfile::{LineIndex, Severity};
use support::{Images, options};

/// Looks at `marked` and compares the warnings with the marks.
fn check(marked: &str) {
    let mut expected = Vec::new();
    let mut source = String::new();
    for (number, line) in (1..).zip(marked.lines()) {
        let (text, rules) = line.split_once(" #! ").unwrap_or((line, ""));
        expected.extend(rules.split_whitespace().map(|rule| (number, rule.to_owned())));
        source += text;
        source.push('\n');
    }
    let parsed = bld_dockerfile::parse(&source);
    assert!(parsed.is_ok(), "{source}\n{:?}", parsed.diagnostics);
    let found = bld_graph::check(&parsed.dockerfile, &source, &options(), &mut Images::any());
    let index = LineIndex::new(&source);
    let warnings = found.iter().filter(|found| found.severity == Severity::Warning);
    let mut warnings: Vec<_> = warnings
        .map(|found| (index.line_col(found.span.start).0, found.rule.unwrap_or("?").to_owned()))
        .collect();
    warnings.sort();
    expected.sort();
    assert_eq!(warnings, expected, "{source}");
}

#[test]
fn options_choose_what_is_said() {
    check("#check=skip=all\nFROM scratch as base\ncopy a .\n");
    check("#check=skip=ConsistentInstructionCasing,FromAsCasing\nFROM scratch as base\ncopy a .\n");
    check(
        "#check=skip=ConsistentInstructionCasing\nFROM scratch as base #! FromAsCasing\ncopy a .\n",
    );
    check(
        "FROM scratch\n# check=skip=JSONArgsRecommended\nCMD x\nENTRYPOINT y #! JSONArgsRecommended\n",
    );
    check(
        "FROM scratch\n# check=skip=all // for this one\nMAINTAINER me\nMAINTAINER you #! MaintainerDeprecated\n",
    );
}

#[test]
fn names_of_stages() {
    check(
        "FROM scratch AS Mixed #! StageNameCasing\nFROM scratch as two #! FromAsCasing\nFROM scratch AS three\n",
    );
    check("from scratch AS one #! FromAsCasing\nfrom scratch as two\n");
    check("FROM scratch AS a\nFROM scratch AS b\nFROM scratch AS a #! DuplicateStageName\n");
    check(
        "FROM scratch AS scratch #! ReservedStageName\nFROM scratch AS context #! ReservedStageName\n",
    );
    check("FROM scratch\nFROM scratch AS a\n");
}

#[test]
fn case_of_instructions() {
    check("From scratch as a #! ConsistentInstructionCasing\nFROM scratch AS b\n");
    check("FROM scratch\ncopy a /a #! ConsistentInstructionCasing\nCOPY a /b\n");
    check("from scratch\nCOPY a /a #! ConsistentInstructionCasing\ncopy a /b\n");
    check("from scratch #! ConsistentInstructionCasing\nCOPY a /a\nCOPY a /b\n");
    check("frOM scratch as a #! ConsistentInstructionCasing\nfrom scratch as b\n");
    check("from scratch\ncopy a /a\ncopy a /b\n");
    check("FROM busybox\nRUN <<'X'\nenv\nX\n");
}

#[test]
fn continuations() {
    check("FROM scratch\nCOPY a \\\n #! NoEmptyContinuation\n  .\nCOPY a \\\n  .\n");
}

#[test]
fn commands() {
    check("FROM scratch\nCMD x #! JSONArgsRecommended\n");
    check("FROM scratch\nENTRYPOINT x #! JSONArgsRecommended\n");
    check("FROM scratch\nSHELL [\"/x\"]\nCMD x\nENTRYPOINT x\n");
    check("FROM scratch AS a\nSHELL [\"/x\"]\nFROM a\nCMD x\n");
    check(
        "FROM scratch\nENTRYPOINT [\"a\"] #! MultipleInstructionsDisallowed\nENTRYPOINT [\"b\"]\n\
         CMD [\"a\"] #! MultipleInstructionsDisallowed\nCOPY <<X /a\nhello\nX\nCMD [\"b\"]\n\
         HEALTHCHECK CMD [\"a\"] #! MultipleInstructionsDisallowed\nHEALTHCHECK CMD [\"b\"]\n",
    );
    check("FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]\n");
    check("FROM scratch\nMAINTAINER me #! MaintainerDeprecated\n");
    check("FROM scratch\nLABEL org.opencontainers.image.authors=me\n");
}

#[test]
fn arguments_of_from() {
    check("ARG base=scratch\nFROM $base\n");
    check("FROM --platform=$BUILDPLATFORM scratch\n");
    check("ARG DEBUG\nFROM scratch${DEBUG}\n");
    check("ARG DEBUG\nFROM scra${DEBUG:-tch}\n");
    check("ARG DEBUG=\"\"\nFROM scratch${DEBUG-@bogus}\n");
    check("ARG tag=latest\nFROM busybox:${tag}${version} AS b #! UndefinedArgInFrom\n");
    check("ARG VERSION=latest\nFROM busybox:${VERSION}\n");
    check("ARG VARIANT\nFROM busybox:stable${VARIANT}\n");
    check("FROM --platform=$TARGETPLATFORM scratch #! RedundantTargetPlatform\n");
    check("FROM --platform=${TARGETPLATFORM} scratch #! RedundantTargetPlatform\n");
    check("FROM --platform=${TARGETPLATFORM:-linux/386} scratch #! RedundantTargetPlatform\n");
    check("FROM --platform=${TARGETPLATFORM:+linux/386} scratch AS linux\n");
    check("FROM --platform=linux/amd64 scratch #! FromPlatformFlagConstDisallowed\n");
    check(
        "FROM --platform=linux/amd64 scratch AS my_amd64_stage\nFROM --platform=linux/amd64 scratch AS linux\n",
    );
}

#[test]
fn variables() {
    check("FROM scratch\nARG foo\nCOPY Dockerfile${foo} .\n");
    check("FROM busybox AS base\nARG foo=a\nFROM base\nCOPY $foo .\n");
    check("FROM busybox\nRUN echo $PATH $anything\n");
    check("FROM busybox\nCOPY $foo . #! UndefinedVar\nARG foo=bar\nRUN echo $foo\n");
    check("FROM busybox\nENV PATH=$PAHT:/tmp/bin #! UndefinedVar\n");
    check(
        "FROM scratch AS a\nCOPY $foo . #! UndefinedVar\nFROM scratch AS b\nCOPY $bar . #! UndefinedVar\n",
    );
    check(
        "FROM scratch\nENV name value #! LegacyKeyValueFormat\nLABEL key value #! LegacyKeyValueFormat\nENV a=b\n",
    );
}

#[test]
fn names_of_secrets() {
    check(
        "FROM scratch\nARG SECRET_PASSPHRASE #! SecretsUsedInArgOrEnv\n\
         ENV SUPER_Secret=foo #! SecretsUsedInArgOrEnv\n\
         ENV password=bar secret=baz #! SecretsUsedInArgOrEnv SecretsUsedInArgOrEnv\n\
         ARG super_duper_secret_token=foo auth=bar #! SecretsUsedInArgOrEnv SecretsUsedInArgOrEnv\n\
         ENV apikey=bar sunflower=foo #! SecretsUsedInArgOrEnv\nENV git_key= #! SecretsUsedInArgOrEnv\n\
         ENV PUBLIC_KEY=\nARG public_token\nARG SECRET_PASSPHRASE_FILE\nARG AUTH_MODULE_VERSION\n\
         # check=skip=SecretsUsedInArgOrEnv // on purpose\nENV passwd=x\n",
    );
}

#[test]
fn paths_and_ports() {
    check("FROM scratch\nWORKDIR app/ #! WorkdirRelativePath\nWORKDIR sub\n");
    check("FROM scratch AS a\nWORKDIR /app\nFROM a\nWORKDIR sub\n");
    check("FROM scratch\nENV A=app B=/app\nWORKDIR $A/x #! WorkdirRelativePath\n");
    check("FROM scratch\nENV B=/app\nWORKDIR $B/x\n");
    check("FROM scratch\nEXPOSE 80/TcP 8080/TCP 8080/udp #! ExposeProtoCasing ExposeProtoCasing\n");
    check(
        "FROM scratch\nEXPOSE 127.0.0.1:80:80 [::1]:8080:8080 5000:5000 8000 \
         #! ExposeInvalidFormat ExposeInvalidFormat ExposeInvalidFormat\n",
    );
}

#[test]
fn descriptions_only_when_asked_for() {
    let described = "# foo sets foo\nARG foo=bar\n\n# base is the base\nFROM scratch AS base\n\n\
                     # version is the version\nARG version=1\n\n# baz is the baz\nARG foo=baz bar=qux baz=quux\n";
    check(described);
    check(&format!("# check=experimental=InvalidDefinitionDescription\n{described}"));
    check(
        "# check=experimental=InvalidDefinitionDescription\n# bar\nARG foo=1 #! InvalidDefinitionDescription\n\
         # BasE is it\nFROM scratch AS base #! InvalidDefinitionDescription\n# note\n\
         ARG foo=1 bar=2 #! InvalidDefinitionDescription\n",
    );
    check("# note\nARG foo=bar\nFROM scratch\n");
    check(
        "FROM scratch\n# check=experimental=InvalidDefinitionDescription\n\
         ARG foo #! InvalidDefinitionDescription\n",
    );
}
