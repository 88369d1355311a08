//! Any copy against one by the book, on a mounted tree.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// A copy by the book, on a mounted tree: what BuildKit does, step by step.
mod by_the_book {
    use super::*;

    pub(super) fn copy(
        source: &Path,
        item: &Path,
        root: &Path,
        view: &View,
        dest: &str,
    ) -> Result<(), ()> {
        let is_dir = dest.ends_with('/');
        let target = root.join(view.canonical(dest).map_err(drop)?.strip_prefix("/").unwrap());
        make_dirs(root, if is_dir || target == root { &target } else { target.parent().unwrap() })?;
        let from = source.join(item);
        if fs::symlink_metadata(&from).unwrap().is_dir() {
            make_dirs(root, &target)?;
            return merge(&from, &target);
        }
        let target = if target.is_dir() { target.join(item.file_name().unwrap()) } else { target };
        place(&from, &target)
    }

    fn make_dirs(root: &Path, path: &Path) -> Result<(), ()> {
        let mut at = root.to_owned();
        for part in path.strip_prefix(root).unwrap() {
            at.push(part);
            match fs::symlink_metadata(&at) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => return Err(()),
                Err(_) => fs::create_dir(&at).unwrap(),
            }
        }
        Ok(())
    }

    fn merge(from: &Path, to: &Path) -> Result<(), ()> {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            place(&entry.path(), &to.join(entry.file_name()))?;
        }
        Ok(())
    }

    fn place(from: &Path, to: &Path) -> Result<(), ()> {
        let meta = fs::symlink_metadata(from).unwrap();
        match (meta.is_dir(), fs::symlink_metadata(to).map(|meta| meta.is_dir())) {
            (true, Ok(false)) | (false, Ok(true)) => return Err(()),
            (true, Ok(true)) => {}
            (true, Err(_)) => fs::create_dir(to).unwrap(),
            (false, existing) => {
                if existing.is_ok() {
                    fs::remove_file(to).unwrap();
                }
                if meta.is_symlink() {
                    link(fs::read_link(from).unwrap(), to);
                } else {
                    fs::copy(from, to).unwrap();
                }
            }
        }
        chown(to, meta.uid(), meta.gid());
        if !meta.is_symlink() {
            chmod(to, meta.mode() & 0o7777);
        }
        set_mtime(to, meta.mtime());
        if meta.is_dir() { merge(from, to) } else { Ok(()) }
    }
}

type Spec = Vec<(Vec<u8>, u8)>;

/// Paths of up to three letters, and what is there.
fn spec(size: usize) -> impl Strategy<Value = Spec> {
    let path = prop::collection::vec(0..3_u8, 1..4);
    prop::collection::vec((path, any::<u8>()), 0..size)
}

fn name(path: &[u8]) -> PathBuf {
    path.iter().map(|part| ["a", "b", "c"][usize::from(*part)]).collect()
}

fn make(root: &Path, spec: &Spec, layer: bool) {
    mkdirs(root);
    for (path, kind) in spec {
        let path = root.join(name(path));
        let parent = path.parent().unwrap();
        let _ = fs::create_dir_all(parent);
        let free = parent.canonicalize().is_ok_and(|real| real == parent && real.is_dir());
        if !free || fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        let target = ["/a", "../b", "c", "/b/c", "/"][usize::from(kind / 8 % 5)];
        match kind % 8 {
            0..=2 => write(&path, [*kind], 0o600 + u32::from(kind / 8 % 8)),
            3..=4 => {
                mkdirs(&path);
                chmod(&path, 0o700 + u32::from(kind / 8));
                chown(&path, u32::from(kind / 8), 0);
            }
            5 => link(target, &path),
            6 if layer => whiteout(&path),
            7 if layer => {
                mkdirs(&path);
                opaque(&path);
            }
            _ => {}
        }
    }
}

#[test]
fn any_copy_is_by_the_book() {
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let dest = ("(/[abc]){1,3}/?", prop::collection::vec(0..3_u8, 0..3));
    let strategy = (spec(12), spec(10), spec(8), dest);
    let check = |(source, lower, upper, (dest, item)): (Spec, Spec, Spec, (String, Vec<u8>))| {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let path = |name: &str| base.join(name);
        make(&path("source"), &source, false);
        make(&path("0"), &lower, true);
        make(&path("1"), &upper, true);
        let item = name(&item);
        let source = View::plain(path("source"));
        // By the book nothing is said of links that are items; the tests above do.
        match source.lookup(&item).ok().flatten() {
            Some(node) if node.path == Path::new("/").join(&item) => {
                if node.meta.kind == bld_layer::Kind::Symlink {
                    return Ok(());
                }
            }
            _ => return Ok(()),
        }
        for name in ["ours", "theirs", "work", "mounted", "empty"] {
            mkdirs(path(name));
        }
        let view = View::new(vec![path("0"), path("1")]);
        let items = select(&source, &item, &glob).unwrap();
        let ours = copy(&CopyRequest {
            source: &source,
            items: &items,
            dest_view: &view,
            upper: &path("ours"),
            dest: Path::new(&dest),
            owner: None,
            chmod: None,
            follow_dest_symlinks: true,
            mtime: None,
        });
        in_mount_namespace(|| {
            let options = format!(
                "lowerdir={}:{},upperdir={},workdir={},redirect_dir=off,metacopy=off",
                path("1").display(),
                path("0").display(),
                path("theirs").display(),
                path("work").display()
            );
            let options = std::ffi::CString::new(options).unwrap();
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("overlay", path("mounted"), "overlay", flags, options.as_c_str())
                .unwrap();
            let theirs = by_the_book::copy(&path("source"), &item, &path("mounted"), &view, &dest);
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{ours:?}");
            if ours.is_ok() {
                let theirs = tree_on_disk(&path("mounted"));
                // What was closed a moment ago may still hold it.
                let detach = rustix::mount::UnmountFlags::DETACH;
                rustix::mount::unmount(path("mounted"), detach).unwrap();
                // As the kernel sees it, and as we do.
                let layers = [path("0"), path("1"), path("ours")];
                mount_overlay(&layers, &path("empty"), &path("mounted"));
                let mounted = tree_on_disk(&path("mounted"));
                let seen = tree(&view.with_top(path("ours")));
                for ours in [mounted, seen] {
                    for path in ours.keys().chain(theirs.keys()) {
                        let [mut ours, mut theirs] = [&ours, &theirs].map(|t| t.get(path).cloned());
                        for seen in [&mut ours, &mut theirs].into_iter().flatten() {
                            if seen.kind == bld_layer::Kind::Dir {
                                // Directories are as old as what they were made for.
                                seen.mtime = 0;
                            }
                        }
                        assert_eq!(ours, theirs, "{}", path.display());
                    }
                }
            } else {
                assert!(tree_on_disk(&path("ours")).is_empty());
            }
        });
        Ok(())
    };
    TestRunner::new(config).run(&strategy, check).unwrap();
}
