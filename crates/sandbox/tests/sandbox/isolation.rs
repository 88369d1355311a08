//! What a container cannot see or do.

use std::os::fd::{AsRawFd, IntoRawFd};
use std::time::{Duration, Instant};

use rustix::process::DumpableBehavior;

use bld_sandbox::{
    Capabilities, CgroupSpec, Device, Mount, MountKind, Network, Propagation, Root, Seccomp, Spec,
    User, spawn,
};

use crate::common::{Output, Rootfs, chain, refused, run};

fn in_group(mut spec: Spec, name: &str) -> Spec {
    let name = format!("test-isolation-{name}-{}", std::process::id());
    spec.cgroup = Some(CgroupSpec { name, ..CgroupSpec::default() });
    spec
}

#[test]
fn namespaces_are_its_own() {
    let rootfs = Rootfs::new();
    let script =
        "for n in mnt pid ipc uts cgroup net user; do readlink /proc/self/ns/$n; done; echo $$";
    let inside = run(rootfs.sh(script)).ok();
    let lines: Vec<&str> = inside.lines().collect();
    for (n, name) in ["mnt", "pid", "ipc", "uts", "cgroup", "net"].iter().enumerate() {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(lines[n], own.to_str().unwrap(), "{name}");
        assert!(lines[n].starts_with(name), "{name}");
    }
    assert_eq!(lines[7], "1", "the program is the first process");

    let mut spec = rootfs.spec(["readlink", "/proc/self/ns/net"]);
    spec.network = Network::Host;
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(run(spec).ok().trim_end(), own.to_str().unwrap());
}

#[test]
fn a_given_network_namespace() {
    let rootfs = Rootfs::new();
    // That of another container.
    let mut other = spawn(rootfs.sh("sleep 100")).unwrap();
    let path = format!("/proc/{}/ns/net", other.pid());
    let theirs = std::fs::read_link(&path).unwrap();
    let second = Rootfs::new();
    let mut spec = second.spec(["readlink", "/proc/self/ns/net"]);
    spec.network = Network::Namespace(std::fs::File::open(path).unwrap().into());
    assert_eq!(run(spec).ok().trim_end(), theirs.to_str().unwrap());
    other.kill_all().unwrap();
    assert_eq!(other.wait().unwrap().signal, Some(9));
}

#[test]
fn loopback_is_up_and_all_there_is() {
    let rootfs = Rootfs::new();
    let output = run(rootfs.sh("ip -o addr; ls /sys/class/net")).ok();
    assert!(output.contains("inet 127.0.0.1/8"), "{output}");
    assert!(output.lines().all(|l| !l.contains("eth") && !l.contains("ens")), "{output}");
}

#[test]
fn only_its_own_processes() {
    let rootfs = Rootfs::new();
    let output = run(rootfs.sh("ls /proc | grep -c '^[0-9]'")).ok();
    assert!(output.trim().parse::<u32>().unwrap() <= 4, "{output}");
}

#[test]
fn no_descriptor_of_the_host() {
    let rootfs = Rootfs::new();
    // Neither marked to be closed nor known to the library.
    let strays: Vec<i32> = (0..20)
        .map(|_| {
            let file = std::fs::File::open("/etc").unwrap();
            rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
            file.into_raw_fd()
        })
        .collect();
    for init in [false, true] {
        let mut spec = rootfs.spec(["ls", "-1", "/proc/self/fd"]);
        spec.init = init;
        // The fourth is the listing's own.
        assert_eq!(run(spec).ok(), "0\n1\n2\n3\n");
        let mut spec = rootfs.sh("ls -l /proc/1/fd /proc/$$/fd");
        spec.init = init;
        let output = run(spec).ok();
        assert!(!output.contains("/etc") && !output.contains("memfd"), "{output}");
    }
    // A script goes another way.
    rootfs.write("script", "#!/bin/sh\nls -1 /proc/$$/fd /proc/self/fd\n");
    std::fs::set_permissions(
        rootfs.lower().join("script"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let output = run(rootfs.spec(["/script"])).ok();
    assert!(!output.contains("\n4\n") && !output.contains("\n5\n"), "{output}");
    for fd in strays {
        // SAFETY: they were let go of above.
        #[expect(unsafe_code, reason = "the descriptors were given away by number")]
        drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) });
    }
}

fn status(output: &Output) -> Vec<String> {
    let fields = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"];
    fields
        .iter()
        .map(|field| {
            let line = output.stdout.lines().find(|l| l.starts_with(&format!("{field}:")));
            line.unwrap().split('\t').nth(1).unwrap().to_owned()
        })
        .collect()
}

