//! Networks that somebody made, names on them, and ports of the host.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bld_testkit::{Cmd, Output, TestEnv};
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

/// Asks again and again until there is an answer.
pub(crate) fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
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

/// Another machine, which knows the way to this one and no further.
struct World {
    name: String,
    link: String,
    /// What is between the two, without the last part of addresses.
    v4: String,
    v6: String,
}

impl World {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = std::process::id() * 4 + COUNT.fetch_add(1, Ordering::Relaxed);
        let world = Self {
            name: format!("bldworld{id}"),
            // Not named as bridges are, from which nothing gets to others.
            link: format!("wtest{id}"),
            // Of RFC 2544 and RFC 4193.
            v4: format!("198.18.{}.", id % 256),
            v6: format!("fd00:b1d:{:x}:99::", id % 0xffff),
        };
        let (name, link) = (world.name.as_str(), world.link.as_str());
        let ip = |words: &[&str]| drop(Cmd::new("ip").args(words).ok());
        ip(&["netns", "add", name]);
        ip(&["link", "add", link, "type", "veth", "peer", "name", "world", "netns", name]);
        ip(&["link", "set", link, "up"]);
        ip(&["-n", name, "link", "set", "world", "up"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        for (prefix, length) in [(&world.v4, 24), (&world.v6, 64)] {
            // The word is for IPv6, where addresses are tried out otherwise.
            ip(&["addr", "add", &format!("{prefix}1/{length}"), "dev", link, "nodad"]);
            let there = format!("{prefix}2/{length}");
            ip(&["-n", name, "addr", "add", &there, "dev", "world", "nodad"]);
        }
        world
    }

    /// Something that is run there.
    fn run(&self, words: &[&str]) -> Output {
        Cmd::new("ip").args(["netns", "exec", &self.name]).args(words).run()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        Cmd::new("ip").args(["link", "del", &self.link]).run();
        Cmd::new("ip").args(["netns", "del", &self.name]).run();
    }
}

#[test]
fn a_network_has_ipv6_beside_ipv4() {
    let env = env();
    let world = World::new();
    let subnet = format!("fd00:b1d:{:x}::/64", std::process::id() & 0xffff);
    env.bld(["network", "create", "--ipv6", "--subnet", &subnet, "six"]).ok();
    let seen =
        env.bld(["network", "inspect", "-f", "{{.EnableIPv6}} {{json .IPAM.Config}}", "six"]);
    let seen = seen.ok().stdout;
    assert!(seen.starts_with("true ") && seen.contains(&subnet), "{seen}");
    let gateway = subnet.replace("/64", "1");
    assert!(seen.contains(&format!("\"Gateway\":\"{gateway}\"")), "{seen}");

    let serve = "nc -ll -p 7000 -e cat & sleep 1000";
    let run = ["run", "-d", "--network", "six"];
    let db = ["--name", "db", "-p", "[::1]::7000", "busybox", "sh", "-c", serve];
    env.bld(run).args(db).ok();
    env.bld(run).args(["--name", "web", "busybox", "sleep", "1000"]).ok();
    let own = inspect(&env, "db")["NetworkSettings"]["Networks"]["six"].clone();
    let address = own["GlobalIPv6Address"].as_str().unwrap().to_owned();
    assert!(address.starts_with(subnet.trim_end_matches(":/64")), "{own}");
    assert_eq!(
        (&own["IPv6Gateway"], &own["GlobalIPv6PrefixLen"]),
        (&gateway.clone().into(), &64.into())
    );
    let inside = |command: &str| env.bld(["exec", "web", "sh", "-c", command]).run();
    assert!(inside(&format!("nslookup -type=aaaa db | grep {address}")).code == 0);
    assert!(inside(&format!("nslookup {address} | grep 'name = db.six'")).code == 0);
    let echoed =
        inside("ping -6 -c 1 -w 5 db && grep -c web /etc/hosts; echo hi | nc -w 5 db 7000");
    assert!(
        echoed.stdout.contains("1 packets received") && echoed.stdout.ends_with("hi\n"),
        "{echoed}"
    );
    let by_host: SocketAddr = format!("[{address}]:7000").parse().unwrap();
    assert_eq!(until(|| echo_by_tcp(by_host)), "hello");
    let published = env.bld(["port", "db", "7000"]).ok().text().parse().unwrap();
    assert_eq!(echo_by_tcp(published).as_deref(), Some("hello"));
    // Who is outside answers to this machine: it knows no way to the network.
    let out = inside(&format!("ping -6 -c 1 -w 5 {}2", world.v6));
    assert!(out.stdout.contains("1 packets received"), "{out}");
    // And gets in no other way than by published ports.
    let here = format!("{}1", world.v6);
    let way = ["-n", &world.name, "route", "add", &subnet, "via", &here];
    Cmd::new("ip").args(way).ok();
    assert_ne!(world.run(&["ping", "-c", "1", "-w", "1", &address]).code, 0);
    // A certain address is had, or said to be taken.
    let wish = gateway.replace("::1", "::77");
    let certain = ["run", "-d", "--network", "six", "--ip6", &wish, "--name", "certain"];
    env.bld(certain).args(["busybox", "sleep", "1000"]).ok();
    assert!(inside("ping -6 -c 1 -w 5 certain").stdout.contains(&format!("({wish})")));
    let network = format!("name=six,ip6={wish}");
    let again = ["run", "--rm", "--network", &network];
    let refused = env.bld(again).args(["busybox", "true"]).run().expect_code(125);
    assert!(refused.stderr.contains("already in use"), "{refused}");
    env.bld(["rm", "-f", "certain"]).ok();

    env.bld(["network", "create", "--ipv6", "own"]).ok();
    let own = env.bld(["network", "inspect", "-f", "{{json .IPAM.Config}}", "own"]).ok().stdout;
    assert!(own.contains("\"Subnet\":\"fd"), "{own}");
    let taken = env.bld(["network", "create", "--subnet", &subnet, "again"]).run().expect_code(1);
    assert!(taken.stderr.contains("overlaps"), "{taken}");
    let small = ["network", "create", "--subnet", "fd00:b1d::/126", "small"];
    let _ = env.bld(small).run().expect_code(1).expect_text("2^16 addresses");
    env.bld(["rm", "-f", "db", "web"]).ok();
    let ids = env.bld(["network", "ls", "-q", "-f", "type=custom"]).ok().stdout;
    env.bld(["network", "rm", "six", "own"]).ok();
    let tables = Cmd::new("nft").args(["list", "tables"]).ok().stdout;
    assert!(ids.lines().all(|id| !tables.contains(&format!("bld-{}", &id[..10]))), "{tables}");
    env.assert_nothing_left();
}

/// Tells whoever connects what his address is.
const WHO: &str = "import socket
s = socket.socket(socket.AF_INET6)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('::', 7000))
s.listen()
while True:
    c, who = s.accept()
    c.sendall(who[0].encode())
    c.close()";

