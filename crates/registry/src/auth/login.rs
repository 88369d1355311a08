//! Keeping and forgetting credentials, where Docker and podman find them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::files::{Contents, registry_of, server_of};
use super::{Credential, CredentialError};

/// Keeps `credential` for `registry`: with the credential helper that the file at `path` names for
/// it, else in the file itself, which is what `true` says. Everything else in the file stays as it is.
///
/// # Errors
/// When the file is malformed or cannot be written, or the helper fails.
pub fn store(
    path: &Path,
    registry: &str,
    credential: &Credential,
) -> Result<bool, CredentialError> {
    if let Some(helper) = Contents::read(path)?.helper(registry) {
        return helper.store(server_of(registry), credential).map(|()| false);
    }
    let entry = match credential {
        Credential::Password { username, password } => {
            json!({ "auth": STANDARD.encode(format!("{username}:{password}")) })
        }
        Credential::IdentityToken(token) => json!({ "identitytoken": token }),
        Credential::AccessToken(_) => return Err(CredentialError::NotStorable),
    };
    edit(path, |auths| {
        auths.retain(|key, _| registry_of(key) != registry);
        auths.insert(server_of(registry).to_owned(), entry);
    })
    .map(|()| true)
}

/// Forgets what is kept for `registry`, in the file at `path` and with the helper it names.
///
/// # Errors
/// When the file is malformed or cannot be written, or the helper fails.
pub fn erase(path: &Path, registry: &str) -> Result<(), CredentialError> {
    if let Some(helper) = Contents::read(path)?.helper(registry) {
        helper.erase(server_of(registry))?;
    }
    if !path.exists() {
        return Ok(());
    }
    edit(path, |auths| auths.retain(|key, _| registry_of(key) != registry))
}

/// Changes the entries of the file at `path` and replaces it as a whole, readable by its owner
/// only.
fn edit(path: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), CredentialError> {
    let malformed = |reason: String| CredentialError::Malformed { path: path.to_owned(), reason };
    let failed =
        |action| move |source| CredentialError::File { action, path: path.to_owned(), source };
    let mut root: Map<String, Value> = match fs::read(path) {
        Ok(bytes) if !bytes.trim_ascii().is_empty() => {
            serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?
        }
        Ok(_) => Map::new(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
        Err(source) => return Err(failed("read")(source)),
    };
    let auths = root.entry("auths").or_insert_with(|| Value::Object(Map::new()));
    change(auths.as_object_mut().ok_or_else(|| malformed("\"auths\" is no object".to_owned()))?);
    let mut text =
        serde_json::to_vec_pretty(&root).map_err(|error| malformed(error.to_string()))?;
    text.push(b'\n');

    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed("create the directory of"))?;
    }
    // The file may be a link into a directory of settings: the target is what is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = target.clone().into_os_string();
    name.push(format!(".{}", std::process::id()));
    let temporary = Path::new(&name);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)
        .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(temporary, &target));
    written.map_err(|source| {
        let _ = fs::remove_file(temporary);
        failed("write")(source)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::auth::{CredentialFiles, Credentials as _};

    #[test]
    fn the_rest_of_the_file_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/config.json");
        let me = Credential::Password { username: "me".into(), password: "a:b".into() };
        let token = Credential::IdentityToken("t".into());
        store(&path, "docker.io", &me).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let mut root: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert!(root["auths"]["https://index.docker.io/v1/"].is_object(), "{root}");
        root["psFormat"] = "table".into();
        fs::write(&path, root.to_string()).unwrap();

        store(&path, "quay.io", &token).unwrap();
        let files = CredentialFiles::read([&path]).unwrap();
        assert_eq!(files.get("docker.io", "library/x").unwrap(), Some(me));
        assert_eq!(files.get("quay.io", "x").unwrap(), Some(token));

        erase(&path, "docker.io").unwrap();
        erase(&path, "not.there").unwrap();
        let files = CredentialFiles::read([&path]).unwrap();
        assert_eq!(files.get("docker.io", "library/x").unwrap(), None);
        assert!(files.get("quay.io", "x").unwrap().is_some());
        let root: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(root["psFormat"], "table");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no leftovers");
    }

    #[test]
    fn nothing_is_made_to_forget_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        erase(&path, "quay.io").unwrap();
        assert!(!path.exists());
        let access = Credential::AccessToken("t".into());
        assert!(matches!(store(&path, "quay.io", &access), Err(CredentialError::NotStorable)));
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (link, target) = (directory.path().join("link"), directory.path().join("target"));
        fs::write(&target, "{}").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let me = Credential::Password { username: "me".into(), password: "pw".into() };
        store(&link, "quay.io", &me).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&target).unwrap().contains("quay.io"));
    }
}
