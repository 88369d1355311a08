//! `bld compose`.

use bld_testkit::{Output, TestEnv};
use serde_json::Value;

use crate::env;

const FILE: &str = r#"
name: demo
x-common: &common
  labels: {tier: "${TIER:-front}"}
services:
  web:
    <<: *common
    build: {context: ./web, args: {GREETING: hello}}
    command: httpd -f -p 8000 -h /www
    volumes: [/nameless]
    ports: ["127.0.0.1::8000"]
    depends_on:
      db: {condition: service_healthy}
      init: {condition: service_completed_successfully}
    env_file: web.env
  db:
    image: busybox
    command: ["sh", "-c", "touch /data/ready; echo up; exec sleep 1000"]
    volumes: ["data:/data", {type: bind, source: ./shared, target: /shared, read_only: true}]
    networks: {back: {aliases: [database]}, default: }
    logging: {driver: local, options: {max-size: 5m, max-file: 2}}
    healthcheck: {test: ["CMD", "test", "-e", "/data/ready"], interval: 100ms}
  init:
    image: busybox
    command: sh -c 'echo "initialised $$HOSTNAME"'
  extra:
    image: busybox
    profiles: [more]
    command: sleep 1000
volumes: {data: }
networks: {back: {internal: true}}
"#;

fn compose(env: &TestEnv, words: &[&str]) -> Output {
    env.bld(["compose"]).args(words).cwd(env.path("app")).run()
}

fn app(file: &str) -> TestEnv {
    let env = env();
    env.write("app/compose.yaml", file);
    env.write("app/web.env", "PLACE=home\n");
    env.write("app/shared/note", "from the host");
    env.write(
        "app/web/Dockerfile",
        "FROM busybox\nARG GREETING\nRUN mkdir /www && echo $GREETING > /www/index.html\n",
    );
    env
}

