use std::ops::ControlFlow;

use bld_engine::EngineError;
use bld_engine::containers::{Control, Io, LogDriver, LogQuery};
use bld_event::Stream;

use crate::Place;
use crate::containers::until;

fn lines(place: &Place, name: &str, query: &LogQuery) -> Vec<(Stream, String)> {
    let mut lines = Vec::new();
    let visit = &mut |entry: bld_engine::containers::LogEntry| {
        lines.push((entry.stream, entry.text));
        ControlFlow::Continue(())
    };
    place.engine.container_logs(name, query, visit).unwrap();
    lines
}

#[test]
fn both_streams_are_kept_over_several_runs() {
    let place = Place::new();
    let script = "for n in 1 2 3; do echo line $n; done; echo err >&2; printf rest";
    let container = place.create(&["sh", "-c", script], |_| {});
    place.run(&container).unwrap();
    let seen = lines(&place, &container.id, &LogQuery::default());
    let out: Vec<_> =
        seen.iter().filter(|(s, _)| *s == Stream::Stdout).map(|(_, t)| t.as_str()).collect();
    assert_eq!(out, ["line 1\n", "line 2\n", "line 3\n", "rest"]);
    assert!(seen.contains(&(Stream::Stderr, "err\n".into())));
    let begun_again = std::time::SystemTime::now();
    place.run(&container).unwrap();
    assert_eq!(lines(&place, &container.id, &LogQuery::default()).len(), 10);
    let since = LogQuery { since: Some(begun_again), ..LogQuery::default() };
    assert_eq!(lines(&place, &container.id, &since).len(), 5);
    let tail = LogQuery { tail: Some(2), ..LogQuery::default() };
    assert_eq!(lines(&place, &container.id, &tail).len(), 2);
    let until = LogQuery { until: Some(begun_again), tail: Some(0), ..LogQuery::default() };
    assert!(lines(&place, &container.id, &until).is_empty());
}

#[test]
fn following_goes_on_until_the_end() {
    let place = Place::new();
    let container =
        place.create(&["sh", "-c", "for n in 1 2 3; do echo $n; sleep 0.2; done"], |_| {});
    let control = Control::new().unwrap();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            place.engine.run_container(&container.id, Io::default(), &control, &mut |_| {}).unwrap()
        });
        until(|| place.engine.find_container(&container.id).unwrap().state.is_running());
        let follow = LogQuery { follow: true, ..LogQuery::default() };
        let seen: Vec<_> =
            lines(&place, &container.id, &follow).into_iter().map(|(_, t)| t).collect();
        assert_eq!(seen, ["1\n", "2\n", "3\n"]);
        run.join().unwrap();
    });
}

#[test]
fn a_reader_may_leave_and_some_containers_keep_nothing() {
    let place = Place::new();
    let container = place.create(&["sh", "-c", "echo 1; echo 2"], |_| {});
    place.run(&container).unwrap();
    let mut seen = 0;
    place
        .engine
        .container_logs(&container.id, &LogQuery::default(), &mut |_| {
            seen += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(seen, 1);
    let silent = place.create(&["echo", "x"], |request| request.host.log = LogDriver::None);
    place.run(&silent).unwrap();
    let visit = &mut |_| ControlFlow::Continue(());
    let refused = place.engine.container_logs(&silent.id, &LogQuery::default(), visit);
    assert!(matches!(refused, Err(EngineError::NoLog { .. })));
}
