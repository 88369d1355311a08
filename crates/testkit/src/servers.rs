//! Servers that builds bring files from: HTTP, git and SSH, the real ones, on loopback.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{Cmd, listener::Listener};

/// Where Debian has git's part of a web server.
const GIT_HTTP_BACKEND: &str = "/usr/lib/git-core/git-http-backend";

/// A lighttpd that serves a directory at `/` with `ETag` and `Last-Modified`, and the bare
/// repositories in it at `/git/` by git's own backend.
pub struct WebServer {
    listener: Listener,
}

impl WebServer {
    /// Serves `root`.
    pub fn start(root: &Path) -> Result<Self> {
        Self::start_with(root, "")
    }

    /// Serves `root`; what is below `/private/` and `/git/` only to requests whose `Authorization`
    /// header is `authorization`.
    pub fn start_private(root: &Path, authorization: &str) -> Result<Self> {
        Self::start_with(
            root,
            &format!(
                "$HTTP[\"url\"] =~ \"^/(private|git)/\" {{\n\
                 $REQUEST_HEADER[\"Authorization\"] != \"{authorization}\" {{\n\
                 url.access-deny = ( \"\" )\n}}\n}}\n"
            ),
        )
    }

    fn start_with(root: &Path, more: &str) -> Result<Self> {
        let listener = Listener::start("lighttpd", |directory, port| {
            let config = directory.join("config");
            let (root, log) = (root.display(), directory.join("access.log"));
            fs::write(
                &config,
                format!(
                    "server.modules = ( \"mod_access\", \"mod_alias\", \"mod_setenv\", \"mod_cgi\", \
                     \"mod_accesslog\" )\n\
                     server.document-root = \"{root}\"\nserver.port = {port}\n\
                     server.bind = \"127.0.0.1\"\n{more}\
                     mimetype.assign = ( \"\" => \"application/octet-stream\" )\n\
                     server.stat-cache-engine = \"disable\"\n\
                     index-file.names = ( \"index.html\" )\n\
                     accesslog.filename = \"{}\"\n\
                     accesslog.format = \"%m %U %s\"\n\
                     $HTTP[\"url\"] =~ \"^/git/\" {{\n\
                     alias.url = ( \"/git/\" => \"{GIT_HTTP_BACKEND}/\" )\n\
                     cgi.assign = ( \"\" => \"\" )\n\
                     setenv.add-environment = ( \"GIT_PROJECT_ROOT\" => \"{root}\", \
                     \"GIT_HTTP_EXPORT_ALL\" => \"1\" )\n}}\n",
                    log.display()
                ),
            )?;
            let mut command = Command::new("lighttpd");
            command.arg("-D").arg("-f").arg(config);
            Ok(command)
        })?;
        Ok(Self { listener })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.listener.port)
    }

    /// The requests so far, as `GET /path 200`.
    pub fn requests(&self) -> Vec<String> {
        // They are written at once only when asked for.
        let hang_up = ["-HUP", &self.listener.process.id().to_string()].map(str::to_owned);
        Cmd::new("kill").args(hang_up).ok();
        thread::sleep(Duration::from_millis(100));
        let log = fs::read_to_string(self.listener.directory.path().join("access.log"));
        log.unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

/// A `git daemon` that serves all repositories of a directory.
pub struct GitDaemon {
    listener: Listener,
}

impl GitDaemon {
    /// Serves `root`.
    pub fn start(root: &Path) -> Result<Self> {
        let listener = Listener::start("git", |_, port| {
            // Not `git daemon`, which would be a process between us and the one that listens.
            let mut command = Command::new("/usr/lib/git-core/git-daemon");
            command
                .args(["--export-all", "--listen=127.0.0.1", "--reuseaddr"])
                .arg(format!("--port={port}"))
                .arg(format!("--base-path={}", root.display()))
                .arg(root);
            Ok(command)
        })?;
        Ok(Self { listener })
    }

    /// `git://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("git://127.0.0.1:{}", self.listener.port)
    }
}

