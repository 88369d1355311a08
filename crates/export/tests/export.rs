//! Images on their way out, read back and checked by `bld_oci::validate`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use bld_event::Cancel;
use bld_export::{
    ArchiveImage, ExportError, FilesOptions, ManifestOptions, Recipe, assemble, describe, manifest,
    pack_new_layers, write_archive, write_layout, write_rootfs_dir, write_rootfs_tar,
};
use bld_layer::{Compression, TarOptions, decoder};
use bld_oci::{
    Descriptor, DescriptorExt, Digest, History, Image, ImageConfig, ImageError, ImageExt, Platform,
    Reference, media_type, validate,
};
use bld_store::{ImageRecord, SnapshotId, Store};
use serde_json::Value;
use tempfile::TempDir;

struct Lab {
    directory: TempDir,
    store: Store,
}

impl Lab {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("bld-export-").tempdir().unwrap();
        let store = Store::open(&directory.path().join("root")).unwrap();
        Self { directory, store }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn layer(&self, parent: Option<SnapshotId>, fill: impl FnOnce(&Path)) -> SnapshotId {
        let active = self.store.prepare(parent).unwrap();
        fill(active.upper());
        active.commit().unwrap()
    }

    /// Two layers: the second replaces a file of the first and adds a link and a directory.
    fn snapshot(&self) -> SnapshotId {
        let first = self.layer(None, |upper| {
            fs::write(upper.join("file"), "one".repeat(1000)).unwrap();
            fs::hard_link(upper.join("file"), upper.join("hard")).unwrap();
        });
        self.layer(Some(first), |upper| {
            fs::write(upper.join("file"), "two").unwrap();
            symlink("file", upper.join("link")).unwrap();
            fs::create_dir(upper.join("dir")).unwrap();
            fs::set_permissions(upper.join("dir"), fs::Permissions::from_mode(0o1711)).unwrap();
        })
    }

    fn image(&self) -> ImageRecord {
        assemble(&self.store, recipe(Some(self.snapshot()))).unwrap()
    }

    fn archived(&self, image: &ImageRecord, options: &ManifestOptions, name: &str) -> ArchiveImage {
        let manifest = manifest(&self.store, image, options, &|_, _| {}).unwrap();
        let names = vec![Reference::parse(name).unwrap()];
        ArchiveImage { manifest, index: None, names, annotations: BTreeMap::default() }
    }
}

fn recipe(snapshot: Option<SnapshotId>) -> Recipe {
    let platform = Platform::host();
    let entry = |created_by: &str, empty_layer| History {
        created_by: Some(created_by.to_owned()),
        empty_layer,
        ..History::default()
    };
    let history = match snapshot {
        Some(_) => vec![entry("one", false), entry("env", true), entry("two", false)],
        None => vec![entry("env", true)],
    };
    Recipe {
        config: ImageConfig::for_platform(&platform),
        history,
        snapshot,
        platform,
        epoch: None,
    }
}

fn options(compression: Compression) -> ManifestOptions {
    ManifestOptions { compression, ..ManifestOptions::default() }
}

/// An image of files by name, as of a layout or an archive.
struct Files {
    files: BTreeMap<String, Vec<u8>>,
    manifest: Digest,
}

impl Files {
    fn of_tar(mut bytes: &[u8]) -> Self {
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(&mut bytes);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents).unwrap();
            files.insert(String::from_utf8(entry.path_bytes().to_vec()).unwrap(), contents);
        }
        Self::new(files)
    }

    fn of_dir(dir: &Path) -> Self {
        let mut files = BTreeMap::new();
        for name in ["index.json", "oci-layout"] {
            files.insert(name.to_owned(), fs::read(dir.join(name)).unwrap());
        }
        for entry in fs::read_dir(dir.join("blobs/sha256")).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            files.insert(format!("blobs/sha256/{name}"), fs::read(entry.path()).unwrap());
        }
        Self::new(files)
    }

    fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let last = index["manifests"].as_array().unwrap().last().unwrap();
        let manifest = last["digest"].as_str().unwrap().parse().unwrap();
        Self { files, manifest }
    }

    fn bytes(&self, digest: &Digest) -> Vec<u8> {
        self.files[&format!("blobs/sha256/{}", digest.hex())].clone()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.files[name]).unwrap()
    }

    fn check(&self) -> &Self {
        let decode =
            |_: &str, blob| decoder(blob).map_err(|error| std::io::Error::other(error.to_string()));
        if let Err(problems) = validate(self, &decode) {
            panic!("{problems:?}");
        }
        self
    }

    fn layer_types(&self) -> Vec<String> {
        self.layers().unwrap().iter().map(|layer| layer.media_type().to_string()).collect()
    }
}

