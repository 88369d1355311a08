//! The [protocol of credential helpers][protocol]: `docker-credential-<name> get|store|erase`, a
//! server name or a JSON document on standard input, JSON on standard output.
//!
//! [protocol]: https://github.com/docker/docker-credential-helpers#development

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Credential, CredentialError};

/// A helper may ask a keyring or a cloud, but a user who waits longer sees a hang.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The name by which an identity token is told from a password.
const TOKEN_USER: &str = "<token>";

/// A credential helper, found on the search path.
#[derive(Debug, Clone)]
pub(super) struct Helper {
    program: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    username: String,
    secret: String,
}

impl Helper {
    /// The helper called `name` in a configuration file.
    pub(super) fn new(name: &str) -> Self {
        Self { program: format!("docker-credential-{name}") }
    }

    /// Asks for the credential of `server`.
    pub(super) fn get(&self, server: &str) -> Result<Option<Credential>, CredentialError> {
        let output = match self.run("get", server.as_bytes()) {
            // The only way in which the protocol says that there is none.
            Err(CredentialError::HelperFailed { reason, .. })
                if reason.to_ascii_lowercase().contains("credentials not found") =>
            {
                return Ok(None);
            }
            other => other?,
        };
        // The output is a secret: the error must not quote it.
        let entry: Entry = serde_json::from_slice(&output)
            .map_err(|_| self.failed("its answer is not the JSON expected"))?;
        Ok(match (entry.username.as_str(), entry.secret.as_str()) {
            ("", "") => None,
            (TOKEN_USER, _) => Some(Credential::IdentityToken(entry.secret)),
            _ => Some(Credential::Password { username: entry.username, password: entry.secret }),
        })
    }

    /// Has the credential of `server` kept.
    pub(super) fn store(
        &self,
        server: &str,
        credential: &Credential,
    ) -> Result<(), CredentialError> {
        let (username, secret) = match credential {
            Credential::Password { username, password } => (username.as_str(), password),
            Credential::IdentityToken(token) => (TOKEN_USER, token),
            Credential::AccessToken(_) => return Err(CredentialError::NotStorable),
        };
        let entry = Entry {
            server_url: server.to_owned(),
            username: username.to_owned(),
            secret: secret.clone(),
        };
        let entry = serde_json::to_vec(&entry).map_err(|error| self.failed(&error.to_string()))?;
        self.run("store", &entry).map(drop)
    }

    /// Has the credential of `server` forgotten.
    pub(super) fn erase(&self, server: &str) -> Result<(), CredentialError> {
        self.run("erase", server.as_bytes()).map(drop)
    }

    fn failed(&self, reason: &str) -> CredentialError {
        CredentialError::HelperFailed { program: self.program.clone(), reason: reason.to_owned() }
    }

    fn run(&self, verb: &str, input: &[u8]) -> Result<Vec<u8>, CredentialError> {
        let start = |source| CredentialError::HelperStart { program: self.program.clone(), source };
        let mut child = Command::new(&self.program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(start)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that ends without reading says why by its exit code.
            let _ = stdin.write_all(input);
        }
        let success = self.wait(&mut child)?;
        let mut output = Vec::new();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_end(&mut output).map_err(start)?;
        }
        if success {
            return Ok(output);
        }
        // On failure the output is a message for people.
        Err(self.failed(String::from_utf8_lossy(&output).trim()))
    }

    /// Waits for the end and says whether it was a good one. An answer fits into the pipe, so the
    /// helper needs no reader to come to its end.
    fn wait(&self, child: &mut Child) -> Result<bool, CredentialError> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status.success()),
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                ended => {
                    // Killing what has just ended fails, and that is fine.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(match ended {
                        Err(error) => self.failed(&error.to_string()),
                        Ok(_) => self.failed(&format!("no answer within {} s", TIMEOUT.as_secs())),
                    });
                }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use std::fs;

    use super::*;

    /// A helper that is this shell script.
    fn script(text: &str) -> (tempfile::TempDir, Helper) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("helper");
        let text = format!("#!/bin/sh\ncd {}\n{text}\n", directory.path().display());
        // Written by a process of its own: a descriptor of ours, open for writing, could be
        // inherited by what another thread starts, and the script would be busy.
        let written = Command::new("sh")
            .args(["-c", "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\""])
            .args([path.as_os_str(), text.as_ref()])
            .status();
        assert!(written.unwrap().success());
        (directory, Helper { program: path.to_str().unwrap().to_owned() })
    }

    #[test]
    fn a_password_is_kept_and_given_back() {
        let (directory, helper) = script(
            "case $1 in store) cat >kept;; get) cat >asked; cat kept;; erase) rm kept;; esac",
        );
        let me = Credential::Password { username: "me".into(), password: "pw\"".into() };
        helper.store("r.example", &me).unwrap();
        assert_eq!(helper.get("r.example").unwrap(), Some(me));
        assert_eq!(fs::read_to_string(directory.path().join("asked")).unwrap(), "r.example");
        let token = Credential::IdentityToken("t".into());
        helper.store("r.example", &token).unwrap();
        let kept = fs::read_to_string(directory.path().join("kept")).unwrap();
        assert!(kept.contains(r#""Username":"<token>""#), "{kept}");
        assert!(kept.contains(r#""ServerURL":"r.example""#), "{kept}");
        assert_eq!(helper.get("r.example").unwrap(), Some(token));
        helper.erase("r.example").unwrap();
        assert!(!directory.path().join("kept").exists());
    }

    #[test]
    fn not_found_is_no_error() {
        let (_directory, helper) =
            script("echo 'credentials not found in native keychain'; exit 1");
        assert_eq!(helper.get("r.example").unwrap(), None);
        let (_directory, helper) = script("echo '{\"Username\":\"\",\"Secret\":\"\"}'");
        assert_eq!(helper.get("r.example").unwrap(), None);
    }

    #[test]
    fn failures_are_told_without_secrets() {
        let (_directory, helper) = script("echo 'the keyring is locked'; exit 1");
        let error = helper.get("r.example").unwrap_err().to_string();
        assert!(error.ends_with("failed: the keyring is locked"), "{error}");
        let (_directory, helper) = script("echo '{\"Secret\":\"s3cret\"}'");
        let error = helper.get("r.example").unwrap_err().to_string();
        assert!(
            error.ends_with("is not the JSON expected") && !error.contains("s3cret"),
            "{error}"
        );
        let error = Helper::new("bld-test-none").get("r.example").unwrap_err();
        assert!(matches!(error, CredentialError::HelperStart { .. }), "{error}");
    }
}
