//! The helpers judge other code's images, so they are judged here by other tools.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use bld_testkit::{Archive, Cmd, Kind, Registry, rootfs, write_archive};

#[test]
fn an_archive_made_here_is_read_by_skopeo_and_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("busybox.tar");
    let layer = rootfs::busybox().expect("busybox-static is installed");
    write_archive(&path, "docker.io/library/busybox:latest", &layer, &["sh"]).unwrap();

    let registry = Registry::start().unwrap();
    registry.upload(&path, "base/busybox:1");
    let name = format!("docker://{}/base/busybox:1", registry.host());
    let seen = Cmd::new("skopeo").args(["inspect", "--tls-verify=false", &name]).ok();
    assert!(seen.stdout.contains("base/busybox"), "{seen}");

    let image = Archive::read(&path).unwrap();
    assert_eq!(image.config["config"]["Cmd"][0], "sh");
    assert!(image.text("/etc/group").contains("wheel:x:10:root"));
    assert_eq!(image.files["/tmp"].mode, 0o1777);
    assert_eq!(image.files["/bin/sh"].kind, image.files["/bin/busybox"].kind);
    assert_eq!(image.files["/etc"].kind, Kind::Directory);
}

#[test]
fn whiteouts_hide_what_is_below() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    let script = r"
        set -e; mkdir -p one/a/b one/c two/a; echo 1 >one/a/x; echo 1 >one/a/b/y; echo 1 >one/c/z
        echo 2 >two/a/n; : >two/a/.wh..wh..opq; : >two/.wh.c
        for l in one two; do tar -C $l -cf $l.tar .; done
        umoci init --layout l; umoci new --image l:x
        for l in one two; do umoci raw add-layer --image l:x $l.tar; done
        tar -C l -cf image.tar .
    ";
    Cmd::new("bash").args(["-c", script]).cwd(directory.path()).ok();
    let image = Archive::read(&path).unwrap();
    let names: Vec<_> = image.files.keys().filter(|name| *name != "/").collect();
    assert_eq!(names, ["/a", "/a/n"]);
    assert_eq!(image.layers.len(), 2);
}
