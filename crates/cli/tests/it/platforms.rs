//! Builds for several platforms at once.

use std::fs;

use bld_testkit::{Cmd, Registry, TestEnv};
use serde_json::Value;

use crate::env;

const BOTH: [&str; 2] = ["--platform", "linux/arm64,linux/amd64"];

/// Nothing of it runs on a foreign machine. One step is for both platforms.
const DOCKERFILE: &str = "FROM --platform=$BUILDPLATFORM busybox AS build
ARG TARGETPLATFORM
RUN echo $TARGETPLATFORM > /out
FROM --platform=$BUILDPLATFORM busybox AS common
RUN echo once > /common && cp /bin/busybox /cat
FROM scratch
ARG TARGETARCH
COPY --from=build /out /out
COPY --from=common /common /cat /
LABEL arch=$TARGETARCH
ENTRYPOINT [\"/cat\"]
";

fn build(env: &TestEnv, name: &str, arguments: &[&str]) -> bld_testkit::Output {
    env.build(name, DOCKERFILE, BOTH.into_iter().chain(arguments.iter().copied()))
}

/// The platforms of an index.
fn platforms(index: &Value) -> Vec<&str> {
    let manifests = index["manifests"].as_array().unwrap().iter();
    manifests.map(|entry| entry["platform"]["architecture"].as_str().unwrap()).collect()
}

fn raw(reference: &str) -> Value {
    let raw = Cmd::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", reference]).ok();
    serde_json::from_str(&raw.stdout).unwrap()
}

#[test]
fn what_platforms_have_in_common_runs_once() {
    let env = env();
    let built = build(&env, "both", &[]).expect_code(0);
    assert_eq!(built.stderr.matches("] RUN echo once").count(), 1, "{}", built.stderr);
    let _ = built
        .expect_text("[linux/amd64->arm64 build 2/2] RUN echo linux/arm64 > /out")
        .expect_text("[linux/amd64 build 2/2] RUN echo linux/amd64 > /out")
        .expect_text("[linux/arm64 stage-2 1/2] COPY");
    let again = build(&env, "both", &[]).expect_code(0);
    assert_eq!(again.stderr.matches("CACHED").count(), 8, "{}", again.stderr);
    env.assert_nothing_left();
}

#[test]
fn a_name_stands_for_all_platforms() {
    let env = env();
    let registry = Registry::start().unwrap();
    let name = format!("{}/team/app:1", registry.host());
    let metadata = env.path("metadata.json");
    let metadata_file = metadata.to_str().unwrap();
    let _ = build(&env, &name, &["--push", "--metadata-file", metadata_file]).expect_code(0);
    let remote = raw(&format!("docker://{name}"));
    assert_eq!(platforms(&remote), ["arm64", "amd64"]);
    let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    let digest = metadata["containerimage.digest"].as_str().unwrap();
    assert_eq!(metadata["containerimage.descriptor"]["mediaType"], remote["mediaType"]);
    assert!(metadata.get("containerimage.config.digest").is_none());

    // One row, the image of this machine; the other is asked for by its platform.
    let images = env.bld(["images", "-q", &name]).ok();
    assert_eq!(images.stdout.lines().count(), 1);
    let run = |platform: &str| {
        let arguments = ["run", "--rm", "--network", "none", "--platform", platform];
        env.bld(arguments.into_iter().chain([name.as_str(), "/out"])).ok().stdout
    };
    // Both have programs of this machine in them.
    assert_eq!(run("linux/amd64"), "linux/amd64\n");
    assert_eq!(run("linux/arm64"), "linux/arm64\n");

    // What was stored goes out as the same index, and comes in by platform.
    let pushed = env.bld(["push", &name]).ok();
    assert!(pushed.stdout.contains(digest), "{}", pushed.stdout);
    let again = format!("{}/team/again:1", registry.host());
    env.bld(["tag", &name, &again]).ok();
    let pushed = env.bld(["push", &again]).ok();
    assert!(pushed.stdout.contains(digest), "{}", pushed.stdout);
    env.bld(["rmi", &again]).ok();
    let other = TestEnv::new(crate::BLD);
    other.bld(["pull", "-q", "--platform", "linux/arm64", &name]).ok();
    let format = ["inspect", "--format", "{{.Architecture}} {{.Config.Labels.arch}}", &name];
    assert_eq!(other.bld(format).ok().text(), "arm64 arm64");

    // It is a base for both, too.
    let dockerfile = format!("FROM {name}\nLABEL more=1\n");
    let _ = env.build("more", &dockerfile, BOTH).expect_code(0);
    let archive = env.path("more.tar");
    env.bld(["save", "-o", archive.to_str().unwrap(), "more"]).ok();
    assert_eq!(platforms(&raw(&format!("oci-archive:{}", archive.display()))), ["arm64", "amd64"]);

    env.bld(["rmi", "more", &name]).ok();
    env.bld(["image", "prune", "-f"]).ok();
    assert_eq!(env.bld(["images", "-aq"]).ok().stdout.lines().count(), 1, "busybox is left");
}

/// `--platform` of docker's commands on images.
#[test]
fn one_platform_of_a_name_is_shown_sent_and_removed() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let name = format!("{}/team/app:1", registry.host());
    let _ = build(&env, &name, &[]).expect_code(0);
    let arm = ["--platform", "linux/arm64"];
    let of_arm = |words: &[&str]| env.bld(words).args(arm).arg(&name);

    let shown = of_arm(&["image", "inspect", "-f", "{{.Architecture}} {{json .RepoTags}}"]).ok();
    assert_eq!(shown.text(), format!("arm64 [\"{name}\"]"));
    let id = of_arm(&["image", "inspect", "-f", "{{.Id}}"]).ok().text().to_owned();
    let history = of_arm(&["history", "-q", "--no-trunc"]).ok();
    assert_eq!(history.stdout.lines().next(), Some(id.as_str()));
    assert_ne!(env.bld(["image", "inspect", "-f", "{{.Id}}", &name]).ok().text(), id);

    let pushed = of_arm(&["push"]).ok();
    let remote = raw(&format!("docker://{name}"));
    assert_eq!(remote["config"]["digest"], id.as_str(), "{pushed}");
    for words in [&["image", "inspect"][..], &["history"], &["push"], &["rmi"]] {
        let failed = env.bld(words).args(["--platform", "linux/s390x"]).arg(&name).run();
        let _ = failed.expect_code(1).expect_text("not for linux/s390x");
    }

    let removed = of_arm(&["rmi"]).ok();
    assert_eq!(removed.stdout, format!("Deleted: {id}\n"));
    let _ = of_arm(&["image", "inspect"]).run().expect_code(1);
    assert_eq!(env.bld(["inspect", "-f", "{{.Architecture}}", &name]).ok().text(), "amd64");
    env.bld(["push", &name]).ok();
    assert_eq!(platforms(&raw(&format!("docker://{name}"))), ["amd64"]);
    // The name goes with the last of them.
    let removed = env.bld(["rmi", "--platform", "linux/amd64", &name]).ok();
    assert!(removed.stdout.starts_with(&format!("Untagged: {name}\n")), "{removed}");
    assert_eq!(env.bld(["images", "-aq"]).ok().stdout.lines().count(), 1, "busybox is left");
    env.assert_nothing_left();
}

