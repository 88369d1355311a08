//! Running git, apart from the configuration of whoever runs us.

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use bld_dockerfile::value::redacted;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::watch::Watch;
use crate::Remote;
use crate::error::{RemoteError, Result};

/// Settings of every command, by key.
const SETTINGS: [(&str, &str); 7] = [
    // A repository must not name files of this machine as its submodules.
    ("protocol.file.allow", "user"),
    ("core.hooksPath", "/dev/null"),
    ("init.templateDir", ""),
    ("init.defaultBranch", "main"),
    ("gc.auto", "0"),
    // A server that sends less than a byte a second for a minute is given up.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
];

/// git for one repository.
pub(super) struct Git<'a> {
    context: &'a Remote,
    remote: String,
    dir: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
}

impl<'a> Git<'a> {
    pub(super) fn new(context: &'a Remote, remote: &str) -> Self {
        let access = context.access();
        let mut environment = access.environment.clone();
        let mut set = |name: &str, value: &OsStr| environment.push((name.into(), value.to_owned()));
        set("GIT_TERMINAL_PROMPT", "0".as_ref());
        set("GIT_CONFIG_NOSYSTEM", "1".as_ref());
        set("GIT_CONFIG_GLOBAL", "/dev/null".as_ref());
        set("HOME", "/dev/null".as_ref());
        // Messages are looked into.
        set("LC_ALL", "C".as_ref());
        set("GIT_SSH_COMMAND", ssh(&access.known_hosts).as_ref());
        if let Some(agent) = &access.ssh_agent {
            set("SSH_AUTH_SOCK", agent.as_os_str());
        }
        let mut remote = remote.to_owned();
        let headers = context.git_headers(&mut remote).into_iter().map(|(scope, value)| {
            (format!("http.{scope}.extraHeader"), format!("Authorization: {value}"))
        });
        let settings = SETTINGS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let settings: Vec<_> = settings.chain(headers).collect();
        // By the environment, which nobody but root and this user can see, not by arguments.
        set("GIT_CONFIG_COUNT", settings.len().to_string().as_ref());
        for (number, (key, value)) in settings.iter().enumerate() {
            set(&format!("GIT_CONFIG_KEY_{number}"), key.as_ref());
            set(&format!("GIT_CONFIG_VALUE_{number}"), value.as_ref());
        }
        Self { context, remote, dir: None, environment }
    }

    /// The same in the work tree `dir`.
    pub(super) fn at(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// The repository, without a login that is sent as a header.
    pub(super) fn remote(&self) -> &str {
        &self.remote
    }

    /// Runs git with `arguments` to `action` the repository, and gives what it writes.
    pub(super) fn run(&self, action: &'static str, arguments: &[&str]) -> Result<String> {
        self.check_canceled()?;
        let mut command = Command::new("git");
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that its helpers end with it.
            .process_group(0);
        match &self.dir {
            Some(dir) => command.current_dir(dir),
            // Where we are may be a work tree, whose configuration is none of ours.
            None => command.env("GIT_DIR", "/dev/null"),
        };
        let mut child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => RemoteError::NoGit { remote: redacted(&self.remote) },
            _ => RemoteError::io("start git")(error),
        })?;
        let group = Pid::from_raw(child.id().cast_signed());
        let _watch = Watch::over(group).map_err(RemoteError::io("start /bin/sh"))?;
        let _guard = self.context.cancel().on_cancel(move || {
            let _ = killpg(group, Signal::SIGKILL);
        });
        let (mut out, mut err) = (String::new(), Vec::new());
        let stderr = child.stderr.take();
        let read = thread::scope(|scope| {
            let reader = scope.spawn(|| stderr.map(|mut pipe| pipe.read_to_end(&mut err)));
            let read = child.stdout.take().map(|mut pipe| pipe.read_to_string(&mut out));
            let _ = reader.join();
            read.transpose()
        });
        let status = child.wait().map_err(RemoteError::io("wait for git"))?;
        self.check_canceled()?;
        read.map_err(RemoteError::io("read what git writes"))?;
        if status.success() {
            return Ok(out);
        }
        let message = self.message(&String::from_utf8_lossy(&err), &status.to_string());
        Err(RemoteError::Git { action, remote: redacted(&self.remote), message })
    }

    /// # Errors
    /// [`RemoteError::Canceled`] once the caller asked to stop.
    fn check_canceled(&self) -> Result<()> {
        if self.context.cancel().is_canceled() { Err(RemoteError::Canceled) } else { Ok(()) }
    }

    /// What git says, in one line and without passwords.
    fn message(&self, said: &str, status: &str) -> String {
        let said = said.replace(&self.remote, &redacted(&self.remote));
        let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
        let shown: Vec<_> = lines.map(|line| line.trim_start_matches("fatal: ")).collect();
        if shown.is_empty() { status.to_owned() } else { shown.join("; ") }
    }
}

/// The command that git reaches SSH servers by: hosts that are known must have the key they are
/// known by, others are believed, as a build has nobody to ask.
fn ssh(known_hosts: &[PathBuf]) -> OsString {
    let mut command = OsString::from(
        "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=20",
    );
    // What is accepted is forgotten in the first of the files; those that are missing are none.
    command.push(" -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile='/dev/null");
    for file in known_hosts {
        command.push(" ");
        command.push(quoted(file));
    }
    command.push("'");
    command
}

/// `file` as ssh takes it among the values of an option, which stand in single quotes of the shell.
fn quoted(file: &Path) -> OsString {
    let mut quoted = vec![b'"'];
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend([b'\\', *byte]),
            b'%' => quoted.extend(b"%%"),
            b'\'' => quoted.extend(br"'\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'"');
    OsString::from_vec(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_known_hosts_may_have_any_name() {
        let command = ssh(&["/a b/k".into(), "/it's/\"%h".into()]);
        let option = r#"UserKnownHostsFile='/dev/null "/a b/k" "/it'\''s/\"%%h"'"#;
        assert!(command.to_string_lossy().ends_with(option), "{}", command.display());
    }
}
