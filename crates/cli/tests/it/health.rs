//! Health checks.

use std::time::{Duration, Instant};

use bld_testkit::TestEnv;
use serde_json::Value;

use crate::env;

fn state(env: &TestEnv, name: &str) -> Value {
    let seen: Value = serde_json::from_str(&env.bld(["inspect", name]).ok().stdout).unwrap();
    seen[0]["State"].clone()
}

fn until(env: &TestEnv, name: &str, status: &str) -> Value {
    let begun = Instant::now();
    loop {
        let health = state(env, name)["Health"].clone();
        if health["Status"] == status {
            return health;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{health} never becomes {status}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_container_is_well_or_not() {
    let env = env();
    let dockerfile = "FROM busybox\nENV WHERE=/ok\nHEALTHCHECK --interval=100ms --retries=2 \
                      CMD echo looked at $WHERE; test -e $WHERE\nCMD sleep 1000\n";
    let _ = env.build("checked", dockerfile, []).expect_code(0);
    env.bld(["run", "-d", "--name", "web", "checked"]).ok();
    let health = until(&env, "web", "unhealthy");
    assert!(health["FailingStreak"].as_u64() >= Some(2), "{health}");
    assert_eq!(health["Log"][0]["ExitCode"], 1);
    assert_eq!(health["Log"][0]["Output"], "looked at /ok\n");
    let column = |filter: &str| {
        env.bld(["ps", "--filter", filter, "--format", "{{.Names}} {{.Status}}"]).ok().stdout
    };
    assert!(column("health=unhealthy").trim_end().ends_with("(unhealthy)"));
    env.bld(["exec", "web", "touch", "/ok"]).ok();
    let health = until(&env, "web", "healthy");
    assert_eq!(health["FailingStreak"], 0);
    assert!(column("health=healthy").trim_end().ends_with("(healthy)"));
    assert_eq!(column("health=none"), "");
    env.bld(["stop", "-t", "0", "web"]).ok();
    assert_eq!(state(&env, "web")["Health"]["Status"], "unhealthy");
    env.bld(["start", "web"]).ok();
    until(&env, "web", "healthy");
    env.bld(["rm", "-f", "web"]).ok();

    // What the command line says counts more than what the image says.
    env.bld(["run", "-d", "--name", "own", "--health-cmd", "true", "checked"]).ok();
    until(&env, "own", "healthy");
    env.bld(["run", "-d", "--name", "none", "--no-healthcheck", "checked"]).ok();
    assert_eq!(state(&env, "none")["Health"], Value::Null);
    assert!(column("health=none").starts_with("none Up "));
    let refused = ["run", "--no-healthcheck", "--health-cmd", "true", "checked"];
    let refused = env.bld(refused).run().expect_code(125);
    assert!(refused.stderr.contains("--no-healthcheck conflicts with"), "{refused}");
    env.bld(["rm", "-f", "own", "none"]).ok();
    env.assert_nothing_left();
}

#[test]
fn a_check_that_hangs_is_ended_and_one_while_starting_does_not_count() {
    let env = env();
    let run = |name: &str, flags: &[&str], check: &str| {
        let run =
            ["run", "-d", "--name", name, "--health-interval", "100ms", "--health-retries", "1"];
        env.bld(run).args(flags).args(["--health-cmd", check, "busybox", "sleep", "1000"]).ok();
    };
    run("hangs", &["--health-timeout", "200ms"], "sleep 1001");
    let health = until(&env, "hangs", "unhealthy");
    assert_eq!(health["Log"][0]["ExitCode"], -1);
    let output = health["Log"][0]["Output"].as_str().unwrap();
    assert!(output.contains("Health check exceeded timeout (200ms)"), "{health}");
    env.bld(["stop", "-t", "0", "hangs"]).ok();

    let flags = ["--health-start-period", "1000s", "--health-start-interval", "50ms"];
    run("starts", &flags, "test -e /ready");
    let begun = Instant::now();
    while state(&env, "starts")["Health"]["Log"].as_array().is_none_or(|log| log.len() < 5) {
        assert!(begun.elapsed() < Duration::from_secs(20), "no checks are made");
    }
    let health = state(&env, "starts")["Health"].clone();
    assert_eq!((&health["Status"], &health["FailingStreak"]), (&"starting".into(), &0.into()));
    let status = env.bld(["ps", "--format", "{{.Status}}"]).ok().stdout;
    assert!(status.trim_end().ends_with("(health: starting)"), "{status}");
    env.bld(["exec", "starts", "touch", "/ready"]).ok();
    until(&env, "starts", "healthy");
    env.bld(["rm", "-f", "hangs", "starts"]).ok();
    env.assert_nothing_left();
}
