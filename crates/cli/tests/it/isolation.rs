//! What a container tries and must not achieve: ways out that were found in other engines, each as a
//! regression test, and the usual places to look for one.

use std::os::unix::fs::MetadataExt as _;

use bld_testkit::TestEnv;

use crate::{BLD, env};

/// Runs a script in a container with the defaults; what it wrote, errors included.
fn inside(env: &TestEnv, flags: &[&str], script: &str) -> String {
    let run = env.bld(["run", "--rm"]).args(flags).args(["busybox", "sh", "-c", script]);
    let seen = run.run();
    seen.stdout + &seen.stderr
}

/// A file of the host that nobody in a container may see; its directory.
fn secret(env: &TestEnv) -> String {
    env.write("host/secret", "of the host");
    env.path("host").display().to_string()
}

/// CVE-2019-5736: the engine's executable is neither run nor reached from within.
#[test]
fn the_engines_executable_is_not_reached() {
    let env = env();
    let before = std::fs::metadata(BLD).unwrap();
    let script = "while :; do for p in /proc/[0-9]*; do
            readlink $p/exe >> /seen; (: >> $p/exe) 2>> /dev/null && echo wrote >> /seen
        done; done";
    env.bld(["run", "-d", "--name", "evil", "busybox", "sh", "-c", script]).ok();
    for _ in 0..20 {
        env.bld(["exec", "evil", "true"]).ok();
        env.bld(["exec", "evil", "/proc/self/exe"]).run();
    }
    let seen = env.bld(["exec", "evil", "sort", "-u", "/seen"]).ok().stdout;
    // The stepping stone is sealed memory, which nobody writes.
    let allowed = |line: &str| line.starts_with("/bin/") || line == "/memfd:bld-init (deleted)";
    assert!(seen.lines().all(allowed), "{seen}");
    env.bld(["rm", "-f", "evil"]).ok();
    for entry in ["/proc/self/exe", "/proc/1/exe"] {
        let run = ["run", "--rm", "--entrypoint", entry, "busybox", "--version"];
        let seen = env.bld(run).run();
        assert!(!seen.stdout.contains("bld"), "{seen}");
    }
    let after = std::fs::metadata(BLD).unwrap();
    assert_eq!((after.len(), after.mtime_nsec()), (before.len(), before.mtime_nsec()));
    env.assert_nothing_left();
}

/// CVE-2019-14271: copying runs and reads nothing of the container but what is copied.
#[test]
fn copying_touches_nothing_else_of_the_container() {
    let env = env();
    env.write("payload", "payload");
    // Whoever opens one of these waits for ever.
    let script =
        "for f in /etc/passwd /etc/group /etc/nsswitch.conf /etc/ld.so.cache /etc/ld.so.preload; do
            rm -f $f; mkfifo $f
        done; mkfifo /ready; sleep 1000";
    env.bld(["run", "-d", "--name", "evil", "busybox", "sh", "-c", script]).ok();
    while env.bld(["exec", "-u", "0:0", "evil", "test", "-p", "/ready"]).run().code != 0 {}
    let last = || {
        let loads = env.bld(["exec", "-u", "0:0", "evil", "cat", "/proc/loadavg"]).ok().stdout;
        loads.trim().rsplit(' ').next().unwrap().parse::<u32>().unwrap()
    };
    let (first, second) = (last(), last());
    env.bld(["cp"]).arg(env.path("payload")).arg("evil:/payload").ok();
    env.bld(["cp", "evil:/payload"]).arg(env.path("back")).ok();
    // No process of ours had a number among those of the container.
    assert_eq!(last() - second, second - first);
    assert_eq!(std::fs::read_to_string(env.path("back")).unwrap(), "payload");
    env.bld(["rm", "-f", "evil"]).ok();
    env.assert_nothing_left();
}

