//! `manifest`: lists that are put together here.

use bld_testkit::{Cmd, Registry, TestEnv, peer};
use serde_json::{Value, json};

use crate::env;

fn raw(image: &str) -> String {
    let raw = ["inspect", "--raw", "--tls-verify=false"];
    Cmd::new("skopeo").args(raw).arg(format!("docker://{image}")).ok().stdout
}

fn index(image: &str) -> Value {
    serde_json::from_str(&raw(image)).unwrap()
}

fn digest(image: &str) -> String {
    bld_oci::Digest::of(raw(image).as_bytes()).to_string()
}

/// Builds an image for one platform, here or also at its registry.
fn build(env: &TestEnv, image: &str, platform: &str, more: &[&str]) {
    env.write("ctx/text", platform);
    let arguments = ["--platform", platform].into_iter().chain(more.iter().copied());
    let _ = env.build(image, "FROM scratch\nCOPY text /\n", arguments).expect_code(0);
}

#[test]
fn scripts_of_docker_work() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let name = |rest: &str| format!("{}/{rest}", registry.host());
    let [amd, arm, app] = [name("team/app:amd"), name("team/arm:1"), name("team/app:1")];
    build(&env, &amd, "linux/amd64", &["--push"]);
    build(&env, &arm, "linux/arm64", &["--push"]);
    env.bld(["rmi", &amd, &arm]).ok();

    let made = env.bld(["manifest", "create", &app, &amd, &arm]).ok();
    assert_eq!(made.stdout, format!("Created manifest list {app}\n"));
    let again = env.bld(["manifest", "create", &app, &amd]).run();
    let _ = again.expect_code(1).expect_text("refusing to amend an existing manifest list");
    env.bld(["manifest", "create", "--amend", &app, &arm]).ok();
    let annotate = ["manifest", "annotate", "--os-features", "a,b", "--variant", "v9", &app, &arm];
    env.bld(annotate).ok();
    // By digest, and by another name of the same.
    let by_digest = format!("{}@{}", name("team/arm"), digest(&arm));
    let same = name("team/arm:same");
    env.bld(["imagetools", "create", "--prefer-index=false", "-t", &same, &arm]).ok();
    for image in [&by_digest, &same] {
        env.bld(["manifest", "annotate", "--os-features", "a,b", &app, image]).ok();
    }
    let wrong = env.bld(["manifest", "annotate", "--os", "linux", &app, "nosuch"]).run();
    let _ = wrong.expect_code(1).expect_text("manifest for image nosuch does not exist in");
    let listed = env.bld(["manifest", "inspect", &app]).ok().stdout;
    assert!(listed.starts_with("{\n   \"schemaVersion\": 2,\n   \"mediaType\":"), "{listed}");
    let pushed = env.bld(["manifest", "push", "--purge", &app]).ok();
    assert_eq!(pushed.text(), digest(&app));
    assert_eq!(index(&app), serde_json::from_str::<Value>(&listed).unwrap());
    let entries = index(&app)["manifests"].clone();
    assert_eq!(entries.as_array().unwrap().len(), 2);
    let platform =
        json!({"architecture": "arm64", "os": "linux", "os.features": ["a", "b"], "variant": "v9"});
    assert_eq!(entries[1]["platform"], platform);
    let gone = env.bld(["manifest", "exists", &app]).run();
    assert_eq!(gone.code, 1, "the list was purged: {gone}");

    // What registries have, as docker shows it.
    let shown = env.bld(["manifest", "inspect", &amd]).ok().stdout;
    assert!(shown.starts_with("{\n\t\"schemaVersion\": 2,\n\t\"mediaType\":"), "{shown}");
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), index(&amd));
    let shown = env.bld(["manifest", "inspect", "-v", &app]).ok().stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[1]["Descriptor"]["platform"], platform);
    assert_eq!(shown[0]["Descriptor"]["digest"], digest(&amd).as_str());
    assert_eq!(shown[0]["OCIManifest"], index(&amd));
    let shown = env.bld(["manifest", "inspect", "-v", &amd]).ok().stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["Descriptor"]["platform"]["architecture"], "amd64");
    assert_eq!(shown["Ref"], amd.as_str());
}

