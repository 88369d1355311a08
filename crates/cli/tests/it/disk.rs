//! `bld du` and `bld prune`.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use std::{fs, thread};

use bld_testkit::{Cmd, Output, TestEnv};

use crate::env;

const DOCKERFILE: &str = "FROM busybox AS base
COPY data /data
RUN --mount=type=cache,id=npm,target=/cache dd if=/dev/zero of=/cache/c bs=1k count=700 2>/dev/null
RUN dd if=/dev/urandom of=/r bs=1k count=300 2>/dev/null
FROM busybox
COPY --from=base /r /r
";

/// A store with a bit of everything.
fn filled() -> TestEnv {
    let env = env();
    env.write("ctx/data", "x".repeat(200_000));
    let _ = env.build("d:1", DOCKERFILE, []).expect_code(0);
    let _failed =
        env.build("d:2", "FROM busybox\nRUN echo oops > /left; false\n", []).expect_code(1);
    let volume = ["run", "-v", "vol:/v", "--name", "box", "d:1", "sh", "-c", "cp /r /v; cp /r /s"];
    env.bld(volume).ok();
    env
}

/// `du -s`, and the bytes that `bld du` has in total.
fn totals(env: &TestEnv) -> (u64, u64) {
    let sizes = env.bld(["du", "--format", "json"]).ok();
    let size = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["Size"].as_str().unwrap().parse::<u64>().unwrap()
    };
    let du = Cmd::new("du").args(["-s", "-B1"]).arg(env.root()).ok();
    let du = du.text().split_whitespace().next().unwrap().parse().unwrap();
    (du, sizes.stdout.lines().map(size).sum())
}

#[test]
fn du_is_what_du_says() {
    let env = filled();
    let (du, total) = totals(&env);
    assert!(du > 2_000_000 && du.abs_diff(total) * 50 < du, "{du} and {total}");
    env.bld(["prune", "-af"]).ok();
    let (less, total) = totals(&env);
    assert!(less + 900_000 < du && less.abs_diff(total) * 50 < less, "{less} and {total}");
}

#[test]
fn du_has_all_its_forms() {
    let env = filled();
    let table = env.bld(["du"]).ok();
    let head: Vec<_> = table.stdout.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["ID", "RECLAIMABLE", "SIZE", "LAST", "ACCESSED"]);
    for line in ["Shared:", "Private:", "Reclaimable:", "Total:"] {
        assert!(table.stdout.lines().any(|found| found.starts_with(line)), "{table}");
    }
    let verbose = env.bld(["du", "--verbose"]).ok();
    for line in [
        "Description:  [base 3/4] RUN --mount=type=cache",
        "Description:  cache mount npm",
        "Type:         exec.cachemount",
        "Type:         internal",
        "Usage count:  1",
    ] {
        assert!(verbose.stdout.lines().any(|found| found.starts_with(line)), "{verbose}");
    }
    let _ = env.bld(["du", "--verbose", "--format", "json"]).run().expect_code(1);

    let list = |filter: &str| {
        let format = ["du", "--format", "{{.Type}} {{.Reclaimable}} {{.Description}}"];
        env.bld(format).args(["--filter", filter]).ok().stdout
    };
    assert_eq!(list("type=exec.cachemount"), "exec.cachemount true cache mount npm\n");
    assert_eq!(
        list("description~=RUN dd"),
        "regular true [base 4/4] RUN dd if=/dev/urandom of=/r bs=1k count=300 2>/dev/null\n"
    );
    assert_eq!(
        list("inuse=false,type=internal"),
        "internal true [2/2] RUN echo oops > /left; false (failed)\n"
    );
    assert!(list("shared").contains("regular false [base 1/4] FROM"), "{}", list("shared"));
    assert!(list("until=1h").is_empty() && !list("until=0s").is_empty());
    assert!(!env.bld(["du", "--filter", "private"]).ok().stdout.contains("Total:"));
    let _ = env
        .bld(["du", "--filter", "size=3"])
        .run()
        .expect_code(1)
        .expect_text("there is no filter");
    let table = ["buildx", "du", "--format", "table {{.Type}}\\t{{.Parents}}"];
    let _ = env.bld(table).ok().expect_text("TYPE").expect_text("exec.cachemount");
}