/// CVE-2021-30465: a mount point in a shared volume that is a link every other moment.
#[test]
fn a_mount_point_is_not_raced_out_of_the_container() {
    let env = env();
    let host = secret(&env);
    let script =
        "cd /v; while :; do mkdir x; rmdir x; ln -s / x; rm x; ln -s ../../../.. x; rm x; done";
    env.bld(["run", "-d", "--name", "evil", "-v", "shared:/v", "busybox", "sh", "-c", script]).ok();
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let look = format!(
        "test -e {host}/secret && echo host; test -e /v/x{host}/secret && echo through;
         grep -c '^' /proc/self/mountinfo > /dev/null"
    );
    for _ in 0..20 {
        let seen = inside(&env, &["-v", "shared:/v", "-v", "other:/v/x"], &look);
        assert!(!seen.contains("host\n") && !seen.contains("through"), "{seen}");
    }
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), table);
    env.bld(["rm", "-f", "evil"]).ok();
    env.bld(["volume", "prune", "-af"]).ok();
    env.assert_nothing_left();
}

/// CVE-2022-0811 and its kin: only kernel parameters of the container are set.
#[test]
fn no_parameter_of_the_host_is_set() {
    let env = env();
    let pattern = || std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let before = pattern();
    for wish in [
        "kernel.core_pattern=|/evil",
        "kernel.shm_rmid_forced=1+kernel.core_pattern=|/evil",
        "kernel.shm_rmid_forced=1\nkernel.core_pattern=|/evil",
        "net.ipv4.ip_forward/../../../kernel/core_pattern=|/evil",
        "net/../kernel/core_pattern=|/evil",
        "net...kernel.core_pattern=|/evil",
        "kernel/core_pattern=|/evil",
    ] {
        let seen = env.bld(["run", "--rm", "--sysctl", wish, "busybox", "true"]).run();
        let harmless = wish.starts_with("kernel.shm_rmid_forced=1") && seen.code == 0;
        assert!(seen.code == 125 || harmless, "{wish}: {seen}");
        assert_eq!(pattern(), before, "{wish}");
    }
    env.assert_nothing_left();
}

/// CVE-2024-21626: no descriptor leads out, whatever the working directory is called.
#[test]
fn no_working_directory_leads_out() {
    let env = env();
    let host = secret(&env);
    let look = format!(
        "for up in . .. ../.. ../../.. ../../../..; do cat $up{host}/secret; done; ls /proc/self/fd"
    );
    env.bld(["run", "-d", "--name", "web", "busybox", "sleep", "1000"]).ok();
    for number in 3..24 {
        for process in ["self", "1", "thread-self"] {
            let dir = format!("/proc/{process}/fd/{number}");
            let run = env.bld(["run", "--rm", "-w", &dir, "busybox", "sh", "-c", &look]).run();
            let exec = env.bld(["exec", "-w", &dir, "web", "sh", "-c", &look]).run();
            for seen in [run, exec] {
                assert!(!seen.stdout.contains("of the host"), "{dir}: {seen}");
            }
        }
    }
    env.bld(["rm", "-f", "web"]).ok();
    let dockerfile =
        format!("FROM busybox\nWORKDIR /proc/self/fd/7\nRUN {look} 2>&1 | tee /seen\n");
    let built = env.build("fd:1", &dockerfile, ["--progress", "plain"]);
    assert!(!built.stderr.contains("of the host\n"), "{built}");
    env.assert_nothing_left();
}

