//! SSH keys from files: an agent of our own holds them for as long as a build takes.
//!
//! It is OpenSSH's, which reads every form of a key there is. It ends with us, however we end: a
//! shell beside it waits for the end of a pipe that only we write to. The kernel's signal at a
//! parent's death is nothing to rely on here: programs that are installed with a group of their own,
//! as the agent is on Debian, lose it.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bld_store::{Scratch, Store};

use crate::error::IoContext as _;
use crate::{Engine, EngineError, Result};

/// How long an agent may take to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// An agent with keys; gone when dropped.
#[derive(Debug)]
pub struct KeyAgent {
    /// The shell that the agent's process has become; the agent is its child.
    watch: Child,
    dir: Scratch,
}

/// Waits for the end of its input, then ends the agent, which may have inherited that it does not
/// hear of softer signals.
const WATCH: &str = "cat > /dev/null; kill -KILL \"$SSH_AGENT_PID\"";

/// The agent's socket, in its directory.
const SOCKET: &str = "agent";

impl Engine {
    /// Starts an agent with the private keys in `files`.
    ///
    /// # Errors
    /// [`EngineError::SshKey`] when a file holds no key that can be used without asking for a
    /// passphrase, [`EngineError::NoOpenSsh`] when there is no agent to start.
    pub fn key_agent(&self, files: &[PathBuf]) -> Result<KeyAgent> {
        KeyAgent::start(self.store()?, files)
    }
}

impl KeyAgent {
    fn start(store: &Store, files: &[PathBuf]) -> Result<Self> {
        let dir = store.scratch()?;
        let mut command = Command::new("ssh-agent");
        // The path may be longer than the name of a socket can be.
        command.args(["-a", SOCKET, "/bin/sh", "-c", WATCH]).current_dir(dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let watch = command.spawn().map_err(|error| not_there("ssh-agent", error))?;
        let mut agent = Self { watch, dir };
        agent.wait()?;
        for file in files {
            agent.add(file)?;
        }
        Ok(agent)
    }

    /// Where the agent listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join(SOCKET)
    }

    fn wait(&mut self) -> Result<()> {
        let begun = Instant::now();
        let dir = File::open(self.dir.path()).at("open", self.dir.path())?;
        let socket = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
        // It is there a moment before anybody listens.
        while UnixStream::connect(&socket).is_err() {
            let ended = self.watch.try_wait().at("wait for", "ssh-agent")?;
            if ended.is_some() || begun.elapsed() > PATIENCE {
                let what = "ssh-agent does not start".to_owned();
                return Err(EngineError::Invalid { what });
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn add(&self, file: &Path) -> Result<()> {
        let refused = |reason: String| EngineError::SshKey { path: file.to_owned(), reason };
        let mut key = Vec::new();
        let opened = File::open(file).at("open", file)?;
        opened.take(LARGEST).read_to_end(&mut key).at("read", file)?;
        // By way of its standard input: it would refuse a file that others may read.
        let mut command = Command::new("ssh-add");
        command.arg("-").env("SSH_AUTH_SOCK", SOCKET).current_dir(self.dir.path());
        // Nobody is to be asked for a passphrase.
        command.env("SSH_ASKPASS_REQUIRE", "force").env("SSH_ASKPASS", "/bin/false");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut adding = command.spawn().map_err(|error| not_there("ssh-add", error))?;
        if let Some(mut stdin) = adding.stdin.take() {
            // It may have seen enough before the end.
            let _ = std::io::Write::write_all(&mut stdin, &key);
        }
        let output = adding.wait_with_output().at("wait for", "ssh-add")?;
        if output.status.success() {
            return Ok(());
        }
        // Of a key that it does not get a passphrase for, it says nothing.
        let said = String::from_utf8_lossy(&output.stderr);
        Err(refused(match said.trim() {
            "" => "it is encrypted: add it to an ssh-agent of yours, and give that".to_owned(),
            said => format!("it is not a private key ({said})"),
        }))
    }
}

/// The most that is read of a key, bytes.
const LARGEST: u64 = 100 << 10;

fn not_there(program: &'static str, error: std::io::Error) -> EngineError {
    if error.kind() == ErrorKind::NotFound {
        EngineError::NoOpenSsh { program }
    } else {
        EngineError::Io { action: "start", path: program.into(), source: error }
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        // It has nothing to clean up but what is removed with its directory.
        let _ = self.watch.wait();
    }
}
