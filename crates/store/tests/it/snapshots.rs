use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;

use bld_store::{Store, StoreError};
use rustix::fs::{IFlags, Mode};

use crate::support::{Place, digest, in_flight, names, snapshot};

#[test]
fn a_line_of_snapshots() {
    let place = Place::new();
    let store = place.open();
    let base = snapshot(&store, None, "base");
    let active = store.prepare(Some(base)).unwrap();
    assert_eq!(active.parent(), Some(base));
    assert_eq!(active.layers(), store.layers(base).unwrap());
    fs::write(active.upper().join("more"), "more").unwrap();
    assert!(active.work().is_dir());
    let upper = active.upper().to_owned();
    assert_eq!(store.snapshot(active.id()).unwrap(), None);
    let top = active.commit().unwrap();

    assert_eq!(store.ancestry(top).unwrap(), [base, top]);
    let layers = store.layers(top).unwrap();
    assert_eq!(layers[1], upper);
    assert_eq!(fs::read_to_string(layers[0].join("file")).unwrap(), "base");
    assert_eq!(fs::read_to_string(layers[1].join("more")).unwrap(), "more");

    let info = store.snapshot(top).unwrap().unwrap();
    assert_eq!((info.id, info.parent, info.diff_id, info.content), (top, Some(base), None, None));
    store.set_diff_id(top, &digest("diff"), 7).unwrap();
    store.set_content(top, &digest("content")).unwrap();
    let info = place.open().snapshot(top).unwrap().unwrap();
    assert_eq!((info.diff_id, info.diff_size), (Some(digest("diff")), Some(7)));
    assert_eq!(info.content, Some(digest("content")));

    assert_eq!(store.snapshot_of_chain(&digest("chain")).unwrap(), None);
    store.set_chain(&digest("chain"), base).unwrap();
    store.set_chain(&digest("chain"), top).unwrap();
    assert_eq!(store.snapshot_of_chain(&digest("chain")).unwrap(), Some(top));
}

#[test]
fn what_is_not_committed_leaves_nothing() {
    let place = Place::new();
    let store = place.open();
    let active = store.prepare(None).unwrap();
    fs::create_dir_all(active.upper().join("a/b/c")).unwrap();
    let id = active.id();
    drop(active);
    assert_eq!(store.snapshot(id).unwrap(), None);
    assert!(names(place.root().join("snapshots")).is_empty());
    drop(store);
    assert!(in_flight(place.root()).is_empty());
}

#[test]
fn the_root_directory_is_that_of_the_parent() {
    let place = Place::new();
    let store = place.open();
    let first = store.prepare(None).unwrap();
    assert_eq!(fs::metadata(first.upper()).unwrap().mode() & 0o7777, 0o755);
    fs::set_permissions(first.upper(), fs::Permissions::from_mode(0o1771)).unwrap();
    chown(first.upper(), Some(12), Some(34)).unwrap();
    let base = first.commit().unwrap();
    let second = store.prepare(Some(base)).unwrap();
    let meta = fs::metadata(second.upper()).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o1771, 12, 34));
}

#[test]
fn no_parent_no_snapshot() {
    let place = Place::new();
    let store = place.open();
    let gone = snapshot(&store, None, "gone");
    store.remove_snapshot(gone).unwrap();
    assert!(
        matches!(store.prepare(Some(gone)), Err(StoreError::MissingSnapshot { id }) if id == gone)
    );
    assert!(matches!(store.layers(gone), Err(StoreError::MissingSnapshot { .. })));
    assert!(matches!(
        store.set_content(gone, &digest("x")),
        Err(StoreError::MissingSnapshot { .. })
    ));
    assert!(matches!(store.set_chain(&digest("x"), gone), Err(StoreError::MissingSnapshot { .. })));
    assert!(matches!(store.remove_snapshot(gone), Err(StoreError::MissingSnapshot { .. })));
    // A container's layer is nobody's parent: it changes.
    let layer = store.prepare(None).unwrap().keep("box").unwrap();
    assert!(matches!(store.prepare(Some(layer.id())), Err(StoreError::MissingSnapshot { .. })));
}

