use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bld_engine::EngineError;
use bld_engine::containers::{CommitRequest, Control, ExecRequest, Io, RemoveOptions, Status};
use bld_event::Events;

use crate::{Killer, Place, Sink, all};

#[test]
fn it_runs_and_is_kept() {
    let place = Place::new();
    let container = place.create(&["sh", "-c", "echo out; echo err >&2; exit 3"], |_| {});
    assert_eq!(container.state.status, Status::Created);
    assert_eq!(place.run(&container).unwrap(), (3, "out\n".into(), "err\n".into()));
    let after = place.engine.find_container(&container.name).unwrap();
    assert_eq!((after.state.status, after.state.exit_code), (Status::Exited, 3));
    assert!(after.state.process.is_none() && after.state.finished.is_some());
    assert_eq!(place.engine.wait_container(&after.id).unwrap(), 3);
}

#[test]
fn what_it_writes_stays_with_it_alone() {
    let place = Place::new();
    let script = "cat /mine 2>/dev/null; echo was here >> /mine";
    let container = place.create(&["sh", "-c", script], |_| {});
    assert_eq!(place.run(&container).unwrap().1, "");
    assert_eq!(place.run(&container).unwrap().1, "was here\n");
    assert!(place.engine.container_size(&container).unwrap() > 0);
    assert_eq!(place.sh("cat /mine", |_| {}).0, 1, "another container of the same image");
}

#[test]
fn a_program_that_is_missing_leaves_it_created() {
    let place = Place::new();
    let container = place.create(&["no-such-program"], |_| {});
    let error = place.run(&container).unwrap_err();
    assert_eq!(error.exit_code(), 127, "{error}");
    let after = place.engine.find_container(&container.id).unwrap();
    assert_eq!((after.state.status, after.state.exit_code), (Status::Created, 127));
    assert!(after.state.error.contains("executable file not found"), "{}", after.state.error);
    let directory = place.create(&["/etc"], |_| {});
    assert_eq!(place.run(&directory).unwrap_err().exit_code(), 126);
}

#[test]
fn it_removes_itself_even_if_it_never_ran() {
    let place = Place::new();
    assert_eq!(place.sh("true", |_| {}).0, 0);
    let container = place.create(&["no-such-program"], |request| request.host.auto_remove = true);
    assert!(place.run(&container).is_err());
    assert!(place.engine.containers(&all()).unwrap().is_empty());
    assert_eq!(std::fs::read_dir(place.dir.path().join("root/containers")).unwrap().count(), 0);
}

#[test]
fn input_signals_and_the_end_get_through() {
    let place = Place::new();
    let container = place.create(
        &[
            "sh",
            "-c",
            "trap 'exit 9' TERM; read word; echo got $word; while :; do sleep 0.05; done",
        ],
        |request| {
            request.host.open_stdin = true;
        },
    );
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (out, control) = (Sink::default(), Control::new().unwrap());
    let io =
        Io { stdin: Some(reader.into()), stdout: Some(Box::new(out.clone())), ..Io::default() };
    let exit = std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            place.engine.run_container(&container.id, io, &control, &mut |_| {}).unwrap()
        });
        let _killer = Killer(&place, &container);
        writer.write_all(b"it\n").unwrap();
        until(|| out.text() == "got it\n");
        let running = place.engine.find_container(&container.id).unwrap();
        assert!(running.state.is_running());
        let again = place.engine.run_container(&container.id, Io::default(), &control, &mut |_| {});
        assert!(matches!(again, Err(EngineError::AlreadyRunning { .. })));
        let kept = place.engine.remove_container(&container.id, RemoveOptions::default());
        assert!(matches!(kept, Err(EngineError::RemoveRunning { .. })));
        control.signal(15);
        run.join().unwrap()
    });
    assert_eq!(exit.code, 9);
}