impl Image for Files {
    fn manifest_bytes(&self) -> Result<Vec<u8>, ImageError> {
        Ok(self.bytes(&self.manifest))
    }

    fn config_bytes(&self) -> Result<Vec<u8>, ImageError> {
        let config: Digest = self.manifest()?.config().sha256()?;
        Ok(self.bytes(&config))
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, ImageError> {
        Ok(Box::new(std::io::Cursor::new(self.bytes(&descriptor.sha256()?))))
    }
}

fn archive(lab: &Lab, images: &[ArchiveImage], docker: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_archive(&lab.store, images, docker, &mut bytes).unwrap();
    bytes
}

#[test]
fn an_image_keeps_its_id_and_its_times_come_from_its_layers() {
    let lab = Lab::new();
    let snapshot = lab.snapshot();
    let first = assemble(&lab.store, recipe(Some(snapshot))).unwrap();
    let second = assemble(&lab.store, recipe(Some(snapshot))).unwrap();
    assert_eq!(first.id, second.id);
    let config = ImageConfig::parse(&lab.store.read_blob(&first.id).unwrap()).unwrap();
    let created = |n: usize| config.history[n].created.clone().unwrap();
    assert_eq!(created(0), created(1));
    assert_ne!(created(1), created(2));
    assert_eq!(config.created.as_ref(), Some(&created(2)));
    assert_eq!(config.rootfs.diff_ids.len(), 2);

    let fixed = Recipe { epoch: Some(0), ..recipe(Some(snapshot)) };
    let id = assemble(&lab.store, fixed).unwrap().id;
    let config = ImageConfig::parse(&lab.store.read_blob(&id).unwrap()).unwrap();
    assert_eq!(config.created.as_deref(), Some("1970-01-01T00:00:00Z"));
}

#[test]
fn what_makes_no_layer_is_as_old_as_what_is_below_or_the_first_that_does() {
    let lab = Lab::new();
    let old = "2001-02-03T04:05:06Z";
    let built = |mut recipe: Recipe| {
        recipe.config.history = vec![History {
            created: Some(old.to_owned()),
            empty_layer: true,
            ..History::default()
        }];
        let id = assemble(&lab.store, recipe).unwrap().id;
        ImageConfig::parse(&lab.store.read_blob(&id).unwrap()).unwrap()
    };
    let config = built(recipe(None));
    assert_eq!(config.history[1].created.as_deref(), Some(old));
    assert_eq!(config.created.as_deref(), Some(old));

    let mut layered = recipe(Some(lab.snapshot()));
    layered.history.swap(0, 1);
    let config = built(layered);
    assert_eq!(config.history[1].created, config.history[2].created);
    assert_ne!(config.history[1].created.as_deref(), Some(old));
}

#[test]
fn layouts_are_valid_and_keep_other_images() {
    let lab = Lab::new();
    let dir = lab.path("layout");
    let image = lab.image();
    let one = lab.archived(&image, &options(Compression::default()), "one:1");
    let two = lab.archived(&image, &options(Compression::None), "two:1");
    for image in [&one, &two, &one] {
        write_layout(&lab.store, std::slice::from_ref(image), &dir).unwrap();
        Files::of_dir(&dir).check();
    }
    let names: Vec<String> = Files::of_dir(&dir).json("index.json")["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["annotations"]["io.containerd.image.name"].to_string())
        .collect();
    assert_eq!(names, ["\"docker.io/library/two:1\"", "\"docker.io/library/one:1\""]);
    // Nothing unfinished, and readable for all.
    for entry in fs::read_dir(dir.join("blobs/sha256")).unwrap().map(Result::unwrap) {
        assert!(!entry.file_name().to_string_lossy().contains("partial"));
        assert_eq!(entry.metadata().unwrap().mode() & 0o444, 0o444);
    }
}

#[test]
fn a_torn_blob_of_a_layout_is_written_again() {
    let lab = Lab::new();
    let dir = lab.path("layout");
    let image = lab.archived(&lab.image(), &ManifestOptions::default(), "one:1");
    write_layout(&lab.store, std::slice::from_ref(&image), &dir).unwrap();
    let blob = dir.join("blobs/sha256").join(image.manifest.layers[0].digest.hex());
    fs::write(&blob, "torn").unwrap();
    write_layout(&lab.store, &[image], &dir).unwrap();
    Files::of_dir(&dir).check();
}

#[test]
fn writers_of_one_layout_take_turns() {
    let lab = Lab::new();
    let dir = lab.path("layout");
    let image = lab.image();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (lab, dir, image) = (&lab, &dir, &image);
            scope.spawn(move || {
                let name = format!("image:{n}");
                let image = lab.archived(image, &ManifestOptions::default(), &name);
                write_layout(&lab.store, &[image], dir).unwrap();
            });
        }
    });
    let files = Files::of_dir(&dir);
    assert_eq!(files.check().json("index.json")["manifests"].as_array().unwrap().len(), 8);
}

