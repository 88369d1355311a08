//! What is left in the writable layer: real changes, and nothing of what mounts needed.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use bld_sandbox::{Mount, MountKind, Root, Spec};

use crate::common::{Rootfs, refused, run};

fn secret(target: &str) -> Mount {
    let kind =
        MountKind::File { contents: b"x".to_vec(), mode: 0o400, uid: 0, gid: 0, read_only: true };
    Mount { kind, target: target.into() }
}

fn full(mut spec: Spec) -> Spec {
    spec.resolv_conf = Some(Vec::new());
    spec.hosts = Some(Vec::new());
    spec.hostname_file = Some(Vec::new());
    spec.mounts.push(secret("/run/secrets/a"));
    spec.mounts.push(secret("/run/secrets/b"));
    spec.mounts.push(secret("/etc/deep/er/secret"));
    spec
}

#[test]
fn nothing_in_an_empty_image() {
    let rootfs = Rootfs::bare();
    run(full(rootfs.sh("cat /run/secrets/a /etc/deep/er/secret"))).ok();
    assert_eq!(rootfs.changes(), [""; 0]);
}

#[test]
fn directories_copied_up_for_a_stub_go_too() {
    let rootfs = Rootfs::bare();
    rootfs.write("etc/passwd", "");
    rootfs.write("etc/deep/file", "");
    run(full(rootfs.sh("true"))).ok();
    assert_eq!(rootfs.changes(), [""; 0]);
}

#[test]
fn real_changes_stay() {
    let rootfs = Rootfs::bare();
    rootfs.write("etc/passwd", "old");
    rootfs.write("etc/gone", "");
    let script = "echo new > /etc/passwd; rm /etc/gone; touch /run/mine /run/secrets/mine
        mkdir -p /etc/deep/own; touch /top";
    run(full(rootfs.sh(script))).ok();
    let expected = [
        "etc/",
        "etc/deep/",
        "etc/deep/own/",
        "etc/gone",
        "etc/passwd",
        "run/",
        "run/mine",
        "run/secrets/",
        "run/secrets/mine",
        "top",
    ];
    assert_eq!(rootfs.changes(), expected);
    let gone = fs::symlink_metadata(rootfs.upper().join("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0, "a whiteout");
}

#[test]
fn changed_directories_stay() {
    let rootfs = Rootfs::bare();
    rootfs.write("etc/passwd", "");
    rootfs.write("opt/x", "");
    let mut spec = rootfs.sh("chmod 700 /etc");
    spec.mounts = vec![secret("/etc/secret"), secret("/opt/secret")];
    run(spec).ok();
    assert_eq!(rootfs.changes(), ["etc/"]);
    let mode = fs::metadata(rootfs.upper().join("etc")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

fn set_time(path: &std::path::Path, time: SystemTime) {
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn times_of_directories_are_kept() {
    let rootfs = Rootfs::bare();
    rootfs.write("etc/passwd", "");
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    set_time(&rootfs.lower().join("etc"), long_ago);
    set_time(&rootfs.upper(), long_ago);
    let time = |name: &str| fs::metadata(rootfs.upper().join(name)).unwrap().modified().unwrap();

    // Changed in a file, not in itself.
    run(full(rootfs.sh("echo x > /etc/passwd"))).ok();
    assert_eq!(rootfs.changes(), ["etc/", "etc/passwd"]);
    assert_eq!(time("etc"), long_ago);
    assert_eq!(time(""), long_ago);

    // Changed in itself.
    run(full(rootfs.sh("touch /etc/new"))).ok();
    assert!(time("etc") > long_ago + Duration::from_secs(1));
    assert_eq!(time(""), long_ago);
}

#[test]
fn a_deleted_mount_point_stays_deleted() {
    let rootfs = Rootfs::new();
    rootfs.write("data/x", "");
    rootfs.write("etc/secret", "");
    run(rootfs.sh("rm -r /data; rm /etc/secret")).ok();
    let before = rootfs.changes();
    assert_eq!(before, ["data", "etc/", "etc/secret"]);
    let mut spec = rootfs.sh("cat /data/a /etc/secret");
    spec.mounts = vec![secret("/data/a"), secret("/etc/secret")];
    run(spec).ok();
    assert_eq!(rootfs.changes(), before);
    for name in ["data", "etc/secret"] {
        let meta = fs::symlink_metadata(rootfs.upper().join(name)).unwrap();
        assert!(meta.file_type().is_char_device(), "{name}");
    }
}

#[test]
fn failures_leave_nothing_either() {
    let rootfs = Rootfs::bare();
    rootfs.write("etc/passwd", "");
    refused(full(rootfs.spec(["/no/such/program"])));
    assert_eq!(rootfs.changes(), [""; 0]);

    let mut spec = full(rootfs.sh("true"));
    spec.mounts.push(secret("/etc/passwd/below"));
    refused(spec);
    assert_eq!(rootfs.changes(), [""; 0]);

    let mut spec = full(rootfs.sh("true"));
    if let Root::Overlay { work, .. } = &mut spec.root {
        *work = "/no/such/dir".into();
    }
    refused(spec);
    assert_eq!(rootfs.changes(), [""; 0]);
}

#[test]
fn a_killed_container_leaves_nothing() {
    let rootfs = Rootfs::bare();
    let process = bld_sandbox::spawn(full(rootfs.sh("sleep 100"))).unwrap();
    // While it runs they are there.
    let mut stubs: Vec<_> = process.stubs().iter().map(|p| p.display().to_string()).collect();
    stubs.sort();
    let there = rootfs.changes();
    let there: Vec<_> = there.iter().map(|p| format!("/{}", p.trim_end_matches('/'))).collect();
    assert_eq!(stubs, there);
    assert!(stubs.contains(&"/run/secrets/a".to_owned()) && stubs.contains(&"/proc".to_owned()));
    drop(process);
    assert_eq!(rootfs.changes(), [""; 0]);
}

#[test]
fn what_a_container_does_to_its_directories_leads_nowhere() {
    // The parent of a stub becomes a link to a directory of the host.
    let rootfs = Rootfs::bare();
    let outside = rootfs.dir.path().join("outside");
    fs::create_dir_all(outside.join("secrets")).unwrap();
    fs::write(outside.join("secrets/a"), "").unwrap();
    let before = fs::metadata(&outside).unwrap().modified().unwrap();
    let mut spec = rootfs
        .sh(&format!("umount /run/secrets/a && mv /run /was && ln -s {} /run", outside.display()));
    spec.privileged = true;
    spec.mounts = vec![secret("/run/secrets/a")];
    run(spec).ok();
    assert!(outside.join("secrets/a").exists());
    assert_eq!(fs::metadata(&outside).unwrap().modified().unwrap(), before);
}
