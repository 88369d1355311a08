//! Networks that somebody made, names on them, and ports of the host.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use bld_testkit::{Cmd, TestEnv};
use serde_json::Value;

use crate::env;

fn field(env: &TestEnv, name: &str, path: &str) -> String {
    env.bld(["inspect", "-f", &format!("{{{{{path}}}}}"), name]).ok().text().to_owned()
}

fn inspect(env: &TestEnv, name: &str) -> Value {
    let seen: Value = serde_json::from_str(&env.bld(["inspect", name]).ok().stdout).unwrap();
    seen[0].clone()
}

/// A server in the container that gives back what it gets.
const ECHO: &str = "nc -ll -p 7000 -e cat & sleep 1000";

/// The same for datagrams, which no program of the image can: ours, in the container's network.
const ECHO_DATAGRAMS: &str = "import socket
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(('0.0.0.0', 7001))
while True: s.sendto(*s.recvfrom(100))";

fn echo_by_tcp(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(b"hello").ok()?;
    stream.shutdown(Shutdown::Write).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}

fn echo_by_udp(address: SocketAddr) -> Option<String> {
    let local = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(local).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket.send_to(b"hello", address).ok()?;
    let mut buffer = [0; 100];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn ports_of_the_host_lead_to_a_container() {
    let env = env();
    let run = ["run", "-d", "--name", "echo", "-p", "7000", "-p", "127.0.0.1::7001/udp"];
    env.bld(run).args(["-p", "[::1]::7000", "busybox", "sh", "-c", ECHO]).ok();
    let seen = inspect(&env, "echo");
    let ports = &seen["NetworkSettings"]["Ports"];
    let hosts = |port: &str| -> Vec<SocketAddr> {
        let hosts = ports[port].as_array().unwrap().iter().map(|host| {
            let ip = host["HostIp"].as_str().unwrap().parse().unwrap();
            SocketAddr::new(ip, host["HostPort"].as_str().unwrap().parse().unwrap())
        });
        hosts.collect()
    };
    let tcp = hosts("7000/tcp");
    // The one on all addresses, both kinds, and the one on IPv6's loopback.
    assert_eq!(tcp.len(), 3, "{ports}");
    for mut address in tcp.clone() {
        if address.ip().is_unspecified() {
            let loopback = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
            address.set_ip(loopback.parse().unwrap());
        }
        assert_eq!(until(|| echo_by_tcp(address)), "hello", "{address}");
    }
    let udp = hosts("7001/udp")[0];
    let pid = field(&env, "echo", ".State.Pid");
    let server = Cmd::new("nsenter").args(["-t", &pid, "-n", "python3", "-c", ECHO_DATAGRAMS]);
    let mut server = server.spawn(&env.path("."));
    assert_eq!(until(|| echo_by_udp(udp)), "hello");
    server.kill().unwrap();
    server.wait().unwrap();

    let shown = env.bld(["port", "echo", "7001/udp"]).ok();
    assert_eq!(shown.text(), udp.to_string());
    let column = env.bld(["ps", "--format", "{{.Ports}}"]).ok().stdout;
    assert!(column.contains(&format!("0.0.0.0:{}->7000/tcp", tcp[0].port())), "{column}");
    assert!(column.contains(&format!("{udp}->7001/udp")), "{column}");

    // Taken is taken, by whomever; the container stays, and the port is free when the first is gone.
    let wish = format!("{}:80", tcp[0].port());
    let run = ["run", "--name", "second", "-p", &wish, "busybox", "true"];
    let refused = env.bld(run).run().expect_code(125);
    assert!(refused.stderr.contains("port is already allocated"), "{refused}");
    assert_eq!(field(&env, "second", ".State.Status"), "created");
    env.bld(["rm", "-f", "echo"]).ok();
    env.bld(["start", "-a", "second"]).ok();
    env.bld(["rm", "second"]).ok();
    let _ = env.bld(["port", "nobody"]).run().expect_code(1).expect_text("No such container");
    env.assert_nothing_left();
}

#[test]
fn a_port_for_datagrams_outlives_more_senders_than_descriptors() {
    let env = env();
    let bld = env.bld(["run", "-d", "--name", "echo", "-p", "127.0.0.1::7001/udp"]);
    bld.args(["busybox", "sleep", "1000"]).ok();
    let pid = field(&env, "echo", ".State.Pid");
    let holder = Cmd::new("ps").args(["-o", "ppid=", "-p", &pid]).ok().text().trim().to_owned();
    Cmd::new("prlimit").args(["--pid", &holder, "--nofile=64:64"]).ok();
    let shown = env.bld(["port", "echo", "7001/udp"]).ok();
    let address: SocketAddr = shown.text().parse().unwrap();
    let server = Cmd::new("nsenter").args(["-t", &pid, "-n", "python3", "-c", ECHO_DATAGRAMS]);
    let mut server = server.spawn(&env.path("."));
    assert_eq!(until(|| echo_by_udp(address)), "hello");
    let senders: Vec<_> = (0..100).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for sender in &senders {
        sender.send_to(b"hello", address).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(until(|| echo_by_udp(address)), "hello");
    server.kill().unwrap();
    server.wait().unwrap();
    env.bld(["rm", "-f", "echo"]).ok();
    env.assert_nothing_left();
}

#[test]
fn what_is_exposed_is_published_on_demand_and_ranges_are_kept() {
    let env = env();
    let dockerfile = "FROM busybox\nEXPOSE 80 53/udp\nCMD sleep 1000\n";
    let _ = env.build("server", dockerfile, []).expect_code(0);
    env.bld(["run", "-d", "--name", "all", "-P", "server"]).ok();
    let shown = env.bld(["port", "all"]).ok().stdout;
    assert!(shown.contains("80/tcp -> 0.0.0.0:") && shown.contains("53/udp -> [::]:"), "{shown}");
    env.bld(["run", "-d", "--name", "none", "server"]).ok();
    let ports = env.bld(["ps", "-f", "name=none", "--format", "{{.Ports}}"]).ok();
    assert_eq!(ports.text(), "80/tcp, 53/udp");
    let run = ["run", "-d", "--name", "range", "-p", "127.0.0.1:28100-28102:28100-28102"];
    env.bld(run).args(["busybox", "sleep", "1000"]).ok();
    let ports = env.bld(["ps", "-f", "name=range", "--format", "{{.Ports}}"]).ok();
    assert_eq!(ports.text(), "127.0.0.1:28100-28102->28100-28102/tcp");
    // On the host's own network there is nothing to publish.
    let run = ["run", "--rm", "--network", "host", "-p", "80:80", "busybox", "true"];
    assert!(env.bld(run).ok().stderr.contains("Published ports are discarded"));
    env.bld(["rm", "-f", "all", "none", "range"]).ok();
    env.assert_nothing_left();
}

#[test]
fn a_network_has_its_addresses_names_and_an_end() {
    let env = env();
    let create = ["network", "create", "--subnet", "10.211.0.0/24", "--gateway", "10.211.0.254"];
    let id =
        env.bld(create).args(["--ip-range", "10.211.0.128/28", "--label", "a=b", "front"]).ok();
    assert_eq!(id.text().len(), 64);
    let rows = env.bld(["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"]).ok();
    let rows: Vec<_> = rows.stdout.lines().map(str::to_owned).collect();
    assert_eq!(
        rows,
        ["bridge bridge local", "front bridge local", "host host local", "none null local"]
    );
    assert!(env.bld(["network", "ls"]).ok().stdout.starts_with("NETWORK ID     NAME      DRIVER"));

    let run = |name: &str, rest: &[&str]| {
        let run = ["run", "-d", "--name", name, "--network", "front"];
        env.bld(run).args(rest).args(["busybox", "sleep", "1000"]).ok();
    };
    run("web", &["--network-alias", "www", "--ip", "10.211.0.7"]);
    run("db", &[]);
    assert_eq!(field(&env, "web", ".NetworkSettings.Networks.front.IPAddress"), "10.211.0.7");
    let db = field(&env, "db", ".NetworkSettings.Networks.front.IPAddress");
    let last: u8 = db.strip_prefix("10.211.0.").unwrap().parse().unwrap();
    assert!((128..144).contains(&last), "{db}");
    let taken = ["run", "--rm", "--network", "front", "--ip", "10.211.0.7", "busybox", "true"];
    let _ = env.bld(taken).run().expect_code(125).expect_text("already in use");

    let found = inspect(&env, "front");
    assert_eq!(found["IPAM"]["Config"][0]["Gateway"], "10.211.0.254");
    let users = found["Containers"].as_object().unwrap();
    assert!(users.values().any(|user| user["IPv4Address"] == "10.211.0.7/24"), "{found}");

    // Names, aliases, ids and addresses are known; others are the host's servers' to know.
    let exec = |script: &str| env.bld(["exec", "db", "sh", "-c", script]).run();
    let short = field(&env, "web", ".Id")[..12].to_owned();
    for name in ["web", "WWW", "web.front", &short] {
        let seen = exec(&format!("nslookup {name} | tail -n +4"));
        assert!(seen.stdout.contains("10.211.0.7"), "{name}: {seen}");
    }
    let seen = exec("nslookup 10.211.0.7");
    assert!(seen.stdout.contains("web.front"), "{seen}");
    assert_eq!(exec("nslookup nobody-at-all").code, 1);
    let seen = exec("cat /etc/resolv.conf; ping -c 1 -w 5 www");
    assert!(seen.stdout.contains("nameserver 127.0.0.11"), "{seen}");
    assert!(seen.stdout.contains("1 packets received"), "{seen}");

    let _ =
        env.bld(["network", "create", "--ipv6", "six"]).run().expect_code(1).expect_text("IPv6");
    let again = env.bld(["network", "create", "front"]).run().expect_code(1);
    assert!(again.stderr.contains("network with name front already exists"), "{again}");
    let busy = env.bld(["network", "rm", "front"]).run().expect_code(1);
    assert!(busy.stderr.contains("has active endpoints"), "{busy}");
    let _ = env.bld(["network", "rm", "bridge"]).run().expect_code(1).expect_text("pre-defined");
    env.bld(["rm", "-f", "web", "db"]).ok();
    assert_eq!(env.bld(["network", "rm", "front"]).ok().text(), "front");
    let _ = env.bld(["network", "inspect", "front"]).run().expect_code(1).expect_text("not found");
    let links = Cmd::new("ip").args(["-o", "link"]).ok().stdout;
    assert!(!links.contains(&format!("bld-{}", &id.text()[..10])), "{links}");
    env.assert_nothing_left();
}

#[test]
fn networks_are_apart_and_internal_ones_have_no_way_out() {
    let env = env();
    for (name, flag) in [("one", None), ("two", None), ("inner", Some("--internal"))] {
        env.bld(["network", "create", name]).args(flag).ok();
        let run = ["run", "-d", "--name", &format!("in-{name}"), "--network", name];
        env.bld(run).args(["busybox", "sh", "-c", ECHO]).ok();
    }
    let ip = |name: &str| {
        field(&env, &format!("in-{name}"), &format!(".NetworkSettings.Networks.{name}.IPAddress"))
    };
    let reaches = |from: &str, address: &str| {
        let script = format!("echo hi | nc -w 2 {address} 7000");
        let exec = ["exec", from, "sh", "-c", &script];
        env.bld(exec).run().stdout == "hi\n"
    };
    // A neighbour on the same network shows that the server is there.
    until(|| {
        let near = [
            "run",
            "--rm",
            "--network",
            "one",
            "busybox",
            "sh",
            "-c",
            "echo hi | nc -w 2 in-one 7000",
        ];
        (env.bld(near).run().stdout == "hi\n").then_some(())
    });
    assert!(!reaches("in-two", &ip("one")) && !reaches("in-one", &ip("two")));
    assert!(!reaches("in-inner", &ip("one")) && !reaches("in-one", &ip("inner")));
    let route = env.bld(["exec", "in-inner", "ip", "route"]).ok().stdout;
    assert!(!route.contains("default"), "{route}");

    // Whoever is on both reaches both, until taken off.
    env.bld(["network", "connect", "--alias", "uno", "one", "in-two"]).ok();
    assert!(reaches("in-two", "in-one"));
    assert!(reaches("in-one", "uno"));
    let names = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
    assert_eq!(env.bld(["inspect", "-f", names, "in-two"]).ok().text(), "one two");
    let again = env.bld(["network", "connect", "one", "in-two"]).run().expect_code(1);
    assert!(again.stderr.contains("already exists in network one"), "{again}");
    env.bld(["network", "disconnect", "one", "in-two"]).ok();
    assert!(!reaches("in-two", "in-one") && !reaches("in-one", "uno"));
    let gone = env.bld(["network", "disconnect", "one", "in-two"]).run().expect_code(1);
    assert!(gone.stderr.contains("is not connected to network one"), "{gone}");

    // One that is not running is put on, or taken off, at its next start.
    env.bld(["stop", "-t", "0", "in-two"]).ok();
    env.bld(["network", "connect", "one", "in-two"]).ok();
    env.bld(["network", "disconnect", "two", "in-two"]).ok();
    env.bld(["start", "in-two"]).ok();
    assert!(reaches("in-two", "in-one"));
    env.bld(["rm", "-f", "in-one", "in-two", "in-inner"]).ok();
    let pruned = env.bld(["network", "prune", "-f"]).ok().stdout;
    let mut pruned: Vec<_> = pruned.lines().filter(|line| !line.is_empty()).collect();
    pruned[1..].sort_unstable();
    assert_eq!(pruned, ["Deleted Networks:", "inner", "one", "two"]);
    env.assert_nothing_left();
}

#[test]
fn containers_share_a_network_or_are_linked() {
    let env = env();
    env.bld(["run", "-d", "--name", "echo", "busybox", "sh", "-c", ECHO]).ok();
    let script =
        "for i in 1 2 3 4 5 6 7 8 9; do echo hi | nc -w 1 $0 7000 && exit; sleep 0.2; done";
    let run = |network: &[&str], host: &str| {
        let seen =
            env.bld(["run", "--rm"]).args(network).args(["busybox", "sh", "-c", script, host]);
        seen.run().stdout
    };
    assert_eq!(run(&["--network", "container:echo"], "127.0.0.1"), "hi\n");
    assert_eq!(run(&["--link", "echo:server"], "server"), "hi\n");
    let refused =
        env.bld(["run", "--network", "container:echo", "-p", "80", "busybox", "true"]).run();
    let _ = refused.expect_code(125).expect_text("conflicting options: port publishing");
    env.bld(["stop", "-t", "0", "echo"]).ok();
    let refused = env.bld(["run", "--rm", "--network", "container:echo", "busybox", "true"]).run();
    let _ = refused.expect_code(125).expect_text("cannot join network of a non running container");
    let refused = env.bld(["run", "--rm", "--network", "nowhere", "busybox", "true"]).run();
    let _ = refused.expect_code(125).expect_text("network nowhere not found");
    env.bld(["rm", "echo"]).ok();
    env.assert_nothing_left();
}

#[test]
fn a_server_of_names_can_run_in_a_container_that_asks_one() {
    let env = env();
    env.bld(["network", "create", "lan"]).ok();
    let script = "nc -l -p 53 & sleep 0.3; nslookup self; netstat -lnt";
    let run = ["run", "--rm", "--name", "self", "--network", "lan", "busybox", "sh", "-c", script];
    let seen = env.bld(run).run();
    assert!(seen.stdout.contains(":::53 ") || seen.stdout.contains("0.0.0.0:53 "), "{seen}");
    assert!(seen.stdout.contains("Name:\tself"), "{seen}");
    env.bld(["network", "rm", "lan"]).ok();
    env.assert_nothing_left();
}
