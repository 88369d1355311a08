//! The digest of a layer that begins like an earlier one.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bld_layer::{Beginnings, FileStamp, TarOptions, diff_id, diff_id_after};
use bld_oci::Digest;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

/// What is known, and how many states were there when asked for.
#[derive(Default)]
struct Known {
    files: HashMap<(u64, u64), Digest>,
    states: HashMap<Digest, Vec<u8>>,
    hits: usize,
}

impl Known {
    fn learn(&mut self, dir: &Path) {
        for path in files(dir) {
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_symlink() {
                continue;
            }
            self.files.insert((meta.dev(), meta.ino()), Digest::of(&fs::read(path).unwrap()));
        }
    }

    /// The digest with what is known, which is what it is without, and how many states helped.
    fn digest(&mut self, dir: &Path) -> (Digest, usize) {
        self.hits = 0;
        let options = TarOptions::default();
        let found = diff_id_after(dir, &options, self).unwrap();
        assert_eq!(found, diff_id(dir, &options).unwrap());
        (found.0, self.hits)
    }
}

impl Beginnings for Known {
    fn contents(&self, stamp: &FileStamp) -> Option<Digest> {
        self.files.get(&(stamp.dev, stamp.ino)).copied()
    }

    fn get(&mut self, beginning: &Digest) -> Option<Vec<u8>> {
        let state = self.states.get(beginning).cloned();
        self.hits += usize::from(state.is_some());
        state
    }

    fn put(&mut self, beginning: Digest, state: Vec<u8>) {
        self.states.insert(beginning, state);
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

const MIB: usize = 1 << 20;

/// A layer of 88 MiB in 88 files, with a little something between them.
fn layer(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for index in 0..88_u8 {
        fs::write(dir.join(format!("f{index:02}")), vec![index; MIB + usize::from(index)]).unwrap();
        symlink("f", dir.join(format!("f{index:02}.link"))).unwrap();
    }
    for path in files(dir) {
        age(&path);
    }
}

/// Makes a file old.
fn age(path: &Path) {
    let time = Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn a_layer_is_hashed_from_where_it_parts() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("layer");
    layer(&dir);
    let mut known = Known::default();
    known.learn(&dir);
    let (first, hits) = known.digest(&dir);
    assert_eq!(hits, 0);
    let states = known.states.len();
    assert_eq!(states, 5);
    assert_eq!(known.digest(&dir), (first, states));

    // A change of what is no file, or of nothing but a mode, counts, too.
    fs::rename(dir.join("f40.link"), dir.join("f40.lynx")).unwrap();
    assert_eq!(known.digest(&dir).1, 2);
    fs::rename(dir.join("f40.lynx"), dir.join("f40.link")).unwrap();
    for mode in [0o600, 0o644] {
        fs::set_permissions(dir.join("f20"), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(known.digest(&dir).1, if mode == 0o600 { 1 } else { states });
    }

    // The later the change, the more is known. An early one leaves nothing, and a new beginning.
    for (name, expected) in [("f87", 5), ("f40", 2), ("f00", 0)] {
        let saved = (known.states.clone(), fs::read(dir.join(name)).unwrap());
        fs::write(dir.join(name), "changed").unwrap();
        age(&dir.join(name));
        known.learn(&dir);
        let (digest, hits) = known.digest(&dir);
        assert_ne!(digest, first);
        assert_eq!(hits, expected, "{name}");
        fs::write(dir.join(name), saved.1).unwrap();
        age(&dir.join(name));
        known.learn(&dir);
        known.states = saved.0;
    }
}

#[test]
fn what_changes_again_and_again_comes_last() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("layer");
    layer(&dir);
    let mut known = Known::default();
    fs::write(dir.join("f00"), "changed").unwrap();
    known.learn(&dir);
    known.digest(&dir);
    let states = known.states.len();
    fs::write(dir.join("f00"), "changed again").unwrap();
    known.learn(&dir);
    assert_eq!(known.digest(&dir).1, states);
}

#[test]
fn what_is_not_known_is_read() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("layer");
    layer(&dir);
    // Nothing is told that depends on a file of which nothing is known.
    let mut known = Known::default();
    assert_eq!(known.digest(&dir).1, 0);
    assert!(known.states.is_empty());

    known.learn(&dir);
    let unknown = fs::symlink_metadata(dir.join("f30")).unwrap();
    known.files.remove(&(unknown.dev(), unknown.ino()));
    known.digest(&dir);
    assert_eq!(known.states.len(), 1);
    assert_eq!(known.digest(&dir).1, 1);

    // A state that is none is as good as no state.
    known.states.values_mut().for_each(|state| state.truncate(3));
    assert_eq!(known.digest(&dir).1, 1);
}
