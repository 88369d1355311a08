//! A registry for tests.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::Cmd;

/// An empty `docker-registry` on a free port of loopback, ended and emptied when dropped.
pub struct Registry {
    port: u16,
    process: Child,
    directory: TempDir,
}

impl Registry {
    /// Starts one and waits until it answers.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts one with settings given as the registry's environment variables, e.g.
    /// `REGISTRY_HTTP_TLS_KEY`.
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        let mut last = None;
        // Between finding a free port and using it, somebody else may take it.
        for _ in 0..5 {
            match Self::try_start(settings) {
                Ok(registry) => return Ok(registry),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("at least one attempt was made"))
    }

    fn try_start(settings: &[(&str, &str)]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("bld-registry-").tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let config = directory.path().join("config.yml");
        let data = directory.path().join("data");
        fs::write(
            &config,
            format!(
                "version: 0.1\n\
                 log: {{level: error, accesslog: {{disabled: true}}}}\n\
                 storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
                 http: {{addr: '127.0.0.1:{port}'}}\n",
                data.display()
            ),
        )?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.path().join("log"))?)
            .spawn()
            .context("start docker-registry (package docker-registry)")?;
        let mut registry = Self { port, process, directory };
        for _ in 0..200 {
            if let Some(status) = registry.process.try_wait()? {
                let log = fs::read_to_string(registry.directory.path().join("log"))?;
                bail!("docker-registry ended with {status}: {log}");
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(registry);
            }
            thread::sleep(Duration::from_millis(25));
        }
        bail!("docker-registry does not answer on port {port}")
    }

    /// `127.0.0.1:PORT`, the first part of its images' names.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The directory with its blobs and links, e.g. to damage them.
    pub fn data(&self) -> std::path::PathBuf {
        self.directory.path().join("data/docker/registry/v2")
    }

    /// Uploads an OCI archive as `name` (repository and tag), with skopeo.
    pub fn upload(&self, archive: &Path, name: &str) {
        Cmd::new("skopeo")
            .args(["copy", "--quiet", "--dest-tls-verify=false"])
            .arg(format!("oci-archive:{}", archive.display()))
            .arg(format!("docker://{}/{name}", self.host()))
            .ok();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
