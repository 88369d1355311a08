//! What differs between trees, against what the trees hold.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::common::*;
use bld_layer::{Aspect, Change, Difference, Times, View, changes, differences};

fn told(differences: &[Difference]) -> Vec<String> {
    let line = |difference: &Difference| {
        let aspects: Vec<_> = difference.aspects.iter().map(|aspect| aspect.name()).collect();
        let letter = match (&difference.before, &difference.after) {
            (Some(_), None) => 'D',
            (None, _) => 'A',
            _ => 'C',
        };
        format!("{letter} {} {}", difference.path.display(), aspects.join(","))
    };
    differences.iter().map(|difference| line(difference).trim_end().to_owned()).collect()
}

/// A layer with some of everything, whose files are as old as the epoch.
fn layer(root: &Path, name: &str) -> PathBuf {
    let dir = root.join(name);
    for sub in ["etc", "usr/lib", "var/empty"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    fs::write(dir.join("etc/a"), "one\n").unwrap();
    fs::write(dir.join("etc/b"), "two\n").unwrap();
    fs::write(dir.join("usr/lib/l"), "lib\n").unwrap();
    fs::hard_link(dir.join("usr/lib/l"), dir.join("usr/lib/m")).unwrap();
    symlink("a", dir.join("etc/s")).unwrap();
    settle(&dir);
    dir
}

/// Makes everything as old as everything else.
fn settle(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            settle(&path);
        }
        set_mtime(&path, 1_000_000);
    }
}

#[test]
fn every_aspect_is_told() {
    let temporary = tempfile::tempdir().unwrap();
    let (a, b) = (layer(temporary.path(), "a"), layer(temporary.path(), "b"));
    let diff = || {
        let views = [View::new(vec![a.clone()]), View::new(vec![b.clone()])];
        told(&differences(&views[0], &views[1], Times::Seconds).unwrap())
    };
    assert_eq!(diff(), Vec::<String>::new());

    fs::write(b.join("etc/a"), "eno\n").unwrap();
    fs::write(b.join("etc/b"), "longer\n").unwrap();
    chmod(b.join("etc"), 0o700);
    std::os::unix::fs::chown(b.join("usr"), Some(7), Some(8)).unwrap();
    setxattr(b.join("usr/lib"), "user.x", b"1");
    fs::remove_file(b.join("etc/s")).unwrap();
    symlink("b", b.join("etc/s")).unwrap();
    fs::remove_file(b.join("usr/lib/m")).unwrap();
    fs::write(b.join("usr/lib/m"), "lib\n").unwrap();
    settle(&b);
    set_mtime(b.join("etc/b"), 5);
    assert_eq!(
        diff(),
        [
            "C /etc mode",
            "C /etc/a contents",
            "C /etc/b time,size,contents",
            "C /etc/s target",
            "C /usr owner",
            "C /usr/lib xattrs",
            "C /usr/lib/m links",
        ]
    );
}

#[test]
fn what_has_become_something_else_is_told_with_what_was_in_it() {
    let temporary = tempfile::tempdir().unwrap();
    let (a, b) = (layer(temporary.path(), "a"), layer(temporary.path(), "b"));
    fs::remove_dir_all(b.join("usr")).unwrap();
    fs::write(b.join("usr"), "").unwrap();
    fs::remove_dir(b.join("var/empty")).unwrap();
    fs::create_dir_all(b.join("srv/www")).unwrap();
    settle(&b);
    let (a, b) = (View::new(vec![a]), View::new(vec![b]));
    let found = differences(&a, &b, Times::Exact).unwrap();
    assert_eq!(
        told(&found),
        [
            "A /srv",
            "A /srv/www",
            "C /usr type",
            "D /usr/lib",
            "D /usr/lib/l",
            "D /usr/lib/m",
            "D /var/empty",
        ]
    );
    let changes: Vec<_> = changes(&found).into_iter().map(|(path, c)| (path.to_str(), c)).collect();
    assert_eq!(
        changes,
        [
            (Some("/srv"), Change::Added),
            (Some("/srv/www"), Change::Added),
            (Some("/usr"), Change::Changed),
            (Some("/var"), Change::Changed),
            (Some("/var/empty"), Change::Deleted),
        ]
    );
}

#[test]
fn layers_in_common_are_not_read() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    let base = layer(root, "base");
    let top = root.join("top");
    fs::create_dir_all(top.join("etc")).unwrap();
    fs::write(top.join("etc/a"), "new\n").unwrap();
    whiteout(top.join("etc/b"));
    set_mtime(top.join("etc"), 1_000_000);
    let (before, after) = (View::new(vec![base.clone()]), View::new(vec![base, top]));
    let found = differences(&before, &after, Times::Seconds).unwrap();
    assert_eq!(told(&found), ["C /etc/a time,contents", "D /etc/b"]);
    let back = differences(&after, &before, Times::Seconds).unwrap();
    assert_eq!(told(&back), ["C /etc/a time,contents", "A /etc/b"]);
    assert_eq!(found[0].aspects, [Aspect::Time, Aspect::Contents]);

    // The same as comparing all there is.
    let (one, other) = (tree(&before), tree(&after));
    let paths: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differing: Vec<_> =
        paths.into_iter().filter(|path| one.get(*path) != other.get(*path)).collect();
    assert_eq!(differing, found.iter().map(|difference| &difference.path).collect::<Vec<_>>());
    let nothing = View::new(Vec::new());
    assert_eq!(differences(&nothing, &before, Times::Seconds).unwrap().len(), one.len());
    assert!(differences(&nothing, &nothing, Times::Seconds).unwrap().is_empty());
}
