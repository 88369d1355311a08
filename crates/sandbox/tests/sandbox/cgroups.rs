//! Control groups of containers.

use std::time::{Duration, Instant};

use bld_sandbox::cgroup::{self, Cgroup};
use bld_sandbox::{CgroupSpec, Handle, Limits, Process, Spec, spawn};

use crate::common::{Rootfs, connect, run};

fn named(what: &str) -> String {
    format!("test-{what}-{}", std::process::id())
}

fn limited(mut spec: Spec, name: &str, limits: Limits) -> Spec {
    spec.cgroup = Some(CgroupSpec { name: named(name), limits, ..CgroupSpec::default() });
    spec
}

/// Groups of this test that are still there.
fn left(name: &str) -> Vec<String> {
    fn walk(dir: &std::path::Path, name: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                if entry.file_name().to_str().is_some_and(|n| n.starts_with(name)) {
                    found.push(entry.path().display().to_string());
                }
                walk(&entry.path(), name, found);
            }
        }
    }
    let mut found = Vec::new();
    walk("/sys/fs/cgroup".as_ref(), name, &mut found);
    found
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_container_is_in_its_group() {
    let rootfs = Rootfs::new();
    let limits = Limits { pids: Some(50), memory: Some(64 << 20), ..Limits::default() };
    let mut process = spawn(limited(rootfs.sh("sleep 100"), "member", limits)).unwrap();
    let name = named("member");
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", process.pid())).unwrap();
    let inside = groups.lines().filter(|line| line.contains(&name)).count();
    assert!(inside >= 1, "{groups}");
    let group = Cgroup::of(process.pid()).unwrap().unwrap();
    assert_eq!(group.processes(), [process.pid()]);
    assert_eq!(Cgroup::of(std::process::id() as i32).unwrap(), None);
    process.kill_all().unwrap();
    process.wait().unwrap();
    assert_eq!(left(&name), [""; 0]);
}

#[test]
fn it_sees_its_group_as_the_root() {
    let rootfs = Rootfs::new();
    let limits = Limits { pids: Some(50), ..Limits::default() };
    let output = run(limited(rootfs.spec(["cat", "/proc/self/cgroup"]), "root", limits)).ok();
    assert!(!output.contains(&named("root")), "{output}");
    assert!(output.contains(":pids:/\n") || output.contains("0::/\n"), "{output}");
    let limits = Limits { pids: Some(50), ..Limits::default() };
    let script = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; true";
    assert_eq!(run(limited(rootfs.sh(script), "max", limits)).ok(), "50\n");
}

#[test]
fn limits_hold() {
    let rootfs = Rootfs::new();
    let limits = Limits { pids: Some(3), ..Limits::default() };
    let output = run(limited(rootfs.sh("sleep 9 & sleep 9 & sleep 9 & wait"), "pids", limits));
    assert!(output.stderr.contains("can't fork"), "{}", output.stderr);

    let limits = Limits::default().cpus(0.2);
    let script = "i=0; while [ $i -lt 20000000 ]; do i=$((i+1)); done";
    let mut process = spawn(limited(rootfs.sh(script), "cpu", limits)).unwrap();
    std::thread::sleep(Duration::from_millis(600));
    let used = process.handle().stats().unwrap().cpu_usec;
    process.kill_all().unwrap();
    process.wait().unwrap();
    assert!(used > 10_000 && used < 400_000, "{used} µs of 600 ms at 20 %");
}

#[test]
fn lack_of_memory_is_told() {
    let rootfs = Rootfs::new();
    let limits =
        Limits { memory: Some(16 << 20), memory_swap: Some(16 << 20), ..Limits::default() };
    // tail keeps what it has read.
    let output = run(limited(rootfs.sh("tail -c 200000000 /dev/zero"), "oom", limits.clone()));
    assert!(output.status.oom_killed, "{:?} {}", output.status, output.stderr);
    assert_eq!(output.status.code, 137);
    let output = run(limited(rootfs.sh("exit 137"), "no-oom", limits));
    assert!(!output.status.oom_killed);
    assert_eq!(left(&named("oom")), [""; 0]);
}

#[test]
fn a_whole_group_is_frozen() {
    let rootfs = Rootfs::new();
    let script = "while true; do echo x; done & while true; do echo y; done";
    let mut spec = limited(rootfs.sh(script), "freeze", Limits::default());
    let (_stdin, mut stdout, _stderr) = connect(&mut spec);
    let mut process = spawn(spec).unwrap();
    std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    let handle: Handle = process.handle();
    let used = || handle.stats().unwrap().cpu_usec;
    wait_until("it runs", || used() > 20_000);
    handle.freeze().unwrap();
    let frozen = used();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(used(), frozen);
    assert!(process.try_wait().unwrap().is_none());
    handle.thaw().unwrap();
    wait_until("it runs again", || used() > frozen + 20_000);
    handle.freeze().unwrap();
    handle.kill_all().unwrap();
    assert_eq!(process.wait().unwrap().signal, Some(9), "also while frozen");
}

