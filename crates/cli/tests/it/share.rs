//! Caches that machines share, and layers that stay where they are until somebody needs them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bld_testkit::{Cmd, Output, Registry, TestEnv};
use serde_json::Value;

use crate::{BLD, env};

/// Stores that have nothing but their base, in a registry, in common.
struct Farm {
    registry: Registry,
    dockerfile: String,
}

impl Farm {
    /// Twenty steps in three stages, on a base with something in it that nothing reads.
    fn new() -> Self {
        let registry = Registry::start().unwrap();
        let base = format!("{}/base:1", registry.host());
        let first = env();
        first.write("ctx/ballast", vec![b'b'; 8 << 20]);
        let built = first.build(&base, "FROM busybox\nCOPY ballast /\n", ["--push"]);
        let _ = built.expect_code(0);
        let mut dockerfile = format!("FROM {base} AS one\nCOPY src /src\n");
        for n in 0..8 {
            writeln!(dockerfile, "RUN cat /src/file >> /one && echo {n} >> /one").unwrap();
        }
        writeln!(dockerfile, "FROM {base} AS two").unwrap();
        for n in 0..6 {
            writeln!(dockerfile, "RUN echo {n} >> /two").unwrap();
        }
        dockerfile.push_str("FROM scratch\nCOPY --from=one /one /one\nCOPY --from=two /two /two\n");
        Self { registry, dockerfile }
    }

    fn build(&self, machine: &TestEnv, arguments: &[&str]) -> Output {
        let arguments = ["--network", "none"].iter().chain(arguments).copied();
        machine.build("app:1", &self.dockerfile, arguments).expect_code(0)
    }
}

/// A machine with an empty store.
fn machine() -> TestEnv {
    let env = TestEnv::new(BLD);
    env.write("ctx/src/file", "source\n");
    env
}

/// Steps that took work.
fn ran(output: &Output) -> usize {
    let lines: Vec<&str> = output.stderr.lines().collect();
    let step = |number: &str| {
        let title = lines.iter().find(|line| line.starts_with(&format!("{number} [")));
        title.is_some_and(|title| title.contains("] RUN") || title.contains("] COPY"))
    };
    let done = lines.iter().filter_map(|line| {
        let (number, rest) = line.split_once(' ')?;
        rest.starts_with("DONE").then_some(number)
    });
    done.filter(|number| step(number)).count()
}

/// Bytes that the store takes.
fn size(env: &TestEnv) -> u64 {
    let du = Cmd::new("du").args(["-s", "-B1"]).arg(env.root()).ok();
    du.text().split_whitespace().next().unwrap().parse().unwrap()
}

fn app(env: &TestEnv) -> (String, String) {
    let files = env.path("files");
    let output = format!("type=local,dest={}", files.display());
    let _ = env.build("app:1", "FROM app:1\n", ["-o", &output]).expect_code(0);
    let read = |name: &str| fs::read_to_string(files.join(name)).unwrap();
    (read("one"), read("two"))
}

/// The second machine builds with what the first has said: nothing runs, and nothing is fetched that
/// nothing reads.
fn second_machine_runs_nothing(farm: &Farm, to: &str, from: &str) {
    let first = machine();
    assert_eq!(ran(&farm.build(&first, &["--cache-to", to])), 17);
    let second = machine();
    let built = farm.build(&second, &["--cache-from", from]);
    assert_eq!(ran(&built), 0, "{}", built.stderr);
    assert!(size(&second) < 4 << 20, "layers that nothing reads were fetched");
    let id = |env: &TestEnv| env.bld(["images", "-q", "--no-trunc", "app:1"]).ok().stdout;
    assert_eq!(id(&first), id(&second));
    assert_eq!(app(&second), app(&first));
    let _ = second.bld(["system", "check"]).ok();
    second.assert_nothing_left();
}

#[test]
fn two_machines_share_a_registry() {
    let farm = Farm::new();
    let reference = format!("{}/cache:1", farm.registry.host());
    let to = format!("type=registry,ref={reference},mode=max");
    second_machine_runs_nothing(&farm, &to, &format!("type=registry,ref={reference}"));
}

#[test]
fn two_machines_share_a_directory() {
    let farm = Farm::new();
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("cache");
    let to = format!("type=local,dest={},mode=max", dir.display());
    second_machine_runs_nothing(&farm, &to, &format!("type=local,src={}", dir.display()));
    // It is an OCI layout that other tools read, and what a later build has no use for is removed.
    let layout = format!("oci:{}:latest", dir.display());
    let raw = Cmd::new("skopeo").args(["inspect", "--raw", &layout]).ok();
    let manifest: Value = serde_json::from_str(&raw.stdout).unwrap();
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.buildkit.cacheconfig.v0");
    let blobs = || fs::read_dir(dir.join("blobs/sha256")).unwrap().count();
    let before = blobs();
    let own = machine();
    own.write("ctx/src/file", "changed\n");
    farm.build(&own, &["--cache-to", &format!("type=local,dest={}", dir.display())]);
    assert!(blobs() < before, "mode=min has fewer layers");
}

