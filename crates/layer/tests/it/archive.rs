//! Packing and unpacking: what comes out is what went in, for us and for others.

use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::*;
use bld_layer::{
    Applied, ApplyOptions, LayerError, TarOptions, View, Whiteouts, adopt, apply, comment, diff_id,
    is_tar, tree_digest, write_directory, write_layer, write_tree,
};
use bld_oci::Digest;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::fs::FileType;

fn pack(upper: &Path) -> Vec<u8> {
    let mut tar = Vec::new();
    let stats = write_layer(upper, &mut tar, &TarOptions::default()).unwrap();
    assert_eq!(stats.bytes, tar.len() as u64);
    assert_eq!(diff_id(upper, &TarOptions::default()).unwrap(), (Digest::of(&tar), stats.bytes));
    tar
}

fn unpack(tar: &[u8], target: &Path, options: &ApplyOptions) -> Applied {
    mkdirs(target);
    let mut reader = Cursor::new(tar);
    let applied = apply(&mut reader, target, options).unwrap();
    assert_eq!(reader.position(), tar.len() as u64, "the whole stream must be read");
    applied
}

/// The names in an archive as another reader sees them.
fn names(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    let name = |entry: std::io::Result<tar::Entry<'_, _>>| {
        String::from_utf8_lossy(&entry.unwrap().path_bytes()).into_owned()
    };
    archive.entries().unwrap().map(name).collect()
}

fn same(ours: &Tree, theirs: &Tree) {
    for path in ours.keys().chain(theirs.keys()) {
        assert_eq!(ours.get(path), theirs.get(path), "{}", path.display());
    }
}

#[test]
fn odd_trees_survive() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    odd_tree(&from);
    let tar = pack(&from);
    assert!(is_tar(&tar));
    unpack(&tar, &to, &ApplyOptions::default());
    same(&tree_on_disk(&to), &tree_on_disk(&from));
    assert!(pack(&to) == tar);
    for pair in [["etc/passwd", "etc/again"], ["home/link", "home/link2"]] {
        let [a, b] = pair.map(|path| fs::symlink_metadata(to.join(path)).unwrap().ino());
        assert_eq!(a, b);
    }
}

#[test]
fn others_read_what_we_write() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    odd_tree(&from);
    mkdirs(&to);
    fs::write(dir.path().join("layer.tar"), pack(&from)).unwrap();
    let tar = Command::new("tar")
        .args(["--extract", "--xattrs", "--xattrs-include=*", "--numeric-owner"])
        .args(["--preserve-permissions", "--same-owner", "--warning=no-timestamp", "--file"])
        .arg(dir.path().join("layer.tar"))
        .current_dir(&to)
        .output()
        .unwrap();
    assert!(tar.status.success() && tar.stderr.is_empty(), "{tar:?}");
    same(&tree_on_disk(&to), &tree_on_disk(&from));
}

