//! What is done again, what is not, and the reasons given.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::SystemTime;

use bld_graph::NoCache;

use crate::lab::{Ask, Lab, OnLog};

const COPY_AND_RUN: &str = "FROM busybox\nCOPY *.txt /d/\nRUN cat /d/* > /all\n";

fn prepared() -> Lab {
    let lab = Lab::new();
    lab.write("a.txt", "a");
    lab.write("b.txt", "b");
    assert_eq!(lab.build(COPY_AND_RUN).counts(), (2, 0));
    lab
}

#[test]
fn times_do_not_count() {
    let lab = prepared();
    let file = fs::File::options().write(true).open(lab.path("a.txt")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let built = lab.build(COPY_AND_RUN);
    assert_eq!(built.counts(), (0, 2));
    assert_eq!(built.how("COPY"), "definition");
}

#[test]
fn bytes_modes_and_names_count_and_are_named() {
    let lab = prepared();
    lab.write("a.txt", "A");
    let built = lab.build(COPY_AND_RUN);
    assert_eq!((built.counts(), built.why("COPY").as_str()), ((2, 0), "a.txt changed (bytes)"));
    assert_eq!(built.why("RUN"), "because [2/3] COPY *.txt /d/ changed");

    fs::set_permissions(lab.path("b.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    let built = lab.build(COPY_AND_RUN);
    assert_eq!(built.why("COPY"), "b.txt changed (mode from 0644 to 0600)");

    fs::rename(lab.path("b.txt"), lab.path("c.txt")).unwrap();
    let built = lab.build(COPY_AND_RUN);
    assert_eq!(built.counts(), (2, 0));
    assert_eq!(built.why("COPY"), "b.txt renamed to c.txt");

    // And back again: nothing is forgotten.
    fs::rename(lab.path("c.txt"), lab.path("b.txt")).unwrap();
    assert_eq!(lab.build(COPY_AND_RUN).counts(), (0, 2));
}

#[test]
fn files_that_are_not_selected_do_not_count() {
    let lab = prepared();
    lab.write("c.md", "c");
    assert_eq!(lab.build(COPY_AND_RUN).counts(), (0, 2));
}

#[test]
fn metadata_makes_nothing_run() {
    let lab = prepared();
    let more = format!("{COPY_AND_RUN}LABEL a=b\nCMD [\"x\"]\nEXPOSE 80\nVOLUME /v\n");
    assert_eq!(lab.build(&more).counts(), (0, 2));
}

#[test]
fn arguments_count_where_they_are_seen() {
    let lab = Lab::new();
    let build = |dockerfile: &str, value| {
        lab.ask(dockerfile, Ask { args: vec![("V", value)], ..Ask::default() }).done()
    };
    let behind = "FROM busybox\nRUN echo > /x\nARG V\n";
    build(behind, "1");
    assert_eq!(build(behind, "2").counts(), (0, 1));
    let before = "FROM busybox\nARG V\nRUN echo $V > /y\n";
    build(before, "1");
    let built = build(before, "2");
    assert_eq!((built.counts(), built.why("RUN").as_str()), ((1, 0), "ARG V changed from 1 to 2"));
    assert_eq!(built.read("/y"), "2\n");
}

#[test]
fn the_environment_counts() {
    let lab = Lab::new();
    lab.build("FROM busybox\nENV E=1\nRUN echo $E > /e\n");
    let built = lab.build("FROM busybox\nENV E=2\nRUN echo $E > /e\n");
    assert_eq!(
        (built.why("RUN").as_str(), built.read("/e").as_str()),
        ("ENV E changed from 1 to 2", "2\n")
    );
}

#[test]
fn a_stage_rebuilt_to_the_same_bytes_stops_there() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox AS one\nCOPY in /in\nRUN tr a-z A-Z < /in > /out\n\
                      FROM busybox\nCOPY --from=one /out /out\nRUN cat /out > /end\n";
    lab.write("in", "word");
    let first = lab.build(dockerfile);
    lab.write("in", "WORD");
    let second = lab.build(dockerfile);
    assert_eq!(second.how("RUN tr"), "run");
    assert_eq!(second.how("COPY --from"), "content");
    assert_eq!(second.how("RUN cat"), "content");
    assert_eq!(second.counts(), (2, 2));
    // The very same result, so an image made of it has the same id.
    assert_eq!(first.snapshot(), second.snapshot());
    // What was found by content is known by definition from then on.
    assert_eq!(lab.build(dockerfile).how("RUN cat"), "definition");
}

#[test]
fn no_cache_runs_all_and_says_so() {
    let lab = prepared();
    let built = lab.ask(COPY_AND_RUN, Ask { no_cache: NoCache::All, ..Ask::default() }).done();
    assert_eq!(built.counts(), (2, 0));
    assert_eq!(built.why("RUN"), "made anew, as was asked for (--no-cache)");
}

#[test]
fn a_filter_runs_its_stage_and_what_depends_on_other_content() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox AS one\nRUN cat /proc/sys/kernel/random/uuid > /id\n\
                      FROM busybox AS two\nRUN echo > /two\n\
                      FROM busybox\nCOPY --from=two /two /\nCOPY --from=one /id /\n";
    let first = lab.build(dockerfile);
    let no_cache = NoCache::Stages(vec!["one".to_owned()]);
    let second = lab.ask(dockerfile, Ask { no_cache, ..Ask::default() }).done();
    assert_eq!(second.counts(), (2, 2));
    assert_eq!(second.how("RUN echo"), "definition");
    let why = second.why("COPY --from=one");
    assert!(why.starts_with("id changed (bytes), because [one 2/2] RUN cat "), "{why}");
    assert!(why.ends_with(" was made anew"), "{why}");
    assert_ne!(first.read("/id"), second.read("/id"));
}

#[test]
fn what_was_made_of_the_former_result_of_a_step_is_not_taken_for_the_new_one() {
    let lab = Lab::new();
    let stage = "FROM busybox AS one\nRUN cat /proc/sys/kernel/random/uuid > /id\n";
    let dockerfile = format!("{stage}FROM busybox\nCOPY --from=one /id /\nRUN cp /id /copy\n");
    let first = lab.build(&dockerfile).read("/copy");
    // Only the stage is made again; what is built on top of it comes later.
    let again = lab.ask(stage, Ask { no_cache: NoCache::All, ..Ask::default() }).done();
    let built = lab.build(&dockerfile);
    assert_eq!((built.read("/copy"), built.counts()), (again.read("/id"), (2, 1)));
    let why = built.why("COPY");
    assert!(why.starts_with("id changed (bytes), because [one 2/2] RUN cat "), "{why}");
    assert!(why.ends_with(" was made anew since"), "{why}");
    assert_ne!(built.read("/copy"), first);
    assert_eq!(lab.build(&dockerfile).counts(), (0, 3));
}

#[test]
fn a_result_that_is_gone_is_made_again() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nRUN echo 1 > /x\n";
    let gone = lab.build(dockerfile).snapshot();
    lab.store.remove_snapshot(gone).unwrap();
    let built = lab.build(dockerfile);
    assert_eq!(built.how("RUN"), "run");
    assert_eq!(built.why("RUN"), "its earlier result was removed from the cache");
    assert_eq!(built.read("/x"), "1\n");
}

