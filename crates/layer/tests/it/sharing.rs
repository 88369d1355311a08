//! Copies of files that were read before, and what they share with the copies before them.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bld_layer::copy::{
    CopyRequest, CopyStats, Item, Previous, Sharing, copy_sharing, read, select, selection_digest,
};
use bld_layer::{FileStamp, Known, StatCache, View};
use bld_oci::Digest;

use crate::common::*;

/// What is known of the files of a layer, whatever their change times are.
#[derive(Default)]
struct Files(Mutex<HashMap<(u64, u64, u64, i64), Known>>);

impl Files {
    fn key(stamp: &FileStamp) -> (u64, u64, u64, i64) {
        (stamp.dev, stamp.ino, stamp.size, stamp.mtime_ns)
    }
}

impl StatCache for Files {
    fn get(&self, stamp: &FileStamp) -> Option<Known> {
        self.0.lock().unwrap().get(&Self::key(stamp)).copied()
    }
    fn put(&self, stamp: FileStamp, known: Known) {
        self.0.lock().unwrap().insert(Self::key(&stamp), known);
    }
}

struct Lab {
    dir: tempfile::TempDir,
    /// The layers made so far, each by a copy that could share with the one before.
    layers: Vec<(PathBuf, Files)>,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        mkdirs(dir.path().join("source"));
        Self { dir, layers: Vec::new() }
    }

    fn source(&self, path: &str) -> PathBuf {
        self.dir.path().join("source").join(path)
    }

    fn items(&self) -> (View, Vec<Item>) {
        let source = View::plain(self.source(""));
        let mut items = select(&source, Path::new("."), &glob).unwrap();
        read(&source, &mut items, None).unwrap();
        (source, items)
    }

    /// Reads the source, lets `meanwhile` happen, and copies it into a new layer.
    fn copy(&mut self, meanwhile: impl FnOnce(&Self)) -> CopyStats {
        let (source, items) = self.items();
        meanwhile(self);
        let upper = self.dir.path().join(format!("upper{}", self.layers.len()));
        mkdirs(&upper);
        let files = Files::default();
        let previous = self.layers.last().map(|(upper, known)| Previous { upper, known });
        let sharing = Sharing { previous, landed: Some(&files), ..Sharing::default() };
        let request = CopyRequest {
            source: &source,
            items: &items,
            dest_view: &View::new(Vec::new()),
            upper: &upper,
            dest: Path::new("/app/"),
            owner: None,
            chmod: None,
            follow_dest_symlinks: true,
            mtime: None,
        };
        let stats = copy_sharing(&request, &sharing).unwrap();
        self.layers.push((upper, files));
        stats
    }

    fn copied(&self) -> Tree {
        tree_on_disk(&self.layers.last().unwrap().0.join("app"))
    }

    /// The last copy is the source to the last attribute, and has hard links where that has some.
    fn assert_is_source(&self) {
        let (expected, copied) = (tree_on_disk(&self.source("")), self.copied());
        for path in expected.keys().chain(copied.keys()) {
            assert_eq!(copied.get(path), expected.get(path), "{}", path.display());
        }
        let app = self.layers.last().unwrap().0.join("app");
        assert_eq!(names_of_inodes(&app), names_of_inodes(&self.source("")));
    }
}

/// The files of a tree that are one, each set sorted.
fn names_of_inodes(root: &Path) -> Vec<Vec<PathBuf>> {
    let mut names: HashMap<(u64, u64), Vec<PathBuf>> = HashMap::new();
    for path in tree_on_disk(root).into_keys() {
        let real = root.join(path.strip_prefix("/").unwrap());
        let meta = fs::symlink_metadata(real).unwrap();
        if !meta.is_dir() {
            names.entry((meta.dev(), meta.ino())).or_default().push(path);
        }
    }
    let mut names: Vec<_> = names.into_values().collect();
    names.sort();
    names
}

/// Makes the stamps of all files old enough to be trusted.
fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(2100));
}

