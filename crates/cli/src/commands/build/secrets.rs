//! `--secret`, `--ssh` and `--allow`: what a build is trusted with.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use bld_engine::build::Secret;

use super::outputs::fields;
use crate::error::Failure;

/// BuildKit's limit on a secret, which mounts of secrets rely on.
const SECRET_LIMIT: u64 = 500 << 10;

/// What can be allowed to a build.
const ENTITLEMENTS: [&str; 4] =
    ["network.host", "security.insecure", "device", "buildx.local.delete"];

/// `id=ID[,src=PATH|env=NAME][,type=file|env]`, one field of CSV for each. Later ones of the same id
/// count.
pub(super) fn secrets(words: &[String]) -> Result<BTreeMap<String, Secret>, Failure> {
    words.iter().filter(|word| !word.is_empty()).map(|word| secret(word)).collect()
}

fn secret(word: &str) -> Result<(String, Secret), Failure> {
    let invalid = |why: &str| Failure::new(format!("invalid secret {word:?}: {why}"));
    let (id, source) = parse(word).map_err(|why| invalid(&why))?;
    let value = match source {
        // As docker: a variable that is not set is an empty secret.
        Source::Variable(name) => {
            std::env::var_os(name).map(OsStringExt::into_vec).unwrap_or_default()
        }
        Source::File(path) => read(&path).map_err(|why| invalid(&why))?,
    };
    if value.len() as u64 > SECRET_LIMIT {
        return Err(invalid("a secret holds at most 500 KiB"));
    }
    Ok((id, Secret { value }))
}

/// One line for each secret that is empty because a variable is not set.
pub(super) fn notes(words: &[String]) -> Vec<String> {
    let unset = words.iter().filter_map(|word| match parse(word) {
        Ok((id, Source::Variable(name))) if std::env::var_os(&name).is_none() => {
            Some(format!("note: the secret {id} is empty: the variable {name} is not set"))
        }
        _ => None,
    });
    unset.collect()
}

/// Where a secret is.
enum Source {
    Variable(String),
    File(String),
}

fn parse(word: &str) -> Result<(String, Source), String> {
    let (mut id, mut path, mut env, mut kind) = (None, None, None, None);
    for field in fields(word) {
        let (key, value) = field.split_once('=').ok_or("fields must be key=value pairs")?;
        let value = Some(value.to_owned()).filter(|value| !value.is_empty());
        match key.to_ascii_lowercase().as_str() {
            "id" => id = value,
            "source" | "src" => path = value,
            "env" => env = value,
            "type" if matches!(value.as_deref(), Some("file" | "env")) => kind = value,
            "type" => return Err("the types are file and env".to_owned()),
            other => {
                let near = bld_dockerfile::suggest(other, ["id", "src", "env", "type"].into_iter());
                let near = near.map_or_else(String::new, |near| format!(", did you mean {near}?"));
                return Err(format!("unexpected key '{other}'{near}"));
            }
        }
    }
    let id = id.ok_or("id is required")?;
    let source = match (kind.as_deref(), env, path) {
        (_, Some(name), _) => Source::Variable(name),
        // Docker takes `src` for the variable then.
        (Some("env"), None, name) => Source::Variable(name.unwrap_or_else(|| id.clone())),
        (_, None, Some(path)) => Source::File(path),
        (None, None, None) if std::env::var_os(&id).is_some() => Source::Variable(id.clone()),
        (_, None, None) => Source::File(id.clone()),
    };
    Ok((id, source))
}

/// A little more than the limit at most: what is named may be a device.
fn read(path: &str) -> Result<Vec<u8>, String> {
    let mut value = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SECRET_LIMIT + 1).read_to_end(&mut value))
        .map_err(|error| format!("read {path}: {error}"))?;
    Ok(value)
}

/// Agents by the paths of their sockets, and files with keys, by id.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ssh {
    pub(super) agents: BTreeMap<String, PathBuf>,
    pub(super) keys: BTreeMap<String, Vec<PathBuf>>,
}

/// `default`, `ID`, `ID=SOCKET`, `ID=KEY[,KEY]`.
pub(super) fn ssh(words: &[String]) -> Result<Ssh, Failure> {
    let mut ssh = Ssh::default();
    for word in words.iter().filter(|word| !word.is_empty()) {
        let invalid = |why: String| Failure::new(format!("invalid ssh agent {word:?}: {why}"));
        let (id, paths) = word.split_once('=').unwrap_or((word, ""));
        let id = if id.is_empty() { "default" } else { id };
        if ssh.agents.contains_key(id) || ssh.keys.contains_key(id) {
            return Err(invalid(format!("there are two with the id {id}")));
        }
        let paths: Vec<PathBuf> = match paths {
            "" => vec![std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from).ok_or_else(|| {
                Failure::new("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")
                    .with_hint(format!("or give a key: --ssh {id}=$HOME/.ssh/id_ed25519"))
            })?],
            paths => paths.split(',').map(PathBuf::from).collect(),
        };
        let mut sockets = 0;
        for path in &paths {
            let metadata =
                path.metadata().map_err(|error| invalid(format!("{}: {error}", path.display())))?;
            sockets += usize::from(metadata.file_type().is_socket());
        }
        match (sockets, paths.as_slice()) {
            (0, _) => ssh.keys.insert(id.to_owned(), paths).map(drop),
            (1, [socket]) => ssh.agents.insert(id.to_owned(), socket.clone()).map(drop),
            _ => return Err(invalid("it is either one socket or some keys".to_owned())),
        };
    }
    Ok(ssh)
}

