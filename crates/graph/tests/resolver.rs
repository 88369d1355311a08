//! What the resolver is asked, and what becomes of its answers.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use std::fmt::Write as _;

use bld_graph::{LowerOptions, Plan};
use bld_oci::{ImageConfig, Platform};
use support::{Images, amd64, history, listed, lower_with, names, options, plan};

fn lowered(source: &str, images: &mut Images) -> Plan {
    lower_with(source, &options(), images).unwrap()
}

fn asked(requests: &[bld_graph::ImageRequest]) -> Vec<String> {
    let line = |request: &bld_graph::ImageRequest| {
        format!("{} {}", request.reference.familiar(), request.platform)
    };
    requests.iter().map(line).collect()
}

#[test]
fn images_are_announced_and_asked_for_once() {
    let source = "\
ARG v=1
FROM --platform=linux/arm64 base:$v AS a
FROM base:$v AS b
COPY --from=tool /x /
RUN --mount=from=tool,target=/t --mount=from=other,target=/o true
FROM unused AS c
FROM b
COPY --from=a /x /
";
    let mut images = Images::any();
    lowered(source, &mut images);
    let wanted = [
        "base:1 linux/amd64",
        "base:1 linux/arm64",
        "other:latest linux/amd64",
        "tool:latest linux/amd64",
    ];
    assert_eq!(asked(&images.prefetched), wanted);
    let mut asked = asked(&images.asked);
    asked.sort();
    assert_eq!(asked, wanted);
}

#[test]
fn contexts_stand_in_for_stages_and_images() {
    let source = "FROM golang AS build\nRUN make\nFROM scratch\nCOPY --from=build /x /\n";
    let mut images = Images::busybox().with_dir("build");
    let plan = lowered(source, &mut images);
    assert_eq!(names(&plan), ["[context build] load", "[stage-1 1/1] COPY --from=build /x /"]);
    assert!(images.asked.is_empty() && images.prefetched.is_empty());
}

#[test]
fn a_base_without_layers_is_an_empty_filesystem() {
    let empty = ImageConfig::for_platform(&amd64());
    let mut images = Images::default().with("empty:latest", empty);
    let plan = lowered("FROM empty\nLABEL a=b\n", &mut images);
    assert_eq!((plan.root, plan.graph.node_count()), (None, 0));
    assert_eq!(plan.base.unwrap().reference.familiar(), "empty:latest");
}

#[test]
fn what_is_inherited_and_what_is_not() {
    let plan = plan("FROM busybox AS one\nENTRYPOINT [\"e\"]\nFROM one\nRUN true\n");
    assert_eq!(plan.config.created, None);
    let all: Vec<_> =
        plan.config.history.iter().map(|e| e.created_by.as_deref().unwrap()).collect();
    assert_eq!(all, ["busybox-static", "ENTRYPOINT [\"e\"]", "RUN /bin/sh -c true # buildkit"]);
    assert_eq!(history(&plan), ["- ENTRYPOINT [\"e\"]", "RUN /bin/sh -c true # buildkit"]);
    assert_eq!(plan.config.rootfs.diff_ids.len(), 1, "of the base; more are appended");
    assert_eq!(plan.config.config.cmd, None, "it was meant for another entry point");
    assert_eq!(plan.base.unwrap().reference.familiar(), "busybox:latest");
}

#[test]
fn how_the_base_was_made_is_not_passed_on() {
    let config = br#"{
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        "container": "1234", "docker_version": "1.2", "os.features": ["x"], "container_config": {},
        "config": {"Hostname": "1234", "Image": "sha256:0", "ArgsEscaped": true, "Tty": false}
    }"#;
    let mut images = Images::default().with("old:latest", ImageConfig::parse(config).unwrap());
    let config = lowered("FROM old\n", &mut images).config;
    assert_eq!(config.extra.keys().collect::<Vec<_>>(), ["os.features"]);
    assert_eq!(config.config.extra.keys().collect::<Vec<_>>(), ["ArgsEscaped"]);
}

#[test]
fn stages_that_only_triggers_name_are_lowered_too() {
    let mut base = ImageConfig::for_platform(&amd64());
    base.config.on_build = vec!["COPY --from=s2999 /x $nope /".to_owned()];
    let mut source = "FROM busybox AS s0\n".to_owned();
    for stage in 1..3000 {
        writeln!(source, "FROM s{} AS s{stage}\nLABEL a=$b", stage - 1).unwrap();
    }
    source.push_str("FROM base\nCOPY x /\n");
    let mut images = Images::busybox().with("base:latest", base);
    let plan = lowered(&source, &mut images);
    assert_eq!(names(&plan)[1], "[stage-3000 1/3] ONBUILD COPY --from=s2999 /x  /");
    let spans: std::collections::BTreeSet<_> =
        plan.warnings.iter().map(|warning| &source[warning.span.range()]).collect();
    assert_eq!(spans, ["$b", "FROM base"].into());
}

