//! Downloads and git repositories as `ADD` and contexts name them.

use bld_dockerfile::value::{SourceKind, parse_bool, percent_decoded};
use bld_oci::Digest;

use super::path;
use crate::op::{GitOp, HttpOp};

/// What a source of `ADD` is, or a context, by its spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A file to download.
    Http(HttpOp),
    /// A repository to check out.
    Git(GitOp),
}

impl Remote {
    /// Recognises a source that lies elsewhere; none: it is a path.
    ///
    /// # Errors
    /// What is wrong with a git repository, as it reads after its name.
    pub fn parse(source: &str) -> Result<Option<Self>, String> {
        let (bare, query, fragment) = split_url(source);
        match SourceKind::of(source) {
            SourceKind::Path => Ok(None),
            SourceKind::Git => git(bare, query, fragment).map(Some),
            SourceKind::Http => Ok(Some(Self::Http(HttpOp::new(source, file_name(bare))))),
        }
    }

    /// Recognises a context that lies elsewhere; none: it is a directory. Besides what
    /// [`parse`](Self::parse) knows, `github.com/owner/name` is a repository.
    ///
    /// # Errors
    /// As of [`parse`](Self::parse).
    pub fn parse_context(context: &str) -> Result<Option<Self>, String> {
        match context.strip_prefix("github.com/") {
            Some(_) => {
                let (bare, query, fragment) = split_url(context);
                git(&format!("https://{bare}"), query, fragment).map(Some)
            }
            None => Self::parse(context),
        }
    }
}

/// The name of the file that a URL, without query and fragment, leads to.
fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = decode(rest.split_once('/').map_or("", |(_, path)| path));
    let name = path::base(&path).filter(|name| *name != ".." && !name.contains('\0'));
    name.unwrap_or("__unnamed__").to_owned()
}

/// The parts of a URL: up to the query, the query, the fragment.
fn split_url(url: &str) -> (&str, &str, &str) {
    let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (url, query) = url.split_once('?').unwrap_or((url, ""));
    (url, query, fragment)
}

fn git(remote: &str, query: &str, fragment: &str) -> Result<Remote, String> {
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let mut op = GitOp {
        remote: remote.to_owned(),
        reference: Some(reference.to_owned()).filter(|reference| !reference.is_empty()),
        subdir: clean_subdir(subdir),
        ..GitOp::default()
    };
    let mut seen: Vec<String> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decode(key), decode(value));
        if seen.contains(&key) {
            return Err(format!("query {key:?} is given twice"));
        }
        set_query(&mut op, &key, &value)?;
        seen.push(key);
    }
    Ok(Remote::Git(op))
}

/// Applies one pair of the query, such as `branch=main` or `submodules=false`.
fn set_query(op: &mut GitOp, key: &str, value: &str) -> Result<(), String> {
    let is_flag = matches!(key, "submodules" | "keep-git-dir" | "fetch-by-commit");
    if value.is_empty() && !is_flag {
        return Err(format!("query {key:?} has no value"));
    }
    let flag = || match value {
        "" => Ok(true),
        value => parse_bool(value)
            .ok_or_else(|| format!("query {key:?} must be true or false, not {value:?}")),
    };
    let prefixed = |prefix: &str| match value.strip_prefix(prefix) {
        Some(_) => value.to_owned(),
        None => format!("{prefix}{value}"),
    };
    match key {
        "ref" => set_once(&mut op.reference, "ref", value.to_owned()),
        "tag" => set_once(&mut op.reference, "ref", prefixed("refs/tags/")),
        "branch" => set_once(&mut op.reference, "ref", prefixed("refs/heads/")),
        "subdir" => match clean_subdir(value) {
            Some(subdir) => set_once(&mut op.subdir, "subdir", subdir),
            None => Ok(()),
        },
        "checksum" | "commit" => set_once(&mut op.checksum, "checksum", value.to_owned()),
        "keep-git-dir" => flag().map(|keep| op.keep_git_dir = keep),
        "submodules" => flag().map(|fetch| op.skip_submodules = !fetch),
        "fetch-by-commit" => flag().map(|alone| op.fetch_by_commit = alone),
        // Files have the time of the commit either way.
        "mtime" if matches!(value, "checkout" | "commit") => Ok(()),
        "mtime" => Err(format!("query {key:?} must be checkout or commit, not {value:?}")),
        _ => Err(format!("query {key:?} is unknown")),
    }
}