#[test]
fn statistics() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.sh("sleep 100 & sleep 100 & dd if=/dev/zero of=/dev/shm/x bs=1M count=8 2>/dev/null; echo; wait");
    spec.cgroup = Some(CgroupSpec {
        name: named("stats"),
        limits: Limits { memory: Some(100 << 20), ..Limits::default() },
        accounting: true,
        ..CgroupSpec::default()
    });
    let (_stdin, mut stdout, _stderr) = connect(&mut spec);
    let process: Process = spawn(spec).unwrap();
    std::io::Read::read_exact(&mut stdout, &mut [0]).unwrap();
    let stats = process.handle().stats().unwrap();
    assert!(stats.memory > 8 << 20, "{stats:?}");
    assert_eq!(stats.memory_limit, Some(100 << 20), "{stats:?}");
    assert!((3..=4).contains(&stats.pids), "{stats:?}");
    assert!(stats.cpu_usec > 0, "{stats:?}");
    process.handle().set_limits(&Limits { memory: Some(200 << 20), ..Limits::default() }).unwrap();
    assert_eq!(process.handle().stats().unwrap().memory_limit, Some(200 << 20));
    drop(process);
    assert_eq!(left(&named("stats")), [""; 0]);
}

#[test]
fn nothing_is_left_of_failures() {
    let rootfs = Rootfs::new();
    let limits = Limits { pids: Some(10), ..Limits::default() };
    crate::common::refused(limited(rootfs.spec(["/no/such"]), "failed", limits.clone()));
    let limits = Limits { cpuset_cpus: Some("999".into()), ..limits };
    crate::common::refused(limited(rootfs.sh("true"), "failed", limits));
    assert_eq!(left(&named("failed")), [""; 0]);
    for name in ["", "a/b", "..", ".hidden"] {
        let mut spec = rootfs.sh("true");
        spec.cgroup = Some(CgroupSpec { name: name.into(), ..CgroupSpec::default() });
        crate::common::refused(spec);
    }
}

#[test]
fn an_own_parent() {
    let rootfs = Rootfs::new();
    let parent = named("parent");
    let mut spec = rootfs.sh("sleep 100");
    spec.cgroup = Some(CgroupSpec {
        name: "child".into(),
        parent: Some(format!("/{parent}/below")),
        ..CgroupSpec::default()
    });
    let process = spawn(spec).unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", process.pid())).unwrap();
    assert!(groups.contains(&format!("/{parent}/below/child@")), "{groups}");
    drop(process);
    for dir in left(&parent) {
        let _ = std::fs::remove_dir(std::path::Path::new(&dir).join("below"));
        let _ = std::fs::remove_dir(dir);
    }
    assert_eq!(left(&parent), [""; 0]);
}

#[test]
fn leftovers_of_dead_processes_are_swept() {
    let rootfs = Rootfs::new();
    let name = named("sweep");
    let limits = Limits { pids: Some(50), ..Limits::default() };
    let alive = spawn(limited(rootfs.sh("sleep 100"), "sweep", limits)).unwrap();
    // As a killed process would have left them: one empty, one with something in it.
    let parents: Vec<_> = left(&name)
        .iter()
        .map(|dir| std::path::Path::new(dir).parent().unwrap().to_owned())
        .collect();
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    for parent in &parents {
        for stale in ["one@4194303.1", "two@4194303.1"] {
            std::fs::create_dir(parent.join(format!("{name}-{stale}"))).unwrap();
        }
        let busy = parent.join(format!("{name}-two@4194303.1/cgroup.procs"));
        std::fs::write(busy, sleeper.id().to_string()).unwrap();
    }
    assert_eq!(left(&name).len(), 3 * parents.len());
    let swept = cgroup::sweep(&name, None);
    // Reaped only by its parent, which until then keeps a v1 group busy.
    let status = sleeper.wait().unwrap();
    assert!(!status.success(), "it was killed");
    let again = cgroup::sweep(&name, None).unwrap();
    assert_eq!(swept.unwrap() + again, 2 * parents.len());
    assert_eq!(left(&name).len(), parents.len(), "what is in use stays");
    drop(alive);
    assert_eq!(left(&name), [""; 0]);
}