#[test]
fn we_read_what_others_write() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    odd_tree(&from);
    let formats: [&[&str]; 9] = [
        &["--format=gnu"],
        &["--format=gnu", "--sparse"],
        &["--format=pax", "--xattrs", "--xattrs-include=*"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
        &["--format=gnu", "--incremental"],
        &["--format=ustar"],
        &["--format=v7"],
    ];
    for (number, format) in formats.iter().enumerate() {
        let old = matches!(format[0], "--format=ustar" | "--format=v7");
        if old {
            // What these formats have no room for.
            for path in ["huge-owner", "long-link", "exactly", "future", &"d".repeat(200)] {
                let path = from.join(path);
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
        }
        if format[0] == "--format=v7" {
            for path in ["dev", "run"] {
                fs::remove_dir_all(from.join(path)).unwrap();
            }
            fs::remove_dir_all(from.join("n".repeat(99))).unwrap();
        }
        let tar = Command::new("tar")
            .args(*format)
            .args(["--create", "--numeric-owner", "--directory"])
            .arg(&from)
            .arg(".")
            .output()
            .unwrap();
        assert!(tar.status.success(), "{format:?}: {}", String::from_utf8_lossy(&tar.stderr));
        let to = dir.path().join(number.to_string());
        unpack(&tar.stdout, &to, &ApplyOptions::default());
        let mut expected = tree_on_disk(&from);
        if !format.contains(&"--xattrs") {
            for seen in expected.values_mut() {
                seen.xattrs.clear();
            }
        }
        same(&tree_on_disk(&to), &expected);
        if format.contains(&"--sparse") {
            let sparse = fs::metadata(to.join("sparse")).unwrap();
            assert!(sparse.blocks() * 512 < sparse.size(), "the hole is filled: {format:?}");
        }
    }
}

/// A file anywhere in a tree of any shape.
#[derive(Debug, Clone)]
enum File {
    Regular(Vec<u8>, u32, (u32, u32)),
    Symlink(Vec<u8>),
    Hardlink(usize),
    Fifo,
    Whiteout,
    Opaque,
    Xattr(String, Vec<u8>),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    // Any bytes that are a name, short or as long as a name can be.
    let byte = any::<u8>().prop_map(|byte| if matches!(byte, 0 | b'/') { b'_' } else { byte });
    let lengths = prop_oneof![8 => 1..4_usize, 1 => 90..110_usize, 1 => 250..256_usize];
    lengths
        .prop_flat_map(move |length| prop::collection::vec(byte.clone(), length))
        .prop_filter("not a name", |name| {
            name != b"." && name != b".." && !name.starts_with(b".wh.")
        })
}

fn file() -> impl Strategy<Value = File> {
    let owner = (prop_oneof![0..3_u32, any::<u32>()], 0..3_u32)
        .prop_filter("means no change", |(uid, _)| *uid != u32::MAX);
    let content = prop::collection::vec(any::<u8>(), 0..1500);
    prop_oneof![
        6 => (content, 0..0o10000_u32, owner).prop_map(|(c, m, o)| File::Regular(c, m, o)),
        1 => name().prop_map(File::Symlink),
        1 => any::<usize>().prop_map(File::Hardlink),
        1 => Just(File::Fifo),
        1 => Just(File::Whiteout),
        1 => Just(File::Opaque),
        1 => ("[a-z.]{1,20}", prop::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(name, value)| File::Xattr(format!("user.{name}"), value)),
    ]
}

fn make(root: &Path, files: &[(Vec<Vec<u8>>, File)]) {
    mkdirs(root);
    let mut made: Vec<PathBuf> = Vec::new();
    for (path, file) in files {
        let path: PathBuf =
            path.iter().map(|name| std::ffi::OsString::from_vec(name.clone())).collect();
        let path = root.join(path);
        if fs::create_dir_all(path.parent().unwrap()).is_err() || path.exists() {
            continue;
        }
        match file {
            File::Regular(content, mode, (uid, gid)) => {
                write(&path, content, *mode);
                chown(&path, *uid, *gid);
                chmod(&path, *mode);
                made.push(path);
            }
            File::Symlink(target) => link(std::ffi::OsString::from_vec(target.clone()), &path),
            File::Hardlink(index) if !made.is_empty() => {
                fs::hard_link(&made[index % made.len()], &path).unwrap();
            }
            File::Hardlink(_) => {}
            File::Fifo => mknod(&path, FileType::Fifo, 0, 0),
            File::Whiteout => whiteout(&path),
            File::Opaque => {
                mkdirs(&path);
                opaque(&path);
            }
            File::Xattr(name, value) => {
                mkdirs(&path);
                setxattr(&path, name, value);
            }
        }
    }
}

#[test]
fn any_tree_survives() {
    let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
    let path = prop::collection::vec(name(), 1..4);
    let files = prop::collection::vec((path, file()), 0..25);
    let check = |files: Vec<(Vec<Vec<u8>>, File)>| {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        make(&from, &files);
        let tar = pack(&from);
        unpack(&tar, &to, &ApplyOptions::default());
        same(&tree_on_disk(&to), &tree_on_disk(&from));
        assert!(pack(&to) == tar);
        let digest = |path: &Path| {
            tree_digest(&View::new(vec![path.to_owned()]), &["/".into()], None).unwrap()
        };
        assert_eq!(digest(&from), digest(&to));
        Ok(())
    };
    TestRunner::new(config).run(&files, check).unwrap();
}

#[test]
fn whiteouts_follow_the_image_specification() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    write(from.join("d/new"), "", 0o644);
    opaque(from.join("d"));
    whiteout(from.join("gone"));
    whiteout(from.join("sub/gone"));
    let tar = pack(&from);
    assert_eq!(names(&tar), [".wh.gone", "d/", "d/.wh..wh..opq", "d/new", "sub/", "sub/.wh.gone"]);
    unpack(&tar, &to, &ApplyOptions::default());
    assert_eq!(getxattr(to.join("d"), "trusted.overlay.opaque").unwrap(), b"y");
    assert!(pack(&to) == tar);

    let flat = dir.path().join("flat");
    for path in ["d/old/x", "gone/x", "sub/gone", "sub/stays"] {
        write(flat.join(path), "", 0o644);
    }
    let remove = ApplyOptions { whiteouts: Whiteouts::Remove, ..Default::default() };
    unpack(&tar, &flat, &remove);
    let paths: Vec<_> = tree_on_disk(&flat).into_keys().collect();
    assert_eq!(paths, ["/d", "/d/new", "/sub", "/sub/stays"].map(PathBuf::from));

    let literal = dir.path().join("literal");
    unpack(&tar, &literal, &ApplyOptions { whiteouts: Whiteouts::Literal, ..Default::default() });
    assert!(literal.join("sub/.wh.gone").is_file());
    let error = write_layer(&literal, &mut std::io::sink(), &TarOptions::default()).unwrap_err();
    assert!(matches!(error, LayerError::Unrepresentable { .. }), "{error}");
}