#[test]
fn archives_are_valid_and_the_same_every_time() {
    let lab = Lab::new();
    let image = lab.archived(&lab.image(), &ManifestOptions::default(), "name:tag");
    let images = [image];
    let plain = archive(&lab, &images, false);
    assert!(!Files::of_tar(&plain).check().files.contains_key("manifest.json"));
    let docker = archive(&lab, &images, true);
    let files = Files::of_tar(&docker);
    let listed = files.check().json("manifest.json");
    assert_eq!(listed[0]["RepoTags"][0], "name:tag");
    for path in listed[0]["Layers"].as_array().unwrap().iter().chain([&listed[0]["Config"]]) {
        assert!(files.files.contains_key(path.as_str().unwrap()), "{path}");
    }
    assert!(files.json("repositories")["name"]["tag"].is_string());
    assert_eq!(archive(&lab, &images, true), docker);
}

#[test]
fn layers_are_compressed_as_asked_and_once() {
    let lab = Lab::new();
    let image = lab.image();
    let types = |options: &ManifestOptions| {
        let image = lab.archived(&image, options, "x");
        Files::of_tar(&archive(&lab, &[image], false)).check().layer_types()
    };
    let zstd = Compression::Zstd { level: 3 };
    assert_eq!(types(&options(zstd)), [media_type::OCI_LAYER_ZSTD; 2]);
    // What is there is good enough, unless it is said otherwise.
    assert_eq!(types(&options(Compression::default())), [media_type::OCI_LAYER_ZSTD; 2]);
    let force = |compression| ManifestOptions { force_compression: true, ..options(compression) };
    assert_eq!(types(&force(Compression::default())), [media_type::OCI_LAYER_GZIP; 2]);
    assert_eq!(types(&force(Compression::None)), [media_type::OCI_LAYER; 2]);
    let docker = ManifestOptions { docker_types: true, ..force(Compression::default()) };
    assert_eq!(types(&docker), [media_type::DOCKER_LAYER_GZIP; 2]);
}

#[test]
fn one_walk_finds_the_ids_and_packs() {
    let lab = Lab::new();
    let snapshot = lab.snapshot();
    let options = options(Compression::Zstd { level: 3 });
    let packed = std::cell::RefCell::new(Vec::new());
    let progress = |done, all| packed.borrow_mut().push((done, all));
    pack_new_layers(&lab.store, Some(snapshot), &options, &progress).unwrap();
    assert_eq!(packed.take(), [(1, 2), (2, 2)]);

    let image = describe(&lab.store, recipe(Some(snapshot))).unwrap();
    // Known to whoever has the record; in the store once it is put there.
    assert_eq!(lab.store.image(&image.id).unwrap(), None);
    let dirs = lab.store.layers(snapshot).unwrap();
    for (dir, diff_id) in dirs.iter().zip(&image.layers) {
        assert_eq!(bld_layer::diff_id(dir, &TarOptions::default()).unwrap().0, *diff_id);
        let key = options.compression.key();
        assert!(lab.store.layer_blob(diff_id, &key).unwrap().is_some());
    }
    let archived = lab.archived(&image, &options, "x");
    assert_eq!(
        Files::of_tar(&archive(&lab, &[archived], false)).check().layer_types(),
        [media_type::OCI_LAYER_ZSTD; 2]
    );
    pack_new_layers(&lab.store, Some(snapshot), &options, &progress).unwrap();
    assert_eq!(packed.take(), [], "nothing is packed twice");
    lab.store.put_image(&image).unwrap();
    assert_eq!(assemble(&lab.store, recipe(Some(snapshot))).unwrap(), image);
}

