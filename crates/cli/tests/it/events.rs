//! `bld events`: what happens to containers, images, networks and volumes, told across processes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bld_testkit::TestEnv;
use serde_json::Value;

use crate::env;

const SHORT: &str = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}";

/// All that has happened, by these arguments.
fn past(env: &TestEnv, arguments: &[&str]) -> Vec<String> {
    let command = env.bld(["events", "--since", "1", "--until", "0s"]);
    command.args(arguments.iter().copied()).ok().stdout.lines().map(str::to_owned).collect()
}

#[test]
fn the_life_of_a_container_is_told_in_dockers_words() {
    let env = env();
    let run =
        ["run", "-d", "--name", "web", "--label", "tier=front", "-v", "data:/data", "busybox"];
    let id = env.bld(run).args(["sleep", "1000"]).ok().text().to_owned();
    env.bld(["pause", "web"]).ok();
    env.bld(["unpause", "web"]).ok();
    env.bld(["exec", "web", "sh", "-c", "exit 0"]).ok();
    env.bld(["restart", "-t", "0", "web"]).ok();
    env.bld(["rename", "web", "site"]).ok();
    env.bld(["rm", "-f", "site"]).ok();
    env.bld(["volume", "rm", "data"]).ok();
    let told = past(&env, &["--filter", "type=container", "--format", SHORT]);
    let expected = [
        "create web",
        "start web",
        "pause web",
        "unpause web",
        "exec_create: sh -c exit 0 web",
        "exec_start: sh -c exit 0 web",
        "exec_die web",
        "kill web",
        "kill web",
        "die web",
        "stop web",
        "start web",
        "restart web",
        "rename site",
        "kill site",
        "die site",
        "destroy site",
    ];
    assert_eq!(told, expected.map(|line| format!("container {line}")));
    let others = ["--filter", "type=network", "--filter", "type=volume"];
    let told = past(&env, &[&others[..], &["--format", "{{.Type}} {{.Action}}"]].concat());
    let once = ["network connect", "volume mount"];
    let end = ["network disconnect", "volume unmount"];
    let expected = [&["volume create"][..], &once, &end, &once, &end, &["volume destroy"]].concat();
    assert_eq!(told, expected);

    let lines = past(&env, &["-f", "container=web", "-f", "event=die", "-f", "event=start"]);
    assert_eq!(lines.len(), 3, "{lines:?}");
    let (time, rest) = lines[0].split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(rest, format!("container start {id} (image=busybox, name=web, tier=front)"));
    let (_, die) = lines[1].split_once(" container die ").unwrap();
    assert!(die.contains("(execDuration=0, exitCode=137, image=busybox, name=web"), "{die}");
    let json = past(&env, &["-f", "event=rename", "-f", "label=tier=front", "--format", "json"]);
    let event: Value = serde_json::from_str(&json[0]).unwrap();
    assert_eq!(event["Actor"]["Attributes"]["oldName"], "/web");
    assert_eq!((&event["id"], &event["scope"]), (&Value::from(id), &Value::from("local")));
    assert!(past(&env, &["-f", "label=tier=back"]).is_empty());
    let wrong = env.bld(["events", "--filter", "nosuch=1"]).run().expect_code(1);
    let _ = wrong.expect_text("invalid filter 'nosuch'");
    env.assert_nothing_left();
}

#[test]
fn images_and_networks_are_told_of() {
    let env = env();
    env.bld(["tag", "busybox", "other:1"]).ok();
    env.bld(["save", "-o"]).arg(env.path("saved.tar")).arg("other:1").ok();
    env.bld(["rmi", "other:1"]).ok();
    let _ = env.build("made:1", "FROM busybox\nLABEL a=b\n", []).expect_code(0);
    env.bld(["rmi", "made:1"]).ok();
    env.bld(["network", "create", "back"]).ok();
    env.bld(["run", "-d", "--name", "web", "busybox", "sleep", "1000"]).ok();
    env.bld(["network", "connect", "back", "web"]).ok();
    env.bld(["network", "disconnect", "back", "web"]).ok();
    env.bld(["rm", "-f", "web"]).ok();
    env.bld(["network", "rm", "back"]).ok();
    let told = past(
        &env,
        &["--filter", "type=image", "--format", "{{.Action}} {{.Actor.Attributes.name}}"],
    );
    let told: Vec<_> = told.iter().map(|line| line.split("sha256:").next().unwrap()).collect();
    let expected = [
        "load busybox:latest",
        "tag other:1",
        "save other:1",
        "untag other:1",
        "tag made:1",
        "untag made:1",
        "delete ",
    ];
    assert_eq!(told, expected);
    let told = past(&env, &["--filter", "network=back", "--format", SHORT]);
    let expected = ["create", "connect", "disconnect", "destroy"];
    assert_eq!(told, expected.map(|action| format!("network {action} back")));
    env.assert_nothing_left();
}

#[test]
fn what_happens_elsewhere_is_seen_at_once() {
    let env = env();
    let arguments = ["events", "--format", SHORT, "--filter", "container=web"];
    let mut watching = env.terminal(&arguments.map(|word| format!("'{word}'")).join(" "));
    // Only what happens from then on is told: go on until it has begun.
    let begun = Instant::now();
    loop {
        env.bld(["run", "--rm", "--name", "web", "busybox", "true"]).ok();
        if watching.shown().contains("container destroy web") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{}", watching.shown());
    }
    watching.type_in("\x03");
    drop(watching.end());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let soon = (now + Duration::from_millis(700)).as_secs_f64().to_string();
    let seen = env.bld(["events", "--until", &soon, "--filter", "volume=none"]).ok();
    assert_eq!(seen.stdout, "");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(now.as_secs_f64() > soon.parse().unwrap(), "it ended too early");
    env.assert_nothing_left();
}