#[test]
fn what_changed_last_comes_last() {
    let dir = tempfile::tempdir().unwrap();
    for (path, time) in
        [("a/old", 1), ("a/new", 30), ("a", 1), ("b/older", 5), ("b", 20), ("c", 10)]
    {
        let path = dir.path().join(path);
        if !path.is_dir() {
            write(&path, "", 0o644);
        }
        set_mtime(path, time);
    }
    // Nothing comes before the directory it is in.
    assert_eq!(names(&pack(dir.path())), ["a/", "a/old", "c", "b/", "b/older", "a/new"]);
    let mut tar = Vec::new();
    let clamped = TarOptions { clamp_mtime: Some(15), ..TarOptions::default() };
    write_layer(dir.path(), &mut tar, &clamped).unwrap();
    assert_eq!(names(&tar), ["a/", "a/old", "c", "a/new", "b/", "b/older"]);
}

#[test]
fn a_whole_tree_has_nothing_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (lower, upper, to) =
        (dir.path().join("lower"), dir.path().join("upper"), dir.path().join("to"));
    odd_tree(&lower);
    write(upper.join("etc/.wh.literal"), "", 0o644);
    whiteout(upper.join("bin"));
    mkdirs(upper.join("dev"));
    opaque(upper.join("dev"));
    let view = View::new(vec![lower, upper]);
    let mut tar = Vec::new();
    write_tree(&view, &mut tar, &TarOptions::default()).unwrap();
    unpack(&tar, &to, &ApplyOptions { whiteouts: Whiteouts::Literal, ..Default::default() });
    same(&tree_on_disk(&to), &tree(&view));
    let mut empty = Vec::new();
    write_tree(&View::new(Vec::new()), &mut empty, &TarOptions::default()).unwrap();
    assert_eq!(empty, [0; 1024]);
}

