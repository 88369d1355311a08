//! The example of five services (examples/shop): with bld, and with docker-compose from Debian.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bld_testkit::{Cmd, Docker, Output, TestEnv};
use serde_json::Value;

use crate::env;
use crate::interop::debian_layer;

const SERVICES: [&str; 5] = ["api", "postgres", "redis", "web", "worker"];

/// What belongs to one way of keeping projects: its version and hash, and what the second Compose
/// adds to the first.
const OWN: [&str; 4] = ["version", "config-hash", "image", "depends_on"];

fn shop() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop").canonicalize().unwrap()
}

fn free_port() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port().to_string()
}

/// `bld compose` in the example's directory.
fn compose(env: &TestEnv, port: &str, words: &[&str]) -> Output {
    let command = env.bld(["compose"]).args(words).cwd(shop());
    command
        .env("WEB_PORT", port)
        .env("BASE", "debian:1")
        .timeout(Duration::from_mins(10))
        .run()
        .expect_code(0)
}

/// What the shop answers, once it does.
fn ask(port: &str, path: &str, more: &[&str]) -> Value {
    let url = format!("http://127.0.0.1:{port}{path}");
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let mut wget = Cmd::new("wget");
        wget = wget.args(["-q", "-O", "-", "-T", "5", "-t", "1"]).args(more).arg(&url);
        let answer = wget.run();
        if answer.code == 0 {
            return serde_json::from_str(&answer.stdout).unwrap();
        }
        assert!(Instant::now() < end, "{answer}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Orders something, and waits until it is written down; by whom, of all that are.
fn order(port: &str, what: &str) -> BTreeSet<String> {
    ask(port, "/orders", &[&format!("--post-data={what}")]);
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let orders = ask(port, "/orders", &[]);
        let orders = orders.as_array().unwrap();
        if orders.iter().any(|order| order["what"] == what) {
            return orders.iter().map(|order| order["worker"].to_string()).collect();
        }
        assert!(Instant::now() < end, "{orders:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Names and labels of containers, networks and volumes, and who finds whom.
#[derive(Debug, PartialEq)]
struct Facts {
    labels: BTreeMap<String, BTreeMap<String, String>>,
    found: BTreeMap<String, String>,
    published: String,
}

fn facts(engine: impl Fn(&[&str]) -> Cmd) -> Facts {
    let lines = |words: &[&str]| -> Vec<String> {
        engine(words).ok().stdout.lines().map(str::to_owned).collect()
    };
    let mut labels = BTreeMap::new();
    let mut note = |kind: &str, name: String, text: &str| {
        let all: BTreeMap<String, String> = serde_json::from_str(text).unwrap();
        let kept = all.into_iter().filter_map(|(key, value)| {
            let short = key.strip_prefix("com.docker.compose.")?;
            // The first Compose has the path as it was given.
            let value = match short {
                "project.config_files" => value.rsplit('/').next().unwrap().to_owned(),
                _ => value,
            };
            (!OWN.contains(&short)).then_some((key, value))
        });
        labels.insert(format!("{kind} {name}"), kept.collect());
    };
    for name in lines(&["ps", "-a", "--format", "{{.Names}}"]) {
        let own = engine(&["inspect", "-f", "{{json .Config.Labels}}", &name]).ok();
        note("container", name, &own.stdout);
    }
    for (kind, list) in [("network", &["-f", "type=custom"][..]), ("volume", &[])] {
        for name in lines(&[&[kind, "ls", "--format", "{{.Name}}"], list].concat()) {
            let own = engine(&[kind, "inspect", "-f", "{{json .Labels}}", &name]).ok();
            note(kind, name, &own.stdout);
        }
    }
    let look = format!(
        "for n in {}; do timeout 3 getent hosts $n >/dev/null && echo $n; done; true",
        SERVICES.join(" ")
    );
    let found = SERVICES.map(|service| {
        let container = format!("shop_{service}_1");
        (service.to_owned(), engine(&["exec", &container, "sh", "-c", &look]).ok().stdout)
    });
    let published = engine(&["port", "shop_web_1"]).ok().stdout;
    Facts { labels, found: found.into(), published }
}

#[test]
fn the_shop_works_as_it_does_with_docker_compose() {
    let env = env();
    let port = free_port();
    env.bld(["import"]).arg(debian_layer()).arg("debian:1").ok();
    let bld = |words: &[&str]| compose(&env, &port, words);

    let _ = bld(&["up", "-d", "--wait"]);
    let healthy = bld(&["ps", "--format", "{{.Service}} {{.Health}}"]).stdout;
    assert_eq!(healthy.lines().collect::<Vec<_>>(), SERVICES.map(|name| format!("{name} healthy")));
    assert_eq!(order(&port, "tea").len(), 1);
    let _ = bld(&["restart"]);
    assert!(!order(&port, "coffee").is_empty());
    let _ = bld(&["up", "-d", "--wait", "--scale", "worker=3"]);
    let scaled = bld(&["ps", "--format", "{{.Name}}", "worker"]).stdout;
    assert_eq!(scaled, "shop-worker-1\nshop-worker-2\nshop-worker-3\n");
    // Waiting ones are served in turn.
    let workers = ["a", "b", "c", "d"].map(|what| order(&port, what));
    assert!(workers[3].len() >= 3, "{workers:?}");
    let _ = bld(&["down", "-v"]);
    for words in
        [&["ps", "-aq"][..], &["volume", "ls", "-q"], &["network", "ls", "-qf", "type=custom"]]
    {
        assert_eq!(env.bld(words).ok().stdout, "", "{words:?}");
    }
    env.assert_nothing_left();

    // By the names that the first Compose gives, because that is what Debian has.
    let _ = bld(&["--compatibility", "up", "-d", "--wait"]);
    assert!(!order(&port, "tea").is_empty());
    let ours = facts(|words| env.bld(words));
    let archive = env.path("shop.tar");
    let images = SERVICES.map(|name| format!("shop_{name}"));
    env.bld(["save", "-o"]).arg(&archive).args(&images).ok();
    let _ = bld(&["--compatibility", "down", "-v", "--rmi", "local"]);
    env.assert_nothing_left();

    let docker = Docker::start().unwrap();
    docker.client("docker").args(["load", "-i"]).arg(&archive).timeout(Duration::from_mins(5)).ok();
    let theirs = |words: &[&str]| {
        let command = docker.client("docker-compose").args(words).cwd(shop());
        command.env("WEB_PORT", &port).env("BASE", "debian:1").timeout(Duration::from_mins(5)).ok()
    };
    theirs(&["up", "-d", "--no-build"]);
    assert!(!order(&port, "tea").is_empty());
    let expected = facts(|words| docker.client("docker").args(words));
    theirs(&["down", "-v"]);
    assert_eq!(ours, expected);
    assert_eq!(ours.labels.len(), 5 + 2 + 1, "{ours:?}");
}