#[test]
fn an_image_says_what_made_it() {
    let farm = Farm::new();
    let first = machine();
    let name = format!("{}/app:1", farm.registry.host());
    let dockerfile = &farm.dockerfile;
    let inline = ["--network", "none", "--cache-to", "type=inline", "--push"];
    let _ = first.build(&name, dockerfile, inline).expect_code(0);
    let second = machine();
    let built = farm.build(&second, &["--cache-from", &name]);
    assert_eq!(ran(&built), 0, "{}", built.stderr);
}

#[test]
fn a_file_that_changed_takes_only_what_depends_on_it() {
    let farm = Farm::new();
    let reference = format!("{}/cache:1", farm.registry.host());
    let to = format!("type=registry,ref={reference},mode=max");
    farm.build(&machine(), &["--cache-to", &to]);
    let second = machine();
    second.write("ctx/src/file", "other\n");
    let built = farm.build(&second, &["--cache-from", &reference]);
    // COPY src and the eight after it, and the last two; not those of stage two.
    assert_eq!(ran(&built), 1 + 8 + 2, "{}", built.stderr);
}

#[test]
fn what_is_lost_or_damaged_is_made_again() {
    let farm = Farm::new();
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("cache");
    let to = format!("type=local,dest={},mode=max", dir.display());
    let first = machine();
    farm.build(&first, &["--cache-to", &to]);
    for (number, blob) in small_blobs(&dir).into_iter().enumerate() {
        match number % 2 {
            0 => fs::write(blob, "no layer").unwrap(),
            _ => fs::remove_file(blob).unwrap(),
        }
    }
    let second = machine();
    let from = format!("type=local,src={}", dir.display());
    let output = format!("type=local,dest={}", second.path("out").display());
    farm.build(&second, &["--cache-from", &from, "-o", &output]);
    let read = |name: &str| fs::read_to_string(second.path("out").join(name)).unwrap();
    assert_eq!((read("one"), read("two")), app(&first));
    let _ = second.bld(["system", "check"]).ok();
}

/// Layers of steps.
fn small_blobs(layout: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let mut blobs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    blobs.retain(|blob| fs::read(blob).unwrap().starts_with(&[0x1f, 0x8b]));
    blobs.retain(|blob| fs::metadata(blob).unwrap().len() < 4096);
    blobs.sort();
    blobs
}

#[test]
fn a_cache_that_cannot_be_had_fails_no_build_unless_it_is_to_be_written() {
    let farm = Farm::new();
    let own = machine();
    let nowhere = "type=registry,ref=127.0.0.1:1/cache";
    let built = farm.build(&own, &["--cache-from", nowhere]);
    let _ =
        built.expect_text("importing cache manifest from 127.0.0.1:1/cache").expect_text("ERROR");
    let to = |word: &str| own.build("app:1", &farm.dockerfile, ["--cache-to", word]);
    let _ = to(nowhere).expect_code(1).expect_text("127.0.0.1:1");
    let _ = to(&format!("{nowhere},ignore-error=true")).expect_code(0);
    for (word, part) in [
        ("type=nowhere,ref=x", "unknown type \"nowhere\""),
        ("type=registry", "ref is required"),
        ("type=local", "dest is required"),
        ("type=registry,ref=x,mode=some", "unknown mode"),
        ("type=registry,ref=x,compress=zstd", "compress is not supported"),
    ] {
        let _ = to(word).expect_code(1).expect_text(part);
    }
}

#[test]
fn what_was_never_here_is_pushed_by_those_who_have_it() {
    let farm = Farm::new();
    let reference = format!("{}/cache:1", farm.registry.host());
    let to = format!("type=registry,ref={reference},mode=max");
    farm.build(&machine(), &["--cache-to", &to]);
    let second = machine();
    let name = format!("{}/pushed:1", farm.registry.host());
    let arguments = ["--network", "none", "--cache-from", &reference, "--push"];
    let _ = second.build(&name, &farm.dockerfile, arguments).expect_code(0);
    assert!(size(&second) < 4 << 20);
    let layers = Cmd::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--format", "{{len .Layers}}"])
        .arg(format!("docker://{name}"))
        .ok();
    assert_eq!(layers.text(), "2");
    let third = machine();
    let run = ["run", "--rm", "--network", "none", &name, "/one"];
    let _ = third.bld(run).run().expect_text("permission denied");
}
