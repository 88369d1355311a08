//! Looking into builds: ids of steps, logs, and a shell in a step that failed.

use std::time::Duration;

use bld_testkit::{Cmd, Output, Terminal, TestEnv};
use serde_json::Value;

use crate::env;

const FAILING: &str = "FROM busybox\nENV A=1\nWORKDIR /w\nRUN echo one > one\nENV A=2\n\
                       SHELL [\"/bin/ash\", \"-c\"]\nRUN echo said; echo two > two; exit 3\n";

/// The ids that the report of a failure names: what the step left, and what was there before it.
fn ids(failed: &Output) -> (String, String) {
    let id = |what: &str| {
        let line = failed.stderr.lines().find(|line| line.starts_with(what));
        let id = line.and_then(|line| line.rsplit(' ').next());
        id.unwrap_or_else(|| panic!("no {what:?} in {failed}")).to_owned()
    };
    (id("what the step left: bld run -it "), id("what was there before it: bld run -it "))
}

#[test]
fn a_failed_build_tells_what_to_run() {
    let env = env();
    let (left, before) = ids(&env.build("f:1", FAILING, []).expect_code(1));
    let run = |id: &str, script: &str| env.bld(["run", "--rm", id, "sh", "-c", script]).ok().stdout;
    assert_eq!(run(&left, "cat two one; pwd; echo $A"), "two\none\n/w\n2\n");
    assert_eq!(run(&before, "ls; echo $A"), "one\n1\n");
    // The shell of the step is what runs when nothing is said.
    let shell = env.bld(["run", "--rm", "-i", &left]).stdin("echo $0 $PWD\n").ok();
    assert_eq!(shell.stdout, "/bin/ash /w\n");
    assert_eq!(env.bld(["logs", &left]).ok().stdout, "said\n");
    // Less than that may be anything, such as the name of an image.
    let short = env.bld(["inspect", &left[..11]]).run().expect_code(1);
    assert!(short.stderr.contains("No such object"), "{short}");

    let id = env.bld(["create", &left]).ok();
    env.bld(["commit", id.text(), "kept:1"]).ok();
    assert_eq!(env.bld(["run", "--rm", "kept:1", "cat", "two"]).ok().stdout, "two\n");
    let history = env.bld(["history", "-q", "kept:1"]).ok();
    assert_eq!(history.stdout.lines().count(), 5);
}

#[test]
fn every_step_has_an_id_that_goes_with_the_cache() {
    let env = env();
    let dockerfile = "FROM busybox\nRUN echo said; echo one > /one\nCOPY f /f\n";
    env.write("ctx/f", "f");
    let built = env.build("f:1", dockerfile, ["--explain"]).expect_code(0);
    let id = |what: &str| {
        let line = built.stderr.lines().find(|line| !line.starts_with('#') && line.contains(what));
        line.and_then(|line| line.split(' ').next()).unwrap().to_owned()
    };
    let seen = |id: &str| env.bld(["run", "--rm", id, "ls"]).ok().stdout;
    let (base, run, copy) = (id("] FROM"), id("] RUN"), id("] COPY"));
    assert!(!seen(&base).contains("one"));
    assert!(seen(&run).contains("one") && !seen(&run).contains("f\n"));
    assert!(seen(&copy).contains("f\n"));

    // The same ids are in the events.
    let raw = env.bld(["build", "--progress", "rawjson", "-f", "-", "ctx"]).stdin(dockerfile).ok();
    let results = raw.stderr.lines().flat_map(|line| {
        let status: Value = serde_json::from_str(line).unwrap();
        status["vertexes"].as_array().cloned().unwrap_or_default()
    });
    let of_run =
        results.into_iter().find(|vertex| vertex["name"].as_str().unwrap().contains("RUN"));
    assert!(of_run.unwrap()["result"].as_str().unwrap().starts_with(&run));

    let document = env.bld(["inspect", "-f", "{{.Name}} {{.Failed}}", &run]).ok();
    assert_eq!(document.text(), "[2/3] RUN echo said; echo one > /one false");

    // Told of a step that was known as well, and gone with the cache.
    assert_eq!(env.bld(["logs", "-n", "1", &run]).ok().stdout, "said\n");
    env.bld(["rmi", "f:1"]).ok();
    env.bld(["builder", "prune", "-af"]).ok();
    let gone = env.bld(["run", "--rm", &run, "ls"]).run().expect_code(125);
    let _ = gone.expect_text("no such step of a build").expect_text("build again");
    let _ = env.bld(["logs", &run]).run().expect_code(1).expect_text("No such container");
    assert_eq!(std::fs::read_dir(env.root().join("logs")).unwrap().count(), 0);
}

/// Starts a build that opens a shell when it fails.
fn shell(env: &TestEnv, dockerfile: &str, progress: &str) -> Terminal {
    env.write("ctx/Dockerfile", dockerfile);
    env.write("secret", "top secret");
    env.terminal(&format!(
        "build --progress {progress} --on-error=shell --secret id=s,src=secret --no-cache-filter none ctx"
    ))
}

const BROKEN: &str = "FROM busybox\nENV A=1\nWORKDIR /w\nRUN chown daemon .\nUSER daemon\n\
    RUN --mount=type=secret,id=s,mode=0444 --mount=type=cache,target=/c,mode=0777 --mount=target=/ctx \
    --mount=type=tmpfs,target=/t echo was here > left; exit 3\nRUN echo never\n";

