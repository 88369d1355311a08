//! What becomes of containers whose surroundings misbehave.

use std::time::{Duration, Instant};

use bld_testkit::{Cmd, TestEnv};

use crate::env;

/// One field of what `inspect` says of a container.
fn field(env: &TestEnv, name: &str, path: &str) -> String {
    let template = format!("{{{{{path}}}}}");
    env.bld(["inspect", "-f", &template, name]).ok().text().to_owned()
}

fn until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the process exists and is no zombie.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// The process that holds a container.
fn monitor(id: &str) -> String {
    let found = std::fs::read_dir("/proc").unwrap().flatten().find(|entry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0);
        words.any(|word| word == b"__monitor") && words.next() == Some(id.as_bytes())
    });
    found.unwrap().file_name().into_string().unwrap()
}

#[test]
fn a_killed_monitor_is_noticed_and_takes_its_container_along() {
    let env = env();
    let id = env.bld(["run", "-d", "--name", "web", "busybox", "sleep", "1000"]).ok();
    let pid = field(&env, "web", ".State.Pid");
    assert!(lives(&pid));
    Cmd::new("kill").args(["-9", &monitor(id.text())]).ok();
    until(|| !lives(&pid));
    assert_eq!(env.bld(["ps", "-q"]).ok().text(), "");
    assert_eq!(field(&env, "web", ".State.Status"), "exited");
    assert_eq!(field(&env, "web", ".State.ExitCode"), "137");
    env.bld(["start", "web"]).ok();
    assert_eq!(field(&env, "web", ".State.Running"), "true");
    env.bld(["rm", "-f", "web"]).ok();

    let id = env.bld(["run", "-d", "--rm", "busybox", "sleep", "1000"]).ok();
    Cmd::new("kill").args(["-9", &monitor(id.text())]).ok();
    until(|| env.bld(["ps", "-aq"]).ok().text().is_empty());
    env.assert_nothing_left();
}

#[test]
fn a_container_outlives_the_session_that_started_it() {
    let env = env();
    let start = format!("{} run -d --name web busybox sleep 1000", crate::BLD);
    env.program("setsid").args(["--wait", "sh", "-c", &start]).ok();
    assert_eq!(field(&env, "web", ".State.Running"), "true");
    env.bld(["stop", "-t", "0", "web"]).ok();
    env.bld(["rm", "web"]).ok();
    env.assert_nothing_left();
}

#[test]
fn those_who_wait_learn_how_even_a_vanishing_container_ended() {
    let env = env();
    let script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done";
    let id = env.bld(["run", "-d", "--rm", "--name", "gone", "busybox", "sh", "-c", script]).ok();
    until(|| env.bld(["logs", "gone"]).ok().stdout.contains("up"));
    let id = id.text().to_owned();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| env.bld(["wait", &id]).ok().text().to_owned());
        let waits = env.root().join("containers").join(&id).join("waiters");
        until(|| waits.exists());
        env.bld(["stop", "gone"]).ok();
        assert_eq!(waiting.join().unwrap(), "7");
    });
    until(|| env.bld(["ps", "-aq"]).ok().text().is_empty());
    env.assert_nothing_left();
}

#[test]
fn a_terminal_has_a_size_and_a_line_discipline() {
    let env = env();
    // script(1) gives the command a terminal and types into it.
    let inner = format!("{} run --rm -it busybox sh", crate::BLD);
    let typed = "stty size; test -t 0 && echo is-a-tty; exit 5\n";
    let seen = env
        .program("script")
        .args(["-qec", &format!("stty rows 30 cols 99; {inner}"), "/dev/null"])
        .stdin(typed)
        .run();
    assert_eq!(seen.code, 5, "{seen}");
    assert!(seen.stdout.contains("30 99") && seen.stdout.contains("is-a-tty"), "{seen}");
    let refused = env.bld(["run", "--rm", "-it", "busybox", "true"]).stdin("").run();
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("the input device is not a TTY"), "{refused}");
    env.assert_nothing_left();
}

#[test]
fn output_that_nobody_reads_does_not_stop_it() {
    let env = env();
    let command = format!(
        "{} run --name busy busybox sh -c 'yes | head -n 200000; echo end >&2' | head -n 1",
        crate::BLD
    );
    let seen = env.program("sh").args(["-c", &command]).ok();
    assert_eq!((seen.stdout.as_str(), seen.stderr.as_str()), ("y\n", "end\n"));
    assert_eq!(env.bld(["logs", "busy"]).ok().stdout.lines().count(), 200_000);
    let tail = format!(
        "{} logs busy | tail -n 1; {} logs --tail 3 busy 2>&1 | head -n 1",
        crate::BLD,
        crate::BLD
    );
    let seen = env.program("sh").args(["-c", &tail]).ok();
    assert_eq!((seen.stdout.as_str(), seen.stderr.as_str()), ("y\ny\n", "end\n"));
    env.bld(["rm", "busy"]).ok();
}

#[test]
fn commands_are_executed_in_a_running_container() {
    let env = env();
    env.bld(["run", "-d", "--name", "web", "busybox", "sleep", "1000"]).ok();
    let typed = env.bld(["exec", "-i", "web", "cat"]).stdin("typed\n").ok();
    assert_eq!(typed.stdout, "typed\n");
    let script = "echo $A; echo err >&2; exit 4";
    let seen = env.bld(["exec", "-e", "A=b", "web", "sh", "-c", script]).run();
    assert_eq!((seen.code, seen.stdout.as_str(), seen.stderr.as_str()), (4, "b\n", "err\n"));
    let _ = env.bld(["exec", "web", "nosuch"]).run().expect_code(127);
    let _ = env.bld(["exec", "web"]).run().expect_text("requires at least 2 arguments");
    env.bld(["exec", "-d", "web", "sh", "-c", "sleep 0.2; echo done > /done"]).ok();
    until(|| env.bld(["exec", "web", "cat", "/done"]).run().stdout == "done\n");
    env.bld(["stop", "-t", "0", "web"]).ok();
    let _ = env.bld(["exec", "web", "true"]).run().expect_text("is not running");
    env.bld(["rm", "web"]).ok();
    env.assert_nothing_left();
}

#[test]
fn holding_a_container_takes_little_memory() {
    /// 3 MB, in the kernel's thousands.
    const MOST: u64 = 3_000_000 / 1024;
    let env = env();
    let id = env.bld(["run", "-d", "--name", "web", "busybox", "sleep", "1000"]).ok();
    let status = format!("/proc/{}/status", monitor(id.text()));
    let kilobytes = |name: &str| {
        let status = std::fs::read_to_string(&status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    // What starting took is let go of, the program itself included.
    assert!(kilobytes("VmHWM:") > MOST, "nothing to let go of");
    until(|| kilobytes("VmRSS:") < MOST);
    // Nor does asking it for something make it large for good.
    env.bld(["exec", "web", "true"]).ok();
    env.bld(["kill", "-s", "WINCH", "web"]).ok();
    until(|| kilobytes("VmRSS:") < MOST);
    // And the rest comes back when it is needed.
    env.bld(["exec", "web", "true"]).ok();
    env.bld(["stop", "-t", "0", "web"]).ok();
    assert_eq!(field(&env, "web", ".State.ExitCode"), "137");
    env.bld(["rm", "web"]).ok();
}
