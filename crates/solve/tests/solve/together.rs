//! Many steps and many builds at once.

use std::iter::once;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bld_event::Cancel;
use bld_solve::SolveError;

use crate::lab::{Ask, Lab, OnLog};

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
    assert_eq!(how, ["made by another build", "run"]);
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