#[test]
fn a_tree_digest_is_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("a/f"), "f", 0o644);
    write(dir.path().join("b"), "b", 0o644);
    let view = View::plain(dir.path());
    let of = |paths: &[&str]| {
        let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
        tree_digest(&view, &paths, None).unwrap()
    };
    let before = of(&["a", "b", "c"]);
    assert_eq!(of(&["/c", "b", "a", "a/f"]), before);
    set_mtime(dir.path().join("a"), 1);
    assert_eq!(of(&["a", "b", "c"]), before);
    assert_ne!(of(&["a", "b"]), before);
    // Here a directory itself counts, and so does what appears.
    chmod(dir.path().join("a"), 0o700);
    assert_ne!(of(&["a", "b", "c"]), before);
    chmod(dir.path().join("a"), 0o755);
    write(dir.path().join("c"), "", 0o644);
    assert_ne!(of(&["a", "b", "c"]), before);
}

#[test]
fn times_are_clamped_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("new"), "", 0o644);
    set_mtime(dir.path().join("new"), 2000);
    write(dir.path().join("old"), "", 0o644);
    set_mtime(dir.path().join("old"), 500);
    let times = |options: &TarOptions| {
        let mut tar = Vec::new();
        write_layer(dir.path(), &mut tar, options).unwrap();
        let mut archive = tar::Archive::new(&tar[..]);
        let entries = archive.entries().unwrap();
        entries.map(|entry| entry.unwrap().header().mtime().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(times(&TarOptions::default()), [500, 2000]);
    let clamped = TarOptions { clamp_mtime: Some(1000), ..TarOptions::default() };
    assert_eq!(times(&clamped), [500, 1000]);
    let fixed = TarOptions { mtime: Some(1000), ..TarOptions::default() };
    assert_eq!(times(&fixed), [1000, 1000]);
}

#[test]
fn the_bytes_of_a_layer_never_change() {
    let dir = tempfile::tempdir().unwrap();
    odd_tree(dir.path());
    whiteout(dir.path().join("etc/shadow"));
    opaque(dir.path().join("home"));
    for path in tree_on_disk(dir.path()).keys().rev() {
        let keep = ["exactly", "future"].iter().any(|name| path.ends_with(name));
        if !keep {
            set_mtime(dir.path().join(path.strip_prefix("/").unwrap()), 1_700_000_000);
        }
    }
    let (digest, _) = diff_id(dir.path(), &TarOptions::default()).unwrap();
    let expected = "sha256:50c0f68cda990ff27fc4c79b792e09e4cb6fb7e3876dd0f95670024c3b9c6b09";
    assert_eq!(digest.to_string(), expected, "the canonical form of layers changed");
}

#[test]
fn layers_unpacked_alone_fit_onto_others() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    write(base.join("tmp/sub/x"), "", 0o644);
    chmod(base.join("tmp"), 0o1777);
    chown(base.join("tmp/sub"), 5, 6);
    write(base.join("usr/bin/sh"), "", 0o755);
    link("usr/bin", base.join("bin"));
    let view = View::new(vec![base.clone()]);

    // An archive that does not list the directories it goes through.
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o600);
    builder.append_data(&mut header, "tmp/sub/new/y", &b""[..]).unwrap();
    let tar = builder.into_inner().unwrap();
    let alone = dir.path().join("alone");
    let applied = unpack(&tar, &alone, &ApplyOptions::default());
    assert_eq!(applied.implied, ["/tmp", "/tmp/sub", "/tmp/sub/new"].map(PathBuf::from));
    assert!(adopt(&alone, &applied, &view).unwrap());
    let with = dir.path().join("with");
    let options = ApplyOptions { lower: Some(view.clone()), ..Default::default() };
    let applied = unpack(&tar, &with, &options);
    assert_eq!(applied.implied, [PathBuf::from("/tmp/sub/new")]);
    same(&tree_on_disk(&alone), &tree_on_disk(&with));
    let merged = tree(&view.with_top(&alone));
    assert_eq!(merged[Path::new("/tmp")].mode, 0o1777);
    assert_eq!(merged[Path::new("/tmp/sub")].owner, (5, 6));
    assert_eq!(merged[Path::new("/tmp/sub/new")].mode, 0o755);

    // One that goes through what is a link below.
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, "bin/tool", &b""[..]).unwrap();
    let tar = builder.into_inner().unwrap();
    let alone = dir.path().join("alone2");
    let applied = unpack(&tar, &alone, &ApplyOptions::default());
    assert!(!adopt(&alone, &applied, &view).unwrap());
    let with = dir.path().join("with2");
    unpack(&tar, &with, &options);
    let merged = tree(&view.with_top(&with));
    assert!(merged.contains_key(Path::new("/usr/bin/tool")));
    assert!(merged.contains_key(Path::new("/usr/bin/sh")));
}

