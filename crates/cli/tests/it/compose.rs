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
fn containers_are_reached_by_their_services() {
    const CONTROLLED: &str = r#"
services:
  web:
    build:
      context: .
      dockerfile_inline: |
        FROM busybox
        COPY web.env /copied
    command: sh -c 'trap "exit 3" TERM; while :; do sleep 0.05; done'
    depends_on: {db: {condition: service_started, restart: true}}
  db: {image: busybox, command: sleep 1000}
  extra: {image: busybox, command: sleep 1000, profiles: [more]}
"#;
    let env = env();
    env.write("app/other.yaml", CONTROLLED);
    env.write("app/web.env", "PLACE=home\n");
    env.write(
        "app/.env",
        "COMPOSE_FILE=other.yaml\nCOMPOSE_PROFILES=more\nCOMPOSE_PROJECT_NAME=demo\n",
    );
    let _ = compose(&env, &["up", "-d"]).expect_code(0);
    assert_eq!(compose(&env, &["ps", "--services"]).stdout, "db\nextra\nweb\n");
    let seen = env.bld(["inspect", "-f", "{{json .Config.Labels}}", "demo-web-1"]).ok().stdout;
    let labels: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(labels["com.docker.compose.depends_on"], "db:service_started:true");
    let image = env.bld(["inspect", "-f", "{{.Image}}", "demo-web-1"]).ok().stdout;
    assert_eq!(labels["com.docker.compose.image"], image.trim());
    assert!(labels["com.docker.compose.version"].as_str().is_some_and(|text| !text.is_empty()));

    let _ = compose(&env, &["cp", "web:/copied", "back"]).expect_code(0);
    assert_eq!(std::fs::read_to_string(env.path("app/back")).unwrap(), "PLACE=home\n");
    let _ = compose(&env, &["cp", "back", "db:/there"]).expect_code(0);
    assert_eq!(compose(&env, &["exec", "-T", "db", "cat", "/there"]).stdout, "PLACE=home\n");
    let _ = compose(&env, &["cp", "back", "nosuch:/there"]).expect_code(1);
    let paused = compose(&env, &["pause", "db"]).expect_code(0);
    assert!(paused.stderr.contains("Container demo-db-1  Paused"), "{paused}");
    assert_eq!(env.bld(["ps", "-q", "-f", "status=paused"]).ok().stdout.lines().count(), 1);
    let _ = compose(&env, &["unpause"]).expect_code(0);
    assert_eq!(env.bld(["ps", "-q", "-f", "status=running"]).ok().stdout.lines().count(), 3);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| compose(&env, &["wait", "web"]));
        let _ = compose(&env, &["stop", "web"]).expect_code(0);
        let waited = waiting.join().unwrap();
        assert!(waited.code == 3 || waited.code == 137, "{waited}");
        let said = format!("exited with status code {}", waited.code);
        assert!(waited.stdout.contains(&said), "{waited}");
    });
    let told = compose(&env, &["events", "--since", "1", "--until", "0s", "db"]).expect_code(0);
    let actions: Vec<_> = told.stdout.lines().map(|line| line.split(' ').nth(3).unwrap()).collect();
    let copied = ["create", "start", "extract-to-dir", "exec_create:", "exec_start:", "exec_die"];
    assert_eq!(actions, [&copied[..], &["pause", "unpause"]].concat());
    assert!(!told.stdout.contains("com.docker.compose"), "{told}");
    let json = compose(&env, &["events", "--json", "--since", "1", "--until", "0s"]).stdout;
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["service"], &first["action"]), (&"db".into(), &"create".into()), "{first}");
    let _ = compose(&env, &["down", "-t", "0", "--rmi", "local"]).expect_code(0);
    env.assert_nothing_left();
}