/// CVE-2024-23651 to 23653: mounts of build steps, and rights that nobody has given.
#[test]
fn a_step_reaches_no_file_of_the_host() {
    let env = env();
    let host = secret(&env);
    env.write("host/b/kept", "");
    std::fs::remove_file(env.path("host/b/kept")).unwrap();
    // A cache whose directory has become a link.
    let dockerfile = format!(
        "FROM busybox
RUN --mount=type=cache,id=evil,target=/c mkdir -p /c/sub && rm -rf /c/sub && ln -s {host} /c/sub
RUN --mount=type=cache,id=evil,source=sub,target=/d cat /d/secret; ls -R /d > /seen; true
"
    );
    let built = env.build("cache:1", &dockerfile, ["--progress", "plain"]);
    assert!(!built.stderr.contains("of the host\n"), "{built}");
    // A mount point whose parent has become a link when it is tidied up.
    let dockerfile =
        format!("FROM busybox\nRUN --mount=type=tmpfs,target=/a/b mv /a /c && ln -s {host} /a\n");
    let _either = env.build("stub:1", &dockerfile, []);
    assert!(env.path("host/b").is_dir(), "an empty directory of the host was removed");
    assert!(env.path("host/secret").is_file());
    // The race itself, against who sets up and tidies.
    let script = "i=0; while [ $i -lt 300 ]; do rm -rf /c/x; mkdir /c/x; rm -rf /c/x; ln -s / /c/x; i=$((i+1)); done";
    let dockerfile = format!(
        "FROM busybox AS one\nRUN --mount=type=cache,id=race,target=/c {script}\n
FROM busybox AS two\nRUN --mount=type=cache,id=race,source=x,target=/d test ! -e /d{host}/secret\n
FROM busybox\nCOPY --from=one /etc/passwd /one\nCOPY --from=two /etc/passwd /two\n"
    );
    let built = env.build("race:1", &dockerfile, ["--progress", "plain"]);
    assert!(!built.stderr.contains("did not complete successfully: exit code: 1"), "{built}");
    let insecure = "FROM busybox\nRUN --security=insecure echo had-all-rights\n";
    let refused = env.build("insecure:1", insecure, ["--progress", "plain"]);
    assert!(refused.code != 0 && !refused.stderr.contains("\nhad-all-rights"), "{refused}");
    env.assert_nothing_left();
}

/// Devices, mounts, kernel logs, modules, control groups: root's rights that a container has not.
#[test]
fn root_in_a_container_is_not_root_of_the_host() {
    let env = env();
    let host = secret(&env);
    let disk = std::fs::metadata(&host).unwrap().dev();
    let (major, minor) = (rustix::fs::major(disk), rustix::fs::minor(disk));
    let script = format!(
        "mknod /disk b {major} {minor}; (dd if=/disk of=/dev/null count=1 2>/dev/null) && echo read-disk
         mknod /mem c 1 1; (dd if=/mem of=/dev/null count=1 2>/dev/null) && echo read-memory
         mknod /kmsg c 1 11; (dd if=/kmsg of=/dev/null count=1 2>/dev/null) && echo read-kmsg
         mknod /fuse c 10 229; (: < /fuse) 2>/dev/null && echo opened-fuse
         dmesg > /dev/null 2>&1 && echo read-log
         mount -t tmpfs none /mnt 2>/dev/null && echo mounted
         mkdir -p /cg; mount -t cgroup -o memory none /cg 2>/dev/null && echo mounted-cgroup
         mount -t proc none /cg 2>/dev/null && echo mounted-proc
         mount -o remount,rw /proc/sys 2>/dev/null && echo remounted
         mount --bind / /mnt 2>/dev/null && echo bound
         umount /proc/kcore 2>/dev/null && echo unmasked
         unshare -m true 2>/dev/null && echo unshared; unshare -U true 2>/dev/null && echo unshared-user
         nsenter -t 1 -m true 2>/dev/null && echo entered
         chroot /proc/1/root test -e {host}/secret && echo through-root
         for f in /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent /sys/kernel/uevent_helper \
             /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sysrq-trigger \
             /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs /proc/sys/fs/binfmt_misc/register; do
             test -e $f && (echo x > $f) 2>/dev/null && echo wrote-$f
         done
         for p in /proc/[0-9]*; do test -e $p/root{host}/secret && echo through-$p; done
         kill -0 {} 2>/dev/null && echo signalled
         hostname evil 2>/dev/null && echo named
         date -s 2000-01-01 > /dev/null 2>&1; test $(date +%Y) = 2000 && echo set-clock
         insmod /none 2>&1 | grep -v 'not permitted' | grep -v 'No such' ; swapoff -a 2>/dev/null && echo swapped
         true",
        std::process::id()
    );
    assert_eq!(inside(&env, &[], &script), "");
    for flags in [&["-u", "1000"][..], &["--cap-drop", "ALL"], &["--read-only", "--tmpfs", "/tmp"]]
    {
        let seen =
            inside(&env, flags, &format!("cat {host}/secret; cat /proc/1/root{host}/secret"));
        assert!(!seen.contains("of the host"), "{flags:?}: {seen}");
    }
    env.assert_nothing_left();
}

