//! COPY and ADD: the rules one by one, and all of them against a plain copy on a mounted overlay.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;

use crate::common::*;
use bld_layer::copy::{
    Chmod, CopyError, CopyRequest, CopyStats, Item, Sharing, copy, copy_sharing, select, unpack,
};
use bld_layer::{FileStamp, Known, StatCache, Verdict, View, copy::selection_digest};
use bld_oci::Digest;
use rustix::fs::FileType;

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

/// Makes an archive of everything in a directory.
fn tar(dir: &Path, flags: &[&str], to: &Path) {
    let status = Command::new("tar")
        .args(flags)
        .args(["--create", "--numeric-owner", "--directory"])
        .arg(dir)
        .arg("--file")
        .arg(to)
        .arg(".")
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn archives_are_unpacked_into_the_destination() {
    let mut stage = Stage::new();
    let tree_dir = stage.dir.path().join("tree");
    write(tree_dir.join("in/f"), "F", 0o640);
    chown(tree_dir.join("in/f"), 5, 5);
    write(tree_dir.join("var/run/x/f"), "F", 0o644);
    write(tree_dir.join("replaced"), "new", 0o644);
    write(tree_dir.join(".wh.literal"), "", 0o644);
    chmod(&tree_dir, 0o700);
    mkdirs(stage.base("d/in"));
    write(stage.base("d/in/old"), "", 0o644);
    write(stage.base("d/replaced"), "old", 0o644);
    chmod(stage.base("d"), 0o1777);
    for (flag, dest) in [("--gzip", "/d"), ("--xz", "/x/"), ("--bzip2", "/b"), ("--zstd", "/z")] {
        tar(&tree_dir, &[flag], &stage.source("no-suffix"));
        let source = View::plain(stage.source(""));
        let item = select(&source, Path::new("no-suffix"), &glob).unwrap().remove(0);
        assert!(stage.request(dest, &Flags::default(), |request| unpack(&request, &item)).unwrap());
        let tree = stage.tree();
        let dest = Path::new(dest);
        assert_eq!(tree[&dest.join("in/f")].owner, (5, 5));
        assert_eq!(tree[&dest.join("in/f")].mode, 0o640);
        assert_eq!(tree[&dest.join("replaced")].content, b"new");
        assert_eq!(tree[&dest.join(".wh.literal")].kind, bld_layer::Kind::File);
    }
    let tree = stage.tree();
    assert!(tree.contains_key(Path::new("/d/in/old")));
    // The destination itself is not the archive's.
    assert_eq!(tree[Path::new("/d")].mode, 0o1777);
    assert_eq!(tree[Path::new("/x")].mode, 0o755);
}

#[test]
fn archives_follow_links_inside_the_root() {
    let mut stage = Stage::new();
    let tree_dir = stage.dir.path().join("tree");
    write(tree_dir.join("run/x/f"), "F", 0o644);
    tar(&tree_dir.join("run"), &[], &stage.source("x.tar"));
    mkdirs(stage.base("run"));
    link("/run", stage.base("var/run"));
    let source = View::plain(stage.source(""));
    let item = select(&source, Path::new("x.tar"), &glob).unwrap().remove(0);
    let flags = Flags { owner: Some((3, 4)), chmod: Some("0777"), ..Flags::default() };
    assert!(stage.request("/var/run", &flags, |request| unpack(&request, &item)).unwrap());
    let tree = stage.tree();
    assert_eq!(tree[Path::new("/run/x/f")].owner, (3, 4));
    assert_eq!(tree[Path::new("/run/x/f")].mode, 0o644);
    assert_eq!(tree[Path::new("/var/run")].link, Path::new("/run"));
}

#[test]
fn what_is_no_archive_is_left_to_copy() {
    let mut stage = Stage::new();
    write(stage.source("text.tar"), "no archive", 0o644);
    write(stage.source("empty.tar"), "", 0o644);
    write(stage.source("zeros.tar"), [0; 10240], 0o644);
    write(stage.source("torn.tgz"), b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03torn", 0o644);
    write(stage.source("fine"), "", 0o644);
    let compressed = Command::new("gzip").args(["-c"]).arg(stage.source("text.tar")).output();
    write(stage.source("text.gz"), compressed.unwrap().stdout, 0o644);
    mkdirs(stage.source("dir.tar"));
    for path in ["text.tar", "empty.tar", "zeros.tar", "torn.tgz", "text.gz", "dir.tar"] {
        let source = View::plain(stage.source(""));
        let item = select(&source, Path::new(path), &glob).unwrap().remove(0);
        let unpacked = stage.request("/d/", &Flags::default(), |request| unpack(&request, &item));
        assert!(!unpacked.unwrap(), "{path}");
    }
    assert!(stage.paths().is_empty());
    write(stage.base("file"), "", 0o644);
    tar(&stage.source("dir.tar"), &[], &stage.source("ok.tar"));
    let source = View::plain(stage.source(""));
    let item = select(&source, Path::new("ok.tar"), &glob).unwrap().remove(0);
    let error = stage.request("/file", &Flags::default(), |request| unpack(&request, &item));
    assert!(matches!(error.unwrap_err(), CopyError::NotADirectory { .. }));
}

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

mod random {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

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
        let check =
            |(source, lower, upper, (dest, item)): (Spec, Spec, Spec, (String, Vec<u8>))| {
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
                    rustix::mount::mount(
                        "overlay",
                        path("mounted"),
                        "overlay",
                        flags,
                        options.as_c_str(),
                    )
                    .unwrap();
                    let theirs =
                        by_the_book::copy(&path("source"), &item, &path("mounted"), &view, &dest);
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
                                let [mut ours, mut theirs] =
                                    [&ours, &theirs].map(|t| t.get(path).cloned());
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
}