#[test]
fn stopping_ends_in_a_kill_and_pausing_freezes() {
    let place = Place::new();
    let container = place.create(&["sleep", "1000"], |_| {});
    let control = Control::new().unwrap();
    let exit = std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            place.engine.run_container(&container.id, Io::default(), &control, &mut |_| {}).unwrap()
        });
        let _killer = Killer(&place, &container);
        until(|| place.engine.find_container(&container.id).unwrap().state.is_running());
        place.engine.pause_container(&container.id).unwrap();
        let paused = place.engine.find_container(&container.id).unwrap();
        assert_eq!(paused.state.status, Status::Paused);
        assert!(place.engine.pause_container(&container.id).is_err());
        place.engine.unpause_container(&container.id).unwrap();
        place.engine.pause_container(&container.id).unwrap();
        // The first process ignores what it does not handle, and is frozen besides.
        let begun = Instant::now();
        place.engine.stop_container(&container.id, None, Some(1)).unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(1));
        run.join().unwrap()
    });
    assert_eq!(exit.code, 137);
    place.engine.stop_container(&container.id, None, None).unwrap();
    let killed = place.engine.kill_container(&container.id, "KILL");
    assert!(matches!(killed, Err(EngineError::NotRunning { .. })));
}

#[test]
fn further_commands_run_beside_the_first() {
    let place = Place::new();
    let container = place.create(&["sleep", "1000"], |request| {
        request.env = vec!["A=container".into(), "B=container".into()];
        request.working_dir = Some("/tmp".into());
    });
    let request = |script: &str| ExecRequest {
        container: container.id.clone(),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec!["B=exec".into()],
        ..ExecRequest::default()
    };
    let exec = |request: &ExecRequest| {
        let out = Sink::default();
        let io = Io { stdout: Some(Box::new(out.clone())), ..Io::default() };
        let exit = place.engine.exec_container(request, io, &Control::new().unwrap())?;
        Ok::<_, EngineError>((exit.code, out.text()))
    };
    let early = exec(&request("true"));
    assert!(matches!(early, Err(EngineError::NotRunning { .. })));
    let control = Control::new().unwrap();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            place.engine.run_container(&container.id, Io::default(), &control, &mut |_| {}).unwrap()
        });
        let _killer = Killer(&place, &container);
        until(|| place.engine.find_container(&container.id).unwrap().state.is_running());
        // What it leaves running and writing does not keep it.
        let script = "echo $A $B; pwd; id -u; (sleep 5; echo late) & exit 4";
        let begun = Instant::now();
        let seen = exec(&request(script)).unwrap();
        assert_eq!(seen, (4, "container exec\n/tmp\n0\n".to_owned()));
        assert!(begun.elapsed() < Duration::from_secs(4));
        let other = ExecRequest {
            user: Some("nobody".into()),
            working_dir: Some("/etc".into()),
            ..request("id -un; pwd; echo $HOME; cat /proc/1/comm")
        };
        assert_eq!(exec(&other).unwrap().1, "nobody\n/etc\n/home\nsleep\n");
        let missing = ExecRequest { command: vec!["nosuch".into()], ..request("") };
        assert_eq!(exec(&missing).unwrap_err().exit_code(), 127);
        place.engine.exec_detached(&request("sleep 0.2; touch /done")).unwrap();
        until(|| exec(&request("test -e /done")).unwrap().0 == 0);
        place.engine.pause_container(&container.id).unwrap();
        assert!(matches!(exec(&request("true")), Err(EngineError::Paused { .. })));
        place.engine.kill_container(&container.id, "KILL").unwrap();
        run.join().unwrap();
    });
}

#[test]
fn names_are_unique_and_can_change() {
    let place = Place::new();
    let first = place.create(&["true"], |request| request.name = Some("first".into()));
    let again = bld_engine::containers::CreateRequest {
        image: "busybox".into(),
        name: Some("first".into()),
        ..Default::default()
    };
    let clash = place.engine.create_container(&again, &Events::none());
    assert!(matches!(clash, Err(EngineError::NameInUse { id, .. }) if id == first.id));
    place.engine.rename_container("first", "other").unwrap();
    assert_eq!(place.engine.find_container("/other").unwrap().id, first.id);
    assert_eq!(place.engine.find_container(&first.id[..8]).unwrap().name, "other");
    assert!(matches!(
        place.engine.find_container("first"),
        Err(EngineError::NoSuchContainer { .. })
    ));
    assert!(place.engine.rename_container("other", "a b").is_err());
    let unnamed = place.create(&["true"], |_| {});
    assert!(unnamed.name.contains('_'), "{}", unnamed.name);
}

