//! A process that read nothing that changed is not run again, and one that did is.

use bld_solve::{StepFailure, TracedCache};

use crate::lab::{Ask, Built, Lab};

/// Reads two files of many, looks for one that is not there, and makes some.
const DOCKERFILE: &str = "FROM busybox
WORKDIR /app
COPY . /app
RUN cat main lib/a > /out; test -e none; rm gone/old; mkdir made && echo 1 > made/file; true
RUN cat /out made/file; ls lib > /names
";

fn lab() -> Lab {
    let lab = Lab::new();
    for name in ["main", "other", "lib/a", "gone/old", "docs/page"] {
        lab.write(name, name);
    }
    lab
}

fn build(lab: &Lab, traced: TracedCache) -> Built {
    lab.ask(DOCKERFILE, Ask { traced, ..Ask::default() }).done()
}

/// Steps that ran: COPY is one of them when a file changed.
fn run(built: &Built) -> usize {
    built.counts().0
}

#[test]
fn what_was_not_read_may_change() {
    let lab = lab();
    build(&lab, TracedCache::Record);
    lab.write("other", "changed");
    lab.write("docs/new", "new");
    let built = build(&lab, TracedCache::Use);
    assert_eq!(run(&built), 1, "only COPY");
    assert_eq!(built.read("/out"), "mainlib/a");
    assert_eq!(built.read("/app/other"), "changed");
    assert_eq!(built.read("/names"), "a\n");
    assert!(!built.has("/app/gone/old"), "what it removed is gone here, too");

    // What was reused can be reused again.
    lab.write("other", "once more");
    assert_eq!(run(&build(&lab, TracedCache::Use)), 1);
    // And is like any other result.
    assert_eq!(run(&build(&lab, TracedCache::Off)), 0);
}

#[test]
fn what_was_read_may_not() {
    let edits: [(&str, &str, usize); 4] = [
        ("main", "changed", 3),   // contents
        ("none", "there now", 3), // absence
        ("lib/b", "new", 2),      // the names in a directory, which only the second step listed
        ("lib/a", "lib/b", 3),
    ];
    for (name, contents, runs) in edits {
        let lab = lab();
        build(&lab, TracedCache::Record);
        lab.write(name, contents);
        assert_eq!(run(&build(&lab, TracedCache::Use)), runs, "{name}");
    }
}

#[test]
fn names_of_one_file_are_seen() {
    let dockerfile =
        |how| format!("FROM busybox\nRUN echo x > /a; {how} /a /b\nRUN cp -a /a /b /tmp\n");
    let lab = Lab::new();
    let ask = || Ask { traced: TracedCache::Use, ..Ask::default() };
    lab.ask(&dockerfile("ln"), ask()).done();
    assert_eq!(run(&lab.ask(&dockerfile("cp -a"), ask()).done()), 2);
}

#[test]
fn it_is_asked_for() {
    let lab = lab();
    build(&lab, TracedCache::Off);
    lab.write("other", "changed");
    assert_eq!(run(&build(&lab, TracedCache::Use)), 3, "nothing was recorded");
    lab.write("other", "again");
    assert_eq!(run(&build(&lab, TracedCache::Record)), 3, "record does not use");
}

#[test]
fn a_step_with_more_to_it_is_not_traced() {
    let lab = lab();
    let dockerfile = "FROM busybox\nCOPY . /app\nRUN --mount=type=cache,target=/c cat /app/main\n";
    let ask = || Ask { traced: TracedCache::Use, ..Ask::default() };
    lab.ask(dockerfile, ask()).done();
    lab.write("other", "changed");
    assert_eq!(run(&lab.ask(dockerfile, ask()).done()), 2);
}

#[test]
fn another_user_is_another_step() {
    let lab = lab();
    let dockerfile = "FROM busybox
COPY passwd /etc/passwd
COPY other /app/other
USER me
RUN id -u > /tmp/id
";
    lab.write("passwd", "root:x:0:0:root:/root:/bin/sh\nme:x:7:7:me:/:/bin/sh\n");
    let ask = || Ask { traced: TracedCache::Use, ..Ask::default() };
    assert_eq!(lab.ask(dockerfile, ask()).done().read("/tmp/id"), "7\n");
    lab.write("passwd", "root:x:0:0:root:/root:/bin/sh\nme:x:8:8:me:/:/bin/sh\n");
    assert_eq!(lab.ask(dockerfile, ask()).done().read("/tmp/id"), "8\n");
}

#[test]
fn verify_tells_right_from_wrong() {
    let lab = lab();
    build(&lab, TracedCache::Verify);
    lab.write("other", "changed");
    assert_eq!(run(&build(&lab, TracedCache::Verify)), 3, "it runs all the same");

    // The time of a file is something that no key knows of.
    let dockerfile = "FROM busybox\nCOPY . /app\nRUN stat -c %Y /app/main > /time\n";
    let ask = || Ask { traced: TracedCache::Verify, ..Ask::default() };
    lab.ask(dockerfile, ask()).done();
    let main = std::fs::File::options().write(true).open(lab.path("main")).unwrap();
    main.set_modified(std::time::UNIX_EPOCH).unwrap();
    lab.write("other", "changed again");
    let failed = lab.ask(dockerfile, ask()).result.unwrap_err();
    let bld_solve::SolveError::Step(failed) = failed else { panic!("{failed}") };
    assert!(matches!(&failed.cause, StepFailure::WrongReuse { paths } if paths == "/time"));
}

#[test]
fn verify_bears_with_steps_that_differ_from_themselves() {
    let lab = lab();
    let dockerfile = "FROM busybox\nCOPY . /app\nRUN cat /proc/sys/kernel/random/uuid > /id\n";
    let ask = || Ask { traced: TracedCache::Verify, ..Ask::default() };
    lab.ask(dockerfile, ask()).done();
    lab.write("other", "changed");
    let built = lab.ask(dockerfile, ask()).done();
    assert_eq!(built.warnings(), ["two runs of the step differ in /id"]);
}
