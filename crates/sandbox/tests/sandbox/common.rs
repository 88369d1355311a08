//! A root filesystem, and running something in it.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bld_sandbox::{ExitStatus, Root, SandboxError, Spec, Stdio, spawn};
use tempfile::TempDir;

pub(crate) const PATH: &str = "PATH=/bin";

/// A root filesystem with a writable layer, all removed in the end.
pub(crate) struct Rootfs {
    pub(crate) dir: TempDir,
}

impl Rootfs {
    /// With busybox, the directories images have, and empty files where Docker mounts files.
    pub(crate) fn new() -> Self {
        let rootfs = Self::bare();
        for name in ["proc", "sys", "dev", "etc", "tmp", "root"] {
            fs::create_dir(rootfs.lower().join(name)).unwrap();
        }
        for name in ["resolv.conf", "hosts", "hostname"] {
            rootfs.write(&format!("etc/{name}"), "");
        }
        rootfs
    }

    /// With nothing but busybox.
    pub(crate) fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["lower/bin", "upper", "work"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let rootfs = Self { dir };
        let bin = rootfs.lower().join("bin");
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for name in [
            "sh", "ls", "cat", "id", "env", "sleep", "touch", "mkdir", "rm", "rmdir", "mknod",
            "mount", "umount", "unshare", "stat", "ps", "hostname", "readlink", "test", "tty",
            "stty", "dd", "grep", "ip", "true", "false", "chown", "chmod", "find", "head", "ln",
            "kill", "sort", "wc", "echo", "ping", "df", "mv", "ipcs", "tail", "setsid", "cp", "nc",
        ] {
            symlink("busybox", bin.join(name)).unwrap();
        }
        rootfs
    }

    pub(crate) fn lower(&self) -> PathBuf {
        self.dir.path().join("lower")
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.dir.path().join("upper")
    }

    /// A file of the image.
    pub(crate) fn write(&self, path: &str, contents: &str) {
        let path = self.lower().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    pub(crate) fn root(&self) -> Root {
        Root::Overlay {
            lowers: vec![self.lower()],
            upper: self.upper(),
            work: self.dir.path().join("work"),
            volatile: false,
        }
    }

    pub(crate) fn spec<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Spec {
        let mut spec = Spec::new(self.root(), args);
        spec.env = vec![PATH.to_owned()];
        spec
    }

    pub(crate) fn sh(&self, script: &str) -> Spec {
        self.spec(["sh", "-c", script])
    }

    /// Everything in the writable layer, sorted, directories with a slash behind.
    pub(crate) fn changes(&self) -> Vec<String> {
        tree(&self.upper())
    }
}

/// Everything below a directory, sorted, directories with a slash behind.
pub(crate) fn tree(dir: &Path) -> Vec<String> {
    fn walk(base: &Path, dir: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
            if path.symlink_metadata().unwrap().is_dir() {
                found.push(format!("{name}/"));
                walk(base, &path, found);
            } else {
                found.push(name);
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, dir, &mut found);
    found.sort();
    found
}

pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Standard output of a process that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.status.success(), "{:?}\n{}\n{}", self.status, self.stdout, self.stderr);
        self.stdout
    }
}

/// Both ends of a pipe: to read, to write.
pub(crate) fn pipe() -> (fs::File, OwnedFd) {
    let (read, write) = std::io::pipe().unwrap();
    (fs::File::from(OwnedFd::from(read)), write.into())
}

/// Connects pipes. Gives the ends for standard input, output and error.
pub(crate) fn connect(spec: &mut Spec) -> (fs::File, fs::File, fs::File) {
    let (stdin, input) = std::io::pipe().unwrap();
    let (output, stdout) = pipe();
    let (errors, stderr) = pipe();
    spec.stdio = Stdio::Fds { stdin: stdin.into(), stdout, stderr };
    (fs::File::from(OwnedFd::from(input)), output, errors)
}

/// Runs to the end.
pub(crate) fn run(spec: Spec) -> Output {
    try_run(spec, b"").unwrap()
}

pub(crate) fn try_run(mut spec: Spec, input: &[u8]) -> Result<Output, SandboxError> {
    let (mut stdin, mut stdout, mut stderr) = connect(&mut spec);
    let mut process = spawn(spec)?;
    stdin.write_all(input).unwrap();
    drop(stdin);
    let read = |file: &mut fs::File| {
        let mut text = Vec::new();
        file.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    };
    let errors = std::thread::spawn(move || read(&mut stderr));
    let stdout = read(&mut stdout);
    let stderr = errors.join().unwrap();
    Ok(Output { status: process.wait()?, stdout, stderr })
}

/// The error of something that must not start.
#[track_caller]
pub(crate) fn refused(spec: Spec) -> SandboxError {
    match spawn(spec) {
        Err(e) => e,
        Ok(process) => panic!("it runs: {process:?}"),
    }
}

/// The error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text.push_str(": ");
        text.push_str(&e.to_string());
        cause = e.source();
    }
    text
}

/// Runs a test of this program inside a container on the host's files, so that it can make system
/// calls no command makes. Gives what it prints.
pub(crate) fn probe(name: &str, prepare: impl FnOnce(&mut Spec)) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let (upper, work) = (dir.path().join("upper"), dir.path().join("work"));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    // Where it lies, a user without privileges may not get to it: in root's home, for example.
    fs::copy(std::env::current_exe().unwrap(), upper.join("probe")).unwrap();
    let root = Root::Overlay { lowers: vec!["/".into()], upper, work, volatile: true };
    let args = ["/probe", "--exact", name, "--nocapture", "--test-threads=1"];
    let mut spec = Spec::new(root, args);
    spec.env = vec!["BLD_PROBE=1".to_owned()];
    prepare(&mut spec);
    run(spec)
}

/// Whether this is such a run.
pub(crate) fn probing() -> bool {
    std::env::var_os("BLD_PROBE").is_some()
}
