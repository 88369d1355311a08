//! The view against the kernel: what overlayfs shows when it mounts the same layers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::*;
use bld_layer::{Kind, LayerError, Verdict, View, merge, merge_onto};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// One change in a layer. What cannot be done, such as a file below a file, is not done.
#[derive(Debug, Clone)]
enum Op {
    File(PathBuf, u8),
    Dir(PathBuf, u32),
    Symlink(PathBuf, PathBuf),
    Whiteout(PathBuf),
    Opaque(PathBuf),
}

fn path() -> impl Strategy<Value = PathBuf> {
    prop::collection::vec("[abc]", 1..4).prop_map(|parts| parts.iter().collect())
}

fn target() -> impl Strategy<Value = PathBuf> {
    let part = prop_oneof![3 => "[abc]", 1 => Just("..".to_owned()), 1 => Just(".".to_owned())];
    let parts = prop::collection::vec(part, 1..4);
    (any::<bool>(), parts).prop_map(|(absolute, parts)| {
        let path: PathBuf = parts.iter().collect();
        if absolute { Path::new("/").join(path) } else { path }
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (path(), any::<u8>()).prop_map(|(path, byte)| Op::File(path, byte)),
        3 => (path(), prop_oneof![Just(0o755), Just(0o1777)]).prop_map(|(p, m)| Op::Dir(p, m)),
        2 => (path(), target()).prop_map(|(path, target)| Op::Symlink(path, target)),
        2 => path().prop_map(Op::Whiteout),
        1 => path().prop_map(Op::Opaque),
    ]
}

fn perform(root: &Path, op: &Op) {
    let make_room = |path: &PathBuf| {
        let path = root.join(path);
        let _ = fs::create_dir_all(path.parent().unwrap());
        // Never through a link: the layers are made without looking below.
        let parent = path.parent().unwrap();
        parent.is_dir()
            && parent.canonicalize().is_ok_and(|real| real == parent)
            && fs::symlink_metadata(&path).is_err()
    };
    match op {
        Op::File(path, byte) if make_room(path) => fs::write(root.join(path), [*byte]).unwrap(),
        Op::Dir(path, mode) if make_room(path) => {
            mkdirs(root.join(path));
            chmod(root.join(path), *mode);
        }
        Op::Symlink(path, target) if make_room(path) => link(target, root.join(path)),
        Op::Whiteout(path) if make_room(path) => whiteout(root.join(path)),
        Op::Opaque(path) => {
            let path = root.join(path);
            if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
                opaque(path);
            }
        }
        _ => {}
    }
}

/// Builds the layers, mounts them, and hands both to a comparison.
fn compare(ops: &[Vec<Op>], compare: impl FnOnce(&View, &Path) + Send) {
    let dir = tempfile::tempdir().unwrap();
    // The kernel compares canonical paths, and so does `perform`.
    let base = dir.path().canonicalize().unwrap();
    let (empty, mounted) = (base.join("empty"), base.join("mounted"));
    mkdirs(&empty);
    mkdirs(&mounted);
    let layers: Vec<_> = (0..ops.len()).map(|number| base.join(number.to_string())).collect();
    for (layer, ops) in layers.iter().zip(ops) {
        mkdirs(layer);
        for op in ops {
            perform(layer, op);
        }
    }
    in_mount_namespace(|| {
        mount_overlay(&layers, &empty, &mounted);
        compare(&View::new(layers.clone()), &mounted);
    });
}

fn run<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    runner
        .run(strategy, |value| {
            test(value);
            Ok(())
        })
        .unwrap();
}

fn stacks() -> impl Strategy<Value = Vec<Vec<Op>>> {
    prop::collection::vec(prop::collection::vec(op(), 0..12), 1..5)
}

#[test]
fn any_stack_looks_as_mounted() {
    run(200, &stacks(), |ops| {
        compare(&ops, |view, mounted| {
            pretty_assertions(&tree(view), &tree_on_disk(mounted));
        });
    });
}

#[test]
fn merged_layers_do_what_they_did_apart() {
    run(200, &(stacks(), 0..5_usize, 1..5_usize), |(ops, first, count)| {
        compare(&ops, |view, mounted| {
            let base = mounted.parent().unwrap();
            let mut layers: Vec<_> = (0..ops.len()).map(|n| base.join(n.to_string())).collect();
            let first = first.min(layers.len() - 1);
            let run = first..(first + count).min(layers.len());
            let merged = base.join("merged");
            mkdirs(&merged);
            merge(&layers[run.clone()], &merged).unwrap();
            // Where it is known what they lie on, what they delete of each other is not in it.
            let onto = base.join("onto");
            mkdirs(&onto);
            let below = View::new(layers[..run.start].to_vec());
            merge_onto(&layers[run.clone()], &below, &onto).unwrap();
            let mut others = layers.clone();
            others.splice(run.clone(), [onto]);
            pretty_assertions(&tree(&View::new(others)), &tree(view));
            layers.splice(run, [merged]);
            pretty_assertions(&tree(&View::new(layers)), &tree(view));
        });
    });
}

