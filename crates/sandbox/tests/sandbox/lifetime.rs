//! Who outlives whom.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio as ChildStdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use bld_sandbox::{CgroupSpec, Limits, spawn};

use crate::common::{Rootfs, connect, probing, run};

/// Whether a process runs; one that is dead but not reaped does not.
fn runs(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit_once(") ").unwrap().1.starts_with(['Z', 'X'])
}

fn ends(pid: i32) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while runs(pid) {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Everything whose root directory is that of a container.
fn processes_in(pid_namespace: &std::path::Path) -> Vec<i32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| {
            std::fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns == pid_namespace)
        })
        .collect()
}

/// Starts a container in a process of its own: run by `a_killed_caller_takes_its_container_along`.
#[test]
fn caller() {
    if !probing() {
        return;
    }
    let rootfs = Rootfs::new();
    let mut spec = rootfs.sh("(setsid sleep 1000 &); sleep 1000");
    spec.user.uid = std::env::var("BLD_UID").unwrap().parse().unwrap();
    spec.init = std::env::var_os("BLD_INIT").is_some();
    spec.cgroup = Some(CgroupSpec {
        name: "test-caller".into(),
        limits: Limits { pids: Some(20), ..Limits::default() },
        ..CgroupSpec::default()
    });
    // On a thread that ends at once: the container must not.
    let process = std::thread::spawn(move || spawn(spec).unwrap()).join().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    println!("container {} {}", process.pid(), rootfs.dir.path().display());
    std::thread::sleep(Duration::from_secs(1000));
}

#[test]
fn a_killed_caller_takes_its_container_along() {
    for (uid, init) in [("0", false), ("1000", false), ("0", true)] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "lifetime::caller", "--nocapture", "--test-threads=1"]);
        command.env("BLD_PROBE", "1").env("BLD_UID", uid).stdout(ChildStdio::piped());
        if init {
            command.env("BLD_INIT", "1");
        }
        let mut caller = command.spawn().unwrap();
        let mut lines = BufReader::new(caller.stdout.take().unwrap()).lines();
        let line = lines.find_map(|line| {
            line.unwrap().split_once("container ").map(|(_, rest)| rest.to_owned())
        });
        let line = line.unwrap();
        let (pid, dir) = line.split_once(' ').unwrap();
        let pid: i32 = pid.parse().unwrap();
        assert!(runs(pid), "the spawning thread's end does not matter");
        let namespace = std::fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
        let inside = processes_in(&namespace);
        assert!(inside.len() >= 2, "{inside:?}");
        caller.kill().unwrap();
        caller.wait().unwrap();
        for pid in inside {
            assert!(ends(pid), "{pid} as {uid}, init: {init}");
        }
        // What it could not clean up: its directory by the test, its groups by the sweep.
        std::fs::remove_dir_all(dir).unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        while bld_sandbox::cgroup::sweep("test-caller", None).unwrap() == 0 {
            assert!(Instant::now() < end, "the groups are found");
        }
    }
}

/// Starts containers without end: run by `a_caller_killed_at_any_moment_leaves_no_process`.
#[test]
fn busy_caller() {
    if !probing() {
        return;
    }
    let rootfs = Rootfs::new();
    println!("directory {}", rootfs.dir.path().display());
    let mut running = Vec::new();
    for n in 0.. {
        let mut spec = rootfs.spec(["sleep", "1000"]);
        spec.root = bld_sandbox::Root::Dir(rootfs.lower());
        spec.user.uid = n % 2 * 1000;
        let name = format!("test-busy-{n}");
        spec.cgroup = Some(CgroupSpec { name, ..CgroupSpec::default() });
        running.push(spawn(spec).unwrap());
        if running.len() > 5 {
            running.clear();
        }
    }
}

/// Processes in control groups whose name begins so.
fn processes_in_groups(prefix: &str) -> Vec<i32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
                .is_ok_and(|groups| groups.contains(prefix))
        })
        .filter(|pid| runs(*pid))
        .collect()
}