#[test]
fn scripts_of_buildah_and_podman_work() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let name = |rest: &str| format!("{}/{rest}", registry.host());
    build(&env, "local/amd", "linux/amd64", &[]);
    let arm = name("team/arm:1");
    build(&env, &arm, "linux/arm64", &["--push"]);
    env.bld(["rmi", &arm]).ok();

    let missing = env.bld(["manifest", "add", "list", "local/amd"]).run();
    let _ = missing.expect_code(1).expect_text("no such manifest: list");
    env.bld(["manifest", "create", "list"]).ok();
    env.bld(["manifest", "exists", "list"]).ok();
    let add = ["manifest", "add", "--annotation", "a=b", "list", "containers-storage:local/amd"];
    let amd = env.bld(add).ok().text().to_owned();
    let foreign = ["manifest", "add", "--arch", "arm", "--variant", "v7", "list"];
    env.bld(foreign).arg(format!("docker://{arm}")).ok();
    env.bld(["manifest", "annotate", "--arch", "arm64", "--variant", "v8", "list", &digest(&arm)])
        .ok();
    env.bld(["manifest", "annotate", "--index", "--annotation", "of=all", "list"]).ok();
    let digestfile = env.path("digest");
    let push = ["manifest", "push", "--all", "-q", "--digestfile", digestfile.to_str().unwrap()];
    env.bld(push).args(["list", &format!("docker://{}", name("shop/app:1"))]).ok();
    assert_eq!(std::fs::read_to_string(digestfile).unwrap(), digest(&name("shop/app:1")));
    let pushed = index(&name("shop/app:1"));
    assert_eq!(pushed["annotations"], json!({"of": "all"}));
    assert_eq!(pushed["manifests"][0]["annotations"], json!({"a": "b"}));
    assert_eq!(pushed["manifests"][0]["digest"], amd.as_str());
    let docker = ["manifest", "push", "--format", "v2s2", "list", &name("x:1")];
    let _ = env.bld(docker).run().expect_code(1).expect_text("no place for annotations");

    // podman makes the same of the same images.
    let pushed_amd = format!("{}@{amd}", name("shop/app"));
    let place = env.path("podman");
    let podman = |arguments: &[&str]| {
        let mut command = peer("podman");
        command.arg("--root").arg(place.join("root")).arg("--runroot").arg(place.join("run"));
        command.args(arguments);
        Cmd::from(command).ok().stdout
    };
    podman(&["manifest", "create", "list"]);
    let amd = format!("docker://{pushed_amd}");
    podman(&["manifest", "add", "--tls-verify=false", "--annotation", "a=b", "list", &amd]);
    let add = ["manifest", "add", "--tls-verify=false", "--variant", "v8", "list"];
    podman(&[&add[..], &[&format!("docker://{arm}")]].concat());
    let to = format!("docker://{}", name("shop/podman:1"));
    podman(&["manifest", "push", "--all", "--tls-verify=false", "list", &to]);
    let theirs = index(&name("shop/podman:1"));
    assert_eq!(theirs["manifests"], pushed["manifests"]);
    assert_eq!(theirs["mediaType"], pushed["mediaType"]);

    // What a list names can be taken off it, and the list itself; images stay.
    env.bld(["manifest", "remove", "list", &digest(&arm)]).ok();
    let left = env.bld(["manifest", "inspect", "list"]).ok().stdout;
    let left: Value = serde_json::from_str(&left).unwrap();
    assert_eq!(left["manifests"].as_array().unwrap().len(), 1);
    env.bld(["rmi", "local/amd"]).ok();
    env.bld(["image", "prune", "-af"]).ok();
    let changed = env.bld(["manifest", "push", "list", &name("y:1")]).run();
    let _ = changed.expect_code(1).expect_text("add it again");
    env.bld(["manifest", "rm", "list"]).ok();
    let gone = env.bld(["manifest", "rm", "list"]).run();
    let _ = gone.expect_code(1).expect_text("no such manifest: list");
}

#[test]
fn a_name_of_several_platforms_is_a_list() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let name = |rest: &str| format!("{}/{rest}", registry.host());
    build(&env, "both", "linux/arm64,linux/amd64", &[]);
    build(&env, "riscv", "linux/riscv64", &[]);
    let platforms = |index: &Value| {
        let entries = index["manifests"].as_array().unwrap().iter();
        let found =
            entries.map(|entry| entry["platform"]["architecture"].as_str().unwrap().to_owned());
        found.collect::<Vec<_>>()
    };
    let shown = env.bld(["manifest", "inspect", "both"]).ok().stdout;
    assert_eq!(platforms(&serde_json::from_str(&shown).unwrap()), ["arm64", "amd64"]);
    env.bld(["manifest", "create", "one", "both"]).ok();
    env.bld(["manifest", "create", "--all", "three", "both", "riscv"]).ok();
    for (list, expected) in [("one", vec!["amd64"]), ("three", vec!["arm64", "amd64", "riscv64"])] {
        env.bld(["manifest", "push", list, &name(list)]).ok();
        assert_eq!(platforms(&index(&name(list))), expected);
    }
    env.bld(["manifest", "create", "--all", "remote", &format!("docker://{}", name("three"))]).ok();
    env.bld(["manifest", "push", "--format", "v2s2", "remote", &name("remote")]).ok();
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    assert_eq!(index(&name("remote"))["mediaType"], list);
    assert_eq!(platforms(&index(&name("remote"))).len(), 3);
}

#[test]
fn what_is_built_is_put_on_a_list() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let list = format!("{}/team/app:1", registry.host());
    let on = ["--manifest", &list];
    // One after the other, under one name or none, and both at once.
    build(&env, "same", "linux/amd64", &on);
    build(&env, "same", "linux/arm64", &on);
    env.bld(["manifest", "push", "-q", &list]).ok();
    let platforms = |index: &Value| -> Vec<String> {
        let manifests = index["manifests"].as_array().unwrap().iter();
        manifests.map(|one| one["platform"]["architecture"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(platforms(&index(&list)), ["amd64", "arm64"]);
    env.write("ctx/text", "none");
    let unnamed =
        ["build", "-q", "--platform", "linux/riscv64", "--manifest", &list, "-f", "-", "ctx"];
    env.bld(unnamed).cwd(env.path("")).stdin(b"FROM scratch\nCOPY text /\n".to_vec()).ok();
    env.bld(["manifest", "push", "-q", &list]).ok();
    assert_eq!(platforms(&index(&list)), ["amd64", "arm64", "riscv64"]);
    let both = format!("{}/team/app:2", registry.host());
    let on = ["--manifest", &both];
    build(&env, "both", "linux/amd64,linux/arm64", &on);
    env.bld(["manifest", "push", "-q", &both]).ok();
    assert_eq!(platforms(&index(&both)), ["amd64", "arm64"]);
    let tar = ["-o", "type=tar,dest=x.tar", "--manifest", &both];
    let refused = env.build("x", "FROM scratch\nCOPY text /\n", tar);
    let _ = refused.expect_code(1).expect_text("--manifest lists images of the store");
}