#[test]
fn what_somebody_else_removed_is_missing() {
    let place = Place::new();
    let (store, other) = (place.open(), place.open());
    let base = snapshot(&other, None, "base");
    let top = snapshot(&other, Some(base), "top");
    drop(other);
    assert_eq!(store.ancestry(top).unwrap(), [base, top]);
    let other = place.open();
    other.remove_snapshot(top).unwrap();
    assert!(matches!(store.ancestry(top), Err(StoreError::MissingSnapshot { id }) if id == top));
    assert_eq!(store.ancestry(base).unwrap(), [base]);
}

#[test]
fn a_snapshot_in_use_stays() {
    let place = Place::new();
    let (store, other) = (place.open(), place.open());
    let base = snapshot(&store, None, "base");
    // Held by the handle that made it.
    assert!(
        matches!(other.remove_snapshot(base), Err(StoreError::SnapshotInUse { id }) if id == base)
    );
    drop(store);
    // Held as a parent.
    let store = place.open();
    let active = store.prepare(Some(base)).unwrap();
    assert!(matches!(other.remove_snapshot(base), Err(StoreError::SnapshotInUse { .. })));
    drop(active);
    // Held by a lease.
    let lease = store.lease();
    assert!(lease.hold(base).unwrap());
    assert!(matches!(other.remove_snapshot(base), Err(StoreError::SnapshotInUse { .. })));
    drop(lease);
    // Something lies on it.
    let top = snapshot(&other, Some(base), "top");
    assert!(matches!(other.remove_snapshot(base), Err(StoreError::SnapshotInUse { .. })));
    other.remove_snapshot(top).unwrap();
    other.remove_snapshot(base).unwrap();
    assert!(!store.lease().hold(base).unwrap());
    assert!(names(place.root().join("snapshots")).is_empty());
}

#[test]
fn whatever_a_container_has_left_can_be_removed() {
    for place in [Place::new(), Place::on_disk()] {
        remove_whatever(&place);
    }
}

fn remove_whatever(place: &Place) {
    let store = place.open();
    let outside = place.root().with_file_name("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "x").unwrap();

    let active = store.prepare(None).unwrap();
    let upper = active.upper();
    symlink(&outside, upper.join("link")).unwrap();
    symlink("/", upper.join("root")).unwrap();
    fs::create_dir_all(upper.join("closed/inside")).unwrap();
    fs::write(upper.join("closed/inside/file"), "x").unwrap();
    for path in ["closed/inside/file", "closed/inside", "closed"] {
        chown(upper.join(path), Some(1234), Some(1234)).unwrap();
        fs::set_permissions(upper.join(path), fs::Permissions::from_mode(0o0)).unwrap();
    }
    make_special(upper);
    make_deep(upper, 700);
    make_immutable(upper);
    // More names than one buffer takes.
    fs::create_dir(upper.join("wide")).unwrap();
    for n in 0..300 {
        fs::create_dir(upper.join(format!("wide/{n}-{}", "x".repeat(100)))).unwrap();
    }
    let id = active.commit().unwrap();
    let usage = store.disk_usage().unwrap();
    assert!(usage.iter().any(|entry| entry.id == id.to_string() && entry.bytes > 0));
    store.remove_snapshot(id).unwrap();

    assert!(names(place.root().join("snapshots")).is_empty());
    drop(store);
    assert!(in_flight(place.root()).is_empty());
    assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "x");
}