#[test]
fn a_linked_layer_is_put_on_another_base() {
    let lab = Lab::new();
    lab.write("dir/file", "data");
    fs::set_permissions(lab.path("dir"), fs::Permissions::from_mode(0o700)).unwrap();
    let on =
        |base: &str| lab.build(&format!("FROM {base}\nCOPY --link . /to/\nRUN ls /to > /ls\n"));
    let (first, second) = (on("busybox"), on("other"));
    assert_eq!(second.how("COPY"), "linked");
    assert_eq!(second.counts(), (1, 1));
    assert_eq!(second.read("/to/dir/file"), "data");
    assert!(second.has("/other") && !first.has("/other"));
    // The same bytes as a layer, and the same file on disk.
    let layer = |built: &crate::lab::Built| {
        let layers = lab.store.layers(built.snapshot()).unwrap();
        layers[layers.len() - 2].clone()
    };
    let (one, other) = (layer(&first), layer(&second));
    let options = bld_layer::TarOptions::default();
    assert_eq!(
        bld_layer::diff_id(&one, &options).unwrap(),
        bld_layer::diff_id(&other, &options).unwrap()
    );
    let inode = |layer: &std::path::Path| fs::metadata(layer.join("to/dir/file")).unwrap().ino();
    assert_eq!(inode(&one), inode(&other));
}