/// `--allow`
pub(super) fn allowed(words: &[String]) -> Result<Vec<String>, Failure> {
    let words = words.iter().filter(|word| !word.is_empty());
    words.map(|word| entitlement(word).map(|()| word.clone())).collect()
}

fn entitlement(word: &str) -> Result<(), Failure> {
    let invalid = |why: String| Err(Failure::new(format!("invalid entitlement {word:?}: {why}")));
    match word.split_once('=') {
        Some(("device", device)) => {
            let mut fields = fields(device).into_iter();
            let named = fields.next().is_some_and(|name| !name.is_empty());
            match fields.find(|field| !field.starts_with("alias=")) {
                Some(field) => {
                    invalid(format!("unexpected {field:?}, the form is NAME[,alias=NAME]"))
                }
                None if !named => invalid("the device has no name".to_owned()),
                None => Ok(()),
            }
        }
        Some(("fs" | "fs.read" | "fs.write", _)) => Ok(()),
        None if ENTITLEMENTS.contains(&word) => Ok(()),
        Some((name, _)) if ENTITLEMENTS.contains(&name) => {
            invalid(format!("{name} does not accept a value"))
        }
        _ => {
            let name = word.split('=').next().unwrap_or(word);
            let near = bld_dockerfile::suggest(name, ENTITLEMENTS.into_iter());
            let near = near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
            Err(Failure::new(format!("unknown entitlement {word}{near}"))
                .with_hint(format!("what can be allowed is {}", ENTITLEMENTS.join(", "))))
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn text<T>(result: Result<T, Failure>) -> String {
        result.err().and_then(|failure| failure.text().map(str::to_owned)).unwrap_or_default()
    }

    #[test]
    fn a_secret_is_a_file_or_a_variable() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a,b");
        std::fs::write(&file, "value").unwrap();
        let path = file.display();
        let value = |word: &str| secret(word).map(|(id, secret)| (id, secret.value));
        for word in [
            format!("id=s,\"src={path}\""),
            format!("type=file,id=s,\"source={path}\""),
            format!("ID=s,\"SRC={path}\""),
        ] {
            let found = value(&word).map_err(|failure| failure.text().map(str::to_owned));
            assert_eq!(found, Ok(("s".to_owned(), b"value".to_vec())), "{word}");
        }
        let set = std::env::var("PATH").unwrap_or_default().into_bytes();
        for word in ["id=PATH", "id=PATH,type=env", "id=x,env=PATH", "id=x,type=env,src=PATH"] {
            assert_eq!(value(word).map(|(_, value)| value).ok(), Some(set.clone()), "{word}");
        }
        assert_eq!(value("id=x,env=BLD_NOT_SET").map(|(_, value)| value).ok(), Some(Vec::new()));
    }

    #[test]
    fn mistakes_in_secrets_are_named() {
        for (word, part) in [
            ("id=s,src=/nonexistent", "read /nonexistent"),
            ("src=/etc/hostname", "id is required"),
            ("id=s,type=disk", "file and env"),
            ("id=s,scr=x", "did you mean src?"),
            ("id", "key=value"),
            ("id=s,src=/dev/zero", "at most 500 KiB"),
        ] {
            let text = text(secret(word));
            assert!(text.contains(part), "{word}: {text}");
        }
    }

    #[test]
    fn ssh_is_one_socket_or_some_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let _listener = std::os::unix::net::UnixListener::bind(path("s")).unwrap();
        std::fs::write(path("k1"), "").unwrap();
        std::fs::write(path("k2"), "").unwrap();
        let words = |words: &[&str]| -> Vec<String> {
            let dir = dir.path().display().to_string();
            words.iter().map(|word| word.replace('@', &dir)).collect()
        };
        let found = ssh(&words(&["a=@/s", "b=@/k1,@/k2"])).map_err(|_| ());
        let expected = Ssh {
            agents: BTreeMap::from([("a".to_owned(), path("s"))]),
            keys: BTreeMap::from([("b".to_owned(), vec![path("k1"), path("k2")])]),
        };
        assert_eq!(found, Ok(expected));
        for (wrong, part) in [
            (vec!["a=@/s,@/k1"], "either one socket or some keys"),
            (vec!["a=@/nosuch"], "No such file"),
            (vec!["a=@/s", "a=@/k1"], "two with the id a"),
        ] {
            let text = text(ssh(&words(&wrong)));
            assert!(text.contains(part), "{wrong:?}: {text}");
        }
    }

    #[test]
    fn entitlements_are_known() {
        for word in ["network.host", "device", "device=v/c=n", "device=v/c=n,alias=x"] {
            assert!(entitlement(word).is_ok(), "{word}");
        }
        for (word, part) in [
            ("network.hots", "did you mean network.host?"),
            ("network.host=1", "does not accept a value"),
            ("device=", "no name"),
            ("device=a,b=c", "unexpected \"b=c\""),
            ("insecure", "unknown entitlement"),
        ] {
            let text = text(entitlement(word));
            assert!(text.contains(part), "{word}: {text}");
        }
    }
}