/// What a server says to somebody who connects, and sends nothing.
const ASK: [&str; 4] = ["busybox", "nc", "-w", "5"];

#[test]
fn a_published_port_shows_who_connects() {
    let env = env();
    let world = World::new();
    let six = format!("fd00:b1d:{:x}:98::/64", std::process::id() & 0xffff);
    env.bld(["network", "create", "--subnet", &six, "shown"]).ok();
    let run = ["run", "-d", "--network", "shown", "-p", "7000", "--name"];
    env.bld(run).args(["web", "busybox", "sleep", "1000"]).ok();
    let place = inspect(&env, "web")["NetworkSettings"]["Networks"]["shown"].clone();
    let gateway = place["Gateway"].as_str().unwrap();
    let port = env.bld(["port", "web", "7000"]).ok().stdout;
    let port = port.lines().next().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let pid = field(&env, "web", ".State.Pid");
    let server = Cmd::new("nsenter").args(["-t", &pid, "-n", "python3", "-c", WHO]);
    let mut server = server.spawn(&env.path("."));
    let here = |host: &str| {
        let seen = Cmd::new(ASK[0]).args(&ASK[1..]).args([host, &port]).run().stdout;
        Some(seen.trim_start_matches("::ffff:").to_owned()).filter(|seen| !seen.is_empty())
    };
    let there = |host: &str| {
        let seen = world.run(&[ASK.as_slice(), &[host, &port]].concat()).stdout;
        seen.trim_start_matches("::ffff:").to_owned()
    };
    // By loopback everybody is the bridge, as with docker.
    assert_eq!(until(|| here("127.0.0.1")), gateway);
    let (v4, v6) = (|n: u8| format!("{}{n}", world.v4), |n: u8| format!("{}{n}", world.v6));
    assert_eq!(there(&v4(1)), v4(2));
    assert_eq!(there(&v6(1)), v6(2));
    assert_eq!(here(&v4(1)).as_deref(), Some(v4(1).as_str()));
    assert_eq!(here(&v6(1)).as_deref(), Some(v6(1).as_str()));
    // Another container comes by the host, too; networks stay apart all the same.
    let other = format!("nc -w 5 {} {port} | sed s/::ffff://", v4(1));
    let other = env.bld(["run", "--rm", "busybox", "sh", "-c", &other]).ok();
    assert_eq!(other.text(), gateway);
    let rules = Cmd::new("nft").args(["list", "ruleset"]).ok().stdout;
    assert_eq!(rules.matches(&format!("{port} : 7000")).count(), 2, "{rules}");

    server.kill().unwrap();
    server.wait().unwrap();
    // Rules go with the process that holds the container, however it ends.
    let holder = Cmd::new("ps").args(["-o", "ppid=", "-p", &pid]).ok().text().trim().to_owned();
    Cmd::new("kill").args(["-KILL", &holder]).ok();
    until(|| {
        let rules = Cmd::new("nft").args(["list", "ruleset"]).ok().stdout;
        (!rules.contains(&format!("{port} : 7000"))).then_some(())
    });
    env.bld(["rm", "-f", "web"]).ok();
    env.bld(["network", "rm", "shown"]).ok();
    env.assert_nothing_left();
}