#[test]
fn a_caller_killed_at_any_moment_leaves_no_process() {
    for n in 0..25 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "lifetime::busy_caller", "--nocapture", "--test-threads=1"]);
        command.env("BLD_PROBE", "1").stdout(ChildStdio::piped());
        let mut caller = command.spawn().unwrap();
        let mut lines = BufReader::new(caller.stdout.take().unwrap()).lines();
        let dir = lines
            .find_map(|line| line.unwrap().split_once("directory ").map(|(_, dir)| dir.to_owned()));
        std::thread::sleep(Duration::from_micros(1500 * n));
        caller.kill().unwrap();
        caller.wait().unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while !processes_in_groups("test-busy-").is_empty() {
            assert!(Instant::now() < end, "{:?}", processes_in_groups("test-busy-"));
            std::thread::sleep(Duration::from_millis(1));
        }
        bld_sandbox::cgroup::sweep("test-busy-", None).unwrap();
        std::fs::remove_dir_all(dir.unwrap()).unwrap();
    }
    assert_eq!(bld_sandbox::cgroup::sweep("test-busy-", None).unwrap(), 0);
}

#[test]
fn killing_it_kills_everything_in_it() {
    let rootfs = Rootfs::new();
    let mut spec =
        rootfs.sh("setsid sleep 1000 & (setsid sh -c 'sleep 1000' &) ; echo; sleep 1000");
    let (_stdin, mut stdout, _stderr) = connect(&mut spec);
    let mut process = spawn(spec).unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    let namespace = std::fs::read_link(format!("/proc/{}/ns/pid", process.pid())).unwrap();
    let inside = processes_in(&namespace);
    assert!(inside.len() >= 3, "{inside:?}");
    let handle = process.handle();
    // From another thread, while this one waits.
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        handle.kill_all().unwrap();
    });
    let status = process.wait().unwrap();
    assert_eq!((status.code, status.signal), (137, Some(9)));
    assert!(inside.iter().all(|pid| !runs(*pid)));
    process.kill_all().unwrap();
    process.signal(15).unwrap();
}

#[test]
fn dropping_it_kills_it() {
    let rootfs = Rootfs::new();
    let process = spawn(rootfs.sh("sleep 1000")).unwrap();
    let pid = process.pid();
    assert!(runs(pid));
    drop(process);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "and reaps it");
}

#[test]
fn the_end_can_be_polled_for() {
    let rootfs = Rootfs::new();
    let mut process = spawn(rootfs.sh("sleep 0.2; exit 3")).unwrap();
    assert!(process.signal(1000).is_err());
    assert_eq!(process.try_wait().unwrap(), None);
    let mut fds = [PollFd::from_borrowed_fd(process.pidfd(), PollFlags::IN)];
    let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut fds, Some(&timeout)).unwrap(), 1);
    assert_eq!(process.try_wait().unwrap().unwrap().code, 3);
}

#[test]
fn the_first_process_gets_signals_it_handles() {
    let rootfs = Rootfs::new();
    let script = "trap 'echo caught; exit 5' TERM; echo; while true; do sleep 0.05; done";
    for init in [false, true] {
        let mut spec = rootfs.sh(script);
        spec.init = init;
        let (_stdin, mut stdout, _stderr) = connect(&mut spec);
        let mut process = spawn(spec).unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        process.signal(15).unwrap();
        assert_eq!(process.wait().unwrap().code, 5, "init: {init}");
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        assert_eq!(text, "caught\n");
    }
}

#[test]
fn an_init_reaps_and_passes_signals_on() {
    let rootfs = Rootfs::new();
    // Without a handler a first process does not even notice SIGTERM; as a child it dies of it.
    let mut spec = rootfs.sh("echo; sleep 1000; true");
    spec.init = true;
    let (_stdin, mut stdout, _stderr) = connect(&mut spec);
    let mut process = spawn(spec).unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    process.signal(15).unwrap();
    assert_eq!(process.wait().unwrap().code, 143);

    let script = "(sh -c 'sleep 0.05; exit 1' & ); (sleep 0.05 &); sleep 0.3
        grep -l 'State:.Z' /proc/[0-9]*/status | wc -l; cat /proc/1/comm; echo $$; exit 9";
    let mut spec = rootfs.sh(script);
    spec.init = true;
    let output = run(spec);
    assert_eq!((output.status.code, output.stdout.as_str()), (9, "0\ninit\n2\n"));
}

#[test]
fn many_at_once() {
    let rootfs: Vec<_> = (0..8).map(|_| Rootfs::new()).collect();
    std::thread::scope(|scope| {
        for (n, rootfs) in rootfs.iter().enumerate() {
            scope.spawn(move || {
                for _ in 0..5 {
                    let output = run(rootfs.sh(&format!("echo {n}; exit {n}")));
                    assert_eq!(output.status.code as usize, n);
                    assert_eq!(output.stdout, format!("{n}\n"));
                }
            });
        }
    });
}
