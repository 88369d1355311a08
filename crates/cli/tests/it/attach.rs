//! Attaching to containers, leaving them, and those that are started again.

use std::time::{Duration, Instant};

use bld_testkit::{Cmd, TestEnv};

use crate::env;

fn field(env: &TestEnv, name: &str, path: &str) -> String {
    env.bld(["inspect", "-f", &format!("{{{{{path}}}}}"), name]).ok().text().to_owned()
}

fn until(env: &TestEnv, name: &str, path: &str, value: &str) {
    let begun = Instant::now();
    while field(env, name, path) != value {
        let now = field(env, name, path);
        assert!(begun.elapsed() < Duration::from_secs(20), "{path} stays {now}, not {value}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_terminal_is_left_by_keys_and_come_back_to() {
    let env = env();
    let mut first = env.terminal("run -it --rm --name shell busybox sh");
    first.wait_for("# ");
    first.type_in("kept=41; stty size\n");
    first.wait_for("33 101");
    // The first of the keys alone is the container's, as soon as it is known to be: this shell
    // takes it for the line before.
    first.type_in("\u{10}\r");
    first.wait_for("33 101");
    first.type_in("\u{10}\u{11}");
    let (code, shown) = first.end();
    assert_eq!(code, 0, "{shown}");
    assert_eq!(field(&env, "shell", ".State.Running"), "true");

    let mut second = env.terminal("attach --detach-keys ctrl-a,d shell");
    second.type_in("\recho again-$((kept+2))\r");
    second.wait_for("again-43");
    second.type_in("\u{1}d");
    let (code, shown) = second.end();
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("read escape sequence"), "{shown}");

    let mut third = env.terminal("attach shell");
    third.type_in("\rexit 7\r");
    let (code, shown) = third.end();
    assert_eq!(code, 7, "{shown}");
    assert_eq!(env.bld(["ps", "-aq"]).ok().text(), "");
    env.assert_nothing_left();
}

#[test]
fn many_watch_one_container_whoever_holds_it() {
    let env = env();
    let talk = "until test -e /go; do sleep 0.05; done; echo out; echo err >&2; exit 5";
    for detached in [true, false] {
        let mut holder = None;
        if detached {
            env.bld(["run", "-d", "--name", "talk", "busybox", "sh", "-c", talk]).ok();
        } else {
            let run = env.bld(["run", "--name", "talk", "busybox", "sh", "-c", talk]);
            holder = Some(std::thread::spawn(move || run.run()));
            let begun = Instant::now();
            while env.bld(["ps", "-q"]).ok().text().is_empty() {
                assert!(begun.elapsed() < Duration::from_secs(20), "it does not run");
            }
        }
        let watchers: Vec<_> = (0..3)
            .map(|_| {
                let attach = env.bld(["attach", "talk"]);
                std::thread::spawn(move || attach.run())
            })
            .collect();
        // Those who watch have to be there before there is something to be seen.
        std::thread::sleep(Duration::from_millis(500));
        env.bld(["exec", "talk", "touch", "/go"]).ok();
        for seen in watchers.into_iter().chain(holder).map(|thread| thread.join().unwrap()) {
            assert_eq!((seen.stdout.as_str(), seen.stderr.as_str()), ("out\n", "err\n"));
            assert_eq!(seen.code, 5);
        }
        env.bld(["rm", "talk"]).ok();
    }
    env.assert_nothing_left();
}

#[test]
fn what_is_typed_reaches_a_container_whose_input_stays_open() {
    let env = env();
    let echo = "while read -r line; do echo got-$line; test $line = end && exit 3; done";
    env.bld(["run", "-di", "--name", "reader", "busybox", "sh", "-c", echo]).ok();
    let attach = |text: &str| {
        let line = format!(
            "(echo {text}; sleep 0.5) | timeout -s INT 5 {} attach --sig-proxy=false reader",
            crate::BLD
        );
        Cmd::new("sh").args(["-c", &line]).env("BLD_ROOT", env.root()).run()
    };
    let seen = attach("one");
    assert!(seen.stdout.contains("got-one"), "{seen}");
    assert_eq!(field(&env, "reader", ".State.Running"), "true");
    let seen = attach("end");
    assert_eq!((seen.stdout.as_str(), seen.code), ("got-end\n", 3), "{seen}");
    env.bld(["rm", "reader"]).ok();
    env.assert_nothing_left();
}

#[test]
fn what_does_not_run_is_not_attached_to() {
    let env = env();
    let attach = |name: &str| env.bld(["attach", name]).run().expect_code(1);
    let _ = attach("nobody").expect_text("No such container: nobody");
    env.bld(["create", "--name", "web", "busybox", "sleep", "1000"]).ok();
    let _ = attach("web").expect_text("You cannot attach to a stopped container, start it first");
    env.bld(["start", "web"]).ok();
    env.bld(["pause", "web"]).ok();
    let _ = attach("web").expect_text("You cannot attach to a paused container, unpause it first");
    let seen = env.bld(["run", "-it", "--detach-keys", "ctrl-1", "busybox", "sh"]).run();
    let _ = seen.expect_code(125).expect_text("invalid detach keys \"ctrl-1\"");
    env.bld(["rm", "-f", "web"]).ok();
    env.assert_nothing_left();
}

#[test]
fn a_command_is_left_and_runs_on_and_goes_with_whoever_vanishes() {
    let env = env();
    env.bld(["run", "-d", "--name", "web", "busybox", "sleep", "1000"]).ok();
    let running = |word: &str| {
        let top = env.bld(["exec", "web", "ps"]).ok().stdout;
        top.lines().filter(|line| line.contains(word) && !line.contains("sh -c")).count()
    };
    let until_gone = |word: &str| {
        let begun = Instant::now();
        while running(word) > 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "{word} does not end");
        }
    };
    let mut shell = env.terminal("exec -it --env WHO=me web sh");
    shell.wait_for("# ");
    shell.type_in("stty size; echo i-am-$WHO; sleep 777\r");
    shell.wait_for("33 101");
    shell.wait_for("i-am-me");
    while running("sleep 777") == 0 {}
    shell.type_in("\x10\x11");
    let (code, shown) = shell.end();
    assert!(code == 1 && shown.contains("read escape sequence"), "{code} {shown}");
    assert_eq!(running("sleep 777"), 1);

    let mut shell = env.terminal("exec -it --detach-keys ctrl-a,d web sh");
    shell.wait_for("# ");
    shell.type_in("echo typed-\x10\x11; sleep 888\r");
    while running("sleep 888") == 0 {}
    // Its terminal is gone, and nobody has left.
    drop(shell);
    until_gone("sleep 888");
    let mut shell = env.terminal("exec -it web sh");
    shell.wait_for("# ");
    shell.type_in("exit 7\r");
    assert_eq!(shell.end().0, 7);
    let missing = env.terminal("exec -it web nosuch");
    assert_eq!(missing.end().0, 127);
    env.bld(["rm", "-f", "web"]).ok();
    env.assert_nothing_left();
}