#[test]
fn who_is_asked_twice_does_not_wait_any_longer() {
    const DEAF: &str = "
services:
  web: {image: busybox, command: [sh, -c, \"trap '' TERM; echo deaf; while :; do sleep 0.05; done\"]}
";
    let env = app(DEAF);
    let file = env.path("app/compose.yaml").display().to_string();
    let mut up = env.terminal(&format!("compose -f {file} up -t 1000"));
    up.wait_for("deaf");
    up.type_in("\x03");
    up.wait_for("Gracefully stopping...");
    up.type_in("\x03");
    let (code, shown) = up.end();
    assert!(code == 130 && shown.contains("Killed"), "{code} {shown}");
    assert_eq!(env.bld(["ps", "-q"]).ok().stdout, "");
    let _ = compose(&env, &["down"]).expect_code(0);
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
    // What is in a file is underlined there, whichever of several it is.
    let pair = app("services:\n  web:\n    image: x\n");
    let over = "services:\n  web:\n    healthcheck:\n      test: [CMD, ok]\n      retries: many\n";
    pair.write("app/compose.override.yaml", over);
    let refused = compose(&pair, &["config"]).expect_code(1).stderr;
    assert!(
        refused.contains("services.web.healthcheck.retries: \"many\" is not a number"),
        "{refused}"
    );
    assert!(refused.contains("compose.override.yaml:5:16\n"), "{refused}");
    assert!(refused.contains("5 |       retries: many\n  |                ^^^^"), "{refused}");
    let env = env();
    let nothing = env.bld(["compose", "ps"]).cwd(env.path(".")).run().expect_code(1);
    assert!(nothing.stderr.contains("no configuration file provided"), "{nothing}");
}

#[test]
fn secrets_and_configs_need_no_file() {
    const APART: &str = "
name: demo
services:
  web:
    image: busybox
    command: sleep 1000
    secrets: [token, {source: token, target: /etc/token, uid: '1', gid: '2', mode: 0400}]
    configs: [{source: page, target: /www/deep/index.html}]
secrets: {token: {environment: TOKEN}}
configs: {page: {content: 'for ${WHO}'}}
";
    let env = app(APART);
    let with = |token: &str, who: &str, words: &[&str]| {
        let command = env.bld(["compose"]).args(words).env("TOKEN", token).env("WHO", who);
        command.cwd(env.path("app")).run()
    };
    let unset = compose(&env, &["up", "-d"]).expect_code(1).stderr;
    assert!(
        unset.contains("environment variable \"TOKEN\" required by secret \"token\" is not set")
    );
    let _ = with("s3cret", "you", &["up", "-d"]).expect_code(0);
    let look = "cat /run/secrets/token /www/deep/index.html; stat -c ' %u %g %a' /run/secrets/token \
                /etc/token";
    let seen = with("", "", &["exec", "-T", "web", "sh", "-c", look]).expect_code(0).stdout;
    assert_eq!(seen, "s3cretfor you 0 0 444\n 1 2 400\n");
    let shown = with("s3cret", "you", &["config"]).stdout
        + &env.bld(["inspect", "demo-web-1"]).run().stdout;
    assert!(shown.contains("environment: TOKEN") && !shown.contains("s3cret"), "{shown}");
    // Another page makes another container.
    let changed = with("s3cret", "all", &["up", "-d"]).expect_code(0).stderr;
    assert!(changed.contains("Recreated"), "{changed}");
    let _ = with("s3cret", "all", &["down", "-t", "0"]).expect_code(0);
    env.assert_nothing_left();
}

#[test]
fn files_that_change_are_brought_to_containers() {
    const WATCHED: &str = r#"
services:
  web:
    build:
      context: ./web
      dockerfile_inline: |
        FROM busybox
        COPY . /app
    command: sh -c 'cat /proc/uptime > /started; exec httpd -f -p 8000 -h /app'
    stop_signal: SIGKILL
    develop:
      watch:
        - {action: sync, path: ./web/src, target: /app/src, ignore: ["*.log"]}
        - {action: sync+restart, path: ./web/settings, target: /app/settings}
        - {action: rebuild, path: ./web/packages}
        - {action: sync+exec, path: ./web/ran, target: /app/ran, exec: {command: cp /app/ran /app/copied}}
"#;
    let env = env();
    env.write("app/compose.yaml", WATCHED);
    for (file, text) in
        [("src/a", "one"), ("src/gone", ""), ("settings", "1"), ("packages", "p1"), ("ran", "x")]
    {
        env.write(&format!("app/web/{file}"), text);
    }
    env.write("app/none.yaml", "services: {web: {image: busybox}}");
    let none = compose(&env, &["-f", "none.yaml", "watch"]).expect_code(1).stderr;
    assert!(none.contains("none of the selected services is configured for watch"), "{none}");

    let file = env.path("app/compose.yaml").display().to_string();
    let mut watch = env.terminal(&format!("compose -f {file} watch --quiet"));
    watch.wait_for("Watch enabled");
    let inside = |command: &str| {
        let output = compose(&env, &["exec", "-T", "web", "sh", "-c", command]);
        (output.code == 0).then_some(output.stdout)
    };
    let becomes = |command: &str, wanted: &str| {
        for _ in 0..200 {
            if inside(command).as_deref() == Some(wanted) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{command}: {:?}, not {wanted:?}", inside(command));
    };
    let started = inside("cat /started").unwrap();
    env.write("app/web/src/a", "two");
    env.write("app/web/src/deep/b", "new");
    env.write("app/web/src/noise.log", "");
    std::fs::remove_file(env.path("app/web/src/gone")).unwrap();
    becomes("cat /app/src/a /app/src/deep/b; ls /app/src", "twonewa\ndeep\n");
    env.write("app/web/ran", "y");
    becomes("cat /app/copied", "y");
    assert_eq!(inside("cat /started").unwrap(), started);
    env.write("app/web/settings", "2");
    watch.wait_for("Restarted");
    becomes("cat /app/settings", "2");
    assert_ne!(inside("cat /started").unwrap(), started);
    env.write("app/web/packages", "p2");
    watch.wait_for("successfully built");
    becomes("cat /app/packages", "p2");
    watch.type_in("\x03");
    let _ = watch.end();
    let _ = compose(&env, &["down", "--rmi", "local"]).expect_code(0);
    assert_eq!(env.bld(["images", "-q"]).ok().stdout.lines().count(), 1);
    env.assert_nothing_left();
}

#[test]
fn what_a_command_line_can_say_a_service_can_say() {
    const SHARING: &str = r#"
services:
  base:
    image: busybox
    container_name: the-base
    command: sh -c 'echo shared > /data/file; exec sleep 1000'
    stop_signal: SIGKILL
    volumes: [/data]
    annotations: {org.example.note: kept}
    domainname: example.org
    group_add: [bin, 4000]
    label_file: ./labels
    cpu_period: 50ms
    cpu_quota: 25000
    cpuset: "0"
    mem_limit: 64m
    memswap_limit: 80m
    uts: ""
    userns_mode: host
    blkio_config:
      device_read_bps: [{path: /dev/zero, rate: 1mb}]
  near:
    image: busybox
    command: sleep 1000
    stop_signal: SIGKILL
    network_mode: "service:base"
    volumes_from: ["base:ro"]
    ipc: host
    pid: host
"#;
    let env = env();
    env.write(
        "app/compose.yaml",
        SHARING.replace(
            "    blkio_config:\n      device_read_bps: [{path: /dev/zero, rate: 1mb}]\n",
            "",
        ),
    );
    env.write("app/labels", "from=file\n");
    let up = compose(&env, &["up", "-d"]).expect_code(0);
    assert!(!up.stderr.contains("has no effect"), "{up}");
    let seen = |name: &str, path: &str| {
        let format = format!("{{{{{path}}}}}");
        env.bld(["inspect", "-f", &format, name]).ok().text().to_owned()
    };
    let host = |path: &str| seen("the-base", &format!(".HostConfig.{path}"));
    assert_eq!(host("Annotations"), "map[org.example.note:kept]");
    assert_eq!(host("GroupAdd"), "[bin 4000]");
    assert_eq!(host("CpuPeriod") + " " + &host("CpuQuota"), "50000 25000");
    assert_eq!(host("CpusetCpus"), "0");
    assert_eq!(host("MemorySwap"), (80 << 20).to_string());
    assert_eq!(seen("the-base", ".Config.Domainname"), "example.org");
    assert_eq!(seen("the-base", "index .Config.Labels \"from\""), "file");

    let inside = |command: &str| compose(&env, &["exec", "-T", "near", "sh", "-c", command]);
    assert_eq!(inside("cat /data/file").stdout, "shared\n");
    assert_ne!(inside("touch /data/other").code, 0, "it is read-only");
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap();
    assert_eq!(inside("readlink /proc/self/ns/pid").stdout.trim(), own.to_str().unwrap());
    // Who shares something comes after those whose it is.
    let order = compose(&env, &["config"]).expect_code(0).stdout;
    assert!(order.contains("depends_on"), "{order}");
    let _ = compose(&env, &["down", "-v", "-t", "0"]).expect_code(0);

    // A device that is none of blocks is told by its name: the key has arrived.
    env.write("app/compose.yaml", SHARING);
    let refused = compose(&env, &["up", "-d"]);
    assert!(refused.code != 0 && refused.stderr.contains("/dev/zero"), "{refused}");
    let _ = compose(&env, &["down", "-v", "-t", "0"]).expect_code(0);
    env.assert_nothing_left();
}

#[test]
fn files_are_watched_while_logs_are_shown() {
    const WATCHED: &str = r"
services:
  web:
    build:
      context: ./web
      dockerfile_inline: |
        FROM busybox
        COPY . /app
    command: sh -c 'cat /app/text; exec sleep 1000'
    stop_signal: SIGKILL
    develop: {watch: [{action: rebuild, path: ./web}]}
";
    let env = env();
    env.write("app/compose.yaml", WATCHED);
    env.write("app/web/text", "first\n");
    let file = env.path("app/compose.yaml").display().to_string();
    let refused = compose(&env, &["up", "--watch", "-d"]);
    assert!(refused.code != 0 && refused.stderr.contains("--watch"), "{refused}");
    let mut up = env.terminal(&format!("compose -f {file} up --watch"));
    up.wait_for("first");
    for _ in 0..200 {
        if up.shown().contains("Watch enabled") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    env.write("app/web/text", "second\n");
    up.wait_for("successfully built");
    up.wait_for("second");
    up.type_in("\x03");
    up.wait_for("Stopped");
    let (code, _) = up.end();
    assert_eq!(code, 130);
    let _ = compose(&env, &["down", "--rmi", "local"]).expect_code(0);
    env.assert_nothing_left();
}
