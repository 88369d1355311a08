//! What is left of steps that fail or are canceled: what the process of a failed one had written, to
//! be looked into, and nothing else.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use bld_event::Cancel;
use bld_oci::Digest;
use bld_sandbox::Stdio;
use bld_solve::{Inspect, Limits, Scene, SolveError, StepFailure};

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

/// Runs something in the place of the failed step, once and then again.
struct Visitor(mpsc::Sender<String>);

impl Inspect for Visitor {
    fn inspect(&self, scene: &Scene<'_>) {
        let look = |script: &str| {
            let (mut read, write) = std::io::pipe().unwrap();
            let stdio = Stdio::Fds {
                stdin: fs::File::open("/dev/null").unwrap().into(),
                stdout: write.try_clone().unwrap().into(),
                stderr: write.into(),
            };
            let args = [scene.shell, "-c", script].map(str::to_owned).to_vec();
            let mut process = scene.spawn(args, stdio).unwrap();
            let mut seen = String::new();
            read.read_to_string(&mut seen).unwrap();
            process.wait().unwrap();
            seen
        };
        let first = look(
            "cat left; pwd; echo $A; cat /run/secrets/s; id -u; touch /c/new; echo more > more",
        );
        let again = look("cat more; ls /c");
        self.0.send(format!("{} {} {first}{again}", scene.name, scene.is_before)).unwrap();
    }
}

#[test]
fn a_failed_step_can_be_visited_in_its_place() {
    let lab = Lab::new();
    let (seen, visits) = mpsc::channel();
    let ask = |seen: &mpsc::Sender<String>| Ask {
        secrets: vec![("s", "top\n")],
        inspect: Some(Arc::new(Visitor(seen.clone()))),
        ..Ask::default()
    };
    let dockerfile = "FROM busybox AS other\nRUN sleep 0.1; exit 4\nFROM busybox\nENV A=1\nWORKDIR /w\n\
                      RUN chown daemon /w\nUSER daemon\nCOPY --from=other / /o\n\
                      RUN --mount=type=cache,target=/c,mode=777 --mount=type=secret,id=s,mode=444 \
                      echo was here > left; exit 3\n";
    // One visit for each build, whatever else fails.
    let built = lab.ask(&dockerfile.replace("COPY --from=other / /o\n", ""), ask(&seen));
    assert!(built.result.unwrap_err().to_string().contains("exit code: 3"));
    let visit = visits.recv().unwrap();
    let expected = "false was here\n/w\n1\ntop\n1\nmore\nnew\n";
    assert!(visit.ends_with(expected), "{visit}");
    // A step without a process shows what was there before it.
    let copy = "FROM busybox\nWORKDIR /w\nRUN echo b > left\nCOPY --from=other /nosuch /\n";
    let copy = format!("FROM busybox AS other\nRUN true\n{copy}");
    let built = lab.ask(&copy, ask(&seen));
    assert!(built.result.unwrap_err().to_string().contains("/nosuch"));
    let visit = visits.recv().unwrap();
    assert!(visit.contains("COPY --from=other /nosuch / true b\n/w\n"), "{visit}");
    assert!(visits.try_recv().is_err());
}

#[test]
fn lack_of_memory_is_called_so() {
    let lab = Lab::new();
    let resources = bld_sandbox::Limits { memory: Some(16 << 20), ..Default::default() };
    let limits = || Limits { resources: resources.clone(), ..Limits::default() };
    let dockerfile = "FROM busybox\nRUN tail /dev/zero\n";
    let built = lab.ask(dockerfile, Ask { limits: limits(), ..Ask::default() });
    let error = built.result.unwrap_err().to_string();
    assert!(error.contains("ran out of memory") && error.contains("limited to 16 MiB"), "{error}");
    // The one that a child of the step ran into, where all steps share it.
    let together = Limits { together: resources.clone(), ..Limits::default() };
    let dockerfile = "FROM busybox\nRUN tail /dev/zero || exit 3\n";
    let built = lab.ask(dockerfile, Ask { limits: together, ..Ask::default() });
    let error = built.result.unwrap_err().to_string();
    assert!(error.contains("together are limited to 16 MiB"), "{error}");
    // Limits are no part of what a result is known by.
    let dockerfile = "FROM busybox\nRUN echo modest\n";
    lab.ask(dockerfile, Ask { limits: limits(), ..Ask::default() }).done();
    assert_eq!(lab.build(dockerfile).how("modest"), "definition");
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
