//! What a Dockerfile offers.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use bld_graph::{LowerOptions, Outline, targets};
use support::{Images, options};

const SOURCE: &str = "\
ARG major=1
# see the release notes
# tag the version of busybox
ARG tag=${major}.1
ARG unused=1
ARG shared=global
# base prepares everything
FROM busybox:$tag AS base
ARG own=2
RUN --mount=type=secret,id=tok --mount=type=secret,id=opt true
FROM scratch AS other
ARG elsewhere
# Build makes the program
FROM --platform=$BUILDPLATFORM base AS build
# none says nothing
ARG none shared
ARG TARGETARCH
RUN --mount=type=ssh --mount=type=secret,id=tok,required true
";

fn outline(options: &LowerOptions) -> Outline {
    let parsed = bld_dockerfile::parse(SOURCE);
    bld_graph::outline(&parsed.dockerfile, SOURCE, options, &mut Images::any()).unwrap()
}

#[test]
fn a_target_takes_arguments_secrets_and_agents() {
    let outline = outline(&options());
    assert_eq!(outline.name.as_deref(), Some("build"));
    let args: Vec<_> =
        outline.args.iter().map(|arg| (arg.name.as_str(), arg.value.as_deref())).collect();
    assert_eq!(
        args,
        [
            ("major", Some("1")),
            ("tag", Some("1.1")),
            ("shared", Some("global")),
            ("own", Some("2")),
            ("none", None),
        ]
    );
    let described = outline.args.iter().find(|arg| arg.name == "tag").unwrap();
    assert_eq!(described.description.as_deref(), Some("the version of busybox"));
    let secrets = outline.secrets.iter().map(|secret| (secret.name.as_str(), secret.required));
    assert_eq!(secrets.collect::<Vec<_>>(), [("tok", true), ("opt", false)]);
    assert_eq!(outline.ssh.len(), 1);
}

#[test]
fn given_arguments_have_the_value_given() {
    let mut options = LowerOptions { target: Some("base".to_owned()), ..options() };
    options.build_args.insert("own".to_owned(), "given".to_owned());
    let outline = outline(&options);
    let own = outline.args.iter().find(|arg| arg.name == "own").unwrap();
    assert_eq!(own.value.as_deref(), Some("given"));
    assert_eq!(outline.description.as_deref(), Some("prepares everything"));
    assert!(!outline.secrets.iter().any(|secret| secret.required));
}

#[test]
fn targets_are_the_stages() {
    let targets = targets(&bld_dockerfile::parse(SOURCE).dockerfile);
    let seen: Vec<_> = targets
        .iter()
        .map(|target| {
            let name = target.name.as_deref().unwrap();
            (name, target.description.as_deref(), target.base.as_str(), target.default)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("base", Some("prepares everything"), "busybox:$tag", false),
            ("other", None, "scratch", false),
            ("build", None, "base", true),
        ]
    );
    assert_eq!(targets[2].platform.as_deref(), Some("$BUILDPLATFORM"));
    assert!(SOURCE[targets[2].span.range()].ends_with("base AS build"));
}
