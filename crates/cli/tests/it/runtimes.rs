//! Containers that other OCI runtimes make.

use std::path::Path;
use std::time::{Duration, Instant};

use bld_testkit::{Cmd, TestEnv};

use crate::env;

/// Debian's runtimes.
const RUNTIMES: [&str; 2] = ["crun", "runc"];

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// No group, mount or record of any container of this test is left.
fn assert_clean(env: &TestEnv, ids: &[String]) {
    env.assert_nothing_left();
    let groups = Cmd::new("find").args(["/sys/fs/cgroup", "-name", "bld-*"]).run().stdout;
    for id in ids {
        assert!(!groups.contains(id), "{groups}");
    }
}

#[test]
fn containers_are_made_by_other_runtimes() {
    let env = env();
    for runtime in RUNTIMES {
        let run = ["run", "--rm", "--runtime", runtime];
        let said = env.bld(run).args(["busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]);
        let said = said.run().expect_code(7);
        assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("out\n", "err\n"), "{runtime}");
        let _ = env.bld(run).args(["busybox", "nosuch"]).run().expect_code(127);
        let _ = env.bld(run).args(["busybox", "/etc"]).run().expect_code(126);
        let input = env.bld(run).args(["-i", "busybox", "cat"]).stdin("typed").ok();
        assert_eq!(input.stdout, "typed");

        // Confined as by our own.
        let script = "grep -E '^(Cap|Seccomp:|NoNewPrivs|Groups)' /proc/self/status; id; pwd;
            cat /proc/sys/kernel/msgmax 2>&1; ls /sys/firmware /proc/acpi | head -3;
            cat /etc/hostname; echo $HOME; unshare -m true 2>&1; touch /proc/sys/kernel/x 2>&1;
            df /dev/shm | tail -1; ls /dev | grep -v core; grep -c . /etc/hosts; ulimit -n";
        let flags = ["-h", "host1", "--cap-drop", "CHOWN", "--ulimit", "nofile=77:88"];
        let command = ["busybox", "sh", "-c", script];
        let theirs = env.bld(run).args(flags).args(command).ok().stdout;
        let ours = env.bld(["run", "--rm"]).args(flags).args(command).ok().stdout;
        assert_eq!(theirs, ours, "{runtime}");
        let user = ["-u", "1000:1000", "busybox", "grep", "^Cap", "/proc/self/status"];
        let theirs = env.bld(run).args(user).ok().stdout;
        assert_eq!(theirs, env.bld(["run", "--rm"]).args(user).ok().stdout, "{runtime}");
    }
    assert_clean(&env, &[]);
}

#[test]
fn what_another_runtime_made_lives_as_any_container() {
    let env = env();
    env.bld(["network", "create", "lan"]).ok();
    for runtime in RUNTIMES {
        let run = ["run", "-d", "--runtime", runtime, "--network", "lan", "--name", "box"];
        let flags = ["-v", "kept:/v", "--memory", "64m", "-e", "A=b"];
        let script = "trap 'echo bye; exit 3' TERM; echo up; hostname > /v/name; while true; do sleep 0.1; done";
        let id = env.bld(run).args(flags).args(["busybox", "sh", "-c", script]).ok();
        let id = id.text().to_owned();
        until("its first words", || env.bld(["logs", "box"]).ok().stdout == "up\n");
        let inspect = env.bld(["inspect", "-f", "{{.HostConfig.Runtime}}", "box"]).ok();
        assert_eq!(Path::new(inspect.text()).file_name().unwrap(), runtime);

        let exec = env.bld(["exec", "-e", "C=d", "box", "sh", "-c", "echo $A$C; exit 5"]).run();
        assert_eq!((exec.code, exec.stdout.as_str()), (5, "bd\n"), "{exec}");
        let piped = env.bld(["exec", "-i", "-u", "1", "box", "sh", "-c", "id -u; cat"]).stdin("x");
        assert_eq!(piped.ok().stdout, "1\nx");
        let _ = env.bld(["exec", "box", "nosuch"]).run().expect_code(127);
        env.bld(["exec", "-d", "box", "touch", "/v/later"]).ok();
        until("what was left alone", || env.bld(["exec", "box", "ls", "/v/later"]).run().code == 0);
        let named = ["run", "--rm", "--network", "lan", "busybox", "ping", "-c", "1", "box"];
        env.bld(named).ok();
        env.bld(["pause", "box"]).ok();
        env.bld(["unpause", "box"]).ok();
        assert!(env.bld(["top", "box"]).ok().stdout.contains("sleep 0.1"));
        let stats = env.bld(["stats", "--no-stream", "--format", "{{.MemUsage}}", "box"]).ok();
        assert!(stats.stdout.contains("/ 64MiB"), "{stats}");
        env.write("file", "copied");
        env.bld(["cp", "file", "box:/tmp/file"]).ok();
        assert_eq!(env.bld(["exec", "box", "cat", "/tmp/file"]).ok().text(), "copied");

        env.bld(["stop", "box"]).ok();
        assert!(env.bld(["logs", "box"]).ok().stdout.ends_with("bye\n"));
        let state = |what: &str| {
            let format = format!("{{{{.State.{what}}}}}");
            env.bld(["inspect", "-f", &format, "box"]).ok().text().to_owned()
        };
        assert_eq!((state("Status"), state("ExitCode")), ("exited".to_owned(), "3".to_owned()));
        env.bld(["start", "box"]).ok();
        env.bld(["kill", "box"]).ok();
        assert_eq!(state("ExitCode"), "137");

        // Whoever holds it may be killed: it goes along.
        env.bld(["start", "box"]).ok();
        let pid = state("Pid");
        let holder = Cmd::new("ps").args(["-o", "ppid=", "-p", &pid]).ok().text().trim().to_owned();
        Cmd::new("kill").args(["-KILL", &holder]).ok();
        until("its end", || state("Status") == "exited");
        let left = std::fs::read(Path::new("/proc").join(&pid).join("cmdline"));
        assert_eq!(left.unwrap_or_default(), b"");
        env.bld(["rm", "box"]).ok();
        env.bld(["volume", "rm", "kept"]).ok();
        assert_clean(&env, &[id]);
    }
    env.bld(["network", "rm", "lan"]).ok();
}

#[test]
fn another_runtime_hands_its_terminals_over() {
    let env = env();
    for runtime in RUNTIMES {
        let mut terminal = env.terminal(&format!("run --rm -it --runtime {runtime} busybox sh"));
        terminal.type_in("stty size; tty; echo $((40+2))\r");
        terminal.wait_for("33 101");
        terminal.wait_for("42");
        terminal.type_in("exit 9\r");
        assert_eq!(terminal.end().0, 9, "{runtime}");
        env.bld(["run", "-d", "--runtime", runtime, "--name", "box", "busybox", "sleep", "1000"])
            .ok();
        let mut terminal = env.terminal("exec -it box sh");
        terminal.type_in("stty size; exit 4\r");
        terminal.wait_for("33 101");
        assert_eq!(terminal.end().0, 4, "{runtime}");
        env.bld(["rm", "-f", "box"]).ok();
    }
    env.assert_nothing_left();
}

#[test]
fn what_another_runtime_lacks_is_said() {
    let env = env();
    let run = ["run", "--rm", "--runtime", "crun"];
    let refused = |flags: &[&str], text: &str| {
        let wrong = env.bld(run).args(flags).args(["busybox", "true"]).run();
        let _ = wrong.expect_code(125).expect_text(text);
    };
    refused(&["--init"], "an init (--init) is not possible with another runtime");
    let nothing = env.bld(["run", "--rm", "--runtime", "nosuch", "busybox", "true"]).run();
    let _ = nothing.expect_code(125).expect_text("unknown or invalid runtime name: nosuch");
    let broken = env.write_script("broken", "#!/bin/sh\nexit 3\n").display().to_string();
    let run = ["run", "--rm", "--runtime", &broken, "busybox", "true"];
    let _ = env.bld(run).run().expect_code(125).expect_text("create ended with exit status: 3");
    env.assert_nothing_left();
}
