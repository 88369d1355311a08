use std::fs::File;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::MetadataExt as _;

use bld_engine::EngineError;
use bld_engine::images::{Conflict, ImageFilter, Removed};
use bld_event::Events;
use bld_oci::{Digest, ImageConfig, Platform};

use crate::Place;

#[test]
fn an_image_has_many_names() {
    let place = Place::new();
    let engine = &place.engine;
    let id = engine.find_image("busybox").unwrap().id;
    engine.tag_image("busybox", "registry.example/team/app:1").unwrap();
    let hex = id.hex();
    for name in ["busybox:latest", "docker.io/library/busybox", &hex, &hex[..6], &id.to_string()] {
        assert_eq!(engine.find_image(name).unwrap().id, id, "{name}");
    }
    assert!(matches!(engine.find_image("busybox:2"), Err(EngineError::NoSuchImage { .. })));
    assert!(matches!(engine.find_image("Not A Name"), Err(EngineError::Reference { .. })));
    assert!(matches!(engine.find_image("a"), Err(EngineError::NoSuchImage { .. })));
    assert!(engine.tag_image("busybox", &format!("x@{id}")).is_err());
    let details = engine.image_details("busybox").unwrap();
    assert_eq!((details.tags.len(), details.layer_dirs.len()), (2, 1));
    let filter =
        ImageFilter { references: vec!["registry.example/*/app".into()], ..Default::default() };
    let listed = engine.images(&filter).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].tags[0].to_string(), "registry.example/team/app:1");
}

#[test]
fn names_go_one_by_one_and_the_last_takes_the_image() {
    let place = Place::new();
    let engine = &place.engine;
    let id = engine.find_image("busybox").unwrap().id;
    engine.tag_image("busybox", "second").unwrap();
    let by_id = engine.remove_image(&id.to_string(), false);
    assert!(matches!(by_id, Err(EngineError::ImageInUse(Conflict::ManyNames { .. }))));
    let removed = engine.remove_image("second", false).unwrap();
    assert_eq!(removed, [Removed::Untagged("second:latest".into())]);
    let container = place.create(&["true"], |_| {});
    let last = engine.remove_image("busybox", false);
    assert!(matches!(last, Err(EngineError::ImageInUse(Conflict::LastName { .. }))));
    let by_id = engine.remove_image(&id.to_string(), false);
    assert!(matches!(by_id, Err(EngineError::ImageInUse(Conflict::Stopped { .. }))));
    let removed = engine.remove_image("busybox", true).unwrap();
    assert_eq!(removed, [Removed::Untagged("busybox:latest".into()), Removed::Deleted(id)]);
    // The container still has all it needs.
    assert_eq!(place.run(&container).unwrap().0, 0);
    assert!(engine.images(&ImageFilter::default()).unwrap().is_empty());
}

#[test]
fn what_is_saved_loads_elsewhere_as_the_same_image() {
    let (here, there) = (Place::new(), Place::empty());
    let id = here.engine.find_image("busybox").unwrap().id;
    here.engine.tag_image("busybox", "second:2").unwrap();
    let path = here.dir.path().join("saved.tar");
    let names = ["busybox".to_owned(), "second:2".to_owned()];
    here.engine
        .save_images(&names, true, None, &mut File::create(&path).unwrap(), &Events::none())
        .unwrap();
    let missing = ["busybox".to_owned(), "nosuch".to_owned()];
    let refused =
        here.engine.save_images(&missing, true, None, &mut std::io::sink(), &Events::none());
    assert!(matches!(refused, Err(EngineError::NoSuchImage { name }) if name == "nosuch:latest"));

    let loaded =
        there.engine.load_images(File::open(&path).unwrap(), None, &Events::none()).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!((loaded[0].id, loaded[0].names.as_slice()), (id, &names_of(&names)[..]));
    assert_eq!(there.sh("echo works", |_| {}), (0, "works\n".to_owned()));
    // And a third time, compressed as a whole.
    let mut gzip = std::process::Command::new("gzip").arg("-kf").arg(&path).spawn().unwrap();
    assert!(gzip.wait().unwrap().success());
    let third = Place::empty();
    let file = File::open(path.with_extension("tar.gz")).unwrap();
    assert_eq!(third.engine.load_images(file, None, &Events::none()).unwrap()[0].id, id);
}

fn names_of(names: &[String]) -> Vec<String> {
    vec![format!("{}:latest", names[0]), names[1].clone()]
}

