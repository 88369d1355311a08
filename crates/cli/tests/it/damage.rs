//! Bytes of the store that changed on disk: named, never used, fetched or made again.

use std::fs;
use std::path::{Path, PathBuf};

use bld_testkit::{Archive, Registry, TestEnv};

use crate::env;

const DOCKERFILE: &str =
    "FROM busybox\nRUN dd if=/dev/urandom of=/noise bs=1k count=3000 2>/dev/null\n";

/// The blobs of the store, the largest first.
fn blobs(env: &TestEnv) -> Vec<PathBuf> {
    let entries = fs::read_dir(env.root().join("blobs/sha256")).unwrap();
    let mut blobs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    blobs.sort_by_key(|blob| std::cmp::Reverse(blob.metadata().unwrap().len()));
    blobs
}

/// Changes one byte in the middle of the blob.
fn damage(blob: &Path) {
    let mut bytes = fs::read(blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(blob).unwrap();
    fs::write(blob, bytes).unwrap();
}

fn config(env: &TestEnv, image: &str) -> PathBuf {
    let id = env.bld(["images", "-q", "--no-trunc", image]).ok().stdout;
    env.root().join("blobs/sha256").join(id.trim().trim_start_matches("sha256:"))
}

#[test]
fn a_layer_is_packed_again() {
    let env = env();
    let _ = env.build("d:1", DOCKERFILE, []).expect_code(0);
    let (first, second) = (env.path("first.tar"), env.path("second.tar"));
    let save = |path: &PathBuf| env.bld(["save", "d:1", "-o"]).arg(path);
    save(&first).ok();
    damage(&blobs(&env)[0]);
    let failed = save(&second).run().expect_code(1).expect_text("is damaged: its bytes hash to");
    let _ = failed.expect_text("was dropped: do it again");
    assert!(!second.exists());
    save(&second).ok();
    assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());

    for (output, dest) in [("type=oci,dest=", "oci.tar"), ("type=oci,tar=false,dest=", "layout")] {
        damage(&blobs(&env)[0]);
        let output = format!("{output}{}", env.path(dest).display());
        let _ = env
            .build("d:1", DOCKERFILE, ["-o", &output])
            .expect_code(0)
            .expect_text(", which is damaged");
    }
    let file = Archive::read(&env.path("oci.tar")).unwrap();
    let dir = Archive::read_layout(&env.path("layout")).unwrap();
    assert_eq!(file.files["/noise"], dir.files["/noise"]);

    let registry = Registry::start().unwrap();
    let name = format!("{}/d:1", registry.host());
    env.bld(["tag", "d:1", &name]).ok();
    damage(&blobs(&env)[0]);
    env.bld(["push", &name]).ok();
    env.bld(["system", "check"]).ok();
}

#[test]
fn a_configuration_is_made_or_fetched_again() {
    let env = env();
    let _ = env.build("d:1", DOCKERFILE, []).expect_code(0);
    damage(&config(&env, "d:1"));
    let _ = env.build("d:1", DOCKERFILE, []).expect_code(0);
    env.bld(["run", "--rm", "d:1", "true"]).ok();

    let registry = Registry::start().unwrap();
    let name = format!("{}/d:1", registry.host());
    env.bld(["tag", "d:1", &name]).ok();
    env.bld(["push", &name]).ok();
    let other = crate::env();
    let _ = other.bld(["pull", &name]).ok();
    damage(&config(&other, &name));
    let ran = other.bld(["run", "--rm", &name, "true"]).ok().expect_text("is damaged");
    let _ = ran.expect_text("Unable to find image");
    damage(&config(&other, &name));
    other.bld(["pull", &name]).ok();
    damage(&config(&other, &name));
    let onward = format!("FROM {name}\nRUN wc -c /noise\n");
    let _ = other.build("e:1", &onward, []).expect_code(0).expect_text("3072000");
    other.bld(["system", "check"]).ok();
}

#[test]
fn what_only_looks_drops_it_too() {
    let env = env();
    let _ = env.build("d:1", DOCKERFILE, []).expect_code(0);
    for verb in ["history", "inspect", "commit"] {
        let container = env.bld(["create", "d:1", "true"]).ok().stdout;
        damage(&config(&env, "d:1"));
        let name = if verb == "commit" { container.trim() } else { "d:1" };
        let failed = env.bld([verb, name]).run().expect_code(1).expect_text("is damaged");
        let _ = failed.expect_text("was dropped: pull or build docker.io/library/d:1 again");
        env.bld(["system", "check"]).ok();
        env.bld(["rm", container.trim()]).ok();
        let _ = env.build("d:1", DOCKERFILE, []).expect_code(0);
    }
}

/// Leaves of all images only their blobs, and damages the largest.
fn repack(env: &TestEnv) {
    let snapshots = fs::read_dir(env.root().join("snapshots")).unwrap();
    for snapshot in snapshots {
        fs::remove_dir_all(snapshot.unwrap().path()).unwrap();
    }
    env.bld(["system", "check", "--repair"]).ok();
    damage(&blobs(env)[0]);
}

#[test]
fn a_layer_is_fetched_again() {
    let registry = Registry::start().unwrap();
    let name = format!("{}/d:1", registry.host());
    let env = env();
    let _ = env.build(&name, DOCKERFILE, []).expect_code(0);
    env.bld(["push", &name]).ok();
    let run = ["run", "--rm", &name, "wc", "-c", "/noise"];

    repack(&env);
    let ran = env.bld(run).ok().expect_text("is damaged").expect_text("Unable to find image");
    let _ = ran.expect_text("3072000");
    repack(&env);
    env.bld(["pull", &name]).ok();
    let _ = env.bld(run).ok().expect_text("3072000");
    repack(&env);
    let onward = format!("FROM {name}\nRUN wc -c /noise\n");
    let _ = env.build("e:1", &onward, []).expect_code(0).expect_text("3072000");
    env.bld(["system", "check"]).ok();

    // Nobody has it: that is said, and what is damaged is gone.
    env.bld(["tag", &name, "alone:1"]).ok();
    env.bld(["rmi", &name]).ok();
    repack(&env);
    let failed = env.bld(["run", "--rm", "alone:1", "true"]).run().expect_code(125);
    let _ = failed.expect_text("Warning: ").expect_text("is damaged: its bytes hash to");
    env.bld(["system", "check"]).ok();
}