/// A container hears and reaches nothing of another network, and changes nothing of its own.
#[test]
fn other_networks_are_out_of_reach() {
    let env = env();
    for network in ["left", "right"] {
        env.bld(["network", "create", network]).ok();
    }
    let serve = ["busybox", "sh", "-c", "nc -ll -p 7000 -e cat & sleep 1000"];
    env.bld(["run", "-d", "--name", "victim", "--network", "right"]).args(serve).ok();
    let address =
        env.bld(["inspect", "-f", "{{.NetworkSettings.Networks.right.IPAddress}}", "victim"]);
    let address = address.ok().text().to_owned();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "echo heard | nc -w 1 {address} 7000 2>/dev/null
         ping -c 1 -W 1 {address} > /dev/null 2>&1 && echo pinged
         ip addr add {address}/24 dev eth0 2>/dev/null && echo took-address
         ip link set eth0 promisc on 2>/dev/null && echo listens
         ip route add {address} dev eth0 2>/dev/null && echo routed
         ip link add evil type dummy 2>/dev/null && echo made-link
         nc -w 1 127.0.0.1 {port} < /dev/null 2>/dev/null && echo reached-loopback
         nslookup victim 2>/dev/null | grep {address} && echo resolved
         true"
    );
    for flags in [&["--network", "left"][..], &[], &["--network", "none"]] {
        let seen = inside(&env, flags, &script);
        // A static busybox falls over where no name is found.
        assert!(seen.lines().all(|line| line == "Segmentation fault"), "{flags:?}: {seen}");
    }
    // From within, it is there.
    let ask = format!(
        "for i in 1 2 3 4 5; do echo heard | nc -w 2 {address} 7000 && exit; sleep 0.2; done"
    );
    assert_eq!(inside(&env, &["--network", "right"], &ask), "heard\n");
    env.bld(["rm", "-f", "victim"]).ok();
    env.bld(["network", "rm", "left", "right"]).ok();
    env.assert_nothing_left();
}

