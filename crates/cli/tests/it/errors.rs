//! Bad input and bad luck: one clear message, a non-zero exit code, nothing left behind.

use std::{fs, time::Duration};

use bld_testkit::{Cmd, Registry, TestEnv, rootfs, write_archive};

use crate::{BLD, env};

/// Builds and expects a failure that says all of `words`.
fn fails(env: &TestEnv, dockerfile: &str, words: &[&str]) {
    let output = env.build("bad:1", dockerfile, []).expect_code(1);
    let text = (output.stderr.clone() + &output.stdout).to_lowercase();
    for word in words {
        assert!(text.contains(&word.to_lowercase()), "does not say {word:?}\n{output}");
    }
    assert!(!text.contains("panicked"), "{output}");
    env.assert_nothing_left();
    let images = env.bld(["images", "-q", "bad"]).ok();
    assert_eq!(images.text(), "");
}

#[test]
fn mistakes_in_the_dockerfile_are_explained() {
    let env = env();
    env.write("ctx/present.txt", "");
    env.write("ctx/hidden.log", "");
    env.write("ctx/.dockerignore", "# logs\n*.log\n");
    let cases: &[(&str, &[&str])] = &[
        ("", &["empty"]),
        ("FROM busybox\nRUM true\n", &["RUM", "RUN"]),
        ("# syntax=my/frontend:1\nFROM busybox\n", &["my/frontend:1", "docker/dockerfile:1"]),
        ("FROM busybox\nCOPY --chwon=1 present.txt /\n", &["chwon", "chown"]),
        ("FROM busybox\nCOPY presnt.txt /\n", &["presnt.txt"]),
        ("FROM busybox\nCOPY hidden.log /\n", &["hidden.log", ".dockerignore", "*.log"]),
        ("FROM busybox\nCOPY --from=nothing /x /\n", &["nothing"]),
        ("FROM one AS two\nFROM two AS one\n", &["one"]),
        ("FROM busybox\nUSER nobody-like-that\nRUN true\n", &["nobody-like-that"]),
        ("FROM busybox\nRUN echo told before; exit 7\n", &["told before", "7", "RUN echo"]),
        ("FROM busybox\nRUN [\"/no/such\"]\n", &["/no/such"]),
        ("FROM busybox\nRUN sh -c 'kill -9 $$'; exit $?\n", &["137"]),
        ("RUN true\n", &["FROM"]),
    ];
    for (dockerfile, words) in cases {
        fails(&env, dockerfile, words);
    }
    let missing = env.bld(["build", "-f", "no/such/file", "ctx"]).run().expect_code(1);
    let _ = missing.expect_text("no/such/file");
    let _ = env.bld(["build", "no/such/context"]).run().expect_code(1);
}

#[test]
fn a_path_from_outside_of_the_context_is_told_from_an_excluded_one() {
    let env = env();
    env.write("ctx/main.c", "");
    env.write("ctx/.dockerignore", "*\n");
    let hidden = env.build("p:1", "FROM busybox\nCOPY main.c /\n", []).expect_code(1);
    let _ = hidden.expect_text("excluded by \"*\"");
    let outside = env.build("p:1", "FROM busybox\nCOPY ctx/main.c /\n", []).expect_code(1);
    assert!(!outside.stderr.contains("excluded by \""), "{outside}");
    let _ = outside.expect_text("\"/ctx/main.c\" not found in the context").expect_text("/main.c?");
}

#[test]
fn all_mistakes_are_told_at_once_and_warnings_too() {
    let env = env();
    env.write(
        "ctx/Dockerfile",
        "FROM busybox AS One\nRUNN x\nCOPY a\nFROM busybox AS two\nEXPOSE 80/ftp\n\
         RUN --mount=type=tmp,target=/x true\nFROM busybox\nSTOPSIGNAL SIGTREM\nENV lonely\n",
    );
    let output = env.bld(["build", "ctx"]).run().expect_code(1);
    let places: Vec<_> =
        output.stderr.lines().filter_map(|line| line.trim().strip_prefix("--> ")).collect();
    assert_eq!(
        places,
        [
            "Dockerfile:2:1",
            "Dockerfile:3:6",
            "Dockerfile:5:8",
            "Dockerfile:6:13",
            "Dockerfile:8:12",
            "Dockerfile:9:5"
        ]
    );
    assert!(output.stderr.contains("\n - StageNameCasing: "), "{output}");
    assert!(output.stderr.contains("Dockerfile:2: unknown instruction: RUNN (and 5 more errors)"));
}