#[test]
fn a_project_comes_up_changes_and_goes_without_a_trace() {
    let env = app(FILE);
    let _ = compose(&env, &["up", "-d", "--wait"]).expect_code(0);
    let log = env.bld(["inspect", "-f", "{{json .HostConfig.LogConfig}}", "demo-db-1"]).ok().stdout;
    assert_eq!(log.trim(), r#"{"Config":{"max-file":"2","max-size":"5m"},"Type":"local"}"#);
    let rows = compose(&env, &["ps", "-a", "--format", "{{.Name}} {{.Service}} {{.State}}"]);
    assert_eq!(
        rows.stdout,
        "demo-db-1 db running\ndemo-init-1 init exited\ndemo-web-1 web running\n"
    );
    assert!(compose(&env, &["ps"]).stdout.starts_with("NAME         IMAGE"));
    let seen: Value =
        serde_json::from_str(&env.bld(["inspect", "demo-web-1"]).ok().stdout).unwrap();
    let labels = &seen[0]["Config"]["Labels"];
    assert_eq!(labels["com.docker.compose.project"], "demo");
    assert_eq!(labels["com.docker.compose.service"], "web");
    assert_eq!(labels["tier"], "front");
    assert!(seen[0]["NetworkSettings"]["Networks"]["demo_default"].is_object());
    let exec = compose(&env, &["exec", "-T", "web", "sh", "-c", "echo $PLACE; ping -c 1 -w 5 db"]);
    assert!(exec.stdout.starts_with("home\n") && exec.stdout.contains("1 packets received"));
    let logs = compose(&env, &["logs", "init", "db"]).stdout;
    assert!(logs.contains("init-1  | initialised ") && logs.contains("db-1    | up"), "{logs}");
    let port = compose(&env, &["port", "web", "8000"]).expect_code(0);
    assert!(port.stdout.starts_with("127.0.0.1:"), "{port}");
    let one = compose(&env, &["run", "--rm", "-T", "--no-deps", "web", "cat", "/www/index.html"]);
    assert_eq!(one.stdout, "hello\n", "{one}");
    let shared = compose(&env, &["exec", "-T", "db", "cat", "/shared/note"]);
    assert_eq!(shared.stdout, "from the host");

    let touch = ["exec", "-T", "web", "touch", "/nameless/kept"];
    let _ = compose(&env, &touch).expect_code(0);

    // What is as the file says stays; what is not is made anew.
    let again = compose(&env, &["up", "-d"]).expect_code(0).stderr;
    assert!(again.contains("demo-web-1  Running") && !again.contains("Recreated"), "{again}");
    let changed = env.bld(["compose", "up", "-d", "--scale", "db=2"]).env("TIER", "back");
    let changed = changed.cwd(env.path("app")).run().expect_code(0).stderr;
    assert!(changed.contains("demo-web-1  Recreated"), "{changed}");
    assert!(changed.contains("demo-db-2  Started"), "{changed}");
    let _ = compose(&env, &["exec", "-T", "web", "ls", "/nameless/kept"]).expect_code(0);
    let _ = compose(&env, &["restart", "-t", "0", "db"]).expect_code(0);
    let _ = compose(&env, &["stop", "-t", "0", "web"]).expect_code(0);
    assert_eq!(compose(&env, &["ps", "--services"]).stdout, "db\n");
    let _ = compose(&env, &["start", "web"]).expect_code(0);

    let _ = compose(&env, &["down", "-t", "0", "-v", "--rmi", "local"]).expect_code(0);
    assert_eq!(env.bld(["ps", "-aq"]).ok().stdout, "");
    assert_eq!(env.bld(["volume", "ls", "-q"]).ok().stdout, "");
    assert_eq!(env.bld(["network", "ls", "-q", "-f", "type=custom"]).ok().stdout, "");
    env.assert_nothing_left();
}

#[test]
fn a_file_is_shown_as_it_is_understood() {
    let env = app(FILE);
    env.write("app/compose.override.yaml", "services:\n  web:\n    environment: {A: '1'}\n");
    let shown = compose(&env, &["config", "--format", "json"]).expect_code(0);
    let project: Value = serde_json::from_str(&shown.stdout).unwrap();
    let web = &project["services"]["web"];
    assert_eq!(web["environment"], serde_json::json!({"A": "1", "PLACE": "home"}));
    assert_eq!(web["ports"][0]["target"], "8000");
    assert_eq!(project["services"]["extra"], Value::Null);
    assert_eq!(project["volumes"]["data"]["name"], "demo_data");
    assert_eq!(compose(&env, &["config", "--services"]).stdout, "db\ninit\nweb\n");
    let more = compose(&env, &["--profile", "more", "config", "--services"]).stdout;
    assert!(more.contains("extra\n"), "{more}");
    assert!(compose(&env, &["config"]).stdout.starts_with("name: demo\nservices:\n"));
}

#[test]
fn what_is_wrong_with_a_file_is_said_where_it_is() {
    for (file, said) in [
        ("services: {web: {imagee: x}}", "services.web: unknown field `imagee`"),
        ("services: {web: {}}", "has neither an image nor a build context specified"),
        ("services: {web: {image: x, depends_on: [db]}}", "depends on undefined service \"db\""),
        ("services: {web: {image: x, networks: [n]}}", "refers to undefined network n"),
        ("services: {web: {image: x, volumes: ['v:/v']}}", "refers to undefined volume v"),
        ("services: {web: {image: '${X:?say which}'}}", "variable X is missing a value: say which"),
        (
            "services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}",
            "dependency cycle detected: a -> b -> a",
        ),
        ("services:\n  web: [\n", "compose.yaml"),
        ("servces: {}", "additional properties not allowed"),
    ] {
        let env = app(file);
        let refused = compose(&env, &["config"]).expect_code(1);
        assert!(refused.stderr.contains(said), "{file}: {refused}");
    }
    let env = env();
    let nothing = env.bld(["compose", "ps"]).cwd(env.path(".")).run().expect_code(1);
    assert!(nothing.stderr.contains("no configuration file provided"), "{nothing}");
}