/// An sshd that lets root in with one key, and that key.
pub struct SshServer {
    listener: Listener,
    /// The private key that is let in.
    pub key: PathBuf,
}

impl SshServer {
    /// Starts one.
    pub fn start() -> Result<Self> {
        // Where sshd is confined to before somebody is let in.
        fs::create_dir_all("/run/sshd")?;
        let listener = Listener::start("openssh-server", |directory, port| {
            let file = |name: &str| directory.join(name).display().to_string();
            for name in ["host", "key"] {
                Cmd::new("ssh-keygen")
                    .args(["-q", "-t", "ed25519", "-N", "", "-f", &file(name)])
                    .ok();
            }
            fs::copy(file("key.pub"), file("authorized"))?;
            fs::set_permissions(file("authorized"), fs::Permissions::from_mode(0o600))?;
            fs::write(
                file("config"),
                format!(
                    "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\n\
                     PermitRootLogin yes\nPasswordAuthentication no\nUsePAM no\nStrictModes no\n\
                     PidFile none\n",
                    file("host"),
                    file("authorized")
                ),
            )?;
            let mut command = Command::new("/usr/sbin/sshd");
            command.args(["-D", "-e", "-f", &file("config")]);
            Ok(command)
        })?;
        let key = listener.directory.path().join("key");
        Ok(Self { listener, key })
    }

    /// `ssh://root@127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("ssh://root@127.0.0.1:{}", self.listener.port)
    }

    /// A line for `known_hosts` with a key that is not the server's.
    pub fn wrong_known_host(&self) -> String {
        let key = fs::read_to_string(self.key.with_extension("pub")).expect("read a key");
        format!("[127.0.0.1]:{} {key}", self.listener.port)
    }
}

/// An `ssh-agent` with one key, ended when dropped.
pub struct SshAgent {
    process: Child,
    /// Its socket.
    pub socket: PathBuf,
    _directory: TempDir,
}

impl SshAgent {
    /// Starts one that holds `key`.
    pub fn start(key: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("bld-agent-").tempdir()?;
        let socket = directory.path().join("agent");
        let process = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("start ssh-agent (package openssh-client)")?;
        let agent = Self { process, socket, _directory: directory };
        for _ in 0..200 {
            if agent.socket.exists() {
                Cmd::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &agent.socket).ok();
                return Ok(agent);
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("ssh-agent does not listen")
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A git repository with a work tree.
pub struct Repository {
    path: PathBuf,
}

impl Repository {
    /// Makes an empty one in `path`.
    pub fn init(path: PathBuf) -> Self {
        let repository = Self { path };
        fs::create_dir_all(&repository.path).expect("make a directory");
        repository.git(["init", "-q", "-b", "main", "."]);
        repository.git(["config", "user.name", "A"]);
        repository.git(["config", "user.email", "a@example.invalid"]);
        repository
    }

    /// Runs git in it.
    pub fn git<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> String {
        let output = Cmd::new("git")
            .args(["-c", "protocol.file.allow=always"])
            .args(arguments)
            .cwd(&self.path)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_AUTHOR_DATE", "2001-02-03T04:05:06Z")
            .env("GIT_COMMITTER_DATE", "2001-02-03T04:05:06Z")
            .ok();
        output.text().to_owned()
    }

    /// Writes a file and commits everything; the commit.
    pub fn commit(&self, file: &str, contents: &str) -> String {
        let path = self.path.join(file);
        fs::create_dir_all(path.parent().expect("a file has a directory"))
            .expect("make directories");
        fs::write(path, contents).expect("write a file");
        self.git(["add", "-A"]);
        self.git(["commit", "-q", "-m", file]);
        self.git(["rev-parse", "HEAD"])
    }

    /// Clones it as the bare repository `to`.
    pub fn publish(&self, to: &Path) {
        let _ = fs::remove_dir_all(to);
        Cmd::new("git").args(["clone", "-q", "--bare"]).arg(&self.path).arg(to).ok();
    }
}