#[test]
fn a_shell_opens_where_a_step_failed() {
    let env = env();
    for progress in ["plain", "tty"] {
        let mut terminal = shell(&env, BROKEN, progress);
        terminal.wait_for("exit code: 3");
        terminal.wait_for("Leave with `exit`");
        terminal.wait_for("/w $ ");
        terminal
            .type_in("cat left /run/secrets/s; echo; pwd; echo A=$A; id -un; ls /ctx; stty size\n");
        for text in
            ["was here", "top secret\n", "/w\n", "A=1\n", "daemon\n", "Dockerfile\n", "33 101\n"]
        {
            terminal.wait_for(text);
        }
        // The terminal is passed on with its size, and its keys are the shell's.
        terminal.type_in("trap 'echo caught' INT; touch /c/kept; sleep 100\n");
        terminal.wait_for("sleep 100");
        std::thread::sleep(Duration::from_millis(300));
        terminal.type_in("\u{3}");
        terminal.wait_for("caught");
        terminal.type_in("exit 0\n");
        let (code, shown) = terminal.end();
        assert_eq!(code, 1, "{shown}");
        let after = shown.split("caught").last().unwrap();
        assert!(after.contains("exit code: 3") && after.contains("what the step left"), "{shown}");
        assert!(!shown.contains("] RUN echo never"), "{shown}");
        env.assert_nothing_left();
    }
    let seen =
        env.build("c:1", "FROM busybox\nRUN --mount=type=cache,target=/c,mode=0777 ls /c\n", []);
    let _ = seen.expect_code(0).expect_text("kept");
}

#[test]
fn a_shell_shows_what_a_failed_copy_was_to_work_on() {
    let env = env();
    let dockerfile = "FROM busybox AS other\nRUN true\nFROM busybox\nENV A=1\nWORKDIR /w\n\
                      RUN echo here > file\nCOPY --from=other /nosuch /\n";
    let mut terminal = shell(&env, dockerfile, "plain");
    terminal.wait_for("as they were before it");
    terminal.wait_for("/w # ");
    terminal.type_in("cat file; echo A=$A; exit\n");
    terminal.wait_for("here\n");
    terminal.wait_for("A=1\n");
    let (code, shown) = terminal.end();
    assert!(code == 1 && shown.contains("\"/nosuch\" not found"), "{shown}");
}

#[test]
fn a_shell_opens_where_a_program_is_missing_but_not_where_there_is_no_place() {
    let env = env();
    let mut terminal = shell(&env, "FROM busybox\nWORKDIR /w\nRUN [\"/nosuch\"]\n", "plain");
    terminal.wait_for("/w # ");
    terminal.type_in("exit\n");
    let (code, shown) = terminal.end();
    assert!(code == 1 && shown.contains("no such file or directory"), "{shown}");
    let (code, shown) = shell(&env, "FROM busybox\nCOPY nosuch /\n", "plain").end();
    assert!(code == 1 && shown.contains("no shell was opened"), "{shown}");
}

#[test]
fn without_a_shell_or_a_terminal_it_is_said() {
    let env = env();
    let dockerfile =
        "FROM scratch\nCOPY --from=busybox /bin/busybox /only\nRUN [\"/only\", \"false\"]\n";
    let (code, shown) = shell(&env, dockerfile, "plain").end();
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("there is no shell in the image of this step"), "{shown}");
    assert!(shown.contains("exit code: 1"), "{shown}");
    let refused = env.build("f:1", "FROM busybox\nRUN true\n", ["--on-error=shell"]).expect_code(1);
    let _ = refused.expect_text("needs a terminal").expect_text("bld run -it");
}

#[test]
fn a_build_that_is_killed_takes_its_shell_along() {
    let env = env();
    for signal in ["KILL", "TERM"] {
        let mut terminal = shell(&env, BROKEN, "plain");
        terminal.wait_for("/w $ ");
        terminal.type_in("echo up; sleep 1000 & sleep 1000\n");
        terminal.wait_for("up\n");
        let build = builder(&env);
        Cmd::new("kill").args([&format!("-{signal}"), &build]).ok();
        let (code, shown) = terminal.end();
        assert_ne!(code, 0, "{shown}");
        env.assert_nothing_left();
        // What was begun is swept by whoever comes next.
        let _ = env.build("good:1", "FROM busybox\nRUN true\n", []).expect_code(0);
        let sessions = std::fs::read_dir(env.root().join("tmp")).unwrap();
        for inside in
            sessions.flat_map(|session| std::fs::read_dir(session.unwrap().path()).unwrap())
        {
            let name = inside.unwrap().file_name().into_string().unwrap();
            assert!(name.starts_with("work-"), "{name} is left");
        }
    }
}

/// The process that builds in `env`: the one of its processes that is `bld`.
fn builder(env: &TestEnv) -> String {
    let own = env.leftovers().into_iter().find_map(|line| {
        let pid = line.strip_prefix("process ")?.split(' ').next()?.to_owned();
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (name.trim() == "bld").then_some(pid)
    });
    own.unwrap_or_else(|| panic!("no build in {:?}", env.leftovers()))
}
