//! Looking into builds: ids of steps, and logs.

use bld_testkit::Output;
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
    let shell = env.bld(["run", "--rm", "-i", &left[..6]]).stdin("echo $0 $PWD\n").ok();
    assert_eq!(shell.stdout, "/bin/ash /w\n");
    assert_eq!(env.bld(["logs", &left]).ok().stdout, "said\n");

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
