//! What kind of thing a source of `ADD` is, and how it is shown.

/// What a source of `ADD` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// A path or pattern in the context.
    Path,
    /// A file to download over HTTP.
    Http,
    /// A git repository.
    Git,
}

impl SourceKind {
    /// Tells a path, a download and a repository apart by their spelling alone.
    ///
    /// A repository has the scheme `git` or `ssh`, looks like `user@host:path`, or is an HTTP URL
    /// whose path ends in `.git`, a `#fragment` and `?query` aside.
    pub fn of(source: &str) -> Self {
        let lower = source.to_ascii_lowercase();
        if lower.starts_with("git://") || lower.starts_with("ssh://") {
            return Self::Git;
        }
        if lower.starts_with("http://") || lower.starts_with("https://") {
            let path = source.split(['#', '?']).next().unwrap_or(source);
            let repository = path.strip_suffix(".git").is_some();
            return if repository { Self::Git } else { Self::Http };
        }
        if is_scp_like(source) { Self::Git } else { Self::Path }
    }
}

/// `user@host:path`, where neither user nor host holds a slash.
fn is_scp_like(source: &str) -> bool {
    let Some((login, path)) = source.split_once(':') else { return false };
    let Some((user, host)) = login.split_once('@') else { return false };
    let plain = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    plain(user) && plain(host) && !path.is_empty()
}

/// The bytes that a part of a URL stands for: `%xx` decoded; a `%` without two digits stays.
///
/// ```
/// assert_eq!(bld_dockerfile::value::percent_decoded("a%20b%+1%"), b"a b%+1%");
/// ```
pub fn percent_decoded(text: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.first().and_then(digit).zip(tail.get(1).and_then(digit));
        let byte = digits.and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

/// `location` without the password or token that a URL may hold before its host. Everything else
/// stays as it is written.
///
/// ```
/// assert_eq!(bld_dockerfile::value::redacted("https://me:pw@e.invalid/r.git#v1"), "https://me:xxxxx@e.invalid/r.git#v1");
/// assert_eq!(bld_dockerfile::value::redacted("git@e.invalid:r"), "git@e.invalid:r");
/// ```
pub fn redacted(location: &str) -> String {
    let Some((scheme, rest)) = location.split_once("://") else { return location.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    format!("{scheme}://{}{path}", without_secret(scheme, authority))
}

/// A text with every URL in it [redacted].
pub fn redacted_text(text: &str) -> String {
    let ends_authority = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'');
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("://") {
        let (authority, behind) = after.split_at(after.find(ends_authority).unwrap_or(after.len()));
        let scheme = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        shown.extend([before, "://", &without_secret(scheme, authority)]);
        rest = behind;
    }
    shown + rest
}

/// The part of a URL with login and host, without what may be secret of the login.
fn without_secret(scheme: &str, authority: &str) -> String {
    let Some((user, host)) = authority.rsplit_once('@') else { return authority.to_owned() };
    // A lone name may be a token, except where it is only a login.
    let shown = match user.split_once(':') {
        Some((name, _)) => format!("{name}:xxxxx"),
        None if scheme.eq_ignore_ascii_case("ssh") || user == "git" => user.to_owned(),
        None => "xxxxx".to_owned(),
    };
    format!("{shown}@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_secret_is_hidden() {
        for (location, shown) in [
            ("https://e.invalid/a?b=c@d", "https://e.invalid/a?b=c@d"),
            ("https://token@e.invalid/a", "https://xxxxx@e.invalid/a"),
            ("https://a:b@c@e.invalid", "https://a:xxxxx@e.invalid"),
            ("ssh://git@e.invalid/r", "ssh://git@e.invalid/r"),
            ("ssh://me:pw@e.invalid/r", "ssh://me:xxxxx@e.invalid/r"),
            ("a/b@c", "a/b@c"),
        ] {
            assert_eq!(redacted(location), shown);
            assert_eq!(redacted_text(location), shown);
        }
        assert_eq!(
            redacted_text(
                "ARG u='https://a:b,c@e.invalid' v=https://t@e.invalid\nADD ssh://me@e.invalid/r /\n"
            ),
            "ARG u='https://a:xxxxx@e.invalid' v=https://xxxxx@e.invalid\nADD ssh://me@e.invalid/r /\n",
        );
    }

    #[test]
    fn sources_are_told_apart() {
        for (source, kind) in [
            ("a/b", SourceKind::Path),
            ("repo.git", SourceKind::Path),
            ("a@b/c:d", SourceKind::Path),
            ("https://example.invalid/f.tar.gz", SourceKind::Http),
            ("HTTP://example.invalid/", SourceKind::Http),
            ("https://example.invalid/r.git#v1:dir", SourceKind::Git),
            ("https://example.invalid/r.git?ref=v1", SourceKind::Git),
            ("git@example.invalid:r", SourceKind::Git),
            ("ssh://git@example.invalid/r", SourceKind::Git),
            ("git://example.invalid/r", SourceKind::Git),
        ] {
            assert_eq!(SourceKind::of(source), kind, "{source}");
        }
    }
}
