//! What is mounted where.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bld_sandbox::{Mount, MountKind, Propagation, Root, SandboxError, User, spawn};
use rustix::fs::Mode;

use crate::common::{Rootfs, chain, refused, run, tree};

fn bind(source: &Path, target: &str) -> Mount {
    let kind = MountKind::Bind {
        source: source.to_owned(),
        path: None,
        read_only: false,
        recursive: true,
        propagation: Propagation::Private,
        own: false,
    };
    Mount { kind, target: target.into() }
}

fn read_only(mut mount: Mount) -> Mount {
    if let MountKind::Bind { read_only, .. } | MountKind::File { read_only, .. } = &mut mount.kind {
        *read_only = true;
    }
    mount
}

fn tmpfs(target: &str) -> Mount {
    let kind = MountKind::Tmpfs {
        size: None,
        mode: 0o755,
        uid: 0,
        gid: 0,
        no_exec: false,
        read_only: false,
    };
    Mount { kind, target: target.into() }
}

fn file(target: &str, contents: &str, mode: u32) -> Mount {
    let contents = contents.as_bytes().to_vec();
    let kind = MountKind::File { contents, mode, uid: 0, gid: 0, read_only: false };
    Mount { kind, target: target.into() }
}

fn volume(rootfs: &Rootfs, name: &str) -> PathBuf {
    let dir = rootfs.dir.path().join(name);
    fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn binds() {
    let rootfs = Rootfs::new();
    let data = volume(&rootfs, "data");
    fs::write(data.join("old"), "old\n").unwrap();
    let one = rootfs.dir.path().join("one");
    fs::write(&one, "one\n").unwrap();

    let mut spec = rootfs.sh("cat /data/old /etc/one; echo new > /data/new; echo x >> /etc/one");
    spec.mounts = vec![bind(&data, "/data"), bind(&one, "/etc/one")];
    assert_eq!(run(spec).ok(), "old\none\n");
    assert_eq!(fs::read_to_string(data.join("new")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(&one).unwrap(), "one\nx\n");

    let mut spec = rootfs.sh("touch /data/x; echo y > /etc/one; cat /etc/one");
    spec.mounts = vec![read_only(bind(&data, "/data")), read_only(bind(&one, "/etc/one"))];
    let output = run(spec);
    assert_eq!(output.stdout, "one\nx\n");
    assert_eq!(output.stderr.matches("Read-only file system").count(), 2, "{}", output.stderr);
    assert_eq!(rootfs.changes(), [""; 0]);

    let mut spec = rootfs.sh("true");
    spec.mounts = vec![bind(Path::new("/no/such/source"), "/data")];
    let error = chain(&refused(spec));
    assert!(error.contains("/no/such/source") && error.contains("/data"), "{error}");
}

#[test]
fn tmpfs_and_files_in_memory() {
    let rootfs = Rootfs::new();
    let kind = MountKind::Tmpfs {
        size: Some(1 << 20),
        mode: 0o1770,
        uid: 7,
        gid: 8,
        no_exec: true,
        read_only: false,
    };
    let secret = MountKind::File {
        contents: b"s3cret".to_vec(),
        mode: 0o400,
        uid: 9,
        gid: 10,
        read_only: true,
    };
    let mut spec = rootfs.sh(
        "stat -c '%a %u %g' /cache /run/secrets/key; df /cache | tail -1 | grep -o ' 1024 ' | head -1
         cp /bin/busybox /cache/true; /cache/true; cat /run/secrets/key; echo x > /run/secrets/key
         /run/script",
    );
    spec.mounts = vec![
        Mount { kind, target: "/cache".into() },
        Mount { kind: secret, target: "/run/secrets/key".into() },
        file("/run/script", "#!/bin/sh\necho ran\n", 0o755),
    ];
    let output = run(spec);
    assert_eq!(output.stdout, "1770 7 8\n400 9 10\n 1024 \ns3cretran\n", "{}", output.stderr);
    assert!(output.stderr.contains("ermission denied"), "{}", output.stderr);
    assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);

    let kind = MountKind::File {
        contents: b"mine".to_vec(),
        mode: 0o400,
        uid: 1000,
        gid: 0,
        read_only: true,
    };
    let mut spec = rootfs.spec(["cat", "/run/secrets/key"]);
    spec.user = User { uid: 1000, gid: 1000, groups: vec![] };
    spec.mounts = vec![Mount { kind, target: "/run/secrets/key".into() }];
    assert_eq!(run(spec).ok(), "mine");
    assert_eq!(rootfs.changes(), [""; 0]);
}

#[test]
fn names_and_addresses() {
    let rootfs = Rootfs::bare();
    let mut spec =
        rootfs.sh("cat /etc/resolv.conf /etc/hosts /etc/hostname; echo more >> /etc/hosts");
    spec.resolv_conf = Some(b"nameserver 10.0.0.1\n".to_vec());
    spec.hosts = Some(b"127.0.0.1 localhost\n".to_vec());
    spec.hostname_file = Some(b"box\n".to_vec());
    assert_eq!(run(spec).ok(), "nameserver 10.0.0.1\n127.0.0.1 localhost\nbox\n");
    assert_eq!(rootfs.changes(), [""; 0]);
}

#[test]
fn later_mounts_lie_over_earlier_ones() {
    let rootfs = Rootfs::new();
    let (outer, inner) = (volume(&rootfs, "outer"), volume(&rootfs, "inner"));
    fs::write(outer.join("o"), "").unwrap();
    fs::write(inner.join("i"), "").unwrap();
    let mut spec = rootfs.sh("ls /data /data/in /data/in/deep; cat /data/in/file; ls /twice");
    spec.mounts = vec![
        bind(&outer, "/data"),
        bind(&inner, "/data/in"),
        tmpfs("/data/in/deep"),
        file("/data/in/file", "contents\n", 0o644),
        tmpfs("/twice"),
        bind(&inner, "/twice"),
    ];
    let expected =
        "/data:\nin\no\n\n/data/in:\ndeep\nfile\ni\n\n/data/in/deep:\ncontents\ndeep\nfile\ni\n";
    assert_eq!(run(spec).ok(), expected);
    assert_eq!(rootfs.changes(), [""; 0]);
    // Mount points in volumes stay: another container may be using them.
    assert_eq!(tree(&inner), ["deep/", "file", "i"]);

    let mut spec =
        rootfs.sh("ls /dev/shm /dev/own; test -c /dev/null && ls -d /proc/self > /dev/null");
    fs::write(inner.join("i"), "").unwrap();
    spec.mounts = vec![bind(&inner, "/dev/shm"), bind(&inner, "/dev/own")];
    run(spec).ok();
}

#[test]
fn mounts_in_kernel_filesystems() {
    let rootfs = Rootfs::new();
    let data = volume(&rootfs, "data");
    fs::write(data.join("x"), "").unwrap();
    let mut spec = rootfs.sh("ls /sys/fs/cgroup; ls /proc/acpi 2>/dev/null; true");
    spec.mounts = vec![bind(&data, "/sys/fs/cgroup")];
    assert_eq!(run(spec).ok(), "x\n");
    let mut spec = rootfs.sh("true");
    spec.mounts = vec![tmpfs("/sys/no/such/place")];
    let error = chain(&refused(spec));
    assert!(error.contains("/sys/no/such/place") && error.contains("No such file"), "{error}");
}

#[test]
fn senseless_targets() {
    let rootfs = Rootfs::new();
    symlink("/", rootfs.lower().join("rootlink")).unwrap();
    for target in ["relative", "/", "//", "/tmp/..", "/rootlink", ""] {
        let mut spec = rootfs.sh("true");
        spec.mounts = vec![tmpfs(target)];
        assert!(matches!(refused(spec), SandboxError::Invalid(_)), "{target:?}");
    }
    // A directory cannot lie on a file, nor the other way round.
    let mut spec = rootfs.sh("true");
    spec.mounts = vec![tmpfs("/etc/hosts")];
    assert!(chain(&refused(spec)).contains("/etc/hosts"));
    let mut spec = rootfs.sh("true");
    spec.mounts = vec![file("/etc", "", 0o644)];
    refused(spec);
    let mut spec = rootfs.sh("true");
    spec.mounts = vec![tmpfs("/etc/hosts/below")];
    refused(spec);
    assert_eq!(rootfs.changes(), [""; 0]);
}

#[test]
fn links_lead_nowhere_but_inside() {
    let rootfs = Rootfs::new();
    let outside = volume(&rootfs, "outside");
    let links = [
        ("abs", "/tmp"),
        ("rel", "../../../../../../../../tmp"),
        ("chain", "abs/../rel"),
        ("dangling", "/made/for/it"),
        ("out", outside.to_str().unwrap()),
    ];
    for (name, target) in links {
        symlink(target, rootfs.lower().join(name)).unwrap();
    }
    symlink("loop", rootfs.lower().join("loop")).unwrap();
    for (target, real) in [
        ("/abs/x", "/tmp/x"),
        ("/rel/x", "/tmp/x"),
        ("/chain/x", "/tmp/x"),
        ("/dangling", "/made/for/it"),
        ("/dangling/x", "/made/for/it/x"),
        ("/out/x", outside.join("x").to_str().unwrap()),
        ("/../../x", "/x"),
    ] {
        let mut spec = rootfs.sh(&format!("cat {real}"));
        spec.mounts = vec![file(target, target, 0o644)];
        assert_eq!(run(spec).ok(), target);
        assert_eq!(rootfs.changes(), [""; 0], "{target}");
    }
    assert_eq!(tree(&outside), [""; 0]);
    let mut spec = rootfs.sh("true");
    spec.mounts = vec![tmpfs("/loop/x")];
    assert!(chain(&refused(spec)).contains("symbolic links"));

    // The kernel's own directories must be where programs look for them.
    let rootfs = Rootfs::bare();
    symlink("/tmp", rootfs.lower().join("proc")).unwrap();
    assert!(chain(&refused(rootfs.sh("true"))).contains("/proc"));
}

#[test]
fn nobody_can_race_a_mount_point_out_of_the_container() {
    // A volume shared with somebody who keeps exchanging a directory for a link to a directory of
    // the host, while mounts are made below it.
    let rootfs = Rootfs::new();
    let shared = volume(&rootfs, "shared");
    let outside = volume(&rootfs, "outside");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (dir, spare, link) = (shared.join("d"), shared.join("spare"), shared.join("link"));
            while !stop.load(Ordering::Relaxed) {
                let _ = symlink(&outside, &link);
                let _ = fs::rename(&dir, &spare);
                let _ = fs::rename(&link, &dir);
                let _ = fs::remove_file(&dir);
                let _ = fs::rename(&spare, &dir);
                let _ = fs::create_dir(&dir);
            }
        });
        for _ in 0..150 {
            let mut spec = rootfs.sh("touch /vol/d/deep/mark");
            spec.mounts = vec![bind(&shared, "/vol"), tmpfs("/vol/d/deep")];
            // It may fail, as it likes.
            if let Ok(mut process) = spawn(spec) {
                process.wait().unwrap();
            }
            assert_eq!(tree(&outside), [""; 0]);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn the_host_sees_nothing() {
    let table = || {
        // Of this process's namespace; tests beside this one make no mounts in it either.
        fs::read_to_string("/proc/self/mountinfo").unwrap()
    };
    let before = table();
    let rootfs = Rootfs::new();
    let data = volume(&rootfs, "data");
    let mut spec = rootfs.sh("sleep 100");
    spec.mounts = vec![bind(&data, "/data"), tmpfs("/cache")];
    let process = spawn(spec).unwrap();
    assert_eq!(table(), before);
    drop(process);
    assert_eq!(table(), before);
}

#[test]
fn read_only_root() {
    let rootfs = Rootfs::bare();
    let mut spec = rootfs.sh("touch /x; touch /tmp/x && ls /tmp; touch /dev/shm/x && ls /dev/shm");
    spec.read_only_root = true;
    spec.mounts = vec![tmpfs("/tmp")];
    let output = run(spec);
    assert_eq!(output.stdout, "x\nx\n");
    assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
    assert_eq!(rootfs.changes(), [""; 0]);

    let root = Root::ReadOnly { lowers: vec![rootfs.lower()] };
    let error = refused(bld_sandbox::Spec::new(root, ["/bin/true"]));
    assert!(chain(&error).contains("/proc"), "no mount points can be made: {}", chain(&error));
}

#[test]
fn many_layers_with_odd_names() {
    let rootfs = Rootfs::new();
    let mut lowers = vec![rootfs.lower()];
    let long = "l".repeat(200);
    for n in 0..40 {
        let dir = volume(&rootfs, &format!("{long}/a:b,c \\ {n}/{long}"));
        fs::write(dir.join("top"), format!("{n}\n")).unwrap();
        fs::write(dir.join(format!("only{n}")), "").unwrap();
        lowers.push(dir);
    }
    let mut spec = rootfs.sh("cat /top; ls / | grep -c only");
    if let Root::Overlay { lowers: all, .. } = &mut spec.root {
        *all = lowers;
    }
    assert_eq!(run(spec).ok(), "39\n40\n");
}

#[test]
fn a_root_without_layers() {
    let rootfs = Rootfs::new();
    fs::create_dir(rootfs.upper().join("bin")).unwrap();
    fs::copy("/bin/busybox", rootfs.upper().join("bin/touch")).unwrap();
    let mut spec = rootfs.spec(["/bin/touch", "/new"]);
    if let Root::Overlay { lowers, .. } = &mut spec.root {
        lowers.clear();
    }
    run(spec).ok();
    assert_eq!(rootfs.changes(), ["bin/", "bin/touch", "new"]);
}

#[test]
fn errors_of_the_kernel_are_told() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.sh("true");
    if let Root::Overlay { lowers, .. } = &mut spec.root {
        lowers.push("/no/such/layer".into());
    }
    let error = chain(&refused(spec));
    assert!(error.contains("root filesystem"), "{error}");
}