#[test]
fn merged_layers_share_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path();
    let (lower, upper, merged) = (base.join("lower"), base.join("upper"), base.join("merged"));
    for path in [&lower, &upper, &merged] {
        mkdirs(path);
    }
    odd_tree(&lower);
    write(upper.join("etc/passwd"), "newer", 0o600);
    set_mtime(upper.join("etc"), 77);
    merge(&[lower.clone(), upper.clone()], &merged).unwrap();
    pretty_assertions(
        &tree(&View::new(vec![merged.clone()])),
        &tree(&View::new(vec![lower.clone(), upper.clone()])),
    );
    let inode = |path: &Path| fs::symlink_metadata(path).unwrap().ino();
    assert_eq!(inode(&merged.join("etc/passwd")), inode(&upper.join("etc/passwd")));
    assert_eq!(inode(&merged.join("etc/again")), inode(&lower.join("etc/again")));
}

/// ext4 gives a file 65,000 links at most.
#[test]
fn a_file_with_too_many_links_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let (layer, others, merged) =
        (dir.path().join("layer"), dir.path().join("others"), dir.path().join("merged"));
    for path in [&others, &merged] {
        mkdirs(path);
    }
    write(layer.join("dir/file"), "contents", 0o4711);
    whiteout(layer.join("gone"));
    for name in ["dir/file", "gone"] {
        let base = Path::new(name).file_name().unwrap().to_str().unwrap();
        let mut n = 0;
        while n < 70_000
            && fs::hard_link(layer.join(name), others.join(format!("{base}{n}"))).is_ok()
        {
            n += 1;
        }
        if n == 70_000 {
            return; // a filesystem without this limit
        }
    }
    merge(std::slice::from_ref(&layer), &merged).unwrap();
    pretty_assertions(&tree(&View::plain(&merged)), &tree(&View::plain(&layer)));
}

fn pretty_assertions(ours: &Tree, theirs: &Tree) {
    for path in ours.keys().chain(theirs.keys()) {
        assert_eq!(ours.get(path), theirs.get(path), "{}", path.display());
    }
}

#[test]
fn any_path_leads_where_it_leads_in_a_chroot() {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    let paths = prop::collection::vec(target(), 8);
    run(200, &(stacks(), paths), |(ops, paths)| {
        // `file/.` and `missing/..` are errors to the kernel only.
        let dotted = |path: &Path| path.as_os_str().to_str().unwrap().contains('.');
        let dotted_links =
            ops.iter().flatten().any(|op| matches!(op, Op::Symlink(_, target) if dotted(target)));
        compare(&ops, |view, mounted| {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let root =
                openat2(rustix::fs::CWD, mounted, flags, Mode::empty(), ResolveFlags::empty())
                    .unwrap();
            for path in paths {
                let found = openat2(
                    &root,
                    &path,
                    OFlags::PATH,
                    Mode::empty(),
                    ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
                );
                let theirs = found.map(|fd| rustix::fs::fstat(fd).unwrap());
                match (view.resolve(&path), theirs) {
                    (Ok(Some(node)), Ok(stat)) => {
                        assert_eq!(node.meta.mode, stat.st_mode & 0o7777, "{path:?}");
                        assert_eq!(node.meta.is_dir(), stat.st_mode & 0o170_000 == 0o040_000);
                        if !node.meta.is_dir() {
                            assert_eq!(node.meta.ino, stat.st_ino, "{path:?}");
                        }
                    }
                    (Ok(_), Err(_)) if dotted_links || dotted(&path) => {}
                    // Which error it is may differ: a loop that is left through a missing name.
                    (Ok(None) | Err(LayerError::SymlinkLoop { .. }), Err(_)) => {}
                    (ours, theirs) => panic!("{path:?}: {ours:?} against {theirs:?}"),
                }
            }
        });
    });
}

#[test]
fn odd_trees_look_as_mounted() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path();
    let (lower, upper) = (base.join("lower"), base.join("upper"));
    let (empty, mounted) = (base.join("empty"), base.join("mounted"));
    for path in [&lower, &upper, &empty, &mounted] {
        mkdirs(path);
    }
    odd_tree(&lower);
    whiteout(upper.join("etc/again"));
    write(upper.join("tmp"), "a file where a directory was", 0o640);
    mkdirs(upper.join("dev"));
    opaque(upper.join("dev"));
    write(upper.join("dev/only"), "", 0o600);
    let layers = [lower, upper];
    in_mount_namespace(|| {
        mount_overlay(&layers, &empty, &mounted);
        let view = View::new(layers.to_vec());
        pretty_assertions(&tree(&view), &tree_on_disk(&mounted));
        assert!(view.lookup("etc/again").unwrap().is_none());
        assert_eq!(view.read_dir("dev").unwrap().len(), 1);
    });
}

