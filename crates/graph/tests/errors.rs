//! What is refused, and what is said about it.

mod support;

use bld_graph::{Entitlements, LowerOptions, NamedContext, Op};
use support::{Images, errors, listed, lower_with, options};

/// Lowers each Dockerfile and compares the findings, which hold at least one error.
fn table(cases: &[(&str, &[&str])]) {
    for (source, parts) in cases {
        let found = errors(source);
        for part in *parts {
            assert!(found.contains(part), "{source}\nlacks {part:?}\n{found}");
        }
    }
}

#[test]
fn stages() {
    table(&[
        (
            "FROM nosuch\n",
            &["1:6 [nosuch]", "failed to resolve docker.io/library/nosuch:latest: not found"],
        ),
        (
            "FROM scratch AS build\nFROM scratch\nCOPY --from=biuld /x /\n",
            &["3:13", "biuld", "did you mean stage \"build\"?"],
        ),
        ("FROM busybix\n", &["did you mean \"busybox\"?"]),
        ("FROM Upper/Case:x\n", &["invalid image name"]),
        ("ARG base\nFROM $base\n", &["2:6", "should not be blank", "--build-arg base="]),
        ("FROM scratch\nCOPY --from=0 /x /\n", &["circular dependency", "itself"]),
        ("FROM scratch\nCOPY --from=7 /x /\n", &["invalid stage index 7", "the last one is 0"]),
        (
            "FROM scratch AS one\nCOPY --from=two /x /\nFROM scratch AS two\nCOPY a /\nFROM one\n",
            &["2:13 [two] stage \"two\" is used before it is defined", "move stage \"two\" above"],
        ),
        (
            "FROM scratch AS one\nCOPY --from=two /x /\nFROM scratch AS two\nCOPY --from=one /x /\nFROM one\n",
            &["circular dependency: stage \"two\" needs stage \"one\""],
        ),
        ("FROM --platform=$none scratch\n", &["empty platform value"]),
        ("FROM --platform=$TARGETPLATFROM scratch\n", &["did you mean TARGETPLATFORM?"]),
        ("FROM --platform=a/b/c/d scratch\n", &["1:17", "failed to parse platform"]),
    ]);
}

#[test]
fn instructions() {
    table(&[
        ("FROM scratch\nARG p=80/ftp\nEXPOSE $p\n", &["3:8 [$p]", "ftp"]),
        ("FROM scratch\nARG s=SIGNOPE\nSTOPSIGNAL $s\n", &["invalid signal: \"SIGNOPE\""]),
        ("FROM scratch\nARG v\nVOLUME $v\n", &["VOLUME", "empty"]),
        ("FROM scratch\nARG n\nENV $n=1\n", &["3:5", "blank"]),
        (
            "FROM scratch\nENV r=${need:?\"please set it\"}\n",
            &["need", "please set it", "--build-arg need="],
        ),
        (
            "FROM scratch\nCOPY <<EOF /x\n${a:?must be set}\nEOF\n",
            &["here-document EOF", "must be set"],
        ),
        ("FROM scratch\nARG m=999\nCOPY --chmod=$m a /\n", &["999", "octal"]),
        ("FROM scratch\nARG u=https://e.invalid/x\nCOPY $u /\n", &["a URL", "use ADD"]),
        ("FROM scratch\nARG u=git@e.invalid:r\nCOPY $u /\n", &["a git repository"]),
        ("FROM scratch\nARG s=a\nADD --checksum=sha256:00 $s /\n", &["HTTP"]),
        ("FROM scratch\nADD --checksum=sha256:00 https://e.invalid/x /\n", &["checksum"]),
        ("FROM scratch\nADD https://e.invalid/r.git?colour=red /\n", &["colour"]),
    ]);
}

