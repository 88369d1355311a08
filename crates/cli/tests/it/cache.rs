//! What is run again, and what is not.

use bld_testkit::{Cmd, Output, Registry, TestEnv};

use crate::env;

const DOCKERFILE: &str = "FROM busybox AS one
COPY a.txt /
RUN cat /proc/sys/kernel/random/uuid > /one
FROM busybox AS two
COPY b.txt /
RUN cat /proc/sys/kernel/random/uuid > /two
FROM busybox
COPY --from=one /one /one
COPY --from=two /two /two
LABEL version=1
";

fn prepared() -> TestEnv {
    let env = env();
    env.write("ctx/a.txt", "a");
    env.write("ctx/b.txt", "b");
    env
}

fn files(env: &TestEnv) -> (String, String) {
    let one = env.bld(["run", "--rm", "c:1", "cat", "/one"]).ok();
    let two = env.bld(["run", "--rm", "c:1", "cat", "/two"]).ok();
    (one.stdout, two.stdout)
}

fn build(env: &TestEnv, dockerfile: &str, arguments: &[&str]) -> Output {
    env.build("c:1", dockerfile, arguments.iter().copied()).expect_code(0)
}

#[test]
fn nothing_changed_and_nothing_runs() {
    let env = prepared();
    build(&env, DOCKERFILE, &[]);
    let first = files(&env);
    let again = build(&env, DOCKERFILE, &[]);
    // The base, four steps in the stages and two copies from them.
    assert_eq!(again.stderr.matches(" CACHED\n").count(), 7, "{again}");
    assert_eq!(files(&env), first);
}

#[test]
fn times_do_not_count_but_bytes_and_modes_do() {
    let env = prepared();
    build(&env, DOCKERFILE, &[]);
    let (one, two) = files(&env);
    Cmd::new("touch").args(["-d", "2001-01-01"]).arg(env.path("ctx/a.txt")).ok();
    build(&env, DOCKERFILE, &[]);
    assert_eq!(files(&env), (one.clone(), two.clone()));

    // The same size and the same old time, other bytes.
    env.write("ctx/a.txt", "A");
    Cmd::new("touch").args(["-d", "2001-01-01"]).arg(env.path("ctx/a.txt")).ok();
    build(&env, DOCKERFILE, &[]);
    let (changed, kept) = files(&env);
    assert!(changed != one && kept == two);

    Cmd::new("chmod").arg("755").arg(env.path("ctx/b.txt")).ok();
    build(&env, DOCKERFILE, &[]);
    let (one, changed) = files(&env);
    assert!(changed != two && one != changed);
}

#[test]
fn a_label_makes_no_step_run() {
    let env = prepared();
    build(&env, DOCKERFILE, &[]);
    let before = files(&env);
    build(&env, &DOCKERFILE.replace("version=1", "version=2"), &["--label", "more=1"]);
    assert_eq!(files(&env), before);
    let label = "{{.Config.Labels.version}} {{.Config.Labels.more}}";
    assert_eq!(env.bld(["image", "inspect", "-f", label, "c:1"]).ok().text(), "2 1");
}

#[test]
fn a_stage_rebuilt_to_the_same_bytes_stops_there() {
    let env = env();
    let dockerfile = "FROM busybox AS one
COPY a.txt /in
RUN tr a-z A-Z < /in > /out && touch -d 2001-01-01 /out
FROM busybox
COPY --from=one /out /out
RUN cat /proc/sys/kernel/random/uuid > /made
";
    let made = || env.bld(["run", "--rm", "c:1", "cat", "/made"]).ok().stdout;
    env.write("ctx/a.txt", "word");
    build(&env, dockerfile, &[]);
    let first = made();
    env.write("ctx/a.txt", "WORD");
    build(&env, dockerfile, &[]);
    assert_eq!(made(), first);
}

#[test]
fn no_cache_runs_everything() {
    let env = prepared();
    build(&env, DOCKERFILE, &[]);
    let (one, two) = files(&env);
    build(&env, DOCKERFILE, &["--no-cache"]);
    let (new_one, new_two) = files(&env);
    assert!(one != new_one && two != new_two);
}

#[test]
fn two_builds_at_once_share_the_work() {
    let env = env();
    let dockerfile = "FROM busybox\nRUN sleep 0.3; cat /proc/sys/kernel/random/uuid > /made\n";
    std::thread::scope(|scope| {
        for tag in ["x:1", "x:2", "x:3"] {
            let env = &env;
            scope.spawn(move || env.build(tag, dockerfile, []).expect_code(0));
        }
    });
    let made = |tag: &str| env.bld(["run", "--rm", tag, "cat", "/made"]).ok().stdout;
    assert_eq!(made("x:1"), made("x:2"));
    assert_eq!(made("x:2"), made("x:3"));
}

