//! A registry for tests.

use std::{fs, path::Path, process::Command};

use anyhow::Result;

use crate::{Cmd, listener::Listener};

/// An empty `docker-registry` on a free port of loopback, ended and emptied when dropped.
pub struct Registry(Listener);

impl Registry {
    /// Starts one and waits until it answers.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts one with settings given as the registry's environment variables, e.g.
    /// `REGISTRY_HTTP_TLS_KEY`.
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        let listener = Listener::start("docker-registry", |directory, port| {
            let config = directory.join("config.yml");
            fs::write(
                &config,
                format!(
                    "version: 0.1\n\
                     log: {{level: error, accesslog: {{disabled: true}}}}\n\
                     storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
                     http: {{addr: '127.0.0.1:{port}'}}\n",
                    directory.join("data").display()
                ),
            )?;
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(&config).envs(settings.iter().copied());
            Ok(command)
        })?;
        Ok(Self(listener))
    }

    /// `127.0.0.1:PORT`, the first part of its images' names.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.0.port)
    }

    /// The directory with its blobs and links, e.g. to damage them.
    pub fn data(&self) -> std::path::PathBuf {
        self.0.directory.path().join("data/docker/registry/v2")
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
