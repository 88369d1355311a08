//! What a process is given.

use bld_sandbox::{Network, Resource, Rlimit, User};

use crate::common::{Rootfs, chain, refused, run, try_run};

#[test]
fn exit_codes_and_streams() {
    let rootfs = Rootfs::new();
    let output = run(rootfs.sh("echo out; echo err >&2; exit 7"));
    assert_eq!((output.status.code, output.status.signal), (7, None));
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    assert!(!output.status.oom_killed);
    assert_eq!(try_run(rootfs.spec(["cat"]), b"through\0it\n").unwrap().ok(), "through\0it\n");
}

#[test]
fn null_streams() {
    let rootfs = Rootfs::new();
    let mut process =
        bld_sandbox::spawn(rootfs.sh("cat && echo lost && test -c /dev/stdout")).unwrap();
    assert!(process.wait().unwrap().success());
    assert_eq!(process.wait().unwrap(), process.wait().unwrap());
}

#[test]
fn the_environment_is_what_was_given() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.spec(["/bin/env"]);
    spec.env = vec!["A=1".into(), "B= two ".into(), "A=3".into()];
    assert_eq!(run(spec).ok(), "A=1\nB= two \nA=3\n");
}

#[test]
fn working_directory() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.sh("pwd; stat -c '%a %u' .");
    spec.cwd = "/made/on/the/way".into();
    spec.user = User { uid: 1, gid: 1, groups: vec![] };
    assert_eq!(run(spec).ok(), "/made/on/the/way\n755 0\n");
    assert_eq!(rootfs.changes(), ["made/", "made/on/", "made/on/the/", "made/on/the/way/"]);

    let mut spec = rootfs.sh("true");
    spec.cwd = "relative".into();
    assert!(chain(&refused(spec)).contains("not absolute"));

    rootfs.write("file", "");
    let mut spec = rootfs.sh("true");
    spec.cwd = "/file".into();
    let error = refused(spec);
    assert_eq!(error.exit_code(), 126);
    assert!(chain(&error).contains("/file"), "{}", chain(&error));
}

#[test]
fn a_working_directory_cannot_lead_out() {
    // CVE-2024-21626: a directory of the host that happens to be open, reached through a link that
    // the kernel does not resolve by name.
    let rootfs = Rootfs::new();
    let _open = std::fs::File::open("/").unwrap();
    for n in 0..30 {
        for dir in
            [format!("/proc/self/fd/{n}"), format!("/proc/1/fd/{n}"), "/proc/self/cwd".into()]
        {
            let mut spec = rootfs.sh("pwd");
            spec.cwd.clone_from(&dir);
            let error = refused(spec);
            assert_eq!(error.exit_code(), 126, "{dir}: {}", chain(&error));
        }
    }
    // Nor through a link in the image to such a link.
    std::os::unix::fs::symlink("/proc/self/fd/3", rootfs.lower().join("link")).unwrap();
    let mut spec = rootfs.sh("pwd");
    spec.cwd = "/link".into();
    assert_eq!(refused(spec).exit_code(), 126);
}

#[test]
fn user_and_groups() {
    let rootfs = Rootfs::new();
    let script = "grep -E '^(Uid|Gid|Groups)' /proc/self/status; umask";
    let mut spec = rootfs.sh(script);
    spec.user = User { uid: 1000, gid: 50, groups: vec![50, 7, 8] };
    let expected = "Uid:\t1000\t1000\t1000\t1000\nGid:\t50\t50\t50\t50\nGroups:\t7 8 50 \n0022\n";
    assert_eq!(run(spec).ok(), expected);
    let expected = "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t \n0022\n";
    assert_eq!(run(rootfs.sh(script)).ok(), expected);
}

#[test]
fn host_name() {
    let rootfs = Rootfs::new();
    let own = run(rootfs.spec(["hostname"])).ok();
    let mut spec = rootfs.spec(["hostname"]);
    spec.hostname = Some("elsewhere".into());
    assert_eq!(run(spec).ok(), "elsewhere\n");
    assert_eq!(run(rootfs.spec(["hostname"])).ok(), own);
}

#[test]
fn resource_limits() {
    let rootfs = Rootfs::new();
    let limit = |resource, soft, hard| Rlimit { resource, soft, hard };
    let mut spec = rootfs.sh("ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -Hl");
    spec.rlimits = vec![
        limit(Resource::Nofile, 100, 200),
        limit(Resource::Core, 0, 0),
        // Beyond what this process may give, where it may not raise it.
        limit(Resource::Memlock, u64::MAX, u64::MAX),
    ];
    let output = run(spec).ok();
    assert!(output.starts_with("100\n200\n0\n"), "{output}");

    let mut spec = rootfs.sh("true");
    spec.rlimits = vec![limit(Resource::Nofile, 200, 100)];
    assert!(chain(&refused(spec)).contains("set resource limit Nofile"));
}

#[test]
fn oom_score() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.spec(["cat", "/proc/self/oom_score_adj"]);
    spec.oom_score_adj = Some(321);
    assert_eq!(run(spec).ok(), "321\n");
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_ne!(own, "321\n", "it is the container's alone");
}

#[test]
fn kernel_parameters() {
    let rootfs = Rootfs::new();
    let set = |name: &str, value: &str, network| {
        let mut spec = rootfs.sh(&format!("cat /proc/sys/{}", name.replace('.', "/")));
        spec.sysctls = vec![(name.into(), value.into())];
        spec.network = network;
        spec
    };
    assert_eq!(run(set("kernel.msgmax", "4321", Network::Host)).ok(), "4321\n");
    assert_eq!(run(set("net.ipv4.ip_forward", "1", Network::None)).ok(), "1\n");
    let error = chain(&refused(set("net.ipv4.ip_forward", "1", Network::Host)));
    assert!(error.contains("not the container's own"), "{error}");
    for name in ["kernel.panic", "vm.swappiness", "net.../../kernel.panic", "net/ipv4"] {
        assert!(chain(&refused(set(name, "1", Network::None))).contains("own"), "{name}");
    }
    let error = chain(&refused(set("net.ipv4.nosuch", "1", Network::None)));
    assert!(error.contains("/proc/sys/net/ipv4/nosuch"), "{error}");
}

#[test]
fn nothing_to_run() {
    let rootfs = Rootfs::new();
    assert!(chain(&refused(rootfs.spec([]))).contains("nothing to run"));
    assert!(chain(&refused(rootfs.spec(["/bin/echo", "a\0b"]))).contains("null character"));
    assert_eq!(rootfs.changes(), [""; 0]);
}

#[test]
fn signals_are_as_a_program_expects_them() {
    // Rust ignores SIGPIPE, and the caller's threads may block anything.
    let rootfs = Rootfs::new();
    let output = run(rootfs.spec(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"])).ok();
    assert_eq!(output, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}
