//! What is known of the files of a context by their times, and what layers share with each other.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use bld_testkit::{Output, TestEnv};

use crate::env;

const DOCKERFILE: &str = "FROM busybox\nCOPY . /app/\n";

fn build(env: &TestEnv, tag: &str, arguments: &[&str]) -> Output {
    env.build(tag, DOCKERFILE, arguments.iter().copied()).expect_code(0)
}

fn read(env: &TestEnv, tag: &str, path: &str) -> String {
    env.bld(["run", "--rm", tag, "cat", path]).ok().stdout
}

fn set_modified(env: &TestEnv, path: &str) {
    let file = fs::File::options().write(true).open(env.path(path)).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_hours(300_000)).unwrap();
}

#[test]
fn edits_that_come_fast_and_keep_size_and_time_are_seen() {
    let env = env();
    for round in 0..6 {
        let text = format!("round {round}");
        env.write("ctx/a", &text);
        set_modified(&env, "ctx/a");
        build(&env, "c:1", &[]);
        assert_eq!(read(&env, "c:1", "/app/a"), text);
    }
}

#[test]
fn a_file_put_in_the_place_of_another_is_seen() {
    let env = env();
    for (name, text) in [("ctx/a", "one"), ("ctx/b", "two")] {
        env.write(name, text);
        set_modified(&env, name);
    }
    // Long enough for their times to be trusted.
    std::thread::sleep(Duration::from_millis(2100));
    build(&env, "c:1", &[]);
    fs::rename(env.path("ctx/a"), env.path("ctx/c")).unwrap();
    fs::rename(env.path("ctx/b"), env.path("ctx/a")).unwrap();
    fs::rename(env.path("ctx/c"), env.path("ctx/b")).unwrap();
    build(&env, "c:1", &[]);
    assert_eq!(read(&env, "c:1", "/app/a") + &read(&env, "c:1", "/app/b"), "twoone");
}

#[test]
fn what_is_known_by_times_can_be_distrusted() {
    let env = env();
    env.write("ctx/a", "one");
    std::thread::sleep(Duration::from_millis(2100));
    build(&env, "c:1", &[]);
    // A lie about the only file.
    let caches: Vec<_> = fs::read_dir(env.root().join("statcache")).unwrap().collect();
    for cache in caches {
        let path = cache.unwrap().path();
        if path.file_name().is_some_and(|name| name.len() == 64) {
            let mut bytes = fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    }
    let is_known = |output: &Output| output.stderr.matches(" CACHED\n").count() == 2;
    assert!(is_known(&build(&env, "c:1", &["--no-stat-cache"])));
    assert!(!is_known(&build(&env, "c:1", &[])), "it was not even asked");
    let help = env.bld(["build", "--help"]).ok().stdout;
    assert!(help.contains("--no-stat-cache"), "{help}");
}

#[test]
fn what_layers_share_shows_nowhere() {
    let env = env();
    for name in ["a", "b", "sub/c"] {
        env.write(&format!("ctx/{name}"), name);
    }
    build(&env, "c:1", &[]);
    env.write("ctx/b", "B");
    build(&env, "c:2", &[]);
    // Onto the first image, whose files the second has, too.
    let onto = "FROM c:1\nCOPY . /app/\nCOPY --from=c:2 /app /app\nCOPY --from=c:2 /app /other\n";
    let _ = env.build("c:3", onto, []).expect_code(0);

    let shared = fs::read_dir(env.root().join("snapshots")).unwrap().filter(|snapshot| {
        let file = snapshot.as_ref().unwrap().path().join("app/sub/c");
        fs::metadata(file).is_ok_and(|file| file.nlink() > 1)
    });
    assert!(shared.count() >= 2, "the layers have each a copy");
    let inodes = "find /app /other -type f -exec stat -c %i {} + | sort | uniq -d";
    for tag in ["c:1", "c:2", "c:3"] {
        assert_eq!(env.bld(["run", "--rm", tag, "sh", "-c", inodes]).ok().stdout, "", "{tag}");
    }

    // To write is to write to a copy, in a container as in a step.
    let write = "echo more >> /app/a; chmod 600 /app/sub/c; mv /app/b /app/d; cat /app/a";
    assert_eq!(env.bld(["run", "--rm", "c:2", "sh", "-c", write]).ok().stdout, "amore\n");
    let _ = env.build("c:4", &format!("FROM c:2\nRUN {write}\n"), []).expect_code(0);
    for tag in ["c:1", "c:2"] {
        assert_eq!(read(&env, tag, "/app/a"), "a", "{tag}");
        let mode = env.bld(["run", "--rm", tag, "stat", "-c", "%a", "/app/sub/c"]).ok();
        assert_eq!(mode.text(), "644", "{tag}");
    }

    // What one image gives up, the other keeps.
    env.bld(["rmi", "-f", "c:1", "c:3", "c:4"]).ok();
    env.bld(["builder", "prune", "--all", "--force"]).ok();
    assert_eq!(read(&env, "c:2", "/app/sub/c"), "sub/c");
    env.bld(["system", "check"]).ok();
}