#[test]
fn prune_takes_what_it_is_told_to() {
    let env = filled();
    let prune = |arguments: &[&str]| env.bld(["prune", "-f"]).args(arguments).ok().stdout;
    let cached = |dockerfile: &str| {
        env.build("d:1", dockerfile, []).expect_code(0).stderr.matches(" CACHED").count()
    };
    assert_eq!(prune(&["--keep-storage", "1gb"]), "Total:\t0B\n");
    let dry = prune(&["--filter", "type=exec.cachemount", "--dry-run"]);
    assert!(dry.contains("true") && dry.contains("Total:\t7"), "{dry}");
    let pruned = prune(&["--filter", "type=exec.cachemount"]);
    assert_eq!(pruned.split_whitespace().nth(5), dry.split_whitespace().nth(5));
    assert_eq!(prune(&["--filter", "type=exec.cachemount"]), "Total:\t0B\n");
    assert_eq!(prune(&["--filter", "until=24h"]), "Total:\t0B\n");
    assert_eq!(cached(DOCKERFILE), 5);
    let verbose = prune(&["--max-used-space", "100kb", "--verbose"]);
    assert!(verbose.contains("Description:  [base 2/4] COPY data /data"), "{verbose}");
    // What failed is kept for a look, until all is to go.
    let left = ["run", "--rm", "d:1", "ls"];
    env.bld(left).ok();
    let failed = ["du", "--format", "{{.Description}}", "--filter", "type=internal"];
    prune(&[]);
    assert!(env.bld(failed).ok().stdout.contains("(failed)"));
    env.bld(["builder", "prune", "-a", "-f"]).ok();
    assert!(!env.bld(failed).ok().stdout.contains("(failed)"));
    // An image is no cache.
    env.bld(left).ok();
    let _ =
        env.bld(["prune"]).stdin("n\n").ok().expect_text("WARNING! This will remove all dangling");
}

#[test]
fn a_build_goes_on_while_everything_is_pruned() {
    let env = env();
    env.write("ctx/data", "x".repeat(100_000));
    let mut dockerfile = "FROM busybox\n".to_owned();
    for n in 0..12 {
        let run = format!("echo {n} >> /c/f && cp /d{n} /r{n}");
        dockerfile.push_str(&["COPY data /d", &n.to_string(), "\n"].concat());
        dockerfile.push_str(&["RUN --mount=type=cache,target=/c ", &run, "\n"].concat());
    }
    let _ = env.build("old:1", "FROM busybox\nRUN echo old > /old\n", []).expect_code(0);
    env.bld(["rmi", "old:1"]).ok();
    let done = AtomicBool::new(false);
    let pruned = thread::scope(|scope| {
        let pruner = scope.spawn(|| {
            let mut pruned = String::new();
            while !done.load(Ordering::Relaxed) {
                pruned += &env.bld(["prune", "--all", "-f", "--verbose"]).ok().stdout;
            }
            pruned
        });
        for round in 0..3 {
            let argument = format!("ROUND={round}");
            let built = env.build("p:1", &dockerfile, ["--build-arg", &argument, "--no-cache"]);
            done.store(round == 2 || built.code != 0, Ordering::Relaxed);
            let _built = built.expect_code(0);
        }
        pruner.join().unwrap()
    });
    assert!(pruned.contains("RUN echo old > /old"), "{pruned}");
    let all = env.bld(["run", "--rm", "p:1", "sh", "-c", "cat /r? /r?? | wc -c"]).ok();
    assert_eq!(all.text(), (12 * 100_000).to_string());
    env.bld(["system", "check"]).ok();
}

/// A build of which nothing but the cache remains, with a step that makes a megabyte of `name`.
fn build_cache(env: &TestEnv, config: &Path, name: &str) -> Output {
    // The last look was long enough ago.
    if let Ok(stamp) = File::options().write(true).open(env.root().join("collected")) {
        stamp.set_modified(SystemTime::now() - Duration::from_hours(7)).unwrap();
    }
    let run = "dd if=/dev/urandom of=/r bs=1k count=1000 2>/dev/null";
    env.bld(["build", "--progress", "plain", "-o", "type=cacheonly", "-f", "-"])
        .args(["--build-arg", &format!("NAME={name}")])
        .arg(env.path("ctx"))
        .env("BLD_CONFIG", config)
        .stdin(format!("FROM busybox\nARG NAME\nRUN {run}\n"))
        .run()
}

const FREED: &str = "of build cache over its limits";

#[test]
fn builds_keep_the_cache_within_its_limits() {
    let env = env();
    let _image = env.build("keep:1", "FROM busybox\nRUN echo kept > /kept\n", []).expect_code(0);
    let config = env.write("bld.toml", "[gc]\nmaxUsedSpace = '2500kb'\n");
    let sizes = ["du", "--format", "json", "--filter", "inuse=false"];
    for n in 0..5 {
        let built = build_cache(&env, &config, &n.to_string()).expect_code(0);
        assert_eq!(built.stderr.contains(FREED), n > 1, "{built}");
        let size = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["Size"].as_str().unwrap().parse::<u64>().unwrap()
        };
        let cached: u64 = env.bld(sizes).ok().stdout.lines().map(size).sum();
        assert!(cached < 2500 << 10, "{cached}");
    }
    // What was used last is there, and a build that runs nothing collects nothing.
    let config = env.write("bld.toml", "[[gc.policy]]\nmaxUsedSpace = 1\n");
    let again = build_cache(&env, &config, "4").expect_code(0).expect_text("CACHED");
    assert!(!again.stderr.contains(FREED), "{again}");
    let _freed = build_cache(&env, &config, "0").expect_code(0).expect_text(FREED);
    assert_eq!(env.bld(["run", "--rm", "keep:1", "cat", "/kept"]).ok().text(), "kept");
    env.bld(["system", "check"]).ok();
}

