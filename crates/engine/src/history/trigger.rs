//! Who asked for a build: in a list of many, that is how one is told from another.

use std::path::Path;

use bld_dockerfile::lint::is_secret_name;
use serde::{Deserialize, Serialize};

/// What stands for what is not kept.
const HIDDEN: &str = "***";

/// Who asked for a build, where, and in which words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trigger {
    /// The command line, word by word, without what may be a secret.
    pub command: Vec<String>,
    /// The working directory.
    pub directory: String,
    /// The name of the user.
    pub user: String,
}

impl Trigger {
    /// What is kept of a command line.
    pub fn new(
        command: impl IntoIterator<Item = String>,
        directory: &Path,
        user: impl Into<String>,
    ) -> Self {
        Self {
            command: command.into_iter().map(|word| shown(&word)).collect(),
            directory: directory.display().to_string(),
            user: user.into(),
        }
    }
}

/// A word without the logins of URLs, and without what is given to a name that speaks of secrets. All
/// that follows such a name goes: a secret may have a comma in it.
fn shown(word: &str) -> String {
    let mut at = 0;
    for field in word.split_inclusive([',', '=']) {
        let end = at + field.len();
        let name = field.strip_suffix('=').map(|name| name.trim_start_matches('-'));
        if name.is_some_and(|name| is_secret_name(&name.replace('-', "_"))) {
            return without_logins(&word[..end]) + HIDDEN;
        }
        at = end;
    }
    without_logins(word)
}

/// A text without the users and passwords of URLs in it, or what follows a question mark.
fn without_logins(text: &str) -> String {
    let mut parts = text.split("://");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (host, rest) = part.split_at(part.find('/').unwrap_or(part.len()));
        kept.push_str("://");
        kept.push_str(host.rsplit('@').next().unwrap_or(host));
        kept.push_str(rest.split('?').next().unwrap_or(rest));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_kept() {
        for (word, kept) in [
            ("--build-arg=V=1,2", "--build-arg=V=1,2"),
            ("NPM_TOKEN=a,b=c", "NPM_TOKEN=***"),
            ("--build-arg=API_KEY=x", "--build-arg=API_KEY=***"),
            (
                "type=s3,region=x,secret_access_key=a/b,name=y",
                "type=s3,region=x,secret_access_key=***",
            ),
            ("--some-password=x", "--some-password=***"),
            ("id=npm,src=/home/me/.npmrc", "id=npm,src=/home/me/.npmrc"),
            ("https://me:pw@host/a.git#main", "https://host/a.git#main"),
            ("--build-context=x=https://pw@host/a?sig=1", "--build-context=x=https://host/a"),
            ("x=docker-image://me@host,y=https://a:b@c", "x=docker-image://host,y=https://c"),
        ] {
            assert_eq!(shown(word), kept);
        }
    }
}