#[test]
fn a_copy_that_is_not_linked_depends_on_its_base() {
    let lab = Lab::new();
    lab.write("file", "data");
    lab.build("FROM busybox\nCOPY file /\n");
    let built = lab.build("FROM other\nCOPY file /\n");
    assert_eq!((built.how("COPY").as_str(), built.has("/other")), ("run", true));
}

#[test]
fn files_that_change_during_a_build_leave_nothing_wrong_behind() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox AS first\nRUN echo running; cat a.txt || :\n\
                      FROM busybox\nCOPY --from=first /etc/passwd /first\nCOPY a.txt /d/\n\
                      RUN cat /d/a.txt > /all\n";
    lab.write("a.txt", "one");
    let path = lab.path("a.txt");
    let on_log: OnLog = Box::new(move |_| fs::write(&path, "two").unwrap());
    let built = lab.ask(dockerfile, Ask { on_log: Some(on_log), ..Ask::default() }).done();
    // What is there is copied, and what follows works on that.
    assert_eq!(built.read("/all"), "two");
    assert!(built.warnings().iter().any(|warning| warning.contains("changed while")), "told");

    // Neither step is known by what the file was, nor by what it became.
    lab.write("a.txt", "one");
    let built = lab.build(dockerfile);
    assert_eq!((built.how("COPY a.txt"), built.how("cat /d/a.txt")), ("run".into(), "run".into()));
    assert_eq!(built.read("/all"), "one");
    lab.write("a.txt", "two");
    let built = lab.build(dockerfile);
    assert_eq!((built.how("COPY a.txt"), built.read("/all").as_str()), ("run".into(), "two"));
}

#[test]
fn a_file_that_is_only_touched_during_a_build_is_the_same_file() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox AS first\nRUN echo running\n\
                      FROM busybox\nCOPY --from=first /etc/passwd /first\nCOPY a.txt /d/\n";
    lab.write("a.txt", "one");
    let path = lab.path("a.txt");
    let on_log: OnLog = Box::new(move |_| fs::write(&path, "one").unwrap());
    let built = lab.ask(dockerfile, Ask { on_log: Some(on_log), ..Ask::default() }).done();
    assert_eq!(built.warnings(), Vec::<&str>::new());
    assert_eq!(lab.build(dockerfile).counts().0, 0);
}

#[test]
fn a_copy_takes_what_it_can_from_the_one_before_it_in_its_place() {
    let lab = Lab::new();
    for name in ["src/a", "src/b", "src/c"] {
        lab.write(name, name);
    }
    let dockerfile = "FROM busybox\nCOPY src /d/\n";
    let layer = |snapshot| lab.store.layers(snapshot).unwrap().pop().unwrap();
    let first = layer(lab.build(dockerfile).snapshot());
    lab.write("src/b", "other");
    let second = layer(lab.build(dockerfile).snapshot());
    let inode = |layer: &std::path::Path, name: &str| {
        fs::metadata(layer.join("d").join(name)).unwrap().ino()
    };
    for name in ["a", "c"] {
        assert_eq!(inode(&first, name), inode(&second, name), "{name}");
    }
    assert_ne!(inode(&first, "b"), inode(&second, "b"));
    assert_eq!(fs::read_to_string(first.join("d/b")).unwrap(), "src/b");
}