#[test]
fn a_thousand_ports_fit_a_thousand_descriptors() {
    let env = env();
    let serve = "nc -ll -p 20950 -e cat & ulimit -n > /limit; sleep 1000";
    let ports = "127.0.6.2:20000-20999:20000-20999";
    Cmd::new("prlimit")
        .args(["--nofile=1024:1024", crate::BLD, "run", "-d", "--name", "many", "-p", ports])
        .args(["busybox", "sh", "-c", serve])
        .env("BLD_ROOT", env.root())
        .env("HOME", env.home())
        .ok();
    assert_eq!(until(|| echo_by_tcp("127.0.6.2:20950".parse().unwrap())), "hello");
    let shown = env.bld(["ps", "--format", "{{.Ports}}"]).ok();
    assert_eq!(shown.text(), "127.0.6.2:20000-20999->20000-20999/tcp");
    // What is raised for them is not the container's.
    assert_eq!(env.bld(["exec", "many", "cat", "/limit"]).ok().text(), "1024");
    let pid = field(&env, "many", ".State.Pid");
    let holder = Cmd::new("ps").args(["-o", "ppid=", "-p", &pid]).ok().text().trim().to_owned();
    let threads = std::fs::read_dir(format!("/proc/{holder}/task")).unwrap().count();
    assert!(threads < 20, "{threads} threads");
    env.bld(["rm", "-f", "many"]).ok();
    env.assert_nothing_left();
}

#[test]
fn ports_follow_a_container_to_another_network() {
    let env = env();
    for name in ["first", "second"] {
        env.bld(["network", "create", name]).ok();
    }
    let run = ["run", "-d", "--name", "web", "--network", "first", "-p", "127.0.0.1::7000"];
    env.bld(run).args(["busybox", "sh", "-c", ECHO]).ok();
    let address = env.bld(["port", "web", "7000"]).ok().text().parse().unwrap();
    assert_eq!(until(|| echo_by_tcp(address)), "hello");
    env.bld(["network", "connect", "second", "web"]).ok();
    env.bld(["network", "disconnect", "first", "web"]).ok();
    assert_eq!(until(|| echo_by_tcp(address)), "hello");
    // The way out is the other network's now.
    let route = env.bld(["exec", "web", "ip", "route"]).ok().stdout;
    assert!(route.contains("default via") && route.contains("dev eth1"), "{route}");
    env.bld(["rm", "-f", "web"]).ok();
    env.bld(["network", "rm", "first", "second"]).ok();
    env.assert_nothing_left();
}

/// A machine of its own, for containers: a network namespace and a store.
struct Machine<'a> {
    env: &'a TestEnv,
    name: String,
}

impl Machine<'_> {
    fn bld(&self, words: &[&str]) -> Cmd {
        let root = self.env.path(&self.name);
        let bld = Cmd::new("ip").args(["netns", "exec", &self.name, crate::BLD]).args(words);
        bld.env("BLD_ROOT", root).env("HOME", self.env.home()).cwd(self.env.path(""))
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        let containers = self.bld(&["ps", "-aq"]).run().stdout;
        for id in containers.split_whitespace() {
            self.bld(&["rm", "-f", id]).run();
        }
        Cmd::new("ip").args(["netns", "del", &self.name]).run();
    }
}

