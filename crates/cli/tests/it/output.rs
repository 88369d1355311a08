//! Where results go, and whether other tools take them.

use std::fs;

use bld_testkit::{Archive, Cmd, Registry, TestEnv};

use crate::env;

const DOCKERFILE: &str = "FROM busybox\nRUN echo made > /made\nCMD [\"cat\", \"/made\"]\n";

fn build(env: &TestEnv, output: &str) {
    let _ = env.build("out:1", DOCKERFILE, ["-o", output]).expect_code(0);
}

fn skopeo(name: &str) -> serde_json::Value {
    let seen = Cmd::new("skopeo").args(["inspect", "--tls-verify=false", "--config", name]).ok();
    serde_json::from_str(&seen.stdout).unwrap()
}

#[test]
fn files() {
    let env = env();
    let directory = env.path("files");
    build(&env, &directory.display().to_string());
    assert_eq!(fs::read_to_string(directory.join("made")).unwrap(), "made\n");
    assert!(directory.join("bin/busybox").exists());

    let tar = env.path("files.tar");
    build(&env, &format!("type=tar,dest={}", tar.display()));
    let seen = Cmd::new("tar").arg("-xOf").arg(&tar).arg("made").run();
    let seen = if seen.code == 0 {
        seen
    } else {
        Cmd::new("tar").arg("-xOf").arg(&tar).arg("./made").ok()
    };
    assert_eq!(seen.stdout, "made\n");
}

#[test]
fn archives_and_layouts() {
    let env = env();
    for compression in ["gzip", "zstd"] {
        let tar = env.path(format!("{compression}.tar"));
        build(&env, &format!("type=oci,dest={},compression={compression}", tar.display()));
        assert_eq!(Archive::read(&tar).unwrap().text("/made"), "made\n");
        let seen = skopeo(&format!("oci-archive:{}", tar.display()));
        assert_eq!(seen["config"]["Cmd"][0], "cat");
    }

    let layout = env.path("layout");
    build(&env, &format!("type=oci,tar=false,name=out:1,dest={}", layout.display()));
    assert_eq!(Archive::read_layout(&layout).unwrap().text("/made"), "made\n");
    let bundle = env.path("bundle");
    let tag = Cmd::new("umoci").args(["ls", "--layout"]).arg(&layout).ok();
    let image = format!("{}:{}", layout.display(), tag.text());
    Cmd::new("umoci").args(["unpack", "--image", &image]).arg(&bundle).ok();
    assert_eq!(fs::read_to_string(bundle.join("rootfs/made")).unwrap(), "made\n");

    let docker = env.path("docker.tar");
    build(&env, &format!("type=docker,dest={}", docker.display()));
    let seen = skopeo(&format!("docker-archive:{}", docker.display()));
    assert_eq!(seen["config"]["Cmd"][0], "cat");
}

#[test]
fn saved_images_load_elsewhere() {
    let from = env();
    let _ = from.build("out:1", DOCKERFILE, []).expect_code(0);
    let archive = from.path("saved.tar");
    from.bld(["save", "-o"]).arg(&archive).arg("out:1").ok();
    skopeo(&format!("docker-archive:{}", archive.display()));
    let to = TestEnv::new(crate::BLD);
    let loaded = to.bld(["load", "-i"]).arg(&archive).ok();
    assert!(loaded.stdout.contains("Loaded image: out:1"), "{loaded}");
    assert_eq!(to.bld(["run", "--rm", "out:1"]).ok().stdout, "made\n");
    let id = |env: &TestEnv| env.bld(["images", "-q", "--no-trunc", "out:1"]).ok().stdout;
    assert_eq!(id(&from), id(&to));
}

#[test]
fn registries() {
    let env = env();
    let registry = Registry::start().unwrap();
    let name = format!("{}/team/out:1", registry.host());
    env.bld(["build", "-t", &name, "-o", "type=registry", "-"]).stdin(DOCKERFILE).ok();
    let seen = skopeo(&format!("docker://{name}"));
    assert_eq!(seen["config"]["Cmd"][0], "cat");

    let _ = env.build("out:2", DOCKERFILE, []).expect_code(0);
    let second = format!("{}/team/out:2", registry.host());
    env.bld(["tag", "out:2", &second]).ok();
    let pushed = env.bld(["push", &second]).ok();
    assert!(pushed.stdout.contains("digest: sha256:"), "{pushed}");
    let copy = env.path("copy.tar");
    Cmd::new("skopeo")
        .args(["copy", "--src-tls-verify=false", &format!("docker://{second}")])
        .arg(format!("oci-archive:{}", copy.display()))
        .ok();
    assert_eq!(Archive::read(&copy).unwrap().text("/made"), "made\n");

    let other = TestEnv::new(crate::BLD);
    other.bld(["pull", &second]).ok();
    assert_eq!(other.bld(["run", "--rm", &second]).ok().stdout, "made\n");
    let from = other.build("on:1", &format!("FROM {name}\nRUN test -f /made\n"), []);
    let _ = from.expect_code(0);
}
