//! System calls that a container must not get through with: a program that tries them, in containers with
//! the defaults.

use bld_testkit::{Cmd, Output, TestEnv};

use crate::env;
use crate::networks::until;

/// The program, compiled; `-v` with it.
fn probe(env: &TestEnv) -> String {
    let source = env.write("intruder.c", include_str!("probes/intruder.c"));
    let program = env.path("intruder");
    Cmd::new("gcc").args(["-static", "-O1", "-o"]).arg(&program).arg(source).ok();
    format!("{}:/intruder:ro", program.display())
}

fn nothing_achieved(seen: &Output) {
    assert_eq!((seen.code, seen.stdout.as_str()), (0, "done\n"), "{seen}");
}

/// Keys of the kernel, its modules, clocks and mounts, user namespaces, and what its bugs were found in.
#[test]
fn the_kernel_does_nothing_that_is_not_for_containers() {
    let env = env();
    let volume = probe(&env);
    for flags in [&[][..], &["-u", "1000"], &["--cap-add", "NET_ADMIN"], &["-t"]] {
        let run = env.bld(["run", "--rm", "--network", "none", "-v", &volume]).args(flags);
        let seen = run.args(["busybox", "/intruder", "descriptors", "keys", "kernel"]).run();
        let seen = Output { stdout: seen.stdout.replace('\r', ""), ..seen };
        nothing_achieved(&seen);
    }
    env.bld(["run", "-d", "--name", "web", "-v", &volume, "busybox", "sleep", "1000"]).ok();
    for flags in [&[][..], &["-i"], &["-u", "1000"]] {
        let exec = env.bld(["exec"]).args(flags).arg("web");
        nothing_achieved(&exec.args(["/intruder", "descriptors", "keys", "kernel"]).run());
    }
    env.bld(["rm", "-f", "web"]).ok();
    // The files that show keys show none.
    let keys = env.bld(["run", "--rm", "busybox", "cat", "/proc/keys"]).ok();
    assert_eq!(keys.stdout, "");
    env.assert_nothing_left();
}

/// ptrace(2) and its kin, by the number that a process of the host has there, and where that is seen.
#[test]
fn processes_of_the_host_are_not_traced() {
    let env = env();
    let volume = probe(&env);
    let mut host = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = host.id().to_string();
    let run = ["run", "--rm", "--network", "none", "-v", &volume];
    for flags in [&[][..], &["--pid", "host"], &["--pid", "host", "-u", "1000"]] {
        let seen = env.bld(run).args(flags).args(["busybox", "/intruder", "process", &pid]).run();
        nothing_achieved(&seen);
    }
    assert!(host.try_wait().unwrap().is_none(), "it was killed");
    host.kill().unwrap();
    host.wait().unwrap();
    // Its own it traces, as it may.
    let own = "sleep 100 & /intruder process $!";
    let seen = env.bld(run).args(["busybox", "sh", "-c", own]).run();
    assert!(seen.stdout.contains("attached\n"), "{seen}");
    env.assert_nothing_left();
}

/// Packet sockets hear what comes to the container, and what claims another source gets nowhere.
#[test]
fn raw_sockets_reach_no_other_network() {
    let env = env();
    let volume = probe(&env);
    for network in ["left", "right"] {
        env.bld(["network", "create", network]).ok();
    }
    let victim = ["run", "-d", "--name", "victim", "--network", "right", "-v", &volume, "busybox"];
    let listen = "nc -ll -p 7000 -e cat & exec /intruder hear";
    env.bld(victim).args(["sh", "-c", listen]).ok();
    let path = "{{.NetworkSettings.Networks.right.IPAddress}}";
    let address = env.bld(["inspect", "-f", path, "victim"]).ok().text().to_owned();
    let say = format!("while sleep 0.1; do echo the-marker | nc -w 1 {address} 7000; done");
    let talker = ["run", "-d", "--name", "talker", "--network", "right", "busybox", "sh", "-c"];
    env.bld(talker).arg(say).ok();
    until(|| env.bld(["logs", "talker"]).ok().stdout.contains("the-marker").then_some(()));
    for network in ["left", "bridge"] {
        let run = ["run", "--rm", "--network", network, "-v", &volume, "busybox", "/intruder"];
        let seen = env.bld(run).args(["raw", &address, "the-marker"]).run();
        assert_eq!(seen.stdout, "ready\ndone\n", "{network}: {seen}");
    }
    assert_eq!(env.bld(["logs", "victim"]).ok().stdout, "");
    // A neighbour's arrive: they would have been seen.
    let run = ["run", "--rm", "--network", "right", "-v", &volume, "busybox", "/intruder"];
    let _ = env.bld(run).args(["raw", &address, "the-marker"]).run();
    until(|| env.bld(["logs", "victim"]).ok().stdout.contains("a datagram").then_some(()));
    env.bld(["rm", "-f", "victim", "talker"]).ok();
    env.bld(["network", "rm", "left", "right"]).ok();
    env.assert_nothing_left();
}
