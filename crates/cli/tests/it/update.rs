//! `bld update`

use bld_testkit::{Cmd, TestEnv};

use crate::env;

/// A field of what `inspect` says of the container `box`.
fn field(env: &TestEnv, path: &str) -> String {
    env.bld(["inspect", "-f", &format!("{{{{.{path}}}}}"), "box"]).ok().text().to_owned()
}

/// What a file of the control group says that the container's first process is in.
fn group(env: &TestEnv, controller: &str, v1: &str, v2: &str) -> String {
    let pid = field(env, "State.Pid");
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let legacy = mounts.lines().find_map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let has = words[2] == "cgroup" && words[3].split(',').any(|word| word == controller);
        has.then(|| words[1].to_owned())
    });
    let unified = || {
        let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
        line.unwrap().split(' ').nth(1).unwrap().to_owned()
    };
    let path = groups.lines().find_map(|line| {
        let fields: Vec<_> = line.splitn(3, ':').collect();
        let fits = match &legacy {
            Some(_) => fields[1].split(',').any(|word| word == controller),
            None => fields[1].is_empty(),
        };
        fits.then(|| fields[2].to_owned())
    });
    let (mount, file) = match legacy {
        Some(mount) => (mount, v1),
        None => (unified(), v2),
    };
    let path = format!("{mount}{}/{file}", path.unwrap());
    std::fs::read_to_string(&path).unwrap().trim().to_owned()
}

#[test]
fn limits_change_while_it_runs_and_hold_for_the_next_start() {
    let env = env();
    env.bld(["run", "-d", "--name", "box", "busybox", "sh", "-c", "sleep 500 & sleep 1000"]).ok();
    let words = ["--memory", "64m", "--pids-limit", "50", "--cpu-shares", "512", "--cpus", "0.5"];
    assert_eq!(env.bld(["update"]).args(words).arg("box").ok().stdout, "box\n");
    assert_eq!(group(&env, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    assert_eq!(group(&env, "pids", "pids.max", "pids.max"), "50");
    let quota = group(&env, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("50000"));
    // All of it is limited, not only its first process.
    let there = group(&env, "cpu", "cgroup.procs", "cgroup.procs");
    assert!(there.lines().count() >= 2, "{there}");

    let words = ["container", "update", "--memory", "96m", "--memory-swap", "-1", "box"];
    env.bld(words).ok();
    env.bld(["update", "--pids-limit", "-1", "box"]).ok();
    let check = |env: &TestEnv| {
        assert_eq!(group(env, "memory", "memory.limit_in_bytes", "memory.max"), "100663296");
        assert_eq!(field(env, "HostConfig.Memory"), "100663296");
        assert_eq!(field(env, "HostConfig.NanoCpus"), "500000000");
    };
    check(&env);
    assert!(group(&env, "pids", "pids.max", "pids.max") != "50");
    env.bld(["restart", "-t", "0", "box"]).ok();
    check(&env);
    let id = field(&env, "Id");
    env.bld(["rm", "-f", "box"]).ok();
    let left =
        || Cmd::new("find").args(["/sys/fs/cgroup", "-name", &format!("*{id}*")]).run().stdout;
    let begun = std::time::Instant::now();
    while !left().is_empty() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{}", left());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    env.assert_nothing_left();
}

#[test]
fn the_restart_policy_of_a_running_container_changes() {
    let env = env();
    let script = "test -e /twice && exec sleep 1000; touch /twice; sleep 0.5; exit 3";
    env.bld(["run", "-d", "--name", "box", "busybox", "sh", "-c", script]).ok();
    env.bld(["update", "--restart", "on-failure:3", "box"]).ok();
    assert_eq!(field(&env, "HostConfig.RestartPolicy.Name"), "on-failure");
    let begun = std::time::Instant::now();
    while field(&env, "RestartCount") != "1" || field(&env, "State.Running") != "true" {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "it was not started again");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    env.bld(["rm", "-f", "box"]).ok();
}

#[test]
fn what_contradicts_itself_is_refused() {
    let env = env();
    let create = ["create", "--name", "box", "--memory", "32m", "--memory-swap", "64m"];
    env.bld(create).args(["--cpu-quota", "20000", "--rm", "busybox"]).ok();
    for (words, text) in [
        (&["box"][..], "you must provide one or more flags"),
        (&["--memory", "128m", "box"], "Memory limit should be smaller than already set"),
        (&["--memory", "1m", "box"], "Minimum memory limit allowed is 6MB"),
        (&["--cpus", "1", "box"], "conflicting options: Nano CPUs cannot be updated"),
        (&["--restart", "always", "box"], "AutoRemove is enabled"),
        (&["--memory", "8m", "nosuch"], "No such container: nosuch"),
    ] {
        let seen = env.bld(["update"]).args(words).run();
        let _ = seen.expect_code(1).expect_text(text);
    }
    env.bld(["update", "--memory", "48m", "box"]).ok();
    assert_eq!(field(&env, "HostConfig.Memory"), "50331648");
    env.bld(["rm", "box"]).ok();
}
