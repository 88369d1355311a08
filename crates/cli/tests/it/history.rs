//! The builds that ran here: what is kept of them, and what is asked about them later.

use std::fs;

use bld_testkit::{Cmd, TestEnv};
use serde_json::Value;

use crate::env;

const DOCKERFILE: &str = "FROM busybox\nCOPY a.txt /\nARG V=1\nRUN echo out $V && echo err >&2\n";

fn built(env: &TestEnv, arguments: &[&str]) {
    let _ = env.build("h:1", DOCKERFILE, arguments.iter().copied()).expect_code(0);
}

/// The builds that `history ls` lists, the newest first.
fn listed(env: &TestEnv, arguments: &[&str]) -> Vec<Value> {
    let output =
        env.bld(["history", "ls", "--format", "json"]).args(arguments.iter().copied()).ok();
    output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn inspected(env: &TestEnv, reference: &str) -> Value {
    let output = env.bld(["history", "inspect", "--format", "json", reference]).ok();
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn every_build_is_remembered() {
    let env = env();
    env.write("ctx/a.txt", "a");
    built(&env, &["--build-arg", "V=2", "--label", "x=y"]);
    built(&env, &["--build-arg", "V=2"]);
    let failed = env.build("h:2", "FROM busybox\nRUN exit 3\n", []);
    assert_eq!(failed.code, 1, "{failed}");
    let refused = env.build("h:2", "FROM busybox\nNOSUCH\n", []);
    assert_eq!(refused.code, 1, "{refused}");

    let builds = listed(&env, &[]);
    let told = |build: &Value| {
        let number = |key: &str| build[key].as_u64().unwrap();
        let steps = (number("total_steps"), number("completed_steps"), number("cached_steps"));
        (
            build["name"].as_str().unwrap().to_owned(),
            build["status"].as_str().unwrap().to_owned(),
            steps,
        )
    };
    let named = |status: &str, steps| ("ctx".to_owned(), status.to_owned(), steps);
    assert_eq!(
        builds.iter().map(told).collect::<Vec<_>>(),
        [
            named("Error", (0, 0, 0)),
            named("Error", (2, 1, 1)),
            named("Completed", (3, 3, 3)),
            named("Completed", (3, 3, 1)),
        ]
    );
    assert_eq!(listed(&env, &["--filter", "status=error"]).len(), 2);
    assert_eq!(listed(&env, &["--filter", "status!=error", "--filter", "duration<1h"]).len(), 2);
    assert_eq!(listed(&env, &["--filter", "startedAt<1h"]).len(), 0);
    let table = env.bld(["history", "ls"]).ok().stdout;
    assert!(table.starts_with("BUILD ID"), "{table}");
    assert_eq!(table.lines().count(), 5);
    assert!(table.contains("   Completed   "), "{table}");
    // As docker's users have it.
    assert_eq!(env.bld(["buildx", "history", "ls"]).ok().stdout.lines().count(), 5);

    let first = inspected(&env, "^3");
    assert_eq!(first["BuildArgs"], serde_json::json!([{ "Name": "V", "Value": "2" }]));
    assert_eq!((&first["Status"], &first["Dockerfile"]), (&"completed".into(), &"-".into()));
    assert_eq!(first["Tags"], serde_json::json!(["h:1"]));
    let run = &first["Steps"][2];
    assert_eq!(
        (&run["Result"], &run["Kind"], &run["State"]),
        (&"miss".into(), &"new".into(), &"done".into())
    );
    let second = inspected(&env, "^2");
    assert_eq!(second["Steps"][2]["Reason"], "unchanged");
    assert_eq!(first["Image"].as_str().map(str::len), second["Image"].as_str().map(str::len));
    let third = inspected(&env, "^1");
    assert_eq!(
        (&third["Status"], &third["Steps"][1]["State"]),
        (&"failed".into(), &"failed".into())
    );
    assert!(third["Error"]["Message"].as_str().unwrap().contains("exit code: 3"), "{third}");
    let pretty = env.bld(["history", "inspect", first["Ref"].as_str().unwrap()]).ok().stdout;
    for part in
        ["Name:", "ctx", "3/3 (33% cached)", "BUILD ARG", "Steps:", " miss [3/3] RUN echo out 2"]
    {
        assert!(pretty.contains(part), "no {part:?} in {pretty}");
    }
    let name = env.bld(["history", "inspect", "--format", "{{.Name}}"]).ok();
    assert_eq!(name.text(), "ctx");
}

#[test]
fn logs_are_printed_again() {
    let env = env();
    env.write("ctx/a.txt", "a");
    built(&env, &[]);
    let logs = env.bld(["history", "logs"]).ok().stdout;
    for part in ["[3/3] RUN echo out", " out 1\n", " err\n", " DONE "] {
        assert!(logs.contains(part), "no {part:?} in {logs}");
    }
    let raw = env.bld(["history", "logs", "--progress", "rawjson"]).ok().stdout;
    assert!(raw.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{raw}");
    assert!(raw.contains("\"reason\":{\"result\":\"miss\""), "{raw}");
}

#[test]
fn builds_are_forgotten_when_asked() {
    let env = env();
    env.write("ctx/a.txt", "a");
    for value in ["V=1", "V=2", "V=3"] {
        built(&env, &["--build-arg", value]);
    }
    let newest = listed(&env, &[])[0]["ref"].as_str().unwrap().to_owned();
    env.bld(["history", "rm", &newest[..20]]).ok();
    assert_eq!(listed(&env, &[]).len(), 2);
    let gone = env.bld(["history", "inspect", &newest]).run();
    assert_eq!(gone.code, 1);
    assert!(gone.stderr.contains(&format!("no such build: {newest}")), "{gone}");
    assert_eq!(env.bld(["history", "rm"]).run().code, 1);
    env.bld(["history", "rm", "--all"]).ok();
    assert_eq!(listed(&env, &[]).len(), 0);
    built(&env, &[]);
    env.bld(["builder", "prune", "--all", "--force"]).ok();
    assert_eq!(listed(&env, &[]).len(), 0);
}

#[test]
fn the_history_of_images_is_where_it_was() {
    let env = env();
    assert!(env.bld(["history", "busybox"]).ok().stdout.starts_with("IMAGE "));
    assert!(env.bld(["history", "-q", "--no-trunc", "busybox"]).ok().stdout.contains("sha256:"));
    env.bld(["tag", "busybox", "ls"]).ok();
    assert!(env.bld(["history", "ls"]).ok().stdout.starts_with("BUILD ID"));
    assert!(env.bld(["image", "history", "ls"]).ok().stdout.starts_with("IMAGE "));
    let help = env.bld(["history", "--help"]).ok().stdout;
    for part in
        ["Usage:  bld history [OPTIONS] IMAGE | COMMAND", "\n  inspect ", "bld image history"]
    {
        assert!(help.contains(part), "no {part:?} in {help}");
    }
}

#[test]
fn a_build_that_runs_can_be_followed_and_one_that_was_killed_is_told_apart() {
    let env = env();
    env.write("ctx/Dockerfile", "FROM busybox\nRUN echo up; sleep 600\n");
    fs::create_dir_all(env.path("output")).unwrap();
    let mut child = env.bld(["build", "ctx"]).spawn(&env.path("output"));
    let is_up = || {
        let builds = listed(&env, &[]);
        let running = builds.first().is_some_and(|build| build["status"] == "Running");
        running
            && fs::read_dir(env.root().join("journals")).unwrap().any(|file| {
                fs::read_to_string(file.unwrap().path()).unwrap().contains("\"data\":\"up\\n\"")
            })
    };
    while !is_up() {
        assert!(child.try_wait().unwrap().is_none(), "the build has ended");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let reference = listed(&env, &[])[0]["ref"].as_str().unwrap().to_owned();
    assert!(env.bld(["history", "ls"]).ok().stdout.contains("s+"));
    assert_eq!(inspected(&env, "")["Steps"][1]["State"], "running");
    let kept = env.bld(["history", "rm", &reference]).run();
    assert!(kept.code == 1 && kept.stderr.contains("still runs"), "{kept}");
    // Pruning takes no journal that is written.
    env.bld(["builder", "prune", "--all", "--force"]).ok();
    assert_eq!(listed(&env, &[]).len(), 1);

    child.kill().unwrap();
    child.wait().unwrap();
    let logs = env.bld(["history", "logs", &reference]).ok().stdout;
    assert!(logs.contains(" up\n"), "{logs}");
    let killed = inspected(&env, &reference);
    assert_eq!(killed["Status"], "canceled");
    assert!(killed["Error"]["Message"].as_str().unwrap().contains("ended before it did"));
    assert_eq!(listed(&env, &[])[0]["status"], "Error");
    env.bld(["history", "rm", &reference]).ok();
}

#[test]
fn why_answers_later() {
    let env = env();
    env.write("ctx/a.txt", "a");
    let none = env.bld(["why"]).run();
    assert!(none.code == 1 && none.stderr.contains("no such build: there is none yet"), "{none}");
    built(&env, &[]);
    env.write("ctx/a.txt", "b");
    built(&env, &["--build-arg", "V=2"]);
    built(&env, &["--build-arg", "V=2"]);

    let last = env.bld(["why"]).ok().stdout;
    assert_eq!(last.matches(" hit  ").count(), 3, "{last}");
    assert!(last.contains("3 of 3 steps cached"), "{last}");
    let image = env.bld(["why", "h:1"]).ok().stdout;
    assert!(image.contains("miss [2/3] COPY a.txt /: a.txt changed (bytes) ("), "{image}");
    let before = env.bld(["why", "^1"]).ok().stdout;
    assert_eq!(before, image);
    let reference = before.split(' ').next().unwrap();
    assert_eq!(env.bld(["why", reference]).ok().stdout, image);

    let run = inspected(&env, "")["Steps"][2]["Id"].as_str().unwrap().to_owned();
    let step = env.bld(["why", &run[..12]]).ok().stdout;
    for part in [
        "miss [3/3] RUN echo out 2",
        "- ARG V changed from 1 to 2\n",
        "- because [2/3] COPY a.txt / changed\n",
    ] {
        assert!(step.contains(part), "no {part:?} in {step}");
    }
    let pulled = env.bld(["why", "busybox"]).run();
    assert!(pulled.stderr.contains("no build of the image busybox is remembered"), "{pulled}");
    let nothing = env.bld(["why", "nosuch"]).run();
    assert!(nothing.stderr.contains("no such image, step or build: nosuch"), "{nothing}");
}

#[test]
fn what_would_help_is_said() {
    let env = env();
    env.write("ctx/Dockerfile", "FROM busybox\nARG V=1\nRUN true\nCOPY . /c\n");
    let build = |arguments: &[&str]| {
        env.bld(["build", "-t", "h:1", "ctx"]).args(arguments.iter().copied()).ok()
    };
    build(&[]);
    build(&["--build-arg", "V=2"]);
    let why = env.bld(["why"]).ok().stdout;
    assert!(why.contains("hint: the command does not name V: "), "{why}");
    env.write("ctx/Dockerfile", "FROM busybox\nARG V=1\nRUN true\n\nCOPY . /c\n");
    build(&["--build-arg", "V=2"]);
    let why = env.bld(["why"]).ok().stdout;
    assert!(why.contains("hint: add Dockerfile to .dockerignore"), "{why}");
}

#[test]
fn no_secret_is_in_the_store() {
    let env = env();
    env.write("ctx/secret", "correct-horse-battery");
    let dockerfile = "FROM busybox
RUN --mount=type=secret,id=s cat /run/secrets/s
RUN --mount=type=secret,id=s,env=WORD echo $WORD
RUN echo hello
";
    for _ in 0..2 {
        env.write("ctx/Dockerfile", dockerfile);
        env.bld(["build", "--no-cache", "--secret", "id=s,src=ctx/secret", "-t", "h:1", "ctx"])
            .ok();
    }
    let found = |word: &str| Cmd::new("grep").args(["-rlaF", word]).arg(env.root()).run().stdout;
    assert_ne!(found("hello"), "");
    assert_eq!(found("correct-horse-battery"), "");

    // What is handed over as an argument may be in the image, but not in what is kept of the build.
    env.write("ctx/Dockerfile", "FROM busybox\nARG API_TOKEN\nRUN true\n");
    for token in ["hunter-2222", "hunter-3333"] {
        let token = format!("API_TOKEN={token}");
        env.bld(["build", "--build-arg", &token, "-t", "h:2", "ctx"]).ok();
    }
    let journals =
        Cmd::new("grep").args(["-rlaF", "hunter-"]).arg(env.root().join("journals")).run();
    assert_eq!(journals.stdout, "");
    let pretty = env.bld(["history", "inspect"]).ok().stdout;
    assert!(pretty.contains("API_TOKEN") && pretty.contains("may be a secret"), "{pretty}");
}

#[test]
fn who_asked_and_what_was_attested_is_remembered() {
    let env = env();
    env.write("ctx/Dockerfile", "FROM busybox\nCOPY Dockerfile /d\n");
    let words = [
        "build",
        "-q",
        "-o",
        "type=local,dest=out",
        "-o",
        "type=image,name=h:1",
        "--provenance=true",
        "--sbom=true",
        "--build-arg",
        "NPM_TOKEN=hunter2,still",
        "ctx",
    ];
    env.bld(words).ok();
    let told = inspected(&env, "");
    let expected = ["bld"]
        .iter()
        .chain(&words)
        .map(|word| if word.contains("hunter2") { "NPM_TOKEN=***" } else { word });
    assert_eq!(told["Trigger"]["Command"], expected.collect::<Value>());
    let directory = told["Trigger"]["Directory"].as_str().unwrap();
    assert!(std::path::Path::new(directory).join("ctx/Dockerfile").is_file(), "{directory}");
    assert_ne!(told["Trigger"]["User"], "");
    let said = told["Attestations"].as_array().unwrap();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0]["PredicateType"].as_str().unwrap().starts_with("https://slsa.dev/provenance/"));
    assert!(said[0]["Predicate"].is_object());
    assert_eq!(said[1]["PredicateType"], "https://spdx.dev/Document");
    assert!(said[1]["Places"][0].as_str().unwrap().ends_with("out"));
    let pretty = env.bld(["history", "inspect"]).ok().stdout;
    for part in ["--build-arg 'NPM_TOKEN=***' ctx\n", "\nATTESTATION ", "\nUser:"] {
        assert!(pretty.contains(part), "{part:?} in {pretty}");
    }
    assert!(!pretty.contains("hunter2"));
}

#[test]
fn builds_are_written_for_viewers_of_traces() {
    let env = env();
    let text =
        "FROM busybox AS a\nRUN sleep 0.5\nFROM busybox\nRUN sleep 0.4\nCOPY --from=a /etc /a\n";
    let _ = env.build("h:1", text, []).expect_code(0);
    let trace = env.bld(["history", "export", "--format", "trace"]).ok().stdout;
    let trace: Value = serde_json::from_str(&trace).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let slice = |text: &str| {
        let is_it = |event: &&Value| event["name"].as_str().unwrap().contains(text);
        let event = events.iter().find(is_it).unwrap_or_else(|| panic!("{text}: {trace}"));
        let number = |key: &str| event[key].as_u64().unwrap();
        (number("ts"), number("ts") + number("dur"), number("tid"))
    };
    let (one, other, copy) = (slice("sleep 0.5"), slice("sleep 0.4"), slice("COPY"));
    let whole = events.iter().find(|event| event["name"] == "build").unwrap();
    let (from, span) = (whole["ts"].as_u64().unwrap(), whole["dur"].as_u64().unwrap());
    for (begin, end, _) in [one, other, copy] {
        assert!(from <= begin && begin < end && end <= from + span, "{trace}");
    }
    // What runs at the same time is not drawn on one line.
    assert!(one.0 < other.1 && other.0 < one.1 && one.2 != other.2, "{trace}");
    assert!(copy.0 >= one.1.max(other.1), "{trace}");
    assert!(one.1 - one.0 >= 500_000);
}

#[test]
fn a_build_does_not_need_its_history() {
    let env = env();
    env.write("ctx/a.txt", "a");
    built(&env, &[]);
    let journals = env.root().join("journals");
    fs::remove_dir_all(&journals).unwrap();
    fs::write(&journals, "in the way").unwrap();
    let output = env.build("h:1", DOCKERFILE, []).expect_code(0);
    assert!(output.stderr.contains("note: this build is not in the history: "), "{output}");
    assert_eq!(env.bld(["run", "--rm", "h:1", "cat", "/a.txt"]).ok().stdout, "a");
}

#[test]
fn builds_are_carried_to_other_machines() {
    let (here, there) = (env(), env());
    here.write("ctx/a.txt", "a");
    built(&here, &["--build-arg", "V=2"]);
    let _ = here.build("h:2", "FROM busybox\nRUN echo bad && exit 3\n", []).expect_code(1);
    let file = here.path("builds.jsonl").display().to_string();
    here.bld(["history", "export", "--all", "-o", &file]).ok();
    let imported = there.bld(["history", "import", "-f", &file]).ok();
    let told: Vec<&str> = imported.stdout.lines().collect();
    let references: Vec<Value> = listed(&here, &[]).iter().map(|b| b["ref"].clone()).collect();
    assert_eq!(told, references);
    for reference in told {
        let logs = |env: &TestEnv| env.bld(["history", "logs", reference]).ok().stderr;
        assert_eq!(logs(&here), logs(&there));
        assert_eq!(inspected(&here, reference), inspected(&there, reference));
    }

    // The last one, by pipes. What is there stays as it is.
    let one = here.bld(["history", "export"]).ok().stdout;
    assert_eq!(one.lines().next().unwrap().matches("reference").count(), 1);
    let again = there.bld(["history", "import"]).stdin(one.clone()).ok();
    assert!(again.stderr.contains("was here already"), "{again}");
    assert_eq!(listed(&there, &[]).len(), 2);

    // What is no build is refused, and nothing of it is left.
    let empty = env();
    let escaping = one.replacen(told_reference(&one), "../../../../../../tmp/x.jsonl", 1);
    let torn = one.trim_end().rsplit_once(',').unwrap().0.to_owned();
    let headless = one.lines().skip(1).collect::<Vec<_>>().join("\n");
    for (text, line) in [(escaping, 1), (torn, one.lines().count()), (headless, 1)] {
        let refused = empty.bld(["history", "import"]).stdin(text).run().expect_code(1);
        assert!(refused.stderr.contains(&format!("line {line} ")), "{refused}");
    }
    assert_eq!(listed(&empty, &[]), Vec::<Value>::new());
    let gone = empty.bld(["history", "export", "-o", "nowhere/x", "abc"]).run().expect_code(1);
    let _ = gone.expect_text("abc");
}

/// The reference that an exported build names first.
fn told_reference(exported: &str) -> &str {
    exported.split("\"reference\":\"").nth(1).unwrap().split('"').next().unwrap()
}
