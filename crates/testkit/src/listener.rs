//! Processes that listen.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use tempfile::TempDir;

/// A process that listens on a port of loopback, ended when dropped.
pub(crate) struct Listener {
    /// Where it listens.
    pub(crate) port: u16,
    pub(crate) process: Child,
    /// The directory it was given.
    pub(crate) directory: TempDir,
}

impl Listener {
    /// Starts what `command` makes of a directory of its own and a free port, and waits until it
    /// answers.
    pub(crate) fn start(
        package: &str,
        command: impl Fn(&Path, u16) -> Result<Command>,
    ) -> Result<Self> {
        let mut last = None;
        // Between finding a free port and using it, somebody else may take it.
        for _ in 0..5 {
            match Self::try_start(&command) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        let error = last.expect("at least one attempt was made");
        Err(error.context(format!("start a server (package {package})")))
    }

    fn try_start(command: impl Fn(&Path, u16) -> Result<Command>) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("bld-server-").tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let log = directory.path().join("log");
        let mut command = command(directory.path(), port)?;
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()?;
        let mut listener = Self { port, process, directory };
        for _ in 0..200 {
            if let Some(status) = listener.process.try_wait()? {
                bail!("it ended with {status}: {}", fs::read_to_string(&log)?);
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(listener);
            }
            thread::sleep(Duration::from_millis(25));
        }
        bail!("it does not answer on port {port}")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