#[test]
fn nothing_is_collected_where_that_is_not_wanted() {
    let env = env();
    fs::create_dir(env.path("ctx")).unwrap();
    let config = env.write("bld.toml", "[gc]\nenabled = false\nmaxUsedSpace = 1\n");
    for name in ["one", "two", "one", "two"] {
        let built = build_cache(&env, &config, name).expect_code(0);
        assert!(!built.stderr.contains(FREED), "{built}");
    }
    assert!(build_cache(&env, &config, "one").stderr.contains("CACHED"));

    let config = env.write("bld.toml", "[gc]\nmaxUsedSpace = 'plenty'\n");
    let wrong = build_cache(&env, &config, "three").expect_code(1);
    for text in ["ERROR: invalid size: 'plenty'\n", "bld.toml:2:16\n", "^^^^^^^^", "docs/disk.md"] {
        assert!(wrong.stderr.contains(text), "{text}: {wrong}");
    }
    let _missing = build_cache(&env, &env.path("none.toml"), "three")
        .expect_code(1)
        .expect_text("BLD_CONFIG names");
}

/// The directory of the snapshot that has `path`.
fn snapshot_with(env: &TestEnv, path: &str) -> std::path::PathBuf {
    let snapshots = fs::read_dir(env.root().join("snapshots")).unwrap();
    let mut found = snapshots.map(|entry| entry.unwrap().path());
    found.find(|snapshot| snapshot.join(path).exists()).unwrap()
}

#[test]
fn damage_is_named_and_repaired() {
    let env = env();
    let dockerfile = "FROM busybox\nRUN echo one > /one\nRUN echo two > /two\n";
    let _built = env.build("r:1", dockerfile, []).expect_code(0).expect_text("two");
    let _sound = env.bld(["system", "check"]).ok().expect_text("The store is sound.");
    // A file of a layer, other bytes of the same size; a configuration; a leftover.
    fs::write(snapshot_with(&env, "one").join("one"), "eno\n").unwrap();
    let id = env.bld(["inspect", "-f", "{{.Id}}", "busybox"]).ok();
    let config = env.root().join("blobs/sha256").join(&id.text()["sha256:".len()..]);
    fs::remove_file(&config).unwrap();
    fs::write(&config, "{}").unwrap();
    fs::create_dir(env.root().join("snapshots/00000000000000aa")).unwrap();

    let check = env.bld(["system", "check"]).run().expect_code(1);
    for text in [
        "is damaged: its layer is",
        "it is what step [2/3] RUN echo one > /one made",
        "it is part of image docker.io/library/r:1",
        "it is the configuration of image docker.io/library/busybox:latest",
        "00000000000000aa is a leftover",
        "bld system check --repair",
    ] {
        assert!(check.stdout.contains(text), "{text}: {check}");
    }
    let repaired = env.bld(["system", "check", "--repair"]).ok();
    assert!(repaired.stdout.contains("3 repaired."), "{repaired}");
    for image in ["r:1", "busybox:latest"] {
        let gone = format!("image docker.io/library/{image} is gone: pull or build it again");
        assert!(repaired.stdout.contains(&gone), "{repaired}");
    }
    let _sound = env.bld(["system", "check"]).ok().expect_text("The store is sound.");
    env.load_busybox();
    let built = env.build("r:1", dockerfile, []).expect_code(0);
    assert!(!built.stderr.contains("RUN echo one > /one\n#5 CACHED"), "{built}");
    assert_eq!(env.bld(["run", "--rm", "r:1", "cat", "/one", "/two"]).ok().text(), "one\ntwo");
}

#[test]
fn a_container_is_not_repaired_away() {
    let env = env();
    let _built = env
        .build("r:1", "FROM busybox\nRUN echo one > /one\n", [])
        .expect_code(0)
        .expect_text("one");
    env.bld(["create", "--name", "box", "r:1"]).ok();
    fs::remove_dir_all(snapshot_with(&env, "one")).unwrap();
    let repaired = env.bld(["system", "check", "--repair"]).run().expect_code(1);
    let repaired = repaired.expect_text("it is part of container box");
    let repaired = repaired.expect_text("container box lies on it: remove that first");
    let _repaired = repaired.expect_text("Not everything could be repaired.");
    env.bld(["rm", "box"]).ok();
    env.bld(["system", "check", "--repair"]).ok();
    let _sound = env.bld(["system", "check"]).ok().expect_text("The store is sound.");
}
