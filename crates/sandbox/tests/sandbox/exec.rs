//! More processes in a container.

use std::fs::File;
use std::io::Read;

use bld_sandbox::{CgroupSpec, ExecSpec, Limits, Process, Stdio, User, exec_in, spawn};

use crate::common::{Rootfs, chain, pipe};

fn container(rootfs: &Rootfs) -> Process {
    let mut spec = rootfs.sh("touch /ready; while true; do sleep 0.05; done");
    spec.hostname = Some("there".into());
    spec.cgroup = Some(CgroupSpec {
        name: format!("test-exec-{}-{:p}", std::process::id(), rootfs),
        limits: Limits { pids: Some(50), ..Limits::default() },
        ..CgroupSpec::default()
    });
    let process = spawn(spec).unwrap();
    while !rootfs.upper().join("ready").exists() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    process
}

fn sh(script: &str) -> ExecSpec {
    let mut spec = ExecSpec::new(["sh", "-c", script]);
    spec.env = vec!["PATH=/bin".into()];
    spec
}

fn output(container: &Process, mut spec: ExecSpec) -> (i32, String) {
    let (mut stdout, write) = pipe();
    spec.stdio = Stdio::Fds {
        stdin: File::open("/dev/null").unwrap().into(),
        stdout: write.try_clone().unwrap(),
        stderr: write,
    };
    let mut process = exec_in(container.pid(), spec).unwrap();
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    (process.wait().unwrap().code, text)
}

#[test]
fn it_is_in_all_namespaces_and_groups() {
    let rootfs = Rootfs::new();
    let container = container(&rootfs);
    let script = "for n in mnt pid ipc uts cgroup net; do readlink /proc/self/ns/$n; done
        hostname; cat /proc/self/cgroup; exit 6";
    let (code, text) = output(&container, sh(script));
    assert_eq!(code, 6);
    for name in ["mnt", "pid", "ipc", "uts", "cgroup", "net"] {
        let path = format!("/proc/{}/ns/{name}", container.pid());
        let theirs = std::fs::read_link(path).unwrap();
        assert!(text.contains(theirs.to_str().unwrap()), "{name}\n{text}");
    }
    assert!(text.contains("there\n"), "{text}");
    assert!(text.contains(":pids:/\n") || text.contains("0::/\n"), "{text}");
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let after = std::thread::spawn(|| std::fs::read_link("/proc/thread-self/ns/pid_for_children"));
    assert_eq!(after.join().unwrap().unwrap(), own);
    // The next container is not born in that one.
    let other = Rootfs::new();
    assert_eq!(crate::common::run(other.sh("echo $$")).ok(), "1\n");
}

#[test]
fn it_is_confined_as_well() {
    let rootfs = Rootfs::new();
    let container = container(&rootfs);
    let script = "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; ls -1 /proc/self/fd; id -u
        cat /proc/keys";
    let (_, text) = output(&container, sh(script));
    let (none, docker) = ("0000000000000000", "00000000a80425fb");
    let expected = format!(
        "CapInh:\t{none}\nCapPrm:\t{docker}\nCapEff:\t{docker}\nCapBnd:\t{docker}\nCapAmb:\t{none}\n\
         NoNewPrivs:\t0\nSeccomp:\t2\n0\n1\n2\n3\n0\n"
    );
    assert_eq!(text, expected);

    let mut spec = sh("id -u; id -g; grep CapEff /proc/self/status; pwd");
    spec.user = User { uid: 1000, gid: 1001, groups: vec![1001] };
    spec.cwd = "/tmp".into();
    assert_eq!(output(&container, spec).1, format!("1000\n1001\nCapEff:\t{none}\n/tmp\n"));
}

#[test]
fn errors() {
    let rootfs = Rootfs::new();
    let mut container = container(&rootfs);
    let mut spec = ExecSpec::new(["nosuch"]);
    spec.env = vec!["PATH=/bin".into()];
    let error = exec_in(container.pid(), spec).unwrap_err();
    assert_eq!(error.to_string(), r#"exec: "nosuch": executable file not found in $PATH"#);
    assert_eq!(error.exit_code(), 127);
    for cwd in ["/proc/self/fd/3", "/proc/1/cwd", "/nosuch"] {
        let mut spec = sh("true");
        spec.cwd = cwd.into();
        assert_eq!(exec_in(container.pid(), spec).unwrap_err().exit_code(), 126, "{cwd}");
    }
    container.handle().freeze().unwrap();
    assert!(chain(&exec_in(container.pid(), sh("true")).unwrap_err()).contains("paused"));
    container.kill_all().unwrap();
    let pid = container.pid();
    container.wait().unwrap();
    let error = exec_in(pid, sh("true")).unwrap_err();
    assert!(chain(&error).contains(&pid.to_string()) || chain(&error).contains("No such"));
}

#[test]
fn a_terminal_of_the_container() {
    let rootfs = Rootfs::new();
    let container = container(&rootfs);
    let mut spec = sh("tty; stty size; echo hello > /dev/tty");
    spec.stdio = Stdio::Terminal { rows: 11, columns: 22 };
    let mut process = exec_in(container.pid(), spec).unwrap();
    let mut terminal = File::from(process.take_terminal().unwrap());
    let mut text = Vec::new();
    let _ = terminal.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap().replace('\r', "");
    assert_eq!(text, "/dev/pts/0\n11 22\nhello\n");
    assert!(process.wait().unwrap().success());
}

#[test]
fn it_ends_with_the_container_and_alone() {
    let rootfs = Rootfs::new();
    let mut container = container(&rootfs);
    let mut first = exec_in(container.pid(), sh("sleep 1000")).unwrap();
    let mut second = exec_in(container.pid(), sh("sleep 1000")).unwrap();
    first.kill_all().unwrap();
    assert_eq!(first.wait().unwrap().signal, Some(9));
    assert!(container.try_wait().unwrap().is_none());
    assert!(second.try_wait().unwrap().is_none());
    container.kill_all().unwrap();
    assert_eq!(second.wait().unwrap().signal, Some(9));
    container.wait().unwrap();
}

#[test]
fn the_hosts_executable_is_out_of_reach() {
    let rootfs = Rootfs::new();
    let container = container(&rootfs);
    let script = "rm /bin/sh; echo '#!/proc/self/exe' > /bin/sh; chmod 755 /bin/sh";
    assert_eq!(output(&container, sh(script)).0, 0);
    let (code, text) = output(&container, sh("true"));
    assert_eq!((code, text.as_str()), (127, ""));
}
