//! Many steps and many builds at once.

use std::fs;
use std::iter::once;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bld_event::Cancel;
use bld_graph::NoCache;
use bld_solve::{SolveError, StepFailure};

use crate::lab::{Ask, Built, Lab, OnLog};

#[test]
fn two_builds_run_a_step_once() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nRUN sleep 0.2; cat /proc/sys/kernel/random/uuid > /id\n";
    let (one, two) = thread::scope(|scope| {
        let one = scope.spawn(|| lab.build(dockerfile));
        let two = scope.spawn(|| lab.build(dockerfile));
        (one.join().unwrap(), two.join().unwrap())
    });
    assert_eq!(one.snapshot(), two.snapshot());
    assert_eq!(one.counts().0 + two.counts().0, 1);
    let mut how = [one.how("RUN"), two.how("RUN")];
    how.sort();
    assert_eq!(how, ["elsewhere", "run"]);
}

#[test]
fn a_build_that_waits_for_another_can_be_canceled() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nRUN echo up; sleep 2\n";
    let (up, is_up) = mpsc::channel();
    let (first, cancel) = (Cancel::new(), Cancel::new());
    thread::scope(|scope| {
        let on_log: OnLog = Box::new(move |_| up.send(()).unwrap());
        let ask = Ask { cancel: first.clone(), on_log: Some(on_log), ..Ask::default() };
        let running = scope.spawn(|| lab.ask(dockerfile, ask));
        is_up.recv().unwrap();
        let waiting = scope.spawn(|| {
            let ask = Ask { cancel: cancel.clone(), ..Ask::default() };
            lab.ask(dockerfile, ask).result
        });
        thread::sleep(Duration::from_millis(100));
        let asked = Instant::now();
        cancel.cancel();
        assert!(matches!(waiting.join().unwrap(), Err(SolveError::Canceled)));
        assert!(asked.elapsed() < Duration::from_secs(1));
        first.cancel();
        running.join().unwrap();
    });
}

#[test]
fn any_number_of_jobs_will_do() {
    for jobs in [0, 1, 3] {
        let lab = Lab::new();
        let stages = (0..4).map(|n| format!("FROM busybox AS s{n}\nRUN echo {n} > /n\n"));
        let copies = (0..4).map(|n| format!("COPY --from=s{n} /n /{n}\n"));
        let last = once("FROM busybox\n".to_owned());
        let dockerfile: String = stages.chain(last).chain(copies).collect();
        let built = lab.ask(&dockerfile, Ask { jobs: Some(jobs), ..Ask::default() }).done();
        assert_eq!((built.counts(), built.read("/3").as_str()), ((8, 0), "3\n"));
    }
}

/// A step that two builds need at once. It notes every run in the cache mount `/c`, says `up`, and
/// does not end before there is a file `/c/go`.
const SLOW: &str = "RUN --mount=type=cache,target=/c echo >> /c/runs; echo up; n=0; \
                    until [ -e /c/go ] || [ $n = 400 ]; do sleep 0.05; n=$((n+1)); done; \
                    [ $n -lt 400 ] || exit 99";

/// The directory of the one cache mount below `root`.
fn cache(root: &Path) -> PathBuf {
    let dirs = fs::read_dir(root.join("cachemounts")).unwrap();
    let mut dirs = dirs.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    dirs.next().unwrap()
}

/// How often the slow step ran.
fn runs(lab: &Lab) -> usize {
    fs::read_to_string(cache(&lab.root()).join("runs")).unwrap().lines().count()
}

/// Builds `dockerfile` as `first` says, and as `second` does once the first one's step is running;
/// `then` is called when the second one has seen what it prints.
fn both(
    lab: &Lab,
    dockerfile: &str,
    (first, second): (Ask, Ask),
    then: impl Fn() + Send + Sync + 'static,
) -> [Built; 2] {
    let (up, is_up) = mpsc::channel();
    let up = Mutex::new(Some(up));
    let on_first: OnLog = Box::new(move |_| drop(up.lock().unwrap().take()));
    let on_second: OnLog = Box::new(move |_| then());
    thread::scope(|scope| {
        let first = Ask { on_log: Some(on_first), ..first };
        let one = scope.spawn(|| lab.ask(dockerfile, first));
        assert!(is_up.recv() == Err::<(), _>(mpsc::RecvError));
        let second = Ask { on_log: Some(on_second), ..second };
        let two = scope.spawn(|| lab.ask(dockerfile, second));
        [one.join().unwrap(), two.join().unwrap()]
    })
}

/// Lets the slow step end.
fn go(lab: &Lab) -> impl Fn() + Send + Sync + 'static {
    let root = lab.root();
    move || fs::write(cache(&root).join("go"), "").unwrap()
}

