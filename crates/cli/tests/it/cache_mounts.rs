//! `bld cache`: the directories of `RUN --mount=type=cache`.

use std::fs;

use bld_testkit::{Cmd, TestEnv};

use crate::env;
use crate::together::{Running, cached};

/// A build whose one step does `script` with the mount `options`.
fn step(env: &TestEnv, options: &str, script: &str) -> bld_testkit::Output {
    let dockerfile = format!("FROM busybox\nRUN --mount=type=cache,{options} {script}\n");
    env.build("x:1", &dockerfile, ["--no-cache", "--network", "none"]).expect_code(0)
}

/// Fills two caches, one of them with an owner.
fn filled() -> TestEnv {
    let env = env();
    step(
        &env,
        "target=/root/.cache/go",
        "mkdir -p /root/.cache/go/a && echo one > /root/.cache/go/a/f",
    );
    step(
        &env,
        "id=npm,target=/n,uid=7,gid=8,mode=700",
        "echo two > /n/f && ln /n/f /n/g && ln -s f /n/h",
    );
    env
}

#[test]
fn caches_are_listed_by_what_the_dockerfile_calls_them() {
    let env = filled();
    let list = |args: &[&str]| env.bld(["cache", "ls"]).args(args).ok().stdout;
    let table = list(&[]);
    let mut lines = table.lines();
    let heading: Vec<_> =
        lines.next().unwrap().split("  ").filter(|word| !word.is_empty()).collect();
    assert_eq!(
        heading.iter().map(|word| word.trim()).collect::<Vec<_>>(),
        ["ID", "KEY", "SIZE", "CREATED", "LAST USED", "IN USE"]
    );
    assert!(lines.next().unwrap().starts_with("/root/.cache/go "), "{table}");
    assert!(lines.next().unwrap().starts_with("npm "), "{table}");
    assert_eq!(
        list(&["--format", "{{.ID}} {{.Variant}} {{.InUse}}"]),
        "/root/.cache/go  false\nnpm 700:7:8 false\n"
    );
    assert_eq!(list(&["--filter", "id=np", "--format", "{{.ID}}"]), "npm\n");
    assert_eq!(list(&["--filter", "in-use=true", "-q"]), "");
    let key = list(&["--filter", "id=npm", "-q"]);
    let inspect =
        |name: &str| env.bld(["cache", "inspect", "-f", "{{.Id}} {{.Variant}}", name]).ok().stdout;
    assert_eq!(inspect(key.trim()), inspect("npm"));
    assert!(list(&["--format", "json"]).contains(r#""ID":"npm""#));
    let size: u64 =
        env.bld(["cache", "inspect", "-f", "{{.Size}}", "npm"]).ok().text().parse().unwrap();
    assert_eq!(size, 4);
}

#[test]
fn a_cache_goes_to_another_machine_in_an_archive() {
    let env = filled();
    for archive in ["npm.tar", "npm.tar.gz", "npm.tar.zst"] {
        env.bld(["cache", "export", "npm", "-o", archive]).ok();
    }
    let magic = |name: &str| fs::read(env.path(name)).unwrap()[..4].to_vec();
    assert_eq!(magic("npm.tar.zst"), [0x28, 0xb5, 0x2f, 0xfd]);
    assert_eq!(magic("npm.tar.gz")[..2], [0x1f, 0x8b]);
    let listed = Cmd::new("tar").args(["-tf"]).arg(env.path("npm.tar")).ok();
    assert_eq!(listed.stdout, "./\nf\ng\nh\n");
    let seen = "test \"$(cat /n/h)\" = two && test $(stat -c %h /n/g) = 2 && \
                test \"$(stat -c %a:%u:%g /n)\" = 700:7:8";
    let mount = "id=npm,target=/n,uid=7,gid=8,mode=700";
    for archive in ["npm.tar", "npm.tar.gz", "npm.tar.zst"] {
        // The archive knows the owner, which is part of what tells caches apart.
        let other = crate::env();
        let from = env.path(archive);
        assert_eq!(other.bld(["cache", "import", "npm"]).arg(&from).ok().text(), "npm");
        step(&other, mount, seen);
    }
    // By a pipe, over what is there: nothing of that stays.
    step(&env, mount, "echo more > /n/more && echo changed > /n/f");
    env.bld(["cache", "import", "npm", "-"]).stdin(fs::read(env.path("npm.tar.zst")).unwrap()).ok();
    step(&env, mount, &format!("{seen} && test ! -e /n/more"));
    let piped = Cmd::new("sh").arg("-c").arg(format!(
        "{} --root {} cache export npm --compression gzip | gunzip | tar -t",
        crate::BLD,
        env.root().display()
    ));
    assert_eq!(piped.ok().stdout, "./\nf\ng\nh\n");
}

#[test]
fn an_archive_of_anybody_becomes_a_cache() {
    let env = env();
    env.write("tree/dir/file", "theirs");
    let archive = env.path("theirs.tar.xz");
    Cmd::new("tar")
        .arg("-C")
        .arg(env.path("tree"))
        .args(["--owner=3", "--group=3", "-cJf"])
        .arg(&archive)
        .arg(".")
        .ok();
    env.bld(["cache", "import", "/some/where"]).arg(&archive).ok();
    step(
        &env,
        "target=/some/where",
        "grep theirs /some/where/dir/file && test $(stat -c %u /some/where/dir/file) = 3",
    );
}

#[test]
fn an_import_that_fails_changes_nothing() {
    let env = filled();
    env.bld(["cache", "export", "npm", "-o", "npm.tar"]).ok();
    let whole = fs::read(env.path("npm.tar")).unwrap();
    let evil = {
        env.write("evil/x", "");
        Cmd::new("tar")
            .arg("-C")
            .arg(env.path("evil"))
            .args(["-P", "--transform", "s,x,../../x,", "-cf", "-", "x"])
            .ok()
            .stdout
            .into_bytes()
    };
    let cut = whole.len() - 1024;
    for (wrong, says) in [
        (whole[..cut].to_vec(), "cut off"),
        (whole[..cut - 700].to_vec(), "import the cache mount npm"),
        (Vec::new(), "cut off"),
        (b"no archive, just some text".to_vec(), "import the cache mount npm"),
        (evil, "leads out of the tree"),
    ] {
        let failed = env.bld(["cache", "import", "npm", "-"]).stdin(wrong).run().expect_code(1);
        let _said = failed.expect_text(says);
    }
    step(&env, "id=npm,target=/n,uid=7,gid=8,mode=700", "grep two /n/f");
    env.assert_nothing_left();
    // Half an archive does not get a name.
    let full = env.bld(["cache", "export", "npm", "-o", "/dev/full/x.tar"]).run();
    assert_ne!(full.code, 0);
    let nosuch = env.bld(["cache", "export", "nosuch", "-o", "n.tar"]).run().expect_code(1);
    let _said = nosuch.expect_text("no such cache mount: nosuch");
    assert!(!env.path("n.tar").exists());
}

#[test]
fn caches_of_one_id_are_told_apart_by_their_keys() {
    let env = filled();
    for mode in ["711", "755"] {
        step(&env, &format!("id=npm,target=/n,mode={mode}"), &format!("echo {mode} > /n/mode"));
    }
    // The usual one is meant by the id; the others by their keys.
    let keys = env.bld(["cache", "ls", "-q", "--filter", "id=npm"]).ok().stdout;
    assert_eq!(keys.lines().count(), 3);
    env.bld(["cache", "rm", "npm"]).ok();
    let said =
        env.bld(["cache", "rm", "npm"]).run().expect_code(1).expect_text("several cache mounts");
    let keys: Vec<_> = keys.lines().filter(|key| said.stderr.contains(*key)).collect();
    assert_eq!(keys.len(), 2, "{said}");
    env.bld(["cache", "rm"]).args(keys).ok();
    let ids = env.bld(["cache", "ls", "--format", "{{.ID}}"]).ok();
    assert_eq!(ids.text(), "/root/.cache/go");
    let _said =
        env.bld(["cache", "rm", "npm"]).run().expect_code(1).expect_text("no such cache mount");
}

#[test]
fn nobody_takes_a_cache_from_a_step_that_uses_it() {
    let env = env();
    let slow = "RUN --mount=type=cache,target=/c echo up | tee /c/up; n=0; \
                until [ -e /c/go ] || [ $n = 1200 ]; do sleep 0.05; n=$((n+1)); done; echo whole > /c/up";
    let build = Running::start(&env, "a", &format!("FROM busybox\n{slow}\n"));
    build.expect(" up\n");
    assert_eq!(
        env.bld(["cache", "ls", "--filter", "in-use=true", "--format", "{{.ID}}"]).ok().text(),
        "/c"
    );
    for words in [["export", "-o", "c.tar"].as_slice(), &["rm"]] {
        let refused = env.bld(["cache"]).args(words).args(["--no-wait", "/c"]).run().expect_code(1);
        let _said = refused.expect_text("a build uses the cache mount /c");
    }
    assert!(!env.path("c.tar").exists());
    let (dir, export) = (env.path("export"), env.bld(["cache", "export", "/c", "-o", "c.tar"]));
    fs::create_dir(&dir).unwrap();
    let export = Running { child: export.spawn(&dir), dir };
    export.expect("waiting for a build that uses the cache mount /c");
    fs::write(cached(&env, "go"), "").unwrap();
    build.end().unwrap();
    export.end().unwrap();
    let file = Cmd::new("tar").args(["-xOf"]).arg(env.path("c.tar")).arg("up").ok();
    assert_eq!(file.text(), "whole");
}
