//! Docker's `config.json` and podman's `auth.json`, which share one form.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::helper::Helper;
use super::{Credential, CredentialError, Credentials};

/// What Docker calls Docker Hub in its files.
pub(super) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Credentials kept in files, and in the credential helpers that the files name.
///
/// The first file that knows a registry wins. Within a file, a helper for the registry comes
/// before the helper for all, and both before what is written in the file itself, where podman's
/// rule holds: an entry for a repository or a namespace comes before the one for the registry.
#[derive(Debug, Clone, Default)]
pub struct CredentialFiles {
    files: Vec<(PathBuf, Contents)>,
}

/// What is read of a file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Contents {
    auths: BTreeMap<String, Auth>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Auth {
    #[serde(rename = "auth")]
    basic: String,
    username: String,
    password: String,
    #[serde(rename = "identitytoken")]
    identity_token: String,
    #[serde(rename = "registrytoken")]
    registry_token: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(...)")
    }
}

impl CredentialFiles {
    /// Reads `paths`, the one to look into first in front. A file that does not exist is empty.
    ///
    /// # Errors
    /// When a file cannot be read or is malformed.
    pub fn read(
        paths: impl IntoIterator<Item = impl Into<PathBuf>>,
    ) -> Result<Self, CredentialError> {
        let read = |path: PathBuf| Ok((path.clone(), Contents::read(&path)?));
        let files = paths.into_iter().map(Into::into).map(read).collect::<Result<_, _>>()?;
        Ok(Self { files })
    }
}

impl Contents {
    pub(super) fn read(path: &Path) -> Result<Self, CredentialError> {
        match fs::read(path) {
            Ok(bytes) if bytes.trim_ascii().is_empty() => Ok(Self::default()),
            // The message of the parser names line, column and expectation, never a value.
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                CredentialError::Malformed { path: path.to_owned(), reason: error.to_string() }
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => {
                Err(CredentialError::File { action: "read", path: path.to_owned(), source })
            }
        }
    }

    /// The helper that is responsible for `registry`.
    pub(super) fn helper(&self, registry: &str) -> Option<Helper> {
        let own = self.helpers.iter().find(|(key, _)| registry_of(key) == registry);
        let name = own.map(|(_, name)| name).or(self.store.as_ref())?;
        (!name.is_empty()).then(|| Helper::new(name))
    }

    fn entry(&self, registry: &str, repository: &str) -> Option<&Auth> {
        let full = format!("{registry}/{repository}");
        let mut name = full.as_str();
        loop {
            let found = self.auths.iter().find(|(key, _)| registry_of(key) == name);
            if let Some((_, auth)) = found {
                return Some(auth);
            }
            name = name.rsplit_once('/')?.0;
        }
    }
}

