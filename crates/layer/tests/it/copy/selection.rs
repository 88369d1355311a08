//! The digest of what is selected.

use std::sync::Mutex;

use bld_layer::copy::{Item, selection_digest};
use bld_layer::{FileStamp, Known, StatCache};
use bld_oci::Digest;
use rustix::fs::FileType;

use super::*;

#[derive(Default)]
struct Remembered(Mutex<std::collections::HashMap<FileStamp, Known>>);

impl StatCache for Remembered {
    fn get(&self, stamp: &FileStamp) -> Option<Known> {
        self.0.lock().unwrap().get(stamp).copied()
    }
    fn put(&self, stamp: FileStamp, known: Known) {
        self.0.lock().unwrap().insert(stamp, known);
    }
}

fn digest(root: &Path, words: &[&str], owner: Option<(u32, u32)>, chmod: Option<&str>) -> Digest {
    let source = View::plain(root);
    let mut items: Vec<Item> = Vec::new();
    for word in words {
        items.extend(select(&source, Path::new(word), &glob).unwrap());
    }
    let chmod = chmod.map(|text| text.parse().unwrap());
    selection_digest(&source, &items, owner, chmod.as_ref(), None).unwrap()
}

type Change<'a> = &'a dyn Fn();

#[test]
fn a_selection_is_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for path in ["d/f", "d/sub/g", "a1", "a2"] {
        write(root.join(path), path, 0o644);
    }
    link("f", root.join("d/l"));
    let of = |words: &[&str]| digest(root, words, None, None);
    let before = of(&["d"]);
    // Times and inodes do not count.
    set_mtime(root.join("d/f"), 1);
    fs::rename(root.join("d/f"), root.join("moved")).unwrap();
    fs::copy(root.join("moved"), root.join("d/f")).unwrap();
    fs::remove_file(root.join("moved")).unwrap();
    // Nor do name, mode and owner of a directory whose contents are copied.
    chmod(root.join("d"), 0o700);
    chown(root.join("d"), 1, 1);
    assert_eq!(of(&["d"]), before);
    fs::rename(root.join("d"), root.join("e")).unwrap();
    assert_eq!(of(&["e"]), before);
    fs::rename(root.join("e"), root.join("d")).unwrap();

    // Everything else does.
    let changes: [(&str, Change<'_>, Change<'_>); 8] = [
        ("bytes", &|| fs::write(root.join("d/f"), "d/F").unwrap(), &|| {
            fs::write(root.join("d/f"), "d/f").unwrap();
        }),
        ("mode", &|| chmod(root.join("d/f"), 0o755), &|| chmod(root.join("d/f"), 0o644)),
        ("owner", &|| chown(root.join("d/f"), 1, 0), &|| chown(root.join("d/f"), 0, 0)),
        ("group", &|| chown(root.join("d/sub"), 0, 1), &|| chown(root.join("d/sub"), 0, 0)),
        ("xattr", &|| setxattr(root.join("d/f"), "user.x", b"1"), &|| {
            rustix::fs::removexattr(root.join("d/f"), "user.x").unwrap();
        }),
        (
            "link",
            &|| {
                fs::remove_file(root.join("d/l")).unwrap();
                link("g", root.join("d/l"));
            },
            &|| {
                fs::remove_file(root.join("d/l")).unwrap();
                link("f", root.join("d/l"));
            },
        ),
        ("name", &|| fs::rename(root.join("d/f"), root.join("d/h")).unwrap(), &|| {
            fs::rename(root.join("d/h"), root.join("d/f")).unwrap();
        }),
        ("kind", &|| mknod(root.join("d/p"), FileType::Fifo, 0, 0), &|| {
            fs::remove_file(root.join("d/p")).unwrap();
        }),
    ];
    for (what, change, restore) in changes {
        change();
        assert_ne!(of(&["d"]), before, "{what}");
        restore();
        assert_eq!(of(&["d"]), before, "{what}");
    }
    // The name of a file under a wildcard, the order of items, and what is set while copying.
    let wild = of(&["a*"]);
    fs::rename(root.join("a1"), root.join("a3")).unwrap();
    assert_ne!(of(&["a*"]), wild);
    assert_ne!(of(&["a2", "a3"]), of(&["a3", "a2"]));
    assert_ne!(digest(root, &["d"], Some((1, 1)), None), before);
    assert_ne!(digest(root, &["d"], None, Some("600")), before);
    chown(root.join("d/f"), 5, 5);
    assert_eq!(
        digest(root, &["d"], Some((0, 0)), None),
        before,
        "it is the owner as it will land that counts"
    );
}

#[test]
fn contents_are_remembered_once_they_are_old_enough() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("old"), "old", 0o644);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    write(dir.path().join("fresh"), "fresh", 0o644);
    let cache = Remembered::default();
    let source = View::plain(dir.path());
    let items = select(&source, Path::new("."), &glob).unwrap();
    let of = |cache: Option<&dyn StatCache>| {
        selection_digest(&source, &items, None, None, cache).unwrap()
    };
    let plain = of(None);
    assert_eq!(of(Some(&cache)), plain);
    let known: Vec<_> = cache.0.lock().unwrap().values().copied().collect();
    assert_eq!(known, [Known { contents: Some(Digest::of(b"old")), plain: true }]);
    assert_eq!(of(Some(&cache)), plain);
    // It is believed: that is what it is for.
    cache
        .0
        .lock()
        .unwrap()
        .values_mut()
        .for_each(|known| known.contents = Some(Digest::of(b"other")));
    assert_ne!(of(Some(&cache)), plain);
}