#[test]
fn links_are_clamped_at_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    write(dir.path().join("secret"), "outside", 0o600);
    write(root.join("etc/passwd"), "inside", 0o644);
    link("/etc", root.join("abs"));
    link("../../../../etc", root.join("up"));
    link("../secret", root.join("out"));
    link("loop", root.join("loop"));
    link("abs/passwd", root.join("chain"));
    let view = View::new(vec![root.clone()]);
    for path in ["abs/passwd", "up/passwd", "/../../up/passwd", "chain", "./etc//passwd"] {
        assert_eq!(view.read(path, 100).unwrap().unwrap(), b"inside", "{path}");
        assert_eq!(view.canonical(path).unwrap(), Path::new("/etc/passwd"), "{path}");
    }
    assert!(view.resolve("out").unwrap().is_none());
    assert_eq!(view.canonical("abs/new/../other").unwrap(), Path::new("/etc/other"));
    assert!(matches!(view.resolve("loop"), Err(LayerError::SymlinkLoop { .. })));
    assert_eq!(view.lookup("loop").unwrap().unwrap().meta.kind, Kind::Symlink);
    assert!(matches!(view.read("chain", 5), Err(LayerError::TooLarge { limit: 5, .. })));
    assert!(view.read("etc", 5).unwrap().is_none());
    assert!(view.read_dir("nowhere").is_err());
    assert!(view.read_dir("chain").is_err());
    assert!(View::new(Vec::new()).lookup("/").unwrap().is_none());
}

#[test]
fn a_file_swapped_for_a_link_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("root/d/f"), "inside", 0o644);
    write(dir.path().join("out/f"), "outside", 0o644);
    let view = View::plain(dir.path().join("root"));
    let node = view.lookup("d/f").unwrap().unwrap();
    fs::rename(dir.path().join("root/d"), dir.path().join("root/was")).unwrap();
    link(dir.path().join("out"), dir.path().join("root/d"));
    assert!(view.open(&node).is_err());
}

#[test]
fn a_plain_directory_has_no_whiteouts() {
    let dir = tempfile::tempdir().unwrap();
    whiteout(dir.path().join("w"));
    let view = View::plain(dir.path());
    assert!(view.lookup("w").unwrap().unwrap().meta.is_whiteout());
    assert!(View::new(vec![dir.path().to_owned()]).lookup("w").unwrap().is_none());
}

#[test]
fn filters_hide() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["a/keep/x", "a/drop/x", "b/drop", "c/none/drop", "top"] {
        write(dir.path().join(path), path, 0o644);
    }
    link("a/drop/x", dir.path().join("to-hidden"));
    // Everything but "top", the link and what is named "keep" or below that.
    let view = View::plain(dir.path()).with_filter(Arc::new(|path, is_dir| {
        if ["top", "to-hidden"].iter().any(|taken| path == Path::new(taken))
            || path.iter().any(|part| part == "keep")
        {
            Verdict::Take
        } else if is_dir && path.iter().all(|part| part != "drop") {
            Verdict::Descend
        } else {
            Verdict::Skip
        }
    }));
    let shown: Vec<_> = tree(&view).into_keys().collect();
    let expected = ["/a", "/a/keep", "/a/keep/x", "/to-hidden", "/top"];
    assert_eq!(shown, expected.map(PathBuf::from));
    assert!(view.lookup("a").unwrap().is_some());
    // There only for its contents, and it has none.
    assert!(view.lookup("c").unwrap().is_none());
    assert!(view.lookup("a/drop").unwrap().is_none());
    assert!(view.resolve("to-hidden").unwrap().is_none());
}

#[test]
fn globs_match_level_by_level() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["s/a1/f", "s/a2/f", "s/a2/g", "s/b/f", "s/af"] {
        write(dir.path().join(path), "", 0o644);
    }
    link("a1", dir.path().join("s/a3"));
    let view = View::plain(dir.path());
    let found = |levels: usize| -> Vec<PathBuf> {
        let matches = |level: usize, name: &std::ffi::OsStr| match level {
            0 => name.to_str().unwrap().starts_with('a'),
            _ => name == "f",
        };
        view.glob("s", levels, &matches).unwrap().into_iter().map(|node| node.path).collect()
    };
    assert_eq!(found(1), ["/s/a1", "/s/a2", "/s/a3", "/s/af"].map(PathBuf::from));
    assert_eq!(found(2), ["/s/a1/f", "/s/a2/f"].map(PathBuf::from));
    assert!(view.glob("nowhere", 1, &|_, _| true).unwrap().is_empty());
}
