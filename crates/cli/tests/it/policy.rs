//! Policies: which sources a build may use.

use std::fs;

use bld_oci::Digest;
use bld_testkit::{Output, TestEnv, WebServer};

use crate::{BLD, env};

/// Builds `dockerfile` under these rules.
fn build(env: &TestEnv, rules: &str, dockerfile: &str) -> Output {
    env.write("policy.json", format!("{{\"rules\":[{rules}]}}"));
    env.build("p:1", dockerfile, ["--source-policy-file", "policy.json"])
}

#[test]
fn what_is_denied_is_shown_where_it_is_named() {
    let env = env();
    let deny =
        r#"{"action":"DENY","selector":{"identifier":"docker-image://docker.io/library/*"}}"#;
    for dockerfile in [
        "FROM scratch\nCOPY --from=busybox /bin/busybox /\n",
        "FROM scratch AS x\nFROM busybox AS y\nRUN true\n",
        "FROM scratch\nRUN --mount=from=busybox,target=/x true\n",
    ] {
        let built = build(&env, deny, dockerfile).expect_code(1);
        let reason = "source \"docker-image://docker.io/library/busybox:latest\" denied by policy";
        let built = built.expect_text(reason).expect_text("it is rule 1 of policy.json");
        assert!(built.stderr.contains("^^^"), "no line is underlined: {built}");
    }
    let tagged = env.bld(["images", "-q", "p:1"]).ok();
    assert_eq!(tagged.text(), "");
    let allow = r#"{"action":"ALLOW","selector":{"identifier":"*/busybox:latest"}}"#;
    let _ = build(&env, &format!("{deny},{allow}"), "FROM busybox\n").expect_code(0);
    // As buildx is given it.
    env.write("policy.json", format!("{{\"rules\":[{deny}]}}"));
    env.write("ctx/Dockerfile", "FROM busybox\n");
    let built = env.bld(["build", "ctx"]).env("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "policy.json");
    let _ = built.run().expect_code(1).expect_text("denied by policy");
    let local = r#"{"action":"DENY","selector":{"identifier":"local://context"}}"#;
    let built = build(&env, local, "FROM busybox\n").expect_code(1);
    let _ = built.expect_text("source \"local://context\" denied by policy");
}

#[test]
fn another_image_takes_the_place() {
    let env = env();
    let convert = r#"{"action":"CONVERT","selector":{"identifier":"docker-image://never.example/*"},
        "updates":{"identifier":"docker-image://docker.io/library/$1"}}"#;
    let built = build(&env, convert, "FROM never.example/busybox\nRUN echo it is $((40 + 2))\n");
    let _ = built.expect_code(0).expect_text("it is 42");
}

#[test]
fn downloads_are_pinned_to_a_digest() {
    let env = TestEnv::new(BLD);
    let root = env.path("srv");
    fs::create_dir_all(&root).unwrap();
    let server = WebServer::start(&root).unwrap();
    env.write("srv/file", "what was meant");
    let pin = format!(
        r#"{{"action":"CONVERT","selector":{{"identifier":"{}/*"}},
        "updates":{{"attrs":{{"http.checksum":"{}"}}}}}}"#,
        server.url(),
        Digest::of(b"what was meant")
    );
    let dockerfile = format!("FROM scratch\nADD {}/file /\n", server.url());
    let _ = build(&env, &pin, &dockerfile).expect_code(0);
    env.write("srv/file", "something else");
    let _ = env.bld(["rmi", "p:1"]).ok();
    let _ = env.bld(["builder", "prune", "-af"]).ok();
    let built = build(&env, &pin, &dockerfile).expect_code(1);
    let _ = built.expect_text("digest");
    // It holds for a context as well.
    let context = format!("{}/file", server.url());
    let built = env.bld(["build", "--source-policy-file", "policy.json", &context]).run();
    let _ = built.expect_code(1).expect_text("digest");
}

#[test]
fn a_policy_with_mistakes_stops_the_build() {
    let env = env();
    let built =
        build(&env, r#"{"action":"REFUSE","selector":{"identifier":"*"}}"#, "FROM busybox\n");
    let _ = built.expect_code(1).expect_text("invalid source policy policy.json: unknown variant");
    let built = env.build("p:1", "FROM busybox\n", ["--source-policy-file", "missing.json"]);
    let _ = built.expect_code(1).expect_text("failed to read the source policy missing.json");
}
