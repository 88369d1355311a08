//! Names that speak of secrets: of variables, and of files.

use super::{Sink, warn};
use crate::ast::{Dockerfile, InstructionKind, Source};

const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];

/// Words that take the suspicion away: a public key, the file a password is in, a module version.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// Whether a variable of this name is likely to hold a secret: one of the words between its
/// underscores says so, and none says otherwise.
pub fn is_secret_name(name: &str) -> bool {
    let has = |words: &[&str]| {
        name.split('_').any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
    };
    has(&SECRET) && !has(&HARMLESS)
}

/// Files that programs keep secrets in under a name of their own.
const SECRET_FILES: [&str; 13] = [
    ".dockercfg",
    ".dockerconfigjson",
    ".env",
    ".git-credentials",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
    "kubeconfig",
];

/// The same for names that mean it only in a certain directory.
const SECRET_PATHS: [&str; 4] =
    [".aws/credentials", ".cargo/credentials.toml", ".docker/config.json", ".kube/config"];

/// Kinds of files that hold private keys, unless their name says otherwise.
const KEY_FILES: [&str; 4] = ["p12", "pem", "pfx", "ppk"];

/// `.key` is also what the public keys of package archives are called, unless one of these words is
/// in the name.
const PRIVATE: [&str; 7] = ["client", "host", "priv", "private", "server", "ssl", "tls"];

/// What a file is called that holds the public part, or nothing but an example.
const PUBLIC: [&str; 16] = [
    "bundle",
    "ca",
    "cert",
    "certificate",
    "certs",
    "chain",
    "crt",
    "dist",
    "example",
    "fullchain",
    "pub",
    "public",
    "root",
    "sample",
    "template",
    "test",
];

/// Whether a file of this path, which may hold wildcards, is likely to hold a secret.
fn is_secret_file(path: &str) -> bool {
    let path = path.trim_end_matches(['*', '/']).to_ascii_lowercase();
    let name = path.rsplit('/').next().unwrap_or_default();
    let has = |wanted: &[&str]| {
        name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| wanted.contains(&word))
    };
    if has(&PUBLIC) {
        return false;
    }
    let ends_with = |end: &&str| {
        path.strip_suffix(*end).is_some_and(|dir| dir.is_empty() || dir.ends_with('/'))
    };
    let kind = name.rsplit_once('.').map(|(_, kind)| kind);
    SECRET_FILES.contains(&name)
        || name.starts_with(".env.")
        || name == "credentials.json"
        || SECRET_PATHS.iter().any(ends_with)
        || kind.is_some_and(|kind| KEY_FILES.contains(&kind))
        || (kind == Some("key") && has(&PRIVATE))
}

/// Files of the context that become part of a layer though they look like secrets.
pub(super) fn check(dockerfile: &Dockerfile, sink: &mut Sink<'_>) {
    for instruction in dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
        let sources = match &instruction.kind {
            InstructionKind::Copy(copy) if copy.from.is_none() => &copy.sources,
            InstructionKind::Add(add) => &add.sources,
            _ => continue,
        };
        for source in sources {
            let Source::Path(path) = source else { continue };
            if !path.value.contains("://") && is_secret_file(&path.value) {
                let keyword = instruction.kind.keyword().name();
                let advice = warn::secret_file_copied(keyword, &path.value, path.span);
                sink.push(instruction.comment.as_deref(), advice);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        for path in [
            ".env",
            "./app/.env",
            ".env.production",
            ".env*",
            "id_rsa",
            "ssh/id_ed25519",
            ".npmrc",
            "tls/server.key",
            "*.pem",
            "server-key.pem",
            ".aws/credentials",
            "x/.docker/config.json",
            "credentials.json",
        ] {
            assert!(is_secret_file(path), "{path}");
        }
        for path in [
            ".env.example",
            "id_rsa.pub",
            "ca.pem",
            "rds-ca-bundle.pem",
            "cert.pem",
            "config.json",
            "credentials",
            "credentials.ts",
            "keys",
            "key",
            ".",
            "env",
            "root-ca.key",
            "jenkins.io-2026.key",
            "fullchain.pem",
        ] {
            assert!(!is_secret_file(path), "{path}");
        }
    }

    #[test]
    fn words_count_and_not_letters() {
        for name in ["SUPER_Secret", "password", "git_key", "AWS_ACCESS_KEY_ID", "auth"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["sunflower", "MONKEY", "PUBLIC_KEY", "password_file", "AUTH_MODULE_VERSION"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