#[test]
fn runs() {
    table(&[
        ("FROM busybox\nRUN --network=host true\n", &["network.host", "--allow network.host"]),
        ("FROM busybox\nRUN --security=insecure true\n", &["security.insecure"]),
        ("FROM busybox\nENV t=tmp\nRUN --mount=type=$t,target=/m true\n", &["tmp", "tmpfs"]),
        ("FROM busybox\nENV m=/\nRUN --mount=target=$m true\n", &["invalid mount target \"/\""]),
        ("FROM busybox\nRUN --mount=type=ssh,source=/x true\n", &["no source"]),
    ]);
}

#[test]
fn entitlements_allow_what_they_name() {
    let source =
        "FROM busybox\nRUN --network=host --security=insecure --device=v/c=n,required true\n";
    let all = Entitlements { network_host: true, security_insecure: true };
    let options = LowerOptions { entitlements: all, ..options() };
    let plan = lower_with(source, &options, &mut Images::busybox());
    let ops = plan.map(|plan| support::ops(&plan)[1].to_string()).unwrap_or_default();
    assert!(ops.contains(r#""network":"host","scripts""#) || ops.contains(r#""network":"host""#));
    assert!(ops.contains(r#""security":"insecure""#), "{ops}");
    assert!(ops.contains(r#""devices":[{"name":"v/c=n","required":true}]"#), "{ops}");
}

#[test]
fn everything_wrong_is_found_at_once() {
    let source = "\
FROM scratch AS a
EXPOSE $p/x
STOPSIGNAL $s
FROM a
RUN --network=host true
COPY --from=later /x /
COPY --from=nosuch /x /
FROM scratch AS later
FROM scratch AS not-needed
STOPSIGNAL $s
";
    let options = LowerOptions { target: Some("1".to_owned()), ..options() };
    let found = lower_with(source, &options, &mut Images::busybox()).err().unwrap_or_default();
    let lines: Vec<String> = listed(source, &found).lines().map(str::to_owned).collect();
    let errors = found.iter().filter(|found| found.is_error()).count();
    assert_eq!(errors, 5, "{}", lines.join("\n"));
    assert!(!lines.iter().any(|line| line.starts_with("10:")), "only what is needed");
    assert!(found.is_sorted_by_key(|found| found.span));
}

#[test]
fn a_target_must_exist() {
    let with = |source: &str, target: &str| {
        let options = LowerOptions { target: Some(target.to_owned()), ..options() };
        match lower_with(source, &options, &mut Images::busybox()) {
            Ok(plan) => plan.target,
            Err(found) => listed(source, &found),
        }
    };
    let source = "FROM scratch AS Build\nFROM scratch\n";
    assert_eq!(with(source, "BUILD"), "build");
    assert_eq!(with(source, "1"), "stage-1");
    assert!(with(source, "bulid").contains("\"bulid\" could not be found (did you mean build?)"));
    assert!(with(source, "2").contains("the stages are build"));
}

#[test]
fn errors_of_triggers_stand_at_the_from() {
    let mut config = bld_oci::ImageConfig::for_platform(&support::amd64());
    config.config.on_build = ["COPPY a b", "STOPSIGNAL $nope"].map(str::to_owned).into();
    let source = "# a comment\nFROM base\n";
    let found = lower_with(source, &options(), &mut Images::default().with("base:latest", config));
    let listed = listed(source, &found.err().unwrap_or_default());
    assert!(listed.contains("2:1 [FROM base] in the ONBUILD trigger \"COPPY a b\""), "{listed}");
    assert!(listed.contains("2:1 [FROM base] invalid signal"), "{listed}");
}

#[test]
fn a_context_that_can_not_be_resolved_is_an_error() {
    let images = Images::busybox();
    let git = Op::Context(bld_graph::ContextOp { name: "files".to_owned() });
    let mut images =
        Images { contexts: [("busybox".to_owned(), NamedContext::Files(git))].into(), ..images };
    let plan = lower_with("FROM busybox\nRUN true\n", &options(), &mut images);
    assert!(plan.is_ok_and(|plan| support::names(&plan)[0] == "[context busybox] load"));
    assert!(images.asked.is_empty(), "the context stands in for the image");
}