#[test]
fn whoever_is_root_in_a_user_namespace_is_nobody_on_the_host() {
    let env = env();
    let dir = env.path("bound");
    std::fs::create_dir(&dir).unwrap();
    let bound = format!("{}:/bound", dir.display());
    let words = ["run", "-d", "--userns", "private", "--name", "own", "-v", "data:/data"];
    let run = env.bld(words).args(["-v", &bound, "--tmpfs", "/t:uid=7", "-w", "/made/here"]);
    run.args(["busybox", "sleep", "1000"]).ok();
    let pid = env.bld(["inspect", "-f", "{{.State.Pid}}", "own"]).ok();
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.text())).unwrap();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:\t")).unwrap();
    let uid: u32 = uid.split('\t').next().unwrap().parse().unwrap();
    assert!(uid >= 0x8_0000, "{status}");

    let inside = |command: &str| env.bld(["exec", "own", "sh", "-c", command]).run();
    assert_eq!(inside("id -u; cat /proc/1/status | grep ^Uid").stdout, "0\nUid:\t0\t0\t0\t0\n");
    // Owners are what they are elsewhere: of the image, of what is made, of volumes.
    let owners = "touch /mine /data/mine && chown 33:33 /mine /data/mine && \
                  stat -c %u / /bin/busybox /mine /data/mine /made/here /t /dev /etc/hosts";
    assert_eq!(inside(owners).stdout, "0\n0\n33\n33\n0\n7\n0\n0\n");
    let volume = env.bld(["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]).ok();
    let mine = std::fs::metadata(std::path::Path::new(volume.text()).join("mine")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&mine), 33);
    assert_ne!(inside("touch /bound/file").code, 0, "it is the host's");
    assert_ne!(inside("mknod /null c 1 3 && echo > /null").code, 0);
    assert_eq!(inside("echo > /dev/null && ls /sys/class/net").stdout, "eth0\nlo\n");
    let down = inside("ip link set eth0 down");
    assert!(down.code != 0 && down.stderr.contains("not permitted"), "the network is not its own");
    assert_eq!(env.bld(["exec", "-u", "nobody", "own", "id", "-u"]).ok().text(), "65534");
    assert_eq!(env.bld(["exec", "-t", "own", "tty"]).ok().text(), "/dev/pts/0");

    env.bld(["commit", "own", "made"]).ok();
    let seen = env.bld(["run", "--rm", "--network", "none", "made", "stat", "-c", "%u", "/mine"]);
    assert_eq!(seen.ok().text(), "33");
    env.bld(["restart", "-t", "0", "own"]).ok();
    assert_eq!(inside("stat -c %u /mine").stdout, "33\n");
    let shown = env.bld(["inspect", "-f", "{{.HostConfig.UsernsMode}}", "own"]).ok();
    assert_eq!(shown.text(), "private");
    // Another one has other ids.
    let other =
        env.bld(["run", "--rm", "--userns", "auto", "busybox", "cat", "/proc/self/uid_map"]);
    assert!(!other.ok().stdout.contains(&uid.to_string()));
    for (flags, what) in [
        (&["--privileged"][..], "privileged mode is incompatible with user namespaces"),
        (&["--pid", "host"], "cannot share the host's PID namespace"),
        (&["--network", "host"], "cannot share the host's network namespace"),
    ] {
        let run = ["run", "--rm", "--userns", "private"];
        let _ = env.bld(run).args(flags).args(["busybox", "true"]).run().expect_text(what);
    }
    env.bld(["rm", "-f", "-v", "own"]).ok();
    env.bld(["volume", "rm", "data"]).ok();
    env.assert_nothing_left();
}

/// A filter of one's own decides, for the first process and for later ones; what is not understood is no
/// reason to run with less than was asked for.
#[test]
fn seccomp_profiles_are_kept_to() {
    let env = env();
    let denied = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
        {"name": "kill", "action": "SCMP_ACT_ERRNO",
         "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]},
        {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_SYS_ADMIN"]}}]}"#;
    let profile = format!("seccomp={}", env.write("deny.json", denied).display());
    let script = "mkdir /d; kill -USR1 1; kill -0 1 && echo asked; ls /d";
    let seen = inside(&env, &["--security-opt", &profile, "--network", "none"], script);
    for said in ["'/d': Permission denied", "asked\n", "/d: No such file", "not permitted"] {
        assert!(seen.contains(said), "{said}: {seen}");
    }
    let run =
        ["run", "-d", "--name", "web", "--security-opt", &profile, "busybox", "sleep", "1000"];
    env.bld(run).ok();
    let _ = env.bld(["exec", "web", "mkdir", "/d"]).run().expect_code(1).expect_text("denied");
    let status = env.bld(["exec", "web", "grep", "Seccomp:", "/proc/self/status"]).ok();
    assert_eq!(status.text(), "Seccomp:\t2");
    env.bld(["rm", "-f", "web"]).ok();
    let unknown = env.write("unknown.json", r#"{"defaultAction": "SCMP_ACT_NOTHING"}"#);
    let unknown = format!("seccomp={}", unknown.display());
    for (wish, says) in [
        ("seccomp=/nosuch", "opening seccomp profile (/nosuch) failed: open /nosuch: no such file"),
        (&unknown, "Decoding seccomp profile failed: unknown action \"SCMP_ACT_NOTHING\""),
        ("nosuch", "Invalid --security-opt: \"nosuch\""),
        ("nosuch=1", "invalid --security-opt 1: \"nosuch=1\""),
        ("systempaths=unconfined", "invalid --security-opt 1"),
    ] {
        let refused = env.bld(["run", "--rm", "--security-opt", wish, "busybox", "true"]).run();
        let _ = refused.expect_code(125).expect_text(says);
    }
    env.assert_nothing_left();
}