#[test]
fn capabilities_are_exact() {
    let rootfs = Rootfs::new();
    let read = || rootfs.spec(["cat", "/proc/self/status"]);
    let (none, docker) = ("0000000000000000", "00000000a80425fb");
    let expected = [none, docker, docker, docker, none, "0", "2"];
    assert_eq!(status(&run(read())), expected);

    let mut spec = read();
    spec.user = User { uid: 1000, gid: 1000, groups: vec![] };
    assert_eq!(status(&run(spec)), [none, none, none, docker, none, "0", "2"]);

    let mut spec = read();
    spec.user = User { uid: 1000, gid: 1000, groups: vec![] };
    spec.no_new_privileges = true;
    assert_eq!(status(&run(spec)), [none, none, none, docker, none, "1", "2"]);

    let mut spec = read();
    let chown = Capabilities::parse("CHOWN").unwrap();
    spec.capabilities = Capabilities::NONE.add(chown);
    spec.seccomp = Seccomp::Unconfined;
    let one = "0000000000000001";
    assert_eq!(status(&run(spec)), [none, one, one, one, none, "0", "0"]);

    let mut spec = read();
    spec.capabilities = Capabilities::NONE;
    spec.no_new_privileges = true;
    assert_eq!(status(&run(spec)), [none, none, none, none, none, "1", "2"]);

    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|l| l.strip_prefix("CapPrm:\t")).unwrap().to_owned();
    let mut spec = read();
    spec.privileged = true;
    assert_eq!(status(&run(spec)), [none, &own, &own, &own, none, "0", "0"]);
}

