//! Caches that bld and BuildKit write: each reads the other's without harm, and finds its own in it.

use std::fs;

use bld_testkit::{BuildKit, Output, Registry, TestEnv, read_tree, tree_differences};

use crate::env;

const DOCKERFILE: &str = "FROM BASE AS one\nCOPY f /f\nRUN cat /f > /one && echo more >> /one\n\
                          FROM BASE\nRUN mkdir /d && echo two > /d/two\nCOPY --from=one /one /d/one\n";

/// Builds with BuildKit into a directory.
fn theirs(env: &TestEnv, buildkit: &BuildKit, out: &str, more: &[&str]) -> Output {
    let build = ["build", "--progress=plain", "--frontend=dockerfile.v0", "--local=context=ctx"];
    let output = format!("--output=type=local,dest={out}");
    buildkit.ctl(build).args(["--local=dockerfile=ctx", &output]).args(more).cwd(env.path("")).ok()
}

/// Builds with bld, in a store that has nothing yet.
fn ours(env: &TestEnv, out: &str, more: &[&str]) -> Output {
    let store = tempfile::tempdir_in(env.path("")).unwrap();
    let build = ["build", "--progress=plain", "--network=none", "-o", out];
    env.bld(build).args(more).arg("ctx").env("BLD_ROOT", store.path()).ok()
}

/// What differs between two directories, times apart.
fn differences(env: &TestEnv, one: &str, other: &str) -> Vec<String> {
    let tree = |name: &str| read_tree(&env.path(name)).unwrap();
    let mut lines = tree_differences(&tree(one), &tree(other));
    // BuildKit leaves the places of its own mounts behind.
    let left = ["/dev:", "/proc:", "/sys:", "/:"];
    lines.retain(|line| {
        !line.contains(": mtime ") && !left.iter().any(|left| line.starts_with(left))
    });
    lines
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is passed over says so")]
fn each_reads_the_others_caches_without_harm() {
    let buildkit = match BuildKit::start() {
        Ok(buildkit) => buildkit,
        Err(why) => return eprintln!("skipped: no BuildKit here: {why}"),
    };
    let (env, registry) = (env(), Registry::start().unwrap());
    let base = format!("{}/base:1", registry.host());
    env.bld(["tag", "busybox", &base]).ok();
    env.bld(["push", "-q", &base]).ok();
    env.write("ctx/Dockerfile", DOCKERFILE.replace("BASE", &base));
    env.write("ctx/f", "file\n");
    let reference = |name: &str| format!("{}/{name}", registry.host());

    let places = |who: &str| {
        [
            (
                format!("type=registry,ref={},mode=max", reference(who)),
                format!("type=registry,ref={}", reference(who)),
            ),
            (
                format!(
                    "type=registry,ref={0},mode=max,image-manifest=false",
                    reference(&format!("{who}-index"))
                ),
                format!("type=registry,ref={}", reference(&format!("{who}-index"))),
            ),
            (
                format!("type=local,dest=cache-{who},mode=max"),
                format!("type=local,src=cache-{who}"),
            ),
        ]
    };
    for (to, from) in places("theirs") {
        theirs(&env, &buildkit, "theirs", &["--export-cache", &to]);
        let built = ours(&env, "ours", &["--cache-from", &from]);
        let built = built.expect_text("were written by another builder");
        assert!(!built.stderr.contains("ERROR"), "{built}");
        assert_eq!(differences(&env, "theirs", "ours"), Vec::<String>::new());
        // Whoever wrote it finds it there.
        buildkit.ctl(["prune", "--all"]).ok();
        let again = theirs(&env, &buildkit, "theirs", &["--import-cache", &from]);
        assert!(again.stderr.contains("CACHED"), "{again}");
    }
    for (to, from) in places("ours") {
        ours(&env, "ours", &["--cache-to", &to]);
        buildkit.ctl(["prune", "--all"]).ok();
        fs::remove_dir_all(env.path("theirs")).unwrap();
        let built = theirs(&env, &buildkit, "theirs", &["--import-cache", &from]);
        assert!(!built.stderr.contains("ERROR"), "{built}");
        assert_eq!(differences(&env, "ours", "theirs"), Vec::<String>::new());
        let again = ours(&env, "ours", &["--cache-from", &from]);
        assert!(again.stderr.contains("CACHED"), "{again}");
    }
    // An image that says what made it.
    let image = reference("inline");
    let output = format!("--output=type=image,name={image},push=true");
    theirs(&env, &buildkit, "theirs", &["--export-cache=type=inline", &output]);
    let built = ours(&env, "ours", &["--cache-from", &image]);
    assert_eq!(differences(&env, "theirs", "ours"), Vec::<String>::new(), "{built}");
    drop(buildkit);
    env.assert_nothing_left();
}
