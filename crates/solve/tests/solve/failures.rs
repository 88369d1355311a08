//! What is left of steps that fail or are canceled: what the process of a failed one had written, to
//! be looked into, and nothing else.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bld_event::Cancel;
use bld_oci::Digest;
use bld_solve::{SolveError, StepFailure};

use crate::lab::{Ask, Lab, OnLog};

/// The control groups of steps of this process, of this test and others.
fn control_groups() -> Vec<PathBuf> {
    let own = format!("@{}.", std::process::id());
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with("build-") && name.contains(&own) {
                    found.push(entry.path());
                }
                open.push(entry.path());
            }
        }
    }
    assert!(!found.is_empty(), "a step has a control group");
    found
}

/// Fails when one of `groups` stays, or a process that sees the store of `lab`.
fn assert_nothing_left(lab: &Lab, groups: &[PathBuf]) {
    let root = lab.root().to_string_lossy().into_owned();
    let mut left = Vec::new();
    for _ in 0..200 {
        left = groups.iter().filter(|group| group.exists()).cloned().collect();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let mounts = fs::read_to_string(process.path().join("mountinfo")).unwrap_or_default();
            left.extend(mounts.contains(&root).then(|| process.path()));
        }
        if left.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("left behind: {left:?}");
}

#[test]
fn a_failing_step_can_be_looked_into_and_what_was_done_before_stays_known() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nRUN echo 1 > /x\nRUN sleep 60 & echo oops; exit 3\n";
    let before = lab.snapshots();
    let groups = Arc::new(OnceLock::new());
    let seen = Arc::clone(&groups);
    let on_log: OnLog = Box::new(move |_| {
        seen.get_or_init(control_groups);
    });
    let built = lab.ask(dockerfile, Ask { on_log: Some(on_log), ..Ask::default() });
    let Err(SolveError::Step(error)) = &built.result else { panic!("{:?}", built.result) };
    assert!(matches!(error.cause, StepFailure::Exit { code: 3, .. }), "{error:?}");
    assert_eq!(fs::read_to_string(error.log.as_ref().unwrap()).unwrap(), "oops\n");
    // The step before, and what the failed one left.
    assert_eq!(lab.snapshots(), before + 2);
    let step = |id: Option<Digest>| lab.store.step(&id.unwrap()).unwrap().unwrap();
    let (left, before) = (step(error.left), step(error.before));
    assert!(left.failed && left.name == error.name && !before.failed, "{left:?} {before:?}");
    assert!(before.name.ends_with("RUN echo 1 > /x"), "{before:?}");
    assert_eq!(lab.store.layers(left.snapshot).unwrap().len(), 3);
    assert_nothing_left(&lab, groups.get().unwrap());
    assert_eq!((built.how("echo 1").as_str(), built.how("exit 3").as_str()), ("run", "failed"));
    assert_eq!(lab.ask(dockerfile, Ask::default()).how("echo 1"), "definition");
}

#[test]
fn a_canceled_step_leaves_nothing() {
    let lab = Lab::new();
    let before = lab.snapshots();
    let cancel = Cancel::new();
    let stop = cancel.clone();
    let groups = Arc::new(OnceLock::new());
    let seen = Arc::clone(&groups);
    let on_log: OnLog = Box::new(move |_| {
        seen.get_or_init(control_groups);
        stop.cancel();
    });
    let started = Instant::now();
    let ask = Ask { cancel, on_log: Some(on_log), ..Ask::default() };
    let built = lab.ask("FROM busybox\nRUN echo up; sleep 60 & sleep 60\nRUN true\n", ask);
    assert!(matches!(built.result, Err(SolveError::Canceled)), "{:?}", built.result);
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!((built.how("sleep").as_str(), built.how("true").as_str()), ("canceled", "canceled"));
    assert_eq!(lab.snapshots(), before);
    assert_nothing_left(&lab, groups.get().unwrap());
}

#[test]
fn one_failure_ends_the_others() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox AS slow\nRUN sleep 60\nFROM busybox AS bad\nRUN false\n\
                      FROM busybox\nCOPY --from=slow / /a\nCOPY --from=bad / /b\n";
    let built = lab.ask(dockerfile, Ask::default());
    assert!(built.result.as_ref().unwrap_err().to_string().contains("exit code: 1"));
    assert_eq!((built.how("sleep").as_str(), built.how("false").as_str()), ("canceled", "failed"));
}

#[test]
fn what_cannot_be_is_said() {
    let lab = Lab::new();
    lab.write("right.txt", "");
    for (dockerfile, part) in [
        ("FROM busybox\nCOPY righ.txt /\n", "did you mean /right.txt?"),
        ("FROM busybox\nCOPY --chown=nosuch right.txt /\n", "nosuch"),
        ("FROM busybox\nUSER nosuch\nRUN true\n", "nosuch"),
        ("FROM busybox\nRUN --mount=type=secret,id=s,required true\n", "--secret id=s,src=FILE"),
        ("FROM busybox\nRUN nosuch\n", "exit code: 127"),
        ("FROM busybox\nRUN [\"/nosuch\"]\n", "/nosuch"),
    ] {
        let error = lab.error(dockerfile);
        assert!(error.contains(part), "{dockerfile}: {error}");
    }
}