impl Credentials for CredentialFiles {
    fn get(&self, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialError> {
        let mut result = Ok(None);
        for (path, contents) in &self.files {
            let helper = contents.helper(registry);
            let entry = contents.entry(registry, repository);
            let sources: [&dyn Fn() -> _; 2] = [
                &|| helper.as_ref().map_or(Ok(None), |helper| helper.get(server_of(registry))),
                &|| entry.map_or(Ok(None), |entry| entry.credential(path)),
            ];
            for source in sources {
                match source() {
                    Ok(None) => {}
                    Ok(found) => return Ok(found),
                    // What does not work here may not be needed: somebody else may know.
                    Err(error) => result = Err(error),
                }
            }
        }
        result
    }
}

impl Auth {
    /// The credential, `None` for the empty entries that Docker writes beside a helper.
    fn credential(&self, path: &Path) -> Result<Option<Credential>, CredentialError> {
        if !self.identity_token.is_empty() {
            return Ok(Some(Credential::IdentityToken(self.identity_token.clone())));
        }
        if !self.registry_token.is_empty() {
            return Ok(Some(Credential::AccessToken(self.registry_token.clone())));
        }
        if self.basic.is_empty() {
            let (username, password) = (self.username.clone(), self.password.clone());
            let known = !username.is_empty();
            return Ok(known.then_some(Credential::Password { username, password }));
        }
        let decoded =
            STANDARD.decode(self.basic.trim()).ok().and_then(|b| String::from_utf8(b).ok());
        match decoded.as_deref().and_then(|text| text.split_once(':')) {
            Some((username, password)) => Ok(Some(Credential::Password {
                username: username.to_owned(),
                password: password.trim_end_matches('\0').to_owned(),
            })),
            None => Err(CredentialError::Malformed {
                path: path.to_owned(),
                reason: "an \"auth\" is not the base64 of user:password".to_owned(),
            }),
        }
    }
}

/// The name of a registry in references for a key of a file, which may be a URL.
pub fn registry_of(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    match key {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

/// The name of a registry towards a helper, and in Docker's file.
pub fn server_of(registry: &str) -> &str {
    if registry == "docker.io" { DOCKER_HUB_KEY } else { registry }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    /// The credentials of files with these contents.
    fn files(contents: &[serde_json::Value]) -> CredentialFiles {
        let directory = tempfile::tempdir().unwrap();
        let write = |(n, content): (usize, &serde_json::Value)| {
            let path = directory.path().join(n.to_string());
            fs::write(&path, content.to_string()).unwrap();
            path
        };
        let paths: Vec<_> = contents.iter().enumerate().map(write).collect();
        CredentialFiles::read(paths).unwrap()
    }

    fn basic(username: &str) -> serde_json::Value {
        json!({ "auth": STANDARD.encode(format!("{username}:pw:with:colons")) })
    }

    fn user(files: &CredentialFiles, registry: &str, repository: &str) -> Option<String> {
        match files.get(registry, repository).unwrap()? {
            Credential::Password { username, password } => {
                assert_eq!(password, "pw:with:colons");
                Some(username)
            }
            other => Some(format!("{other:?}")),
        }
    }

    #[test]
    fn registries_have_many_spellings() {
        for key in [
            "https://index.docker.io/v1/",
            "https://index.docker.io/v1",
            "index.docker.io",
            "docker.io",
            "https://registry-1.docker.io/v2/",
        ] {
            let files = files(&[json!({ "auths": { key: basic("me") } })]);
            assert_eq!(
                user(&files, "docker.io", "library/busybox").as_deref(),
                Some("me"),
                "{key}"
            );
            assert_eq!(user(&files, "quay.io", "a"), None);
        }
        let files = files(&[json!({ "auths": { "http://r.example:5000/": basic("me") } })]);
        assert!(user(&files, "r.example:5000", "a").is_some());
        assert!(user(&files, "r.example", "a").is_none());
    }

    #[test]
    fn the_closest_namespace_wins_and_the_first_file_before() {
        let auths = json!({
            "quay.io": basic("all"),
            "quay.io/team": basic("team"),
            "quay.io/team/app": basic("app"),
        });
        let only = files(&[json!({ "auths": auths })]);
        for (repository, expected) in
            [("team/app", "app"), ("team/app/x", "app"), ("team/other", "team"), ("teams", "all")]
        {
            assert_eq!(
                user(&only, "quay.io", repository).as_deref(),
                Some(expected),
                "{repository}"
            );
        }
        let first = json!({ "auths": { "quay.io": basic("first") } });
        let both = files(&[first, json!({ "auths": auths })]);
        assert_eq!(user(&both, "quay.io", "team/app").as_deref(), Some("first"));
    }

    #[test]
    fn tokens_and_plain_fields_are_understood() {
        let files = files(&[json!({ "auths": {
            "a": { "identitytoken": "t", "auth": STANDARD.encode("x:") },
            "b": { "registrytoken": "t" },
            "c": { "username": "me", "password": "pw:with:colons" },
            "d": {},
        }, "HttpHeaders": { "ignored": "yes" } })]);
        assert_eq!(user(&files, "a", "x").as_deref(), Some("IdentityToken(...)"));
        assert_eq!(user(&files, "b", "x").as_deref(), Some("AccessToken(...)"));
        assert_eq!(user(&files, "c", "x").as_deref(), Some("me"));
        assert_eq!(user(&files, "d", "x"), None);
    }

    #[test]
    fn a_helper_that_is_not_there_does_not_hide_the_rest() {
        let broken = json!({ "credsStore": "bld-test-none", "auths": { "a": basic("me") } });
        let files = files(&[broken]);
        assert_eq!(user(&files, "a", "x").as_deref(), Some("me"));
        let error = files.get("b", "x").unwrap_err();
        assert!(matches!(error, CredentialError::HelperStart { .. }), "{error}");
    }

    #[test]
    fn a_broken_file_is_named_and_not_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        fs::write(&path, "").unwrap();
        assert!(CredentialFiles::read([&path]).is_ok(), "an empty file is no error");
        fs::write(&path, r#"{"auths":{"a":{"auth":"s3cret","#).unwrap();
        let error = CredentialFiles::read([&path]).unwrap_err().to_string();
        assert!(error.contains("config.json") && !error.contains("s3cret"), "{error}");
        fs::write(&path, r#"{"auths":{"a":{"auth":"s3cret!"}}}"#).unwrap();
        let error = CredentialFiles::read([&path]).unwrap().get("a", "x").unwrap_err().to_string();
        assert!(error.contains("base64") && !error.contains("s3cret"), "{error}");
    }
}