#[test]
fn shared_memory_has_its_size() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.sh("df -k /dev/shm | tail -1");
    spec.shm_size = 8 << 20;
    let output = run(spec).ok();
    assert!(output.contains(" 8192 "), "{output}");
}

#[test]
fn volatile_overlays() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.sh("touch /x; grep -o volatile /proc/self/mounts");
    if let Root::Overlay { volatile, .. } = &mut spec.root {
        *volatile = true;
    }
    assert_eq!(run(spec).ok(), "volatile\n");
    assert_eq!(rootfs.changes(), ["x"]);
}

#[test]
fn the_callers_umask_does_not_matter() {
    let rootfs = Rootfs::bare();
    let old = rustix::process::umask(Mode::from_raw_mode(0o077));
    let mut spec = rootfs.sh("stat -c %a /dev/null /dev /run /run/a /work; cat /run/a/b");
    spec.cwd = "/work".into();
    spec.user = User { uid: 1000, gid: 1000, groups: vec![] };
    spec.mounts = vec![file("/run/a/b", "b\n", 0o644)];
    let output = run(spec);
    rustix::process::umask(old);
    assert_eq!(output.ok(), "666\n755\n755\n755\n755\nb\n");
    let made = fs::metadata(rootfs.upper().join("work")).unwrap();
    assert_eq!((made.permissions().mode() & 0o777, made.uid()), (0o755, 0));
}