#[test]
fn owner_and_time_can_be_overridden() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    write(from.join("d/f"), "", 0o4755);
    link("f", from.join("d/l"));
    let options = ApplyOptions { owner: Some((7, 8)), mtime: Some(99), ..Default::default() };
    unpack(&pack(&from), &to, &options);
    for (path, seen) in tree_on_disk(&to) {
        assert_eq!((seen.owner, seen.mtime), ((7, 8), 99), "{}", path.display());
    }
    assert_eq!(fs::metadata(to.join("d/f")).unwrap().mode() & 0o7777, 0o4755);
}

#[test]
fn damaged_archives_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    write(from.join("a"), vec![1; 2000], 0o644);
    write(from.join("b"), "", 0o644);
    let tar = pack(&from);
    let error = |bytes: &[u8]| {
        let target = tempfile::tempdir().unwrap();
        apply(&mut &bytes[..], target.path(), &ApplyOptions::default()).unwrap_err().to_string()
    };
    // Cut off within a header, and within contents.
    assert!(error(&tar[..100]).contains("cut off"));
    assert!(error(&tar[..1000]).contains("read the archive"));
    // A bit that flipped in a header.
    let mut flipped = tar.clone();
    flipped[0] ^= 1;
    assert_eq!(error(&flipped), "read the archive at byte 0: the checksum of a header is wrong");
    assert!(!is_tar(&flipped));
    // Not an archive at all.
    assert!(error(&[b'x'; 1024]).contains("checksum"));
    // A missing end is common enough, and nothing is lost by it.
    let mut short = &tar[..tar.len() - 1024];
    apply(&mut short, dir.path(), &ApplyOptions::default()).unwrap();
    let mut rest = Vec::new();
    short.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn a_directory_comes_back_with_exact_times_and_what_was_said_of_it() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(from.path().join("dir")).unwrap();
    fs::write(from.path().join("dir/file"), "x".repeat(1000)).unwrap();
    fs::hard_link(from.path().join("dir/file"), from.path().join("again")).unwrap();
    let mut tar = Vec::new();
    write_directory(from.path(), "made by a test", &mut tar).unwrap();
    let (said, mut whole) = comment(tar.as_slice()).unwrap();
    assert_eq!(said.as_deref(), Some("made by a test"));
    apply(&mut whole, to.path(), &ApplyOptions::default()).unwrap();
    for name in ["dir", "dir/file", "again"] {
        let meta = |dir: &Path| {
            let meta = fs::metadata(dir.join(name)).unwrap();
            (meta.mtime(), meta.mtime_nsec(), meta.mode(), meta.size(), meta.nlink())
        };
        assert_ne!(meta(from.path()).1, 0, "{name}");
        assert_eq!(meta(from.path()), meta(to.path()), "{name}");
    }
    // Others read it too.
    let mut list = Command::new("tar")
        .arg("-tf")
        .arg("-")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut list.stdin.take().unwrap(), &tar).unwrap();
    let listed = list.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), "./\nagain\ndir/\ndir/file\n");
}

#[test]
fn what_has_no_comment_comes_back_whole() {
    let empty = tempfile::tempdir().unwrap();
    for bytes in [b"".as_slice(), b"short", &[7; 2000], &pack(empty.path())] {
        let (said, mut whole) = comment(bytes).unwrap();
        let mut read = Vec::new();
        whole.read_to_end(&mut read).unwrap();
        assert_eq!((said, read.as_slice()), (None, bytes));
    }
}
