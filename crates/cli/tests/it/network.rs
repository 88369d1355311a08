//! What a container sees of the network.

use bld_testkit::TestEnv;

use crate::env;

fn run(env: &TestEnv, network: &str, script: &str) -> String {
    env.bld(["run", "--rm", "--network", network, "busybox", "sh", "-c", script]).ok().stdout
}

#[test]
fn bridge_host_and_none() {
    let env = env();
    let links = "ls /sys/class/net";
    assert!(run(&env, "bridge", links).contains("eth0"));
    assert!(!run(&env, "none", links).contains("eth0"));
    let host = std::fs::read_link("/proc/self/ns/net").unwrap();
    let seen = run(&env, "host", "readlink /proc/self/ns/net");
    assert_eq!(seen.trim(), host.to_string_lossy());
    assert_ne!(run(&env, "bridge", "readlink /proc/self/ns/net"), seen);
    let route = run(&env, "bridge", "ip route");
    assert!(route.contains("default via "), "{route}");
    let hosts = run(&env, "bridge", "cat /etc/hosts; hostname; cat /etc/resolv.conf");
    assert!(hosts.contains("127.0.0.1\tlocalhost") && hosts.contains("nameserver "), "{hosts}");
    env.assert_nothing_left();
}

#[test]
fn containers_talk_to_each_other() {
    let env = env();
    let script = "echo hello | nc -l -p 7000";
    env.bld(["run", "-d", "--name", "server", "busybox", "sh", "-c", script]).ok();
    let address = env.bld(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "server"]).ok();
    let client = format!(
        "for i in $(seq 1 50); do nc -w 2 {} 7000 </dev/null && exit; sleep 0.1; done; exit 1",
        address.text()
    );
    assert_eq!(run(&env, "bridge", &client), "hello\n");
    env.bld(["rm", "-f", "server"]).ok();
}

#[test]
fn a_step_without_network_has_none() {
    let env = env();
    let dockerfile = "FROM busybox\nRUN --network=none ls /sys/class/net > /links\n";
    let _ = env.build("n:1", dockerfile, []).expect_code(0);
    let links = env.bld(["run", "--rm", "n:1", "cat", "/links"]).ok();
    assert!(!links.stdout.contains("eth0"), "{links}");
}