#[test]
fn what_is_known_is_linked_without_being_compared() {
    let mut lab = Lab::new();
    for path in ["a", "sub/b", "sub/deep/c", "changed"] {
        write(lab.source(path), path, 0o644);
    }
    setxattr(lab.source("a"), "user.x", b"1");
    settle();
    let first = lab.copy(|_| ());
    assert_eq!((first.shared, first.changed), (0, 0));
    assert_eq!(lab.layers[0].1.0.lock().unwrap().len(), 4);

    write(lab.source("changed"), "changeD", 0o644);
    let second = lab.copy(|_| ());
    assert_eq!((second.shared, second.bytes, second.changed), (3, 7, 0));
    lab.assert_is_source();
    // Of nothing that was linked a byte was read: a lie about the last copy goes on.
    for known in lab.layers[1].1.0.lock().unwrap().values_mut() {
        known.contents = Some(Digest::of(b"something else"));
    }
    assert_eq!(lab.copy(|_| ()).shared, 0);
    // Another attribute is another file.
    setxattr(lab.source("a"), "user.x", b"2");
    chmod(lab.source("sub/b"), 0o600);
    set_mtime(lab.source("sub/deep/c"), 7);
    assert_eq!(lab.copy(|_| ()).shared, 1);
    lab.assert_is_source();
}

#[test]
fn files_that_change_before_they_are_copied_are_told() {
    let mut lab = Lab::new();
    for path in ["old", "stays"] {
        write(lab.source(path), path, 0o644);
    }
    settle();
    write(lab.source("fresh"), "fresh", 0o644);
    write(lab.source("fresh-too"), "fresh", 0o644);
    let digest = |lab: &Lab| {
        let (source, items) = lab.items();
        selection_digest(&source, &items, None, None, None).unwrap()
    };
    let before = digest(&lab);
    // The stamp of one tells, that of the other proves nothing: only its bytes do.
    let stats = lab.copy(|lab| {
        write(lab.source("old"), "OLD", 0o644);
        write(lab.source("fresh"), "FRESH", 0o644);
    });
    assert_eq!(stats.changed, 2);
    assert_ne!(digest(&lab), before);
    // What landed is what was there, and nothing wrong is known of it.
    assert_eq!(lab.copied()[Path::new("/old")].content, b"OLD");
    let known = lab.layers[0].1.0.lock().unwrap();
    let mut known: Vec<Digest> = known.values().filter_map(|known| known.contents).collect();
    known.sort();
    let mut expected = [Digest::of(b"stays"), Digest::of(b"fresh")];
    expected.sort();
    assert_eq!(known, expected);
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Something happens to a file: few names and few contents, so that everything meets everything.
fn edit(lab: &Lab, numbers: &mut Numbers) {
    let mut path = || {
        let dir = ["", "d/", "d/e/"][numbers.below(3) as usize];
        lab.source(&format!("{dir}{}", numbers.below(4)))
    };
    let (path, other) = (path(), path());
    let exists = path.is_file();
    match numbers.below(8) {
        0 | 1 => {
            let _ = fs::remove_file(&path);
            write(&path, [b"one", b"two", b"six"][numbers.below(3) as usize], 0o644);
        }
        2 if exists => drop(fs::write(&path, [b"uno", b"due"][numbers.below(2) as usize])),
        3 if exists => chmod(&path, 0o600 + numbers.below(2) as u32 * 0o44),
        4 if exists => set_mtime(&path, numbers.below(2) as i64),
        5 if exists => drop(fs::remove_file(&path)),
        6 if exists && path != other => drop(fs::rename(&path, &other)),
        7 if exists => drop(fs::hard_link(&path, &other)),
        _ => {}
    }
}

#[test]
fn whatever_happens_a_copy_that_shares_is_a_copy() {
    for seed in 0..6 {
        let (mut lab, mut numbers) = (Lab::new(), Numbers(seed));
        mkdirs(lab.source("d/e"));
        let mut shared = 0;
        for _ in 0..25 {
            for _ in 0..numbers.below(6) {
                edit(&lab, &mut numbers);
            }
            shared += lab.copy(|_| ()).shared;
            lab.assert_is_source();
        }
        assert!(shared > 25, "seed {seed} shared {shared} files");
        // Whatever layers lie on each other, they show an inode at one path, unless it has several
        // within its layer, which is then the only one.
        let mut paths: HashMap<u64, Vec<Vec<PathBuf>>> = HashMap::new();
        for (upper, _) in &lab.layers {
            for names in names_of_inodes(upper) {
                let real = upper.join(names[0].strip_prefix("/").unwrap());
                let inode = fs::symlink_metadata(real).unwrap().ino();
                paths.entry(inode).or_default().push(names);
            }
        }
        for layers in paths.into_values() {
            let is_one_path = layers.iter().all(|names| *names == layers[0] && names.len() == 1);
            assert!(is_one_path || layers.len() == 1, "{layers:?}");
        }
    }
}