#[test]
fn filters_name_stages_by_name_number_and_several_at_once() {
    let env = prepared();
    build(&env, DOCKERFILE, &[]);
    let mut known = files(&env);
    for (filters, changes) in [
        (&["--no-cache-filter", "one"][..], (true, false)),
        (&["--no-cache-filter", "TWO"], (false, true)),
        (&["--no-cache-filter", "1"], (false, true)),
        (&["--no-cache-filter", "one,two"], (true, true)),
        (&["--no-cache-filter", "one", "--no-cache-filter", "two"], (true, true)),
        (&["--no-cache-filter", "nosuch"], (false, false)),
    ] {
        build(&env, DOCKERFILE, filters);
        let now = files(&env);
        assert_eq!((now.0 != known.0, now.1 != known.1), changes, "{filters:?}");
        known = now;
        // What was made again stays.
        build(&env, DOCKERFILE, &[]);
        assert_eq!(files(&env), known, "after {filters:?}");
    }
}

#[test]
fn a_cache_of_elsewhere_never_hurts() {
    let env = prepared();
    build(&env, DOCKERFILE, &["--cache-from", "nosuch:1"]);
    let first = files(&env);
    for from in
        ["c:1", "nosuch.invalid/x", "type=registry,ref=127.0.0.1:1/x", "type=local,src=/nosuch"]
    {
        build(&env, DOCKERFILE, &["--cache-from", from]);
        assert_eq!(files(&env), first, "{from}");
    }
}

#[test]
fn a_base_is_asked_for_again_when_it_is_to_be_pulled() {
    let env = env();
    let registry = Registry::start().unwrap();
    let base = format!("{}/base:1", registry.host());
    let publish = |label: &str, step: &str| {
        let dockerfile = format!("FROM busybox\n{step}\nLABEL is={label}\n");
        let _built = env.build(&base, &dockerfile, ["--network", "none"]).expect_code(0);
        env.bld(["push", "-q", &base]).ok();
        env.bld(["rmi", &base]).ok();
    };
    let dockerfile = format!("FROM {base}\nRUN cat /proc/sys/kernel/random/uuid > /made\n");
    let made = |arguments: &[&str]| {
        build(&env, &dockerfile, &[&["--network", "none"], arguments].concat());
        let label = env.bld(["inspect", "-f", "{{.Config.Labels.is}}", "c:1"]).ok();
        let made = env.bld(["run", "--rm", "--network", "none", "c:1", "cat", "/made"]).ok();
        (label.text().to_owned(), made.text().to_owned())
    };
    publish("first", "RUN echo 1 > /base");
    let (label, first) = made(&[]);
    assert_eq!(label, "first");
    // The tag moves to the same layers, then to others; the store has what it had.
    let old = env.bld(["inspect", "-f", "{{.Id}}", &base]).ok();
    publish("second", "RUN echo 1 > /base");
    env.bld(["tag", old.text(), &base]).ok();
    assert_eq!(made(&[]), ("first".to_owned(), first.clone()));
    assert_eq!(made(&["--pull"]), ("second".to_owned(), first.clone()));
    publish("third", "RUN echo 3 > /base");
    let (label, third) = made(&["--pull"]);
    assert_eq!(label, "third");
    assert_ne!(third, first);
    // Nobody answers: what the store has will not do.
    drop(registry);
    made(&[]);
    let refused = env.build("c:1", &dockerfile, ["--pull"]).expect_code(1);
    let _said = refused.expect_text("failed to resolve");
}

#[test]
fn a_step_that_read_nothing_that_changed_is_not_run_if_that_is_asked_for() {
    let env = prepared();
    let dockerfile = "FROM busybox\nCOPY . /src\nRUN cat /src/a.txt /proc/uptime > /out\n";
    let traced = |mode: &str, arguments: &[&str]| {
        let mode = format!("--traced-cache={mode}");
        build(&env, dockerfile, &[&[mode.as_str(), "--explain"], arguments].concat())
    };
    let out = || env.bld(["run", "--rm", "c:1", "cat", "/out", "/src/b.txt"]).ok().stdout;
    traced("record", &[]);
    let first = out();
    env.write("ctx/b.txt", "B");
    let used = traced("use", &[]);
    let _said = used
        .expect_text("RUN cat /src/a.txt /proc/uptime > /out: nothing that it read has changed");
    assert_eq!(out(), format!("{}B", first.trim_end_matches('b')));
    env.write("ctx/a.txt", "A");
    let run = traced("use", &[]);
    assert!(!run.to_string().contains("nothing that it read"), "{run}");
}

#[test]
fn a_wrong_reuse_is_told() {
    let env = prepared();
    let dockerfile = "FROM busybox\nCOPY . /src\nRUN stat -c %Y /src/a.txt > /out\n";
    Cmd::new("touch").args(["-d", "2001-01-01"]).arg(env.path("ctx/a.txt")).ok();
    build(&env, dockerfile, &["--traced-cache=verify"]);
    env.write("ctx/b.txt", "B");
    build(&env, dockerfile, &["--traced-cache=verify"]);
    env.write("ctx/b.txt", "b again");
    Cmd::new("touch").args(["-d", "2002-02-02"]).arg(env.path("ctx/a.txt")).ok();
    let failed = env.build("c:1", dockerfile, ["--traced-cache=verify"]).expect_code(1);
    let said = "what this step read has not changed, but what it makes has: /out";
    assert!(failed.stderr.contains(said), "{failed}");
}