#[test]
fn setuid_programs_stay_within_the_bounding_set() {
    // On the host's files, as busybox gives up by itself what setuid gave it.
    let rootfs = Rootfs::new();
    let cat = rootfs.lower().join("cat");
    std::fs::copy("/bin/cat", &cat).unwrap();
    std::fs::set_permissions(&cat, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    let spec = |nnp| {
        let mut spec = rootfs.spec(["/tmp/cat", "/proc/self/status"]);
        if let Root::Overlay { lowers, .. } = &mut spec.root {
            *lowers = vec!["/".into()];
        }
        let kind = MountKind::Bind {
            source: cat.clone(),
            path: None,
            read_only: true,
            recursive: false,
            propagation: Propagation::Private,
            own: false,
        };
        spec.mounts = vec![Mount { kind, target: "/tmp/cat".into() }];
        spec.user = User { uid: 1000, gid: 1000, groups: vec![] };
        spec.no_new_privileges = nnp;
        spec
    };
    let bounded = status(&run(spec(false)));
    assert_eq!(bounded[2..4], ["00000000a80425fb"; 2]);
    let nothing = status(&run(spec(true)));
    assert_eq!(nothing[2], "0000000000000000");
}

#[test]
fn the_callers_memory_stays_debuggable() {
    // The child shares this process's memory when it changes its user, which clears the mark; the
    // tests beside this one do the same, for a moment each.
    let rootfs = Rootfs::new();
    let mut spec = rootfs.sh("true");
    spec.user = User { uid: 1000, gid: 1000, groups: vec![] };
    run(spec).ok();
    let end = Instant::now() + Duration::from_secs(10);
    while rustix::process::dumpable_behavior().unwrap() != DumpableBehavior::Dumpable {
        assert!(Instant::now() < end);
    }
}

/// What lies under the container's root after pivot_root(2) must be gone: `..` from the root, by
/// whatever way, stays at the root.
#[test]
fn nothing_is_above_the_root() {
    let host = tempfile::tempdir().unwrap();
    let host = host.path().display();
    for privileged in [false, true] {
        let rootfs = Rootfs::new();
        let mut spec = rootfs.sh(&format!(
            "test -e {host} && echo plain
             test -e /..{host} && echo above
             test -e /../../..{host} && echo far above
             cd / && test -e ../..{host} && echo from the working directory
             test -e /proc/1/root/..{host} && echo through proc
             test -e /proc/self/cwd/..{host} && echo through the working directory
             test \"$(stat -c %i /)\" = \"$(stat -c %i /..)\" || echo not itself
             true"
        ));
        spec.privileged = privileged;
        assert_eq!(run(spec).ok(), "");
    }
}

#[test]
fn kernel_files_are_masked() {
    let rootfs = Rootfs::new();
    let script = "
        for f in kcore keys timer_list interrupts latency_stats sched_debug; do
            test -e /proc/$f && cat /proc/$f
        done
        for d in acpi scsi asound; do test -d /proc/$d && ls -A /proc/$d; done
        ls -A /sys/firmware
        for f in /proc/sysrq-trigger /proc/sys/kernel/hostname /sys/kernel/uevent_helper; do
            test -e $f && (echo x > $f) 2>/dev/null && echo wrote $f
        done
        mkdir /sys/fs/cgroup/x 2>/dev/null && echo made
        for d in /sys/fs/cgroup/*/; do mkdir $d/x 2>/dev/null && echo made $d; done
        true";
    assert_eq!(run(rootfs.sh(script)).ok(), "");

    let mut spec = rootfs.sh("test -s /proc/kcore && test -r /proc/keys; echo x > /proc/sys/kernel/domainname && cat /proc/sys/kernel/domainname");
    spec.privileged = true;
    assert_eq!(run(spec).ok(), "x\n");
}

#[test]
fn the_mount_table() {
    let rootfs = Rootfs::new();
    for (spec, nodev) in [
        (rootfs.spec(["cat", "/proc/self/mounts"]), true),
        (in_group(rootfs.spec(["cat", "/proc/self/mounts"]), "mounts"), false),
    ] {
        let table = run(spec).ok();
        let options = |at: &str| -> String {
            let line = table.lines().find(|l| l.split(' ').nth(1) == Some(at));
            let line = line.unwrap_or_else(|| panic!("nothing at {at}\n{table}"));
            line.split(' ').skip(2).take(2).collect::<Vec<_>>().join(" ")
        };
        assert!(options("/").starts_with("overlay rw"));
        assert_eq!(options("/").contains("nodev"), nodev);
        assert_eq!(options("/proc"), "proc rw,nosuid,nodev,noexec,relatime");
        assert_eq!(options("/sys"), "sysfs ro,nosuid,nodev,noexec,relatime");
        assert!(options("/sys/fs/cgroup").contains(" ro,nosuid,nodev,noexec"));
        assert!(options("/dev").starts_with("tmpfs rw,nosuid"));
        assert_eq!(options("/dev").contains("nodev"), nodev);
        assert!(options("/dev/pts").starts_with("devpts rw,nosuid,noexec"));
        assert!(options("/dev/shm").starts_with("tmpfs rw,nosuid,nodev,noexec"));
        assert!(options("/dev/mqueue").starts_with("mqueue rw,nosuid,nodev,noexec"));
        for at in ["/proc/sys", "/proc/bus", "/proc/irq", "/proc/fs"] {
            assert!(options(at).starts_with("proc ro"), "{at}: {}", options(at));
        }
        assert!(!table.contains("/vda") && !table.contains("cgroup/devices"), "{table}");
    }
    let info = run(rootfs.spec(["cat", "/proc/self/mountinfo"])).ok();
    assert!(!info.contains("shared:") && !info.contains("master:"), "{info}");
}

#[test]
fn usual_devices() {
    let rootfs = Rootfs::new();
    let script = "
        cd /dev; ls -A | sort | tr '\\n' ' '; echo
        for n in null zero full random urandom tty; do stat -c '%n %t:%T %a %u:%g' $n; done
        for n in fd stdin stdout stderr core ptmx; do echo $n $(readlink $n); done
        echo hidden > null; head -c 3 zero | wc -c; head -c 3 urandom | wc -c
        echo x > full || echo full
        touch shm/x mqueue/x && ls -d shm/x mqueue/x
        stat -c '%a' . shm";
    let expected = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero \n\
        null 1:3 666 0:0\nzero 1:5 666 0:0\nfull 1:7 666 0:0\nrandom 1:8 666 0:0\n\
        urandom 1:9 666 0:0\ntty 5:0 666 0:0\n\
        fd /proc/self/fd\nstdin /proc/self/fd/0\nstdout /proc/self/fd/1\nstderr /proc/self/fd/2\n\
        core /proc/kcore\nptmx pts/ptmx\n3\n3\nfull\nmqueue/x\nshm/x\n755\n1777\n";
    for spec in [rootfs.sh(script), in_group(rootfs.sh(script), "devices")] {
        let output = run(spec).ok();
        let output = output.replace("shm/x\nmqueue/x", "mqueue/x\nshm/x");
        let script_has_tr = output.starts_with("core");
        assert!(script_has_tr, "{output}");
        assert_eq!(output, expected);
    }
}

#[test]
fn the_hosts_disk_is_out_of_reach() {
    // Root in the container may make any node; using it is another matter.
    let disk = std::fs::metadata("/").unwrap();
    let number = std::os::linux::fs::MetadataExt::st_dev(&disk);
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let rootfs = Rootfs::new();
    let script = format!(
        "for d in /tmp /dev /dev/shm; do
            rm -f $d/disk $d/mem $d/null
            mknod $d/disk b {major} {minor} && head -c 1 $d/disk | wc -c
            mknod $d/mem c 1 1 && head -c 1 $d/mem | wc -c
        done 2>/dev/null; mknod /tmp/null c 1 3 && echo > /tmp/null && echo usable"
    );
    let output = run(rootfs.sh(&script));
    assert_eq!(output.stdout, "0\n".repeat(6), "{}", output.stderr);
    assert!(output.stderr.contains("ermission denied"), "{}", output.stderr);
    // With a control group a node of a harmless device works anywhere, as with Docker.
    let output = run(in_group(rootfs.sh(&script), "disk"));
    assert_eq!(output.stdout, "0\n".repeat(6) + "usable\n", "{}", output.stderr);
}

#[test]
fn devices_on_request() {
    let rootfs = Rootfs::new();
    let device = |source: &str, write| Device {
        source: source.into(),
        target: "/dev/sub/gift".into(),
        read: true,
        write,
        mknod: false,
    };
    for grouped in [false, true] {
        let spec = || {
            let spec = rootfs.sh("head -c 2 /dev/sub/gift | wc -c; stat -c %t:%T /dev/sub/gift");
            if grouped { in_group(spec, "gift") } else { spec }
        };
        let mut given = spec();
        given.devices = vec![device("/dev/zero", true)];
        assert_eq!(run(given).ok(), "2\n1:5\n");
        let mut none = spec();
        none.devices = vec![device("/etc", true)];
        let error = chain(&refused(none));
        assert!(error.contains("\"/etc\": not a device"), "{error}");
    }
    // Not among the usual ones; here it may be read but not written.
    let script = "(: < /dev/sub/gift) && echo r; (: > /dev/sub/gift) && echo w; true";
    let mut spec = in_group(rootfs.sh(script), "read");
    spec.devices = vec![device("/dev/loop-control", false)];
    if std::path::Path::new("/dev/loop-control").exists() {
        assert_eq!(run(spec).stdout, "r\n");
    }
}

#[test]
fn privileged_has_the_hosts_devices() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.sh("stat -c %t:%T /dev/kmsg; mount -t tmpfs none /tmp && echo mounted");
    spec.privileged = true;
    assert_eq!(run(spec).ok(), "1:b\nmounted\n");
}

#[test]
fn sessions_are_its_own() {
    let rootfs = Rootfs::new();
    let output =
        run(rootfs.sh("cut -d' ' -f6 /proc/self/stat 2>/dev/null || cat /proc/1/stat")).ok();
    assert!(output.contains(" 1 1 ") || output.trim() == "1", "{output}");
}

#[test]
fn the_hosts_executable_is_out_of_reach() {
    // CVE-2019-5736: the program of the image is a script that asks the kernel to run whoever
    // executes it, or a link to that.
    let rootfs = Rootfs::new();
    rootfs.write("script", "#!/proc/self/exe\n");
    std::fs::set_permissions(
        rootfs.lower().join("script"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    std::os::unix::fs::symlink("/proc/self/exe", rootfs.lower().join("link")).unwrap();
    // As if for another machine; an interpreter may be registered for those.
    let mut foreign = std::fs::read("/bin/busybox").unwrap();
    foreign[18] ^= 0xff;
    std::fs::write(rootfs.lower().join("foreign"), foreign).unwrap();
    std::fs::set_permissions(
        rootfs.lower().join("foreign"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let error = refused(rootfs.spec(["/foreign"]));
    assert_eq!(error.to_string(), r#"exec: "/foreign": exec format error"#);
    for program in ["/script", "/link", "/proc/self/exe", "/proc/1/exe"] {
        // What runs is the stepping stone, which finds its second argument missing, or nothing.
        let output = crate::common::try_run(rootfs.spec([program]), b"");
        if let Ok(output) = output {
            assert!(!output.status.success(), "{program}");
            assert!(!output.stdout.contains("test result"), "{program}: {}", output.stdout);
        }
    }
}

#[test]
fn a_directory_as_root() {
    let rootfs = Rootfs::new();
    let spec = |script| {
        let mut spec = Spec::new(Root::Dir(rootfs.lower()), ["sh", "-c", script]);
        spec.env = vec!["PATH=/bin".into()];
        spec
    };
    run(spec("echo here > /tmp/x && cat /proc/self/status > /dev/null")).ok();
    assert_eq!(std::fs::read_to_string(rootfs.lower().join("tmp/x")).unwrap(), "here\n");

    let read_only = Root::ReadOnly { lowers: vec![rootfs.lower()] };
    let mut spec = Spec::new(read_only, ["/bin/touch", "/tmp/y"]);
    spec.env.clear();
    assert_eq!(run(spec).status.code, 1);
    assert!(!rootfs.lower().join("tmp/y").exists());
}

#[test]
fn standard_streams_may_have_any_number() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.sh("cat; echo err >&2");
    let (input, _output, _errors) = crate::common::connect(&mut spec);
    if let bld_sandbox::Stdio::Fds { stdin, stdout, stderr } = &spec.stdio {
        assert!(stdin.as_raw_fd() > 2 && stdout.as_raw_fd() > 2 && stderr.as_raw_fd() > 2);
    }
    drop(input);
    assert!(spawn(spec).unwrap().wait().unwrap().success());
}