#[test]
fn it_becomes_an_image() {
    let place = Place::new();
    let script = "mkdir -m 700 /new; echo mine > /new/file; rm /etc/group; chmod 711 /home";
    let container = place.create(&["sh", "-c", script], |_| {});
    place.run(&container).unwrap();
    let request = CommitRequest {
        container: container.id.clone(),
        reference: Some("mine:1".into()),
        author: "me".into(),
        message: "made".into(),
        changes: vec![r#"CMD ["cat", "/new/file"]"#.into(), "ENV A=b".into()],
        pause: true,
    };
    let id = place.engine.commit_container(&request, &Events::none()).unwrap();
    let image = place.engine.image_details("mine:1").unwrap();
    assert_eq!((image.record.id, image.record.layers.len()), (id, 2));
    assert_eq!(image.config.author.as_deref(), Some("me"));
    assert!(image.config.config.env.contains(&"A=b".to_owned()));
    let last = image.config.history.last().unwrap();
    assert_eq!(last.comment.as_deref(), Some("made"));
    let run = place.create(&[], |request| request.image = "mine:1".into());
    assert_eq!(place.run(&run).unwrap(), (0, "mine\n".into(), String::new()));
    let check = "stat -c %a /new /home; ls /etc/group 2>&1";
    let (_, seen) = place.sh(check, |request| request.image = "mine:1".into());
    assert!(seen.starts_with("700\n711\n") && seen.contains("No such file"), "{seen}");
}

#[test]
fn limits_and_identity_are_as_asked() {
    let place = Place::new();
    let script = "id -u; id -g; pwd; hostname; echo $WHO; ulimit -n; test -w / || echo read-only";
    let (_, seen) = place.sh(script, |request| {
        request.user = Some("1000:1001".into());
        request.working_dir = Some("/some/where".into());
        request.env = vec!["WHO=me".into()];
        request.host.hostname = "box".into();
        request.host.ulimits = vec![("nofile".into(), 77, 77)];
        request.host.read_only = true;
        request.host.extra_hosts = vec![("db".into(), "10.1.2.3".into())];
    });
    assert_eq!(seen, "1000\n1001\n/some/where\nbox\nme\n77\nread-only\n");
    let unknown = place.create(&["true"], |request| request.user = Some("nobody-knows".into()));
    let error = place.run(&unknown).unwrap_err().to_string();
    assert!(error.contains("unable to find user nobody-knows"), "{error}");
}

#[test]
fn the_bridge_gives_an_address_and_takes_it_back() {
    let place = Place::new();
    let script = "ip -4 -o addr show eth0 | grep -c inet; ip route | grep -c default";
    let (code, seen) = place.sh(script, |request| {
        request.host.network = bld_engine::containers::NetworkMode::Bridge;
    });
    assert_eq!((code, seen.as_str()), (0, "1\n1\n"));
}

#[test]
fn pruning_takes_what_has_ended() {
    let place = Place::new();
    let labels = BTreeMap::from([("keep".to_owned(), String::new())]);
    let kept = place.create(&["true"], |request| request.labels = labels);
    let gone = place.create(&["sh", "-c", "head -c 100000 /dev/zero > /big"], |_| {});
    place.run(&gone).unwrap();
    let without = [("nosuch".to_owned(), None)];
    assert!(place.engine.prune_containers(None, &without, &[]).unwrap().removed.is_empty());
    place.engine.rename_container(&kept.id, "kept").unwrap();
    let pruned = place.engine.prune_containers(Some(gone.created), &[], &[]).unwrap();
    assert_eq!(pruned.removed, [kept.id]);
    let pruned = place.engine.prune_containers(None, &[], &[]).unwrap();
    assert!(pruned.removed == [gone.id] && pruned.bytes >= 100_000, "{pruned:?}");
}

/// Waits for something that comes soon.
pub(crate) fn until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_removal_waits_until_the_holder_lets_go() {
    let place = Place::new();
    let container = place.create(&["true"], |_| {});
    let store = bld_store::Store::open(&place.dir.path().join("root")).unwrap();
    let layer = store.container_layer(&container.id).unwrap();
    std::thread::scope(|scope| {
        let remove = || place.engine.remove_container(&container.id, RemoveOptions::default());
        let removed = scope.spawn(remove);
        std::thread::sleep(Duration::from_millis(100));
        assert!(!removed.is_finished());
        drop(layer);
        removed.join().unwrap().unwrap();
    });
    assert!(place.engine.containers(&all()).unwrap().is_empty());
}