#[test]
fn who_waits_sees_the_output_of_the_step_while_it_runs() {
    let lab = Lab::new();
    // Were it not live, the step would never end well.
    let dockerfile = format!("FROM busybox\n{SLOW}; echo down\n");
    let [one, two] = both(&lab, &dockerfile, Default::default(), go(&lab));
    let (one, two) = (one.done(), two.done());
    assert_eq!((one.log().as_str(), two.log().as_str()), ("up\ndown\n", "up\ndown\n"));
    assert_eq!((one.how("RUN"), two.how("RUN")), ("run".into(), "elsewhere".into()));
    assert_eq!((runs(&lab), one.snapshot()), (1, two.snapshot()));
    assert!(two.notes()[0].starts_with("another build is running this step"), "{:?}", two.notes());
}

#[test]
fn a_failure_is_that_of_all_who_waited_for_it() {
    let lab = Lab::new();
    let dockerfile = format!("FROM busybox\n{SLOW}; echo no; exit 3\n");
    for built in both(&lab, &dockerfile, Default::default(), go(&lab)) {
        assert_eq!(built.log(), "up\nno\n");
        let Err(SolveError::Step(error)) = built.result else { panic!("{:?}", built.result) };
        assert!(matches!(error.cause, StepFailure::Exit { code: 3, .. }), "{error:?}");
        assert_eq!(fs::read_to_string(error.log.unwrap()).unwrap(), "up\nno\n");
        // Nothing is kept when there is little room.
        if let Some(left) = error.left {
            assert!(lab.store.step(&left).unwrap().unwrap().failed);
        }
    }
    assert_eq!(runs(&lab), 1);
    // A later build tries again.
    lab.error(&dockerfile);
    assert_eq!(runs(&lab), 2);
}

#[test]
fn a_failure_that_may_be_one_builds_own_is_not_shared() {
    let lab = Lab::new();
    let slow = SLOW.replace("RUN", "RUN --mount=type=secret,id=s");
    let dockerfile = format!("FROM busybox\n{slow}; grep right /run/secrets/s\n");
    let with = |value| Ask { secrets: vec![("s", value)], ..Ask::default() };
    let [one, two] = both(&lab, &dockerfile, (with("wrong"), with("right")), go(&lab));
    assert!(one.result.is_err());
    assert_eq!((two.done().how("RUN").as_str(), runs(&lab)), ("run", 2));
}

#[test]
fn who_waits_takes_over_when_the_first_one_is_canceled() {
    let lab = Lab::new();
    let dockerfile = format!("FROM busybox\n{SLOW}; echo down\n");
    let cancel = Cancel::new();
    let (stop, go) = (cancel.clone(), go(&lab));
    let first = Ask { cancel, ..Ask::default() };
    let [one, two] = both(&lab, &dockerfile, (first, Ask::default()), move || {
        stop.cancel();
        go();
    });
    assert!(matches!(one.result, Err(SolveError::Canceled)), "{:?}", one.result);
    let two = two.done();
    assert_eq!((two.how("RUN").as_str(), two.log().as_str()), ("run", "up\nup\ndown\n"));
    assert!(two.notes()[1].contains("given the step up"), "{:?}", two.notes());
}

#[test]
fn a_build_without_cache_takes_no_result_of_a_step_that_began_before_it() {
    let lab = Lab::new();
    let dockerfile = format!("FROM busybox\n{SLOW}; echo down\n");
    let again = Ask { no_cache: NoCache::All, ..Ask::default() };
    // It does not wait, either: it lets the first one go on.
    let [one, two] = both(&lab, &dockerfile, (Ask::default(), again), go(&lab));
    let (one, two) = (one.done(), two.done());
    assert_eq!((one.how("RUN"), two.how("RUN")), ("run".into(), "run".into()));
    assert_eq!(runs(&lab), 2);
    assert_ne!(one.snapshot(), two.snapshot());
}

#[test]
fn steps_that_are_the_same_run_once_in_a_build() {
    let lab = Lab::new();
    let stage = "RUN cat /proc/sys/kernel/random/uuid > /id\nRUN cp /id /copy\n";
    let dockerfile = format!(
        "FROM busybox AS one\n{stage}FROM busybox AS two\n{stage}\
         FROM busybox\nCOPY --from=one /copy /one\nCOPY --from=two /copy /two\n"
    );
    for no_cache in [NoCache::Off, NoCache::All] {
        let built = lab.ask(&dockerfile, Ask { no_cache, ..Ask::default() }).done();
        assert_eq!(built.counts(), (4, 2));
        assert_eq!(built.read("/one"), built.read("/two"));
        for step in ["two 2/3] RUN cat", "two 3/3] RUN cp"] {
            assert_eq!(built.how(step), "twin");
        }
    }
}