#[test]
fn all_platforms_of_an_archive_are_loaded() {
    let env = env();
    let (archive, dir) = (env.path("both.tar"), env.path("both"));
    let _ = build(&env, "both:1", &[]).expect_code(0);
    env.bld(["save", "-o", archive.to_str().unwrap(), "both:1"]).ok();
    env.bld(["save", "--format", "oci-dir", "-o", dir.to_str().unwrap(), "both:1"]).ok();
    for (input, output) in [(&archive, "again.tar"), (&dir, "more.tar")] {
        let other = TestEnv::new(crate::BLD);
        let loaded = other.bld(["load", "-i", input.to_str().unwrap()]).ok();
        assert_eq!(loaded.stdout, "Loaded image: both:1\n");
        for platform in ["linux/amd64", "linux/arm64"] {
            let run =
                ["run", "--rm", "--network", "none", "--platform", platform, "both:1", "/out"];
            assert_eq!(other.bld(run).ok().text(), platform);
        }
        let again = other.path(output);
        other.bld(["save", "-o", again.to_str().unwrap(), "both:1"]).ok();
        assert_eq!(fs::read(&archive).unwrap(), fs::read(&again).unwrap());
        let one = TestEnv::new(crate::BLD);
        one.bld(["load", "--platform", "linux/arm64", "-i", input.to_str().unwrap()]).ok();
        let shown = one.bld(["inspect", "--format", "{{.Architecture}}", "both:1"]).ok();
        assert_eq!(shown.text(), "arm64");
        assert_eq!(one.bld(["images", "-q"]).ok().stdout.lines().count(), 1);
    }
}

#[test]
fn outputs_of_several_platforms() {
    let env = env();
    let (files, tar, oci) = (env.path("files"), env.path("files.tar"), env.path("oci"));
    let outputs = [
        format!("type=local,dest={}", files.display()),
        format!("type=tar,dest={}", tar.display()),
        format!("type=oci,tar=false,dest={}", oci.display()),
    ];
    let arguments: Vec<&str> = outputs.iter().flat_map(|output| ["-o", output]).collect();
    let _ = build(&env, "both", &arguments).expect_code(0);
    for platform in ["linux_amd64", "linux_arm64"] {
        let out = fs::read_to_string(files.join(platform).join("out")).unwrap();
        assert_eq!(out.trim().replace('/', "_"), platform);
    }
    let listed = Cmd::new("tar").arg("tf").arg(&tar).ok().stdout;
    for name in ["linux_amd64/out", "linux_arm64/out", "linux_arm64/common"] {
        assert!(listed.lines().any(|line| line == name), "{listed}");
    }
    assert_eq!(platforms(&raw(&format!("oci:{}", oci.display()))), ["arm64", "amd64"]);

    let _ = build(&env, "both", &["-o", "type=docker,dest=x.tar"])
        .expect_code(1)
        .expect_text("docker exporter does not currently support exporting manifest lists");
    let annotation = ["--annotation", "index:a=b", "--annotation", "manifest[linux/arm64]:c=d"];
    let output = format!("type=oci,dest={}", env.path("o.tar").display());
    let _ =
        build(&env, "both", &[&["-o", output.as_str()], &annotation[..]].concat()).expect_code(0);
    let index = raw(&format!("oci-archive:{}", env.path("o.tar").display()));
    assert_eq!(index["annotations"]["a"], "b");
}