/// Without the capabilities that let root pass by permissions.
#[test]
fn permissions_are_no_obstacle_to_an_ordinary_owner() {
    const PLACE: &str = "BLD_STORE_TEST_OWNER";
    let Some(root) = env::var_os(PLACE) else {
        let place = Place::new();
        let output = Command::new("setpriv")
            .arg("--bounding-set=-dac_override,-dac_read_search,-linux_immutable")
            .arg(env::current_exe().unwrap())
            .args(["--exact", "snapshots::permissions_are_no_obstacle_to_an_ordinary_owner"])
            .env(PLACE, place.root())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    };
    let store = Store::open(Path::new(&root)).unwrap();
    let active = store.prepare(None).unwrap();
    let closed = active.upper().join("closed");
    make_deep(active.upper(), 200);
    fs::create_dir_all(closed.join("inside")).unwrap();
    fs::write(closed.join("inside/file"), "x").unwrap();
    for path in [closed.join("inside"), closed.clone()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o0)).unwrap();
    }
    assert!(fs::read_dir(&closed).is_err(), "the capabilities are still there");
    fs::set_permissions(active.upper(), fs::Permissions::from_mode(0o555)).unwrap();
    drop(active);
    drop(store);
    assert!(names(Path::new(&root).join("snapshots")).is_empty());
    assert!(in_flight(&root).is_empty());
}

fn make_special(upper: &Path) {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        upper.join("fifo"),
        rustix::fs::FileType::Fifo,
        Mode::RUSR,
        0,
    )
    .unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        upper.join("whiteout"),
        rustix::fs::FileType::CharacterDevice,
        Mode::empty(),
        0,
    )
    .unwrap();
    fs::write(upper.join(std::ffi::OsStr::new("new\nline")), "").unwrap();
}

/// A line of directories far longer than a path may be.
fn make_deep(upper: &Path, depth: usize) {
    let open = |fd: &std::os::fd::OwnedFd, name: &str| {
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::openat(fd, name, flags, Mode::empty()).unwrap()
    };
    let mut here: std::os::fd::OwnedFd = fs::File::open(upper).unwrap().into();
    for _ in 0..depth {
        rustix::fs::mkdirat(&here, "deeper", Mode::RWXU).unwrap();
        here = open(&here, "deeper");
    }
    // The name that what is too deep is given on its way out.
    fs::write(upper.join("bld-moved-up-1"), "x").unwrap();
}

/// Where the file system knows the flag.
fn make_immutable(upper: &Path) {
    let directory = upper.join("frozen");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("file"), "x").unwrap();
    for path in [directory.join("file"), directory] {
        let file = fs::File::open(path).unwrap();
        if let Ok(flags) = rustix::fs::ioctl_getflags(&file) {
            let _ = rustix::fs::ioctl_setflags(&file, flags | IFlags::IMMUTABLE);
        }
    }
}

#[test]
fn overlays_on_snapshots() {
    let place = Place::on_disk();
    let store = place.open();
    let mut parent = snapshot(&store, None, "base");
    for n in 0..3 {
        let active = store.prepare(Some(parent)).unwrap();
        let lower: Vec<_> =
            active.layers().iter().rev().map(|path| path.to_str().unwrap()).collect();
        // "volatile" leaves a mark in the work directory that forbids to use it again.
        let options = format!(
            "volatile,lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            active.upper().display(),
            active.work().display()
        );
        // In a mount namespace of its own, which ends with the shell.
        let script = "mount -t overlay overlay -o $1 /mnt && cat /mnt/file && echo $2 >> /mnt/file";
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-ec", script, "sh", &options, &n.to_string()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        parent = active.commit().unwrap();
    }
    // A process after this one uses them again, cleaned up.
    drop(store);
    let store = place.open();
    for _ in 0..10 {
        drop(store.prepare(None).unwrap());
    }
    let sessions = names(place.root().join("tmp"));
    assert_eq!(sessions.len(), 1);
    let work = names(place.root().join("tmp").join(&sessions[0]));
    assert!(work.len() < 10, "{work:?}");
    let upper = store.layers(parent).unwrap().pop().unwrap();
    assert_eq!(names(&upper), ["file"]);
    assert_eq!(fs::read_to_string(upper.join("file")).unwrap(), "base0\n1\n2\n");
    drop(store);
    assert!(in_flight(place.root()).is_empty());
}