/// An archive in docker's old form, with these layers.
fn archive(layers: &[Vec<u8>], diff_ids: Vec<Digest>) -> Vec<u8> {
    let mut config = ImageConfig::for_platform(&Platform::host());
    config.rootfs.diff_ids = diff_ids;
    let names: Vec<_> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
    let manifest =
        serde_json::json!([{"Config": "c.json", "RepoTags": ["made:1"], "Layers": names}]);
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    for (name, layer) in names.iter().zip(layers) {
        add(name, layer);
    }
    add("c.json", &config.to_bytes());
    add("manifest.json", manifest.to_string().as_bytes());
    tar.into_inner().unwrap()
}

fn layer(entries: &[(&str, tar::EntryType, u32, u64)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, kind, mode, uid) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(*uid);
        header.set_size(0);
        tar.append_data(&mut header, name, std::io::empty()).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn directories_that_a_layer_leaves_out_keep_what_they_were() {
    let place = Place::empty();
    let (dir, file) = (tar::EntryType::Directory, tar::EntryType::Regular);
    let layers = [layer(&[("data", dir, 0o700, 5)]), layer(&[("data/x", file, 0o600, 5)])];
    let diff_ids = layers.iter().map(|layer| Digest::of(layer)).collect();
    let loaded =
        place.engine.load_images(Cursor::new(archive(&layers, diff_ids)), None, &Events::none());
    assert_eq!(loaded.unwrap()[0].names, ["made:1"]);
    let details = place.engine.image_details("made:1").unwrap();
    assert_eq!(details.layer_dirs.len(), 2);
    let upper = std::fs::metadata(details.layer_dirs[1].join("data")).unwrap();
    assert_eq!((upper.mode() & 0o7777, upper.uid()), (0o700, 5));
}

#[test]
fn damaged_archives_are_refused_and_leave_nothing() {
    let place = Place::empty();
    let layers = [layer(&[("x", tar::EntryType::Regular, 0o644, 0)])];
    let lie = archive(&layers, vec![Digest::of(b"something else")]);
    let error = place.engine.load_images(Cursor::new(lie), None, &Events::none()).unwrap_err();
    assert!(matches!(error, EngineError::LayerMismatch { .. }), "{error}");
    let short = archive(&layers, Vec::new());
    let error = place.engine.load_images(Cursor::new(short), None, &Events::none()).unwrap_err();
    assert!(error.to_string().contains("names 0 layers and has 1"), "{error}");
    let mut cut = archive(&layers, vec![Digest::of(&layers[0])]);
    cut.truncate(cut.len() / 2);
    assert!(place.engine.load_images(Cursor::new(cut), None, &Events::none()).is_err());
    for junk in [&b"not a tar at all"[..], b""] {
        let error = place.engine.load_images(Cursor::new(junk), None, &Events::none()).unwrap_err();
        assert!(error.to_string().starts_with("load the archive: "), "{error}");
    }
    assert!(place.engine.find_image("made:1").is_err());
    let snapshots = place.dir.path().join("root/snapshots");
    assert_eq!(std::fs::read_dir(snapshots).map_or(0, Iterator::count), 0);
}

#[test]
fn layouts_are_imported_by_tag() {
    let place = Place::new();
    let path = place.dir.path().join("saved.tar");
    let names = ["busybox".to_owned()];
    place
        .engine
        .save_images(&names, true, None, &mut File::create(&path).unwrap(), &Events::none())
        .unwrap();
    let dir = place.dir.path().join("layout");
    std::fs::create_dir(&dir).unwrap();
    tar::Archive::new(File::open(&path).unwrap()).unpack(&dir).unwrap();
    let id = place.engine.find_image("busybox").unwrap().id;
    let other = Place::empty();
    let host = Platform::host();
    let import = |selector| other.engine.import_layout(&dir, selector, &host);
    assert_eq!(import(None).unwrap().id, id);
    assert_eq!(import(Some("latest")).unwrap().id, id);
    assert!(import(Some("nosuch")).is_err());
    let blob = std::fs::read_dir(dir.join("blobs/sha256")).unwrap().next().unwrap().unwrap().path();
    File::options().append(true).open(&blob).unwrap().write_all(b"x").unwrap();
    let third = Place::empty();
    assert!(third.engine.import_layout(&dir, None, &host).is_err(), "a blob is damaged");
}
