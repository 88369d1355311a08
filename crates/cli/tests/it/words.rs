//! Words that scripts know from docker: help, usage errors, tables.

use bld_testkit::{Cmd, TestEnv};

use crate::env;

/// Runs the program without a store.
fn bld(words: &str) -> bld_testkit::Output {
    Cmd::new(crate::BLD).args(words.split_whitespace()).run()
}

#[test]
fn help_has_dockers_layout() {
    insta::assert_snapshot!(bld("stop --help").stdout, @r"
    Usage:  bld stop [OPTIONS] CONTAINER [CONTAINER...]

    Stop one or more running containers

    Options:
      -s, --signal string   Signal to send to the container
      -t, --time int        Seconds to wait before killing the container
    ");
    insta::assert_snapshot!(bld("volume").stdout, @r"
    Usage:  bld volume COMMAND

    Manage volumes

    Commands:
      create    Create a volume
      inspect   Display detailed information on one or more volumes
      ls        List volumes
      prune     Remove unused local volumes
      rm        Remove one or more volumes

    Run 'bld volume COMMAND --help' for more information on a command.
    ");
    let first = |words: &str| bld(words).stdout.lines().next().unwrap_or_default().to_owned();
    for (words, usage) in [
        ("run --help", "Usage:  bld run [OPTIONS] IMAGE [COMMAND] [ARG...]"),
        (
            "container create --help",
            "Usage:  bld container create [OPTIONS] IMAGE [COMMAND] [ARG...]",
        ),
        ("images --help", "Usage:  bld images [OPTIONS] [REPOSITORY[:TAG]]"),
        ("tag --help", "Usage:  bld tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]"),
        ("build --help", "Usage:  bld build [OPTIONS] PATH | URL | -"),
        ("image ls --help", "Usage:  bld image ls [OPTIONS] [REPOSITORY[:TAG]]"),
        ("", "Usage:  bld [OPTIONS] COMMAND"),
    ] {
        assert_eq!(first(words), usage);
    }
}

#[test]
fn usage_errors_are_worded_as_docker_does() {
    for (words, text, code) in [
        ("run", "'bld run' requires at least 1 argument", 1),
        ("run --nosuch x", "unknown flag: --nosuch", 125),
        ("ps --nosuch", "unknown flag: --nosuch", 125),
        ("stop", "'bld stop' requires at least 1 argument", 1),
        ("container stop", "Usage:  bld container stop [OPTIONS] CONTAINER [CONTAINER...]", 1),
        ("tag a", "'bld tag' requires 2 arguments", 1),
        ("version x", "'bld version' accepts no arguments", 1),
        ("images a b", "'bld images' requires at most 1 argument", 1),
        (
            "run --memory lots x",
            "invalid argument \"lots\" for \"-m, --memory\" flag: invalid size: 'lots'",
            125,
        ),
        ("run --name", "flag needs an argument: --name", 125),
        ("nosuch", "unknown command: bld nosuch", 1),
        ("image nosuch", "unknown command: bld image nosuch", 1),
        ("build --progress nosuch .", "must be one of", 125),
        ("build --progress plian .", "(did you mean plain?)", 125),
    ] {
        let seen = bld(words);
        assert_eq!(seen.code, code, "{words}: {seen}");
        assert!(seen.stderr.contains(text), "{words}: {seen}");
        assert_eq!(seen.stdout, "", "{words}");
    }
}

#[test]
fn lists_have_dockers_columns() {
    let env = env();
    env.bld([
        "create",
        "--name",
        "one",
        "-l",
        "role=web",
        "busybox",
        "echo",
        "a long command that does not fit",
    ])
    .ok();
    let table = env.bld(["ps", "-a"]).ok().stdout;
    let heading = table.lines().next().unwrap_or_default();
    assert_eq!(
        heading.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect::<Vec<_>>(),
        ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    );
    let format = |words: &[&str], format: &str| {
        env.bld(words).args(["--format", format]).ok().text().to_owned()
    };
    assert_eq!(
        format(&["ps", "-a"], "{{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Label \"role\"}}"),
        "one busybox \"echo 'a long comman…\" created web"
    );
    assert_eq!(
        format(&["ps", "-a"], "table {{.Names}}\\t{{.Status}}"),
        "NAMES     STATUS\none       Created"
    );
    assert_eq!(
        format(&["images"], "{{.Repository}}:{{.Tag}} {{.Size | lower}}").split(' ').next(),
        Some("busybox:latest")
    );
    assert_eq!(
        format(&["image", "inspect", "busybox"], "{{json .Config.Cmd}} {{len .RootFS.Layers}}"),
        "[\"sh\"] 1"
    );
    assert_eq!(
        format(&["inspect", "one"], "{{.Name}} {{index .Config.Labels \"role\"}}"),
        "/one web"
    );
    let json = env.bld(["ps", "-a", "--format", "json"]).ok().stdout;
    let row: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(row["Labels"], "role=web");
    let unread = "template parsing error";
    for (words, text, code) in [
        (&["ps", "--filter", "nosuch=1"][..], "invalid filter", 1),
        (&["ps", "-a", "--format", "{{.Nosuch}}"], "map has no entry for key", 1),
        (&["ps", "-a", "--format", "{{.Names"], unread, 1),
        (&["images", "--format", "{{.Nosuch}}"], "map has no entry for key", 1),
        (&["volume", "ls", "--format", "{{"], unread, 1),
        (&["version", "--format", "{{.Nosuch}}"], "map has no entry for key", 1),
        (&["version", "--format", "{{"], unread, 64),
        (&["info", "--format", "{{"], unread, 64),
        (&["inspect", "--format", "{{", "one"], unread, 64),
        (&["events", "--until", "1", "--format", "{{"], unread, 64),
    ] {
        let seen = env.bld(words).run().expect_code(code);
        assert!(seen.stderr.contains(text), "{words:?}: {seen}");
    }
}

#[test]
fn what_is_missing_is_named_and_the_rest_is_done() {
    let env = env();
    env.bld(["create", "--name", "one", "busybox"]).ok();
    let both = env.bld(["rm", "nosuch", "one"]).run();
    assert_eq!((both.code, both.stdout.as_str()), (1, "one\n"));
    assert!(both.stderr.contains("No such container: nosuch"), "{both}");
    let inspected = env.bld(["inspect", "nosuch"]).run();
    assert_eq!((inspected.code, inspected.stdout.as_str()), (1, "[]\n"));
    assert!(inspected.stderr.contains("No such object: nosuch"), "{inspected}");
    let image = env.bld(["image", "inspect", "nosuch"]).run();
    assert!(image.code == 1 && image.stderr.contains("No such image: nosuch"), "{image}");
    let forced = env.bld(["rmi", "-f", "nosuch"]).run();
    assert_eq!((forced.code, forced.stdout.as_str()), (0, ""));
}

#[test]
fn a_build_hands_over_what_was_asked_for() {
    let env = env();
    env.write("ctx/Dockerfile", "FROM busybox\nARG WHO\nRUN --mount=type=secret,id=s cat /run/secrets/s > /s; echo $WHO >> /s\nMAINTAINER me\n");
    env.write("secret", "hidden");
    let (ids, metadata) = (env.path("ids"), env.path("metadata"));
    let secret = format!("id=s,src={}", env.path("secret").display());
    let built = env
        .bld(["build", "-q", "-t", "app:1", "--secret", &secret, "--build-arg", "WHO"])
        .arg("--iidfile")
        .arg(&ids)
        .arg("--metadata-file")
        .arg(&metadata)
        .arg(env.path("ctx"))
        .env("WHO", "me")
        .ok();
    let id = built.text().to_owned();
    assert!(id.starts_with("sha256:") && built.stderr.is_empty(), "{built}");
    assert_eq!(std::fs::read_to_string(ids).unwrap(), id);
    let metadata: serde_json::Value =
        serde_json::from_slice(&std::fs::read(metadata).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.config.digest"], id.as_str());
    assert_eq!(metadata["image.name"], "docker.io/library/app:1");
    assert_eq!(env.bld(["run", "--rm", "app:1", "cat", "/s"]).ok().stdout, "hiddenme\n");

    let graph = env.bld(["build", "--print", "graph"]).arg(env.path("ctx")).ok();
    assert!(graph.stdout.contains("FROM docker.io/library/busybox"), "{graph}");
    let checked = env.bld(["build", "--check"]).arg(env.path("ctx")).run();
    assert!(checked.code == 1 && checked.stdout.contains("MaintainerDeprecated"), "{checked}");
    let raw = env.bld(["build", "--progress", "rawjson"]).arg(env.path("ctx")).ok();
    assert!(
        raw.stderr.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{raw}"
    );
    let noted =
        env.bld(["build", "-q", "--compress", "--builder", "other"]).arg(env.path("ctx")).ok();
    assert_eq!(noted.stderr.lines().count(), 2, "{noted}");
    assert!(noted.stderr.contains("note: --compress has no effect"), "{noted}");
}

#[test]
fn mistakes_on_the_build_line_are_named() {
    let env = TestEnv::new(crate::BLD);
    env.write("ctx/Dockerfile", "FROM scratch\n");
    for (words, text) in [
        (&["-o", "type=nosuch"][..], "unknown type \"nosuch\""),
        (&["--secret", "src=x"], "id is required"),
        (&["--secret", "id=x,src=/nosuch"], "read /nosuch"),
        (&["--network", "nosuch"], "network mode \"nosuch\""),
        (&["--platform", "linux/amd64/v1/x"], "linux/amd64/v1/x"),
        (&["-f", "/nosuch"], "nosuch"),
        (&["--call", "otline"], "did you mean outline?"),
        (&["--print", "nosuch"], "cannot print"),
        (&["-t", "Bad Name"], "Bad Name"),
        (&["--target", "nosuch"], "nosuch"),
    ] {
        let seen = env.bld(["build"]).args(words).arg(env.path("ctx")).run();
        assert!(seen.code != 0 && seen.stderr.contains(text), "{words:?}: {seen}");
        assert!(
            seen.stderr
                .lines()
                .filter(|line| line.starts_with("ERROR: ") || line.starts_with("Error: "))
                .count()
                == 1,
            "{words:?}: {seen}"
        );
    }
}