#[test]
fn registries_that_do_not_answer_or_lie_are_named() {
    let env = TestEnv::new(BLD);
    fails(&env, "FROM 127.0.0.1:1/nothing:1\n", &["127.0.0.1:1"]);

    let registry = Registry::start().unwrap();
    fails(&env, &format!("FROM {}/absent:1\n", registry.host()), &["absent"]);

    let archive = env.path("base.tar");
    write_archive(&archive, "base:1", &rootfs::busybox().unwrap(), &["sh"]).unwrap();
    registry.upload(&archive, "base:1");
    // Damage the layer, which is by far the largest file.
    let blobs =
        Cmd::new("find").arg(registry.data()).args(["-name", "data", "-size", "+100k"]).ok();
    let blob = blobs.text();
    let mut bytes = fs::read(blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(blob, bytes).unwrap();
    fails(&env, &format!("FROM {}/base:1\nRUN true\n", registry.host()), &["sha256:"]);
}

#[test]
fn an_interrupted_step_leaves_nothing() {
    let env = env();
    env.write("ctx/Dockerfile", "FROM busybox\nRUN echo started; sleep 60\n");
    let logs = env.path("logs");
    fs::create_dir(&logs).unwrap();
    for signal in ["INT", "TERM"] {
        let mut build =
            env.bld(["build", "--progress", "plain", "-t", "bad:1", "ctx"]).spawn(&logs);
        let shown = || {
            ["stdout", "stderr"].map(|name| fs::read_to_string(logs.join(name)).unwrap()).concat()
        };
        for _ in 0..400 {
            if shown().contains(" started") {
                break;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        std::thread::sleep(Duration::from_millis(100));
        Cmd::new("kill").args([&format!("-{signal}"), &build.id().to_string()]).ok();
        let status = build.wait().unwrap();
        assert!(!status.success());
        env.assert_nothing_left();
        let _ = env.build("good:1", "FROM busybox\nRUN true\n", []).expect_code(0);
    }
}

#[test]
fn a_full_disk_is_said_to_be_full() {
    let env = TestEnv::new(BLD);
    let archive = env.path("busybox.tar");
    write_archive(&archive, "busybox:latest", &rootfs::busybox().unwrap(), &["sh"]).unwrap();
    env.write("Dockerfile", "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=64\n");
    let script = format!(
        "mount -t tmpfs -o size=24m none \"$BLD_ROOT\" && {BLD} load -i {} || exit 99
         {BLD} build --progress plain -t bad:1 . && exit 98
         {BLD} build -t good:1 - <<<'FROM busybox' || exit 97
         echo images: $({BLD} images -q bad)",
        archive.display()
    );
    let output = Cmd::new("unshare")
        .args(["--mount", "bash", "-c", &script])
        .cwd(env.path(""))
        .env("BLD_ROOT", env.root())
        .env("HOME", env.home())
        .ok();
    assert!(output.stderr.to_lowercase().contains("no space left"), "{output}");
    assert_eq!(output.stdout.lines().last().unwrap_or(""), "images:");
}

#[test]
fn of_very_many_mistakes_the_first_are_shown() {
    let env = TestEnv::new(BLD);
    env.write("ctx/Dockerfile", format!("FROM scratch\n{}", "RNU x\n".repeat(20_000)));
    let failed = env.bld(["build", "ctx"]).run().expect_code(1);
    assert_eq!(failed.stderr.matches("did you mean RUN?").count(), 100);
    assert!(failed.stderr.contains("... and 19900 more"), "{failed}");
    assert!(failed.elapsed < Duration::from_secs(20), "{:?}", failed.elapsed);
}