#[test]
fn a_linked_copy_looks_up_no_names() {
    let plan = plan("FROM busybox\nCOPY --link --chown=1:2 a /\nCOPY --link --chown=daemon a /\n");
    let ops = support::ops(&plan);
    let links: Vec<_> = ops.iter().filter(|op| op["op"] == "copy").map(|op| &op["link"]).collect();
    assert_eq!(links, [&serde_json::json!(true), &serde_json::Value::Null]);
}

#[test]
fn an_image_is_for_the_platform_asked_for() {
    let source = "FROM --platform=linux/arm/v6 busybox\nRUN true\n";
    let with = |platform: Option<Platform>| {
        let options = LowerOptions { platform, ..options() };
        let plan = lower_with(source, &options, &mut Images::any()).unwrap();
        (plan.platform.to_string(), plan.graph.node_weights().next().unwrap().platform.to_string())
    };
    let arm = "linux/arm/v6".to_owned();
    assert_eq!(with(None), (arm.clone(), arm.clone()), "or for whatever its base is for");
    let riscv = Platform::new("linux", "riscv64", None);
    assert_eq!(with(Some(riscv)), ("linux/riscv64".to_owned(), arm));
}

#[test]
fn the_time_of_a_build_may_be_fixed() {
    let git = "https://e.invalid/r.git";
    let source = format!(
        "ARG SOURCE_DATE_EPOCH=7\nFROM scratch AS src\nARG ref=main\nADD {git}#$ref /\n\
         FROM scratch\nARG SOURCE_DATE_EPOCH\nWORKDIR /w\n"
    );
    let with = |value: Option<&str>| {
        let mut options = options();
        let value = value.map(|value| ("SOURCE_DATE_EPOCH".to_owned(), value.to_owned()));
        options.build_args.extend(value);
        let times = [(git, 1_000_000_000), ("context", 5)];
        let times = times.into_iter().map(|(name, time)| (name.to_owned(), time)).collect();
        let mut images = Images { times, ..Images::busybox() };
        lower_with(&source, &options, &mut images).map_err(|found| listed(&source, &found))
    };
    for (value, epoch, arg) in [
        (None, Some(7), "- ARG SOURCE_DATE_EPOCH=7"),
        (Some("86400"), Some(86400), "- ARG SOURCE_DATE_EPOCH=86400"),
        (Some(""), None, "- ARG SOURCE_DATE_EPOCH"),
        (Some("context"), Some(5), "- ARG SOURCE_DATE_EPOCH=5"),
        (Some("SRC"), Some(1_000_000_000), "- ARG SOURCE_DATE_EPOCH=1000000000"),
    ] {
        let plan = with(value).unwrap();
        assert_eq!((plan.epoch, history(&plan)[0].as_str()), (epoch, arg), "{value:?}");
        let created = plan.history.iter().all(|step| step.entry.created == plan.config.created);
        assert!(created && plan.config.created.is_some() == epoch.is_some());
    }
    let plan = with(Some("86400")).unwrap();
    assert_eq!(plan.config.created.as_deref(), Some("1970-01-02T00:00:00Z"));
    assert_eq!(support::ops(&plan)[0]["mtime"], 86400);
    assert!(with(Some("yesterday")).unwrap_err().contains("invalid SOURCE_DATE_EPOCH"));
}

#[test]
fn only_a_download_has_a_time() {
    for (stage, problem) in [
        ("FROM busybox AS s\nADD https://e.invalid/x /\n", "must begin with FROM scratch"),
        ("FROM scratch AS s\nADD a /\n", "neither a URL nor a git repository"),
        ("FROM scratch AS s\nADD https://e.invalid/x /\nRUN x\n", "nothing but one remote ADD"),
        ("FROM scratch AS s\nARG a\n", "must hold one remote ADD"),
    ] {
        let source = format!("{stage}FROM scratch\n");
        let mut options = options();
        options.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), "s".to_owned());
        let found = lower_with(&source, &options, &mut Images::busybox()).unwrap_err();
        assert!(listed(&source, &found).contains(problem), "{source}");
    }
}