fn set_once(slot: &mut Option<String>, what: &str, value: String) -> Result<(), String> {
    match slot.replace(value) {
        Some(old) if Some(&old) != slot.as_ref() => {
            Err(format!("{what} is given as {old:?} and as {:?}", slot.as_deref().unwrap_or("")))
        }
        _ => Ok(()),
    }
}

fn clean_subdir(subdir: &str) -> Option<String> {
    let clean = path::join("/", subdir);
    (clean != "/").then(|| clean[1..].to_owned())
}

/// Decodes `%xx`, unless what comes out is no text.
fn decode(text: &str) -> String {
    String::from_utf8(percent_decoded(text)).unwrap_or_else(|_| text.to_owned())
}

/// Applies `--checksum` to a remote source.
pub(crate) fn set_checksum(remote: &mut Remote, checksum: &str) -> Result<(), String> {
    match remote {
        Remote::Http(http) => {
            let digest: Digest = checksum.parse().map_err(|error| format!("{error}"))?;
            http.checksum = Some(digest);
            Ok(())
        }
        Remote::Git(git) => set_once(&mut git.checksum, "checksum", checksum.to_owned()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn git_of(source: &str) -> GitOp {
        match Remote::parse(source).unwrap() {
            Some(Remote::Git(op)) => op,
            other => panic!("{source} is {other:?}"),
        }
    }

    #[test]
    fn repositories_are_told_by_their_spelling() {
        for (source, remote, reference, subdir) in [
            ("https://e.invalid/o/r.git", "https://e.invalid/o/r.git", None, None),
            (
                "https://e.invalid/r.git#v1:a/../b/",
                "https://e.invalid/r.git",
                Some("v1"),
                Some("b"),
            ),
            ("git@e.invalid:o/r.git#:sub", "git@e.invalid:o/r.git", None, Some("sub")),
            ("ssh://git@e.invalid/o/r#dev", "ssh://git@e.invalid/o/r", Some("dev"), None),
            ("git://e.invalid/r", "git://e.invalid/r", None, None),
            (
                "https://e.invalid/r.git?branch=a%2Fb",
                "https://e.invalid/r.git",
                Some("refs/heads/a/b"),
                None,
            ),
            (
                "https://e.invalid/r.git?tag=v1&subdir=/x",
                "https://e.invalid/r.git",
                Some("refs/tags/v1"),
                Some("x"),
            ),
        ] {
            let op = git_of(source);
            assert_eq!(op.remote, remote, "{source}");
            assert_eq!(op.reference.as_deref(), reference, "{source}");
            assert_eq!(op.subdir.as_deref(), subdir, "{source}");
        }
    }

    #[test]
    fn queries_choose_what_to_check_out() {
        let op = git_of("https://e.invalid/r.git?submodules=false&keep-git-dir&commit=abc123");
        assert!(op.skip_submodules && op.keep_git_dir);
        assert_eq!(op.checksum.as_deref(), Some("abc123"));
        for source in [
            "https://e.invalid/r.git?ref=a&ref=b",
            "https://e.invalid/r.git?ref=",
            "https://e.invalid/r.git?submodules=maybe",
            "https://e.invalid/r.git?colour=red",
            "https://e.invalid/r.git?branch=a&tag=b",
            "https://e.invalid/r.git?mtime=now",
            "https://e.invalid/r.git?ref=a#b",
        ] {
            assert!(Remote::parse(source).is_err(), "{source}");
        }
    }

    #[test]
    fn downloads_are_named_after_their_path() {
        for (source, name) in [
            ("https://e.invalid/d/a%20b.tar.gz?x=1#y", "a b.tar.gz"),
            ("http://e.invalid", "__unnamed__"),
            ("http://e.invalid/", "__unnamed__"),
            ("http://e.invalid/d/", "d"),
            ("http://e.invalid/..%2f..%2fetc%2fpasswd", "passwd"),
            ("http://e.invalid/%2e%2e", "__unnamed__"),
        ] {
            match Remote::parse(source).unwrap() {
                Some(Remote::Http(op)) => assert_eq!(op.filename, name, "{source}"),
                other => panic!("{source} is {other:?}"),
            }
        }
    }

    #[test]
    fn everything_else_is_a_path() {
        for source in ["a", "./x.git", "github.com/o/r", "a:b", "dir@v1/x:y", "ftp://x/y", "@a:b"] {
            assert_eq!(Remote::parse(source), Ok(None), "{source}");
        }
    }
}
