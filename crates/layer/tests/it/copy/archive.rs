//! ADD of archives.

use std::process::Command;

use bld_layer::copy::unpack;

use super::*;

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