#[test]
fn signals_and_the_holders_death_reach_those_who_watch() {
    let env = env();
    let script = "trap 'exit 9' INT; while :; do sleep 0.05; done";
    env.bld(["run", "-d", "--name", "web", "busybox", "sh", "-c", script]).ok();
    std::thread::sleep(Duration::from_millis(300));
    let interrupted = format!("timeout -s INT 1 {} attach web", crate::BLD);
    let interrupted = format!("{interrupted}; echo $?");
    let seen = Cmd::new("sh").args(["-c", &interrupted]).env("BLD_ROOT", env.root()).ok();
    assert_eq!(field(&env, "web", ".State.ExitCode"), "9", "{seen}");

    env.bld(["start", "web"]).ok();
    let attach = env.bld(["attach", "web"]);
    let watcher = std::thread::spawn(move || attach.run());
    std::thread::sleep(Duration::from_millis(500));
    let pid = field(&env, "web", ".State.Pid");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().to_owned();
    Cmd::new("kill").args(["-9", &parent]).ok();
    assert_eq!(watcher.join().unwrap().code, 137);
    env.bld(["rm", "web"]).ok();
    env.assert_nothing_left();
}

#[test]
fn restart_policies_are_kept_to() {
    let env = env();
    let run = |policy: &str, name: &str, script: &str| {
        env.bld(["run", "-d", "--restart", policy, "--name", name, "busybox", "sh", "-c", script])
            .ok();
    };
    run("on-failure:2", "fails", "echo tried; exit 3");
    run("on-failure", "good", "exit 0");
    run("unless-stopped", "again", "echo tried; exit 0");
    run("always", "sturdy", "sleep 1000");
    until(&env, "fails", ".State.Status", "exited");
    assert_eq!(field(&env, "fails", ".RestartCount"), "2");
    assert_eq!(field(&env, "fails", ".State.ExitCode"), "3");
    assert_eq!(env.bld(["logs", "fails"]).ok().stdout, "tried\n".repeat(3));
    until(&env, "good", ".State.Status", "exited");
    assert_eq!(field(&env, "good", ".RestartCount"), "0");

    // Between two starts it counts as one that runs.
    until(&env, "again", ".RestartCount", "4");
    until(&env, "again", ".State.Status", "restarting");
    let row =
        env.bld(["ps", "--filter", "status=restarting", "--format", "{{.Names}} {{.Status}}"]);
    assert!(row.ok().stdout.starts_with("again Restarting (0) "));
    let _ = env.bld(["exec", "again", "true"]).run().expect_code(1).expect_text("is restarting");
    let _ = env.bld(["rm", "again"]).run().expect_code(1).expect_text("container is restarting");
    let _ = env.bld(["attach", "again"]).run().expect_code(1).expect_text("restarting container");
    let _ = env.bld(["stop", "again"]).ok();
    assert_eq!(field(&env, "again", ".State.Status"), "exited");

    // Who kills it from outside has it back; who asks bld has not.
    Cmd::new("kill").args(["-9", &field(&env, "sturdy", ".State.Pid")]).ok();
    until(&env, "sturdy", ".RestartCount", "1");
    until(&env, "sturdy", ".State.Status", "running");
    env.bld(["kill", "sturdy"]).ok();
    assert_eq!(field(&env, "sturdy", ".State.Status"), "exited");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(field(&env, "sturdy", ".State.Status"), "exited");
    // A start by hand counts anew.
    env.bld(["start", "sturdy"]).ok();
    assert_eq!(field(&env, "sturdy", ".RestartCount"), "0");
    Cmd::new("kill").args(["-9", &field(&env, "sturdy", ".State.Pid")]).ok();
    until(&env, "sturdy", ".RestartCount", "1");

    // In the foreground the first end is the last that is seen.
    let seen = env
        .bld(["run", "--restart", "always", "--name", "front", "busybox", "sh", "-c"])
        .arg("echo once; exit 4")
        .run();
    assert_eq!((seen.stdout.as_str(), seen.code), ("once\n", 4), "{seen}");
    until(&env, "front", ".RestartCount", "3");
    let names = ["fails", "good", "again", "sturdy", "front"];
    env.bld(["rm", "-f"]).args(names).ok();
    assert_eq!(env.bld(["ps", "-aq"]).ok().text(), "");
    env.assert_nothing_left();
}

#[test]
fn a_start_of_the_machine_starts_what_is_to_run() {
    let env = env();
    for (name, policy) in [
        ("always", "always"),
        ("stopped", "unless-stopped"),
        ("ran", "unless-stopped"),
        ("no", "no"),
    ] {
        let run = ["run", "-d", "--restart", policy, "--name", name, "busybox", "sleep", "1000"];
        env.bld(run).ok();
    }
    env.bld(["stop", "-t", "0", "stopped", "always"]).ok();
    for name in ["ran", "no"] {
        let pid = field(&env, name, ".State.Pid");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let holder = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().to_owned();
        Cmd::new("kill").args(["-9", &holder]).ok();
        until(&env, name, ".State.Status", "exited");
    }
    env.bld(["start", "--all", "--filter", "should-start-on-boot=true"]).ok();
    let running = env.bld(["ps", "--format", "{{.Names}}"]).ok().stdout;
    let mut running: Vec<_> = running.lines().collect();
    running.sort_unstable();
    assert_eq!(running, ["always", "ran"]);
    env.bld(["rm", "-f", "always", "stopped", "ran", "no"]).ok();
    env.assert_nothing_left();
}
