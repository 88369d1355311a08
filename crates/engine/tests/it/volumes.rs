use std::collections::BTreeMap;

use bld_engine::EngineError;
use bld_engine::containers::{CommitRequest, Mount, MountSource, Propagation, RemoveOptions};
use bld_event::Events;

use crate::Place;

fn volume(name: &str, target: &str) -> Mount {
    let source = MountSource::Volume {
        name: name.into(),
        anonymous: name.is_empty(),
        copy: true,
        subpath: None,
    };
    Mount { source, target: target.into(), read_only: false }
}

/// An image `seeded` that has something in `/data` and wants a volume there.
fn seeded() -> Place {
    let place = Place::new();
    let script = "mkdir /data; echo seed > /data/seed; chown 1000 /data; chmod 751 /data";
    let container = place.create(&["sh", "-c", script], |_| {});
    place.run(&container).unwrap();
    let request = CommitRequest {
        container: container.id.clone(),
        reference: Some("seeded".into()),
        changes: vec!["VOLUME /data".into()],
        ..CommitRequest::default()
    };
    place.engine.commit_container(&request, &Events::none()).unwrap();
    place.engine.remove_container(&container.id, RemoveOptions::default()).unwrap();
    place
}

#[test]
fn an_empty_volume_takes_what_the_image_has() {
    let place = seeded();
    let script = "cat /data/seed; stat -c '%u %a' /data; rm /data/seed; echo new > /data/new";
    let change = |request: &mut bld_engine::containers::CreateRequest| {
        request.image = "seeded".into();
        request.mounts = vec![volume("v1", "/data")];
    };
    assert_eq!(place.sh(script, change).1, "seed\n1000 751\n");
    // It is not empty any more, so nothing is copied again.
    assert_eq!(place.sh("ls /data", change).1, "new\n");
    let bare = |request: &mut bld_engine::containers::CreateRequest| {
        request.image = "seeded".into();
        let source =
            MountSource::Volume { name: "v2".into(), anonymous: false, copy: false, subpath: None };
        request.mounts = vec![Mount { source, target: "/data".into(), read_only: true }];
    };
    assert_eq!(
        place.sh("ls /data; touch /data/x 2>/dev/null || echo read-only", bare).1,
        "read-only\n"
    );
}

#[test]
fn volumes_nobody_named_go_with_their_container() {
    let place = seeded();
    let container = place.create(&["true"], |request| request.image = "seeded".into());
    place.run(&container).unwrap();
    let [anonymous] = &place.engine.volumes().unwrap()[..] else { panic!("one volume") };
    assert!(anonymous.anonymous && anonymous.name.len() == 64);
    let other = place.create(&["cat", "/data/seed"], |request| {
        request.volumes_from = vec![container.name.clone()];
    });
    assert_eq!(place.run(&other).unwrap().1, "seed\n");
    let options = RemoveOptions { force: false, volumes: true };
    place.engine.remove_container(&container.id, options).unwrap();
    assert_eq!(place.engine.volumes().unwrap().len(), 1, "another container uses it");
    place.engine.remove_container(&other.id, options).unwrap();
    assert!(place.engine.volumes().unwrap().is_empty());
    place.sh("true", |request| request.image = "seeded".into());
    assert!(place.engine.volumes().unwrap().is_empty(), "removed with the container");
}

#[test]
fn volumes_in_use_are_not_removed() {
    let place = Place::new();
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let made = place.engine.create_volume("v1", &labels).unwrap();
    assert_eq!(place.engine.create_volume("v1", &BTreeMap::new()).unwrap().labels, made.labels);
    assert!(matches!(
        place.engine.create_volume("a b", &labels),
        Err(EngineError::VolumeName { .. })
    ));
    let container = place.create(&["true"], |request| request.mounts = vec![volume("v1", "/v")]);
    let refused = place.engine.remove_volume("v1", true);
    assert!(
        matches!(refused, Err(EngineError::VolumeInUse { users, .. }) if users == [container.id.clone()])
    );
    assert!(place.engine.prune_volumes(true, &[], &[]).unwrap().removed.is_empty());
    place.engine.remove_container(&container.id, RemoveOptions::default()).unwrap();
    assert!(
        place.engine.prune_volumes(false, &[], &[]).unwrap().removed.is_empty(),
        "it has a name"
    );
    assert_eq!(place.engine.prune_volumes(true, &[], &[]).unwrap().removed, ["v1"]);
    assert!(place.engine.remove_volume("v1", true).is_ok());
    assert!(matches!(
        place.engine.remove_volume("v1", false),
        Err(EngineError::NoSuchVolume { .. })
    ));
}

#[test]
fn binds_show_the_host_and_missing_ones_are_made_or_refused() {
    let place = Place::new();
    let host = place.dir.path().join("host/dir");
    let bind = |create| Mount {
        source: MountSource::Bind {
            path: host.clone(),
            create,
            propagation: Propagation::RPrivate,
            shallow: false,
        },
        target: "/h".into(),
        read_only: false,
    };
    let request = bld_engine::containers::CreateRequest {
        image: "busybox".into(),
        mounts: vec![bind(false)],
        ..Default::default()
    };
    let refused = place.engine.create_container(&request, &Events::none());
    assert!(matches!(refused, Err(EngineError::BindSource { .. })));
    place.sh("echo made > /h/file", |request| request.mounts = vec![bind(true)]);
    assert_eq!(std::fs::read_to_string(host.join("file")).unwrap(), "made\n");
}