#[test]
fn a_network_spans_machines() {
    let env = env();
    let machines = ["a", "b"]
        .map(|end| Machine { env: &env, name: format!("bldwide{}{end}", std::process::id()) });
    let [one, two] = &machines;
    for machine in &machines {
        Cmd::new("ip").args(["netns", "add", &machine.name]).ok();
    }
    let between = ["link", "add", "up0", "netns", &one.name, "type", "veth", "peer", "name", "up0"];
    Cmd::new("ip").args(between).args(["netns", &two.name]).ok();
    let archive = env.path("busybox.tar");
    env.bld(["save", "-o"]).arg(&archive).arg("busybox").ok();
    for (n, machine) in machines.iter().enumerate() {
        let ip = |words: &[&str]| drop(Cmd::new("ip").args(["-n", &machine.name]).args(words).ok());
        ip(&["addr", "add", &format!("192.0.2.{}/24", n + 1), "dev", "up0"]);
        ip(&["link", "set", "up0", "up"]);
        ip(&["link", "set", "lo", "up"]);
        machine.bld(&["load", "-i"]).arg(&archive).ok();
        let range = format!("10.77.{n}.0/24");
        let create = ["network", "create", "-d", "overlay", "--opt", "peers=192.0.2.1,192.0.2.2"];
        let words = ["--subnet", "10.77.0.0/16", "--ip-range", &range, "wide"];
        machine.bld(&[create.as_slice(), &words].concat()).ok();
    }
    let run = ["run", "-d", "--network", "wide", "--name"];
    one.bld(&[run.as_slice(), &["web", "busybox", "sh", "-c", ECHO]].concat()).ok();
    two.bld(&[run.as_slice(), &["ask", "busybox", "sleep", "1000"]].concat()).ok();
    let address =
        one.bld(&["inspect", "-f", "{{.NetworkSettings.Networks.wide.IPAddress}}", "web"]);
    let address = address.ok().text().to_owned();
    assert!(address.starts_with("10.77.0."), "{address}");
    let ask = |script: &str| two.bld(&["exec", "ask", "sh", "-c", script]).run();
    let answered = until(|| {
        let answer = ask(&format!("echo hi | nc -w 2 {address} 7000")).stdout;
        (!answer.is_empty()).then_some(answer)
    });
    assert_eq!(answered, "hi\n");
    // By name, too, which nobody on this machine knows.
    assert_eq!(ask("echo hi | nc -w 2 web 7000").stdout, "hi\n");
    assert!(ask("nslookup web.wide").stdout.contains(&address));
    assert_ne!(ask("nslookup nobody").code, 0);
    // A large packet fits between the machines, and each machine has a gateway of its own.
    assert_eq!(ask(&format!("ping -c 1 -w 5 -s 1400 {address}")).code, 0);
    assert!(ask("ip route").stdout.contains("default via 10.77.1.1"));
    let rm = ["network", "rm", "wide"];
    let refused = one.bld(&rm).run().expect_code(1);
    assert!(refused.stderr.contains("web"), "{refused}");
    for (machine, name) in machines.iter().zip(["web", "ask"]) {
        machine.bld(&["rm", "-f", name]).ok();
        machine.bld(&rm).ok();
        let links = Cmd::new("ip").args(["-n", &machine.name, "-o", "link"]).ok().stdout;
        assert!(!links.contains(": bld"), "{links}");
        let rules = Cmd::new("ip").args(["netns", "exec", &machine.name, "nft", "list", "ruleset"]);
        assert!(!rules.ok().stdout.contains("bld"));
    }
    let alone = ["network", "create", "-d", "overlay", "--opt", "peers=192.0.2.1", "alone"];
    let _ = env.bld(alone).run().expect_code(1).expect_text("--ip-range");
}

#[test]
fn hardware_addresses_are_chosen_and_addresses_left_out() {
    let env = env();
    let create =
        ["network", "create", "--subnet", "10.127.251.0/29", "--aux-address", "a=10.127.251.2"];
    env.bld(create)
        .args(["--aux-address", "b=10.127.251.3", "--gateway", "10.127.251.6", "tight"])
        .ok();
    let mac = "92:d0:c6:0a:29:33";
    let run = ["run", "-d", "--network", "tight", "--mac-address", mac, "--name"];
    env.bld(run).args(["one", "busybox", "sleep", "1000"]).ok();
    let place = &inspect(&env, "one")["NetworkSettings"]["Networks"]["tight"];
    assert_eq!(place["MacAddress"], mac);
    let shown = env.bld(["exec", "one", "cat", "/sys/class/net/eth0/address"]).ok();
    assert_eq!(shown.text(), mac);
    let run = ["run", "--rm", "--network", "tight", "busybox", "ip", "addr", "show", "eth0"];
    // Of the six addresses three are left, one of which is taken.
    for _ in 0..5 {
        let address = env.bld(run).ok().stdout;
        assert!(
            ["1/", "4/", "5/"].iter().any(|end| address.contains(&format!("10.127.251.{end}")))
        );
    }
    let run = ["run", "--rm", "--network", "tight", "--ip", "10.127.251.3", "busybox", "true"];
    let _ = env.bld(run).run().expect_code(125).expect_text("already in use");
    let run = ["run", "--rm", "--mac-address", "nonsense", "busybox", "true"];
    let _ = env.bld(run).run().expect_code(125).expect_text("invalid");
    env.bld(["rm", "-f", "one"]).ok();
    env.bld(["network", "rm", "tight"]).ok();
    env.assert_nothing_left();
}