#[test]
fn files_that_were_changed_do_not_pass_for_the_layer() {
    let lab = Lab::new();
    let image = lab.image();
    let top = lab.store.layers(image.snapshot.unwrap()).unwrap().pop().unwrap();
    fs::write(top.join("file"), "TWO").unwrap();
    let error = manifest(&lab.store, &image, &ManifestOptions::default(), &|_, _| {}).unwrap_err();
    let changed = |diff_id: &Digest| *diff_id == image.layers[1];
    assert!(
        matches!(&error, ExportError::ChangedLayer { diff_id, .. } if changed(diff_id)),
        "{error:?}"
    );
    assert_eq!(lab.store.any_layer_blob(&image.layers[1]).unwrap(), None);
}

#[test]
fn dockers_types_give_way_where_they_have_no_word_for_a_layer() {
    let lab = Lab::new();
    let zstd = options(Compression::Zstd { level: 3 });
    let docker = ManifestOptions { docker_types: true, ..zstd };
    let image = lab.archived(&lab.image(), &docker, "x");
    assert_eq!(image.manifest.media_type, media_type::OCI_MANIFEST);
    assert_eq!(image.manifest.config.media_type, media_type::OCI_CONFIG);
    Files::of_tar(&archive(&lab, &[image], true)).check();
}

#[test]
fn an_image_without_layers_is_an_image() {
    let lab = Lab::new();
    let image = assemble(&lab.store, recipe(None)).unwrap();
    let image = lab.archived(&image, &ManifestOptions::default(), "empty");
    let files = Files::of_tar(&archive(&lab, &[image], true));
    assert!(files.check().layers().unwrap().is_empty());
    assert_eq!(files.config().unwrap().history.len(), 1);

    let (dir, mut tar) = (lab.path("out"), Vec::new());
    write_rootfs_dir(&lab.store, None, &dir, &FilesOptions::default()).unwrap();
    write_rootfs_tar(&lab.store, None, &mut tar, None).unwrap();
    assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
    assert_eq!(tar::Archive::new(&*tar).entries().unwrap().count(), 0);
}

#[test]
fn files_come_out_merged() {
    let lab = Lab::new();
    let snapshot = lab.snapshot();
    let dir = lab.path("out");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("mine"), "kept").unwrap();
    fs::write(dir.join("file"), "replaced").unwrap();
    write_rootfs_dir(&lab.store, Some(snapshot), &dir, &FilesOptions::default()).unwrap();
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(
        (read("file"), read("link"), read("mine")),
        ("two".into(), "two".into(), "kept".into())
    );
    assert_eq!(fs::metadata(dir.join("dir")).unwrap().mode() & 0o7777, 0o1711);
    assert_eq!(fs::metadata(dir.join("hard")).unwrap().nlink(), 1);

    let tar = || {
        let mut bytes = Vec::new();
        write_rootfs_tar(&lab.store, Some(snapshot), &mut bytes, None).unwrap();
        bytes
    };
    let bytes = tar();
    assert_eq!(bytes, tar());
    let mut archive = tar::Archive::new(&*bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        (String::from_utf8(entry.path_bytes().to_vec()).unwrap(), entry.header().entry_type())
    });
    let entries: Vec<_> = entries.collect();
    let expected = [
        ("dir/", tar::EntryType::Directory),
        ("file", tar::EntryType::Regular),
        ("hard", tar::EntryType::Regular),
        ("link", tar::EntryType::Symlink),
    ];
    assert_eq!(entries, expected.map(|(name, kind)| (name.to_owned(), kind)));
}

#[test]
fn a_canceled_export_gives_up() {
    let lab = Lab::new();
    let cancel = Cancel::new();
    cancel.cancel();
    let options = ManifestOptions { cancel, ..ManifestOptions::default() };
    let result = manifest(&lab.store, &lab.image(), &options, &|_, _| {});
    assert!(matches!(result, Err(ExportError::Canceled)), "{result:?}");
}
