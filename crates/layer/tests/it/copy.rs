//! COPY and ADD: the rules one by one, and, in modules of their own, archives, digests of what is
//! selected, and all of it against a plain copy on a mounted overlay.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::*;
use bld_layer::copy::{
    Chmod, CopyError, CopyRequest, CopyStats, Sharing, copy, copy_sharing, select,
};
use bld_layer::{Verdict, View};

mod archive;
mod random;
mod selection;

/// A source, the layers of a destination, and the upper directories of the copies made so far.
struct Stage {
    dir: tempfile::TempDir,
    uppers: Vec<PathBuf>,
}

/// Flags of COPY.
#[derive(Default)]
struct Flags<'a> {
    owner: Option<(u32, u32)>,
    chmod: Option<&'a str>,
    exclude: Option<bld_layer::Filter>,
    link: bool,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for path in ["source", "base"] {
            mkdirs(dir.path().join(path));
        }
        Self { dir, uppers: Vec::new() }
    }

    fn source(&self, path: &str) -> PathBuf {
        self.dir.path().join("source").join(path)
    }

    fn base(&self, path: &str) -> PathBuf {
        self.dir.path().join("base").join(path)
    }

    /// The destination as it is now.
    fn view(&self) -> View {
        let base = self.dir.path().join("base");
        View::new([base].into_iter().chain(self.uppers.iter().cloned()).collect())
    }

    fn request<T>(
        &mut self,
        dest: &str,
        flags: &Flags<'_>,
        run: impl FnOnce(CopyRequest<'_>) -> Result<T, CopyError>,
    ) -> Result<T, CopyError> {
        let upper = self.dir.path().join(format!("upper{}", self.uppers.len()));
        mkdirs(&upper);
        let chmod = flags.chmod.map(|text| text.parse::<Chmod>().unwrap());
        let source = View::plain(self.source(""));
        let dest_view = if flags.link { View::new(Vec::new()) } else { self.view() };
        let result = run(CopyRequest {
            source: &source,
            items: &[],
            dest_view: &dest_view,
            upper: &upper,
            dest: Path::new(dest),
            owner: flags.owner,
            chmod: chmod.as_ref(),
            follow_dest_symlinks: !flags.link,
            mtime: None,
        });
        self.uppers.push(upper);
        result
    }

    fn copy_with(
        &mut self,
        words: &[&str],
        dest: &str,
        flags: &Flags<'_>,
    ) -> Result<CopyStats, CopyError> {
        let source = View::plain(self.source(""));
        let mut items = Vec::new();
        for word in words {
            items.extend(select(&source, Path::new(word), &glob)?);
        }
        for item in &mut items {
            item.filter.clone_from(&flags.exclude);
        }
        self.request(dest, flags, |request| copy(&CopyRequest { items: &items, ..request }))
    }

    fn copy(&mut self, words: &[&str], dest: &str) {
        self.copy_with(words, dest, &Flags::default()).unwrap();
    }

    fn tree(&self) -> Tree {
        tree(&self.view())
    }

    fn paths(&self) -> Vec<String> {
        self.tree().into_keys().map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    fn assert_file(&self, path: &str, content: &str) {
        let seen = self.tree().remove(Path::new(path)).unwrap();
        assert_eq!(String::from_utf8_lossy(&seen.content), content);
    }
}

#[test]
fn a_file_becomes_the_destination_or_goes_into_it() {
    let mut stage = Stage::new();
    write(stage.source("a"), "A", 0o750);
    chown(stage.source("a"), 12, 34);
    set_mtime(stage.source("a"), 77);
    mkdirs(stage.base("existing"));
    stage.copy(&["a"], "/new/sub/b");
    stage.copy(&["a"], "/existing");
    stage.copy(&["a"], "/slash/");
    stage.copy(&["a"], "/dot/.");
    stage.copy(&["a"], "/");
    let tree = stage.tree();
    for path in ["/new/sub/b", "/existing/a", "/slash/a", "/dot/a", "/a"] {
        let seen = &tree[Path::new(path)];
        assert_eq!((seen.mode, seen.owner, seen.mtime), (0o750, (12, 34), 77), "{path}");
    }
    for path in ["/new", "/new/sub", "/slash"] {
        let seen = &tree[Path::new(path)];
        assert_eq!((seen.mode, seen.owner), (0o755, (0, 0)), "{path}");
    }
}

#[test]
fn of_a_directory_the_contents_are_copied() {
    let mut stage = Stage::new();
    write(stage.source("d/f"), "F", 0o644);
    write(stage.source("d/sub/g"), "G", 0o644);
    chmod(stage.source("d"), 0o700);
    chmod(stage.source("d/sub"), 0o711);
    chown(stage.source("d"), 1, 2);
    chown(stage.source("d/sub"), 3, 4);
    write(stage.base("to/stays"), "", 0o600);
    chmod(stage.base("to"), 0o2770);
    chown(stage.base("to"), 5, 6);
    stage.copy(&["d"], "/to");
    stage.copy(&["d/"], "/new");
    let tree = stage.tree();
    let of = |path: &str| (tree[Path::new(path)].mode, tree[Path::new(path)].owner);
    // What exists keeps what it has; what has to be made is made as if nobody had asked.
    assert_eq!(of("/to"), (0o2770, (5, 6)));
    assert_eq!(of("/new"), (0o755, (0, 0)));
    assert_eq!(of("/new/sub"), (0o711, (3, 4)));
    assert!(tree.contains_key(Path::new("/to/stays")));
    assert!(tree.contains_key(Path::new("/to/sub/g")));
    assert!(!tree.contains_key(Path::new("/to/d")));
}

#[test]
fn only_changes_are_written() {
    let mut stage = Stage::new();
    write(stage.source("f"), "", 0o644);
    write(stage.base("a/b/c/other"), "", 0o644);
    write(stage.base("a/big"), "", 0o644);
    chmod(stage.base("a"), 0o1777);
    chown(stage.base("a/b"), 9, 9);
    setxattr(stage.base("a/b"), "user.kept", b"x");
    for path in ["a/b/c", "a/b", "a"] {
        set_mtime(stage.base(path), 1000);
    }
    stage.copy(&["f"], "/a/b/c/");
    let upper = tree_on_disk(&stage.uppers[0]);
    let paths: Vec<_> = upper.keys().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(paths, ["/a", "/a/b", "/a/b/c", "/a/b/c/f"]);
    let base = tree_on_disk(&stage.base(""));
    for path in ["/a", "/a/b", "/a/b/c"].map(Path::new) {
        // Even the time: when a copy was made must not show in its layer.
        assert_eq!(upper[path], base[path]);
    }
}

#[test]
fn nothing_into_what_is_there_leaves_no_trace() {
    let mut stage = Stage::new();
    mkdirs(stage.source("empty"));
    mkdirs(stage.base("there"));
    stage.copy(&["empty"], "/there");
    stage.copy(&["empty"], "/new");
    assert!(tree_on_disk(&stage.uppers[0]).is_empty());
    assert!(stage.tree().contains_key(Path::new("/new")));
}

#[test]
fn directories_in_a_tree_take_over() {
    let mut stage = Stage::new();
    write(stage.source("t/etc/new"), "", 0o644);
    chmod(stage.source("t/etc"), 0o750);
    chown(stage.source("t/etc"), 1, 1);
    write(stage.base("etc/old"), "", 0o644);
    setxattr(stage.source("t/etc"), "user.a", b"new");
    for name in ["user.a", "user.b"] {
        setxattr(stage.base("etc"), name, b"old");
    }
    stage.copy(&["t"], "/");
    let tree = stage.tree();
    let xattrs = [("user.a".into(), b"new".to_vec()), ("user.b".into(), b"old".to_vec())];
    assert_eq!(tree[Path::new("/etc")].xattrs, xattrs);
    assert_eq!((tree[Path::new("/etc")].mode, tree[Path::new("/etc")].owner), (0o750, (1, 1)));
    assert!(tree.contains_key(Path::new("/etc/old")));
}

#[test]
fn conflicts_are_found_before_anything_is_written() {
    let mut stage = Stage::new();
    write(stage.source("d/x/f"), "", 0o644);
    write(stage.source("f"), "", 0o644);
    write(stage.source("e/x"), "", 0o644);
    write(stage.base("file"), "", 0o644);
    write(stage.base("y/x"), "a file where a directory comes", 0o644);
    mkdirs(stage.base("z/x"));
    link("/z", stage.base("w/x"));
    let mut fails = |words: &[&str], dest: &str| {
        stage.copy_with(words, dest, &Flags::default()).unwrap_err().to_string()
    };
    assert_eq!(fails(&["d"], "/file"), "copy directory /d onto /file, which is not a directory");
    assert_eq!(fails(&["f"], "/file/"), "copy to /file/: /file is not a directory");
    assert_eq!(fails(&["f"], "/file/sub/f"), "copy to /file/sub/f: /file is not a directory");
    assert_eq!(fails(&["d"], "/y"), "copy directory /d/x onto /y/x, which is not a directory");
    assert_eq!(fails(&["d"], "/w"), "copy directory /d/x onto /w/x, which is not a directory");
    assert_eq!(fails(&["e"], "/z"), "copy /e/x onto /z/x, which is a directory");
    assert_eq!(fails(&["d", "e"], "/n/"), "copy /e/x onto /n/x, which is a directory");
    assert_eq!(
        fails(&["e", "d"], "/n/"),
        "copy directory /d/x onto /n/x, which is not a directory"
    );
    assert_eq!(fails(&["missing"], "/"), "find /missing in the source");
    for upper in stage.uppers {
        assert!(tree_on_disk(&upper).is_empty());
    }
}

#[test]
fn sources_are_found_inside_the_root() {
    let mut stage = Stage::new();
    write(stage.dir.path().join("secret"), "outside", 0o644);
    for (path, to) in
        [("ln", "t"), ("lnd", "d"), ("abs", "/d/f"), ("up", "../../../t"), ("out", "../secret")]
    {
        link(to, stage.source(path));
    }
    write(stage.source("t"), "T", 0o644);
    write(stage.source("d/f"), "F", 0o644);
    link("/nowhere", stage.source("d/kept"));
    stage.copy(&["ln"], "/1");
    stage.copy(&["lnd"], "/2");
    stage.copy(&["lnd/f"], "/3");
    stage.copy(&["../../t"], "/4");
    stage.copy(&["/up", "abs"], "/5/");
    for (path, content) in
        [("/1", "T"), ("/2/f", "F"), ("/3", "F"), ("/4", "T"), ("/5/up", "T"), ("/5/abs", "F")]
    {
        stage.assert_file(path, content);
    }
    assert_eq!(stage.tree()[Path::new("/2/kept")].link, Path::new("/nowhere"));
    let error = stage.copy_with(&["out"], "/6", &Flags::default()).unwrap_err();
    assert!(matches!(error, CopyError::NotFound { .. }), "{error}");
}

#[test]
fn wildcards_match_one_level() {
    let mut stage = Stage::new();
    for path in ["f1.go", "f2.go", "f3.txt", "s/f4.go", "x[y", "d1/a", "d2/b", "d2/c/d"] {
        write(stage.source(path), path, 0o644);
    }
    stage.copy(&["*.go"], "/1/");
    stage.copy(&["f[^1].*"], "/2/");
    stage.copy(&["x[[]y"], "/3");
    stage.copy(&["d*"], "/4/");
    stage.copy(&["*/*.go"], "/5/");
    stage.copy(&["none*"], "/6/");
    let expected = [
        "/1",
        "/1/f1.go",
        "/1/f2.go",
        "/2",
        "/2/f2.go",
        "/2/f3.txt",
        "/3",
        "/4",
        "/4/a",
        "/4/b",
        "/4/c",
        "/4/c/d",
        "/5",
        "/5/f4.go",
    ];
    assert_eq!(stage.paths(), expected);
}

#[test]
fn destination_links_are_followed_inside_the_root() {
    let mut stage = Stage::new();
    write(stage.source("a"), "A", 0o644);
    write(stage.source("d/f"), "F", 0o644);
    mkdirs(stage.base("real"));
    link("/real", stage.base("abs"));
    link("../../real", stage.base("up"));
    link("missing/deep", stage.base("dangling"));
    link("/real/target", stage.base("file"));
    write(stage.base("real/target"), "old", 0o600);
    link("target", stage.base("real/inner"));
    stage.copy(&["a"], "/abs/1");
    stage.copy(&["a"], "/up/");
    stage.copy(&["d"], "/dangling");
    stage.copy(&["a"], "/file");
    let tree = stage.tree();
    for path in ["/real/1", "/real/a", "/missing/deep/f"] {
        assert!(tree.contains_key(Path::new(path)), "{path}");
    }
    stage.assert_file("/real/target", "A");
    assert_eq!(tree[Path::new("/file")].link, Path::new("/real/target"));
    // A name inside the destination is replaced, link or not.
    write(stage.source("e/inner"), "E", 0o644);
    stage.copy(&["e"], "/real");
    stage.assert_file("/real/inner", "E");
    stage.assert_file("/real/target", "A");
}

#[test]
fn a_linked_copy_depends_on_nothing_below() {
    let mut stage = Stage::new();
    write(stage.source("a"), "A", 0o644);
    write(stage.base("real/x"), "", 0o644);
    link("/real", stage.base("lnk"));
    let flags = Flags { link: true, ..Flags::default() };
    stage.copy_with(&["a"], "/lnk/", &flags).unwrap();
    let seen = stage.tree();
    assert_eq!(seen[Path::new("/lnk")].kind, bld_layer::Kind::Dir);
    assert!(seen.contains_key(Path::new("/lnk/a")));
    assert!(!seen.contains_key(Path::new("/real/a")));

    // The same where the layers below are known, but their links not followed.
    let upper = stage.dir.path().join("unfollowed");
    mkdirs(&upper);
    let (source, dest_view) = (View::plain(stage.source("")), View::new(vec![stage.base("")]));
    let items = select(&source, Path::new("a"), &glob).unwrap();
    copy(&CopyRequest {
        source: &source,
        items: &items,
        dest_view: &dest_view,
        upper: &upper,
        dest: Path::new("/lnk/sub/"),
        owner: None,
        chmod: None,
        follow_dest_symlinks: false,
        mtime: Some(5),
    })
    .unwrap();
    let seen = tree(&dest_view.with_top(&upper));
    assert_eq!(seen[Path::new("/lnk/sub/a")].mtime, 5);
}

#[test]
fn owner_and_mode_cover_what_is_made() {
    let mut stage = Stage::new();
    write(stage.source("a"), "A", 0o644);
    write(stage.source("t/p"), "1", 0o600);
    write(stage.source("t/e"), "2", 0o700);
    link("p", stage.source("t/l"));
    mkdirs(stage.base("kept"));
    let flags = Flags { owner: Some((7, 8)), chmod: Some("2770"), ..Flags::default() };
    stage.copy_with(&["a"], "/new/sub/x", &flags).unwrap();
    stage.copy_with(&["a"], "/kept/", &flags).unwrap();
    let flags = Flags { chmod: Some("u=rwX,go=rX"), ..Flags::default() };
    stage.copy_with(&["t"], "/t", &flags).unwrap();
    let tree = stage.tree();
    // What has to be made on the way gets the permissions, but not the special bits.
    for (path, mode) in
        [("/new", 0o770), ("/new/sub", 0o770), ("/new/sub/x", 0o2770), ("/kept/a", 0o2770)]
    {
        let seen = &tree[Path::new(path)];
        assert_eq!((seen.mode, seen.owner), (mode, (7, 8)), "{path}");
    }
    let mode = |path: &str| tree[Path::new(path)].mode;
    assert_eq!((mode("/kept"), tree[Path::new("/kept")].owner), (0o755, (0, 0)));
    assert_eq!((mode("/t"), mode("/t/p"), mode("/t/e")), (0o755, 0o644, 0o755));
    assert_eq!(tree[Path::new("/t/l")].link, Path::new("p"));
}

#[test]
fn exclusions_are_relative_to_the_source() {
    let mut stage = Stage::new();
    for path in ["s/a.log", "s/b", "s/k/c.log", "s/empty/x.log", "s/keep/deep/x.log", "top.log"] {
        write(stage.source(path), path, 0o644);
    }
    chmod(stage.source("s/keep"), 0o750);
    let exclude: bld_layer::Filter = Arc::new(|path, is_dir| {
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        match path.components().count() {
            1 if is_log => Verdict::Skip,
            _ if path.starts_with("empty") || path.starts_with("keep") => {
                if is_dir || path.starts_with("empty") { Verdict::Descend } else { Verdict::Take }
            }
            _ => Verdict::Take,
        }
    });
    let flags = Flags { exclude: Some(exclude), ..Flags::default() };
    stage.copy_with(&["s", "top.log"], "/x/", &flags).unwrap();
    let expected =
        ["/x", "/x/b", "/x/k", "/x/k/c.log", "/x/keep", "/x/keep/deep", "/x/keep/deep/x.log"];
    assert_eq!(stage.paths(), expected);
    // A directory that is there for its contents comes with what it has.
    assert_eq!(stage.tree()[Path::new("/x/keep")].mode, 0o750);
}

#[test]
fn odd_trees_are_copied_whole() {
    let mut stage = Stage::new();
    odd_tree(&stage.source("odd"));
    let socket = std::os::unix::net::UnixListener::bind(stage.source("odd/socket")).unwrap();
    whiteout(stage.source("odd/would-delete"));
    stage.copy(&["odd"], "/");
    drop(socket);
    let mut expected = tree_on_disk(&stage.source("odd"));
    expected.remove(Path::new("/socket"));
    expected.remove(Path::new("/would-delete"));
    let copied = stage.tree();
    for path in expected.keys().chain(copied.keys()) {
        assert_eq!(copied.get(path), expected.get(path), "{}", path.display());
    }
    let upper = &stage.uppers[0];
    let inode = |path: &str| fs::symlink_metadata(upper.join(path)).unwrap().ino();
    assert_eq!(inode("etc/passwd"), inode("etc/again"));
    assert_eq!(inode("home/link"), inode("home/link2"));
    let sparse = fs::metadata(upper.join("sparse")).unwrap();
    assert!(sparse.blocks() * 512 < sparse.size(), "the hole is filled");
}

#[test]
fn large_files_are_whole() {
    let mut stage = Stage::new();
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    write(stage.source("big"), &content, 0o644);
    let stats = stage.copy_with(&["big"], "/", &Flags::default()).unwrap();
    assert_eq!(stats, CopyStats { files: 1, bytes: content.len() as u64, ..CopyStats::default() });
    assert!(fs::read(stage.uppers[0].join("big")).unwrap() == content);
}

#[test]
fn what_stays_where_it_is_can_be_shared_with_the_source() {
    let mut stage = Stage::new();
    write(stage.source("app/x"), "x", 0o644);
    write(stage.source("app/y"), "y", 0o644);
    let source = View::new(vec![stage.source("")]);
    let items = select(&source, Path::new("app"), &glob).unwrap();
    let sharing = Sharing { source: true, ..Sharing::default() };
    let mut shared = |dest: &str, flags: &Flags<'_>| {
        stage
            .request(dest, flags, |request| {
                let request = CopyRequest { source: &source, items: &items, ..request };
                copy_sharing(&request, &sharing)
            })
            .unwrap()
            .shared
    };
    assert_eq!(shared("/app", &Flags::default()), 2);
    // Elsewhere the same inode would show up as a hard link.
    assert_eq!(shared("/app2", &Flags::default()), 0);
    // Another owner is another file.
    assert_eq!(shared("/app", &Flags { owner: Some((1, 1)), ..Flags::default() }), 0);
}

#[test]
fn requests_can_share_an_upper_directory() {
    let mut stage = Stage::new();
    write(stage.source("one"), "1", 0o644);
    write(stage.source("two"), "2", 0o644);
    let source = View::plain(stage.source(""));
    let items = |word: &str| select(&source, Path::new(word), &glob).unwrap();
    let both = stage.request("/d/", &Flags::default(), |request| {
        copy(&CopyRequest { items: &items("one"), ..request })?;
        // What the first one made is part of the destination of the second.
        copy(&CopyRequest { items: &items("two"), dest: Path::new("/d"), ..request })
    });
    both.unwrap();
    assert_eq!(stage.paths(), ["/d", "/d/one", "/d/two"]);
}
