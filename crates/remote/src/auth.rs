//! Which secret is for whom, by the names that BuildKit gives them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bld_dockerfile::value::percent_decoded;
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::error::{RemoteError, Result};
use crate::{Access, Remote};

impl Access {
    fn secret(&self, name: &str) -> Option<&[u8]> {
        self.secrets.get(name).map(|value| value.trim_ascii_end())
    }
}

impl Remote {
    /// The `Authorization` header of a download, which `url` gives up its own login for.
    pub(crate) fn authorization(&self, url: &mut Url) -> Result<Option<HeaderValue>> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let header = format!("HTTP_AUTH_HEADER_{host}");
        let token = format!("HTTP_AUTH_TOKEN_{host}");
        let login = login(url);
        // The last of these that is there counts, as with BuildKit.
        if let Some(secret) = self.access().secret(&token) {
            return sensitive(&[b"Bearer ".as_slice(), secret].concat(), &token).map(Some);
        }
        if let Some(secret) = self.access().secret(&header) {
            return sensitive(secret, &header).map(Some);
        }
        login.map(|login| sensitive(login.as_bytes(), "of the URL")).transpose()
    }

    /// Headers that git sends, by the beginning of the URLs it sends them to. `remote` gives up its
    /// own login for that, if it is reached by HTTP: arguments and configuration are no place for it.
    ///
    /// Secrets that name a host go to that host, be it that of the repository or of a submodule;
    /// those that name none go to the host of the repository alone, and so does the login.
    pub(crate) fn git_headers(&self, remote: &mut String) -> Vec<(String, String)> {
        let mut own =
            Url::parse(remote).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        // git asks for the password that a lone name lacks only if it must, and nobody would answer.
        let has_password = own.as_ref().is_some_and(|url| url.password().is_some());
        let login = own.as_mut().and_then(login);
        if let Some(url) = own.as_ref().filter(|_| login.is_some()) {
            *remote = url.to_string();
        }
        let scope = own.as_ref().map(scope_of);
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut add = |scope: String, header: String| {
            if !headers.iter().any(|(known, _)| *known == scope) {
                headers.push((scope, header));
            }
        };
        for (kind, header_of) in [
            ("GIT_AUTH_HEADER", plain as fn(&[u8]) -> String),
            ("GIT_AUTH_TOKEN", token as fn(&[u8]) -> String),
        ] {
            for name in self.access().secrets.keys() {
                let host = name.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.'));
                let (Some(host), Some(value)) = (host, self.access().secret(name)) else {
                    continue;
                };
                // Plain HTTP is spoken only to the repository that was named so.
                let scope = match (&own, &scope) {
                    (Some(url), Some(scope)) if authority(url) == host => scope.clone(),
                    _ => format!("https://{host}/"),
                };
                add(scope, header_of(value));
            }
        }
        for (kind, header_of) in [
            ("GIT_AUTH_HEADER", plain as fn(&[u8]) -> String),
            ("GIT_AUTH_TOKEN", token as fn(&[u8]) -> String),
        ] {
            if let (Some(scope), Some(value)) = (&scope, self.access().secret(kind)) {
                add(scope.clone(), header_of(value));
            }
        }
        if let (Some(scope), Some(login)) = (scope, login.filter(|_| has_password)) {
            add(scope, login);
        }
        headers
    }
}

/// A value that the HTTP library shows nobody.
fn sensitive(value: &[u8], name: &str) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_bytes(value)
        .map_err(|_| RemoteError::Secret { name: name.to_owned() })?;
    header.set_sensitive(true);
    Ok(header)
}

/// The login that a URL holds, as Basic authentication; the URL has none afterwards.
fn login(url: &mut Url) -> Option<String> {
    let (user, password) = (decoded(url.username()), url.password().map(decoded));
    if user.is_empty() && password.is_none() {
        return None;
    }
    // Fails only for URLs that cannot have a login.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let login = format!("{user}:{}", password.unwrap_or_default());
    Some(format!("Basic {}", STANDARD.encode(login)))
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&percent_decoded(text)).into_owned()
}

fn plain(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// What hosts of git repositories take a token as.
fn token(value: &[u8]) -> String {
    format!("basic {}", STANDARD.encode([b"x-access-token:".as_slice(), value].concat()))
}

/// Host and port, as they are written.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn scope_of(url: &Url) -> String {
    format!("{}://{}/", url.scheme(), authority(url))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use bld_event::Cancel;
    use bld_store::Store;

    use super::*;

    fn remote(secrets: &[(&str, &str)]) -> (tempfile::TempDir, Remote) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let secrets =
            secrets.iter().map(|(id, value)| ((*id).to_owned(), value.as_bytes().to_vec()));
        let access = Access { secrets: secrets.collect(), ..Access::default() };
        (dir, Remote::new(store, access, Cancel::new()))
    }

    #[test]
    fn a_download_takes_the_secret_of_its_host() {
        let (_dir, remote) = remote(&[
            ("HTTP_AUTH_TOKEN_e.invalid", "t\n"),
            ("HTTP_AUTH_HEADER_f.invalid", "Basic x"),
        ]);
        let header = |url: &str| {
            let mut url = Url::parse(url).unwrap();
            let header = remote.authorization(&mut url).unwrap();
            assert!(!url.as_str().contains('@'));
            header.map(|header| header.to_str().unwrap().to_owned())
        };
        assert_eq!(header("https://e.invalid:444/x").as_deref(), Some("Bearer t"));
        assert_eq!(header("https://f.invalid/x").as_deref(), Some("Basic x"));
        assert_eq!(header("https://g.invalid/x"), None);
        assert_eq!(header("https://u:p%40@g.invalid/x").as_deref(), Some("Basic dTpwQA=="));
    }

    #[test]
    fn git_gets_headers_for_the_hosts_they_are_meant_for() {
        let (_dir, remote) = remote(&[
            ("GIT_AUTH_TOKEN", "own"),
            ("GIT_AUTH_TOKEN.sub.invalid", "sub"),
            ("GIT_AUTH_HEADER.sub.invalid", "Basic h"),
        ]);
        let token =
            |value: &str| format!("basic {}", STANDARD.encode(format!("x-access-token:{value}")));
        let sub = ("https://sub.invalid/".to_owned(), "Basic h".to_owned());
        let own = ("http://e.invalid:8080/".to_owned(), token("own"));
        // A secret counts more than what the URL says.
        for remote_url in ["http://e.invalid:8080/r.git", "http://u:p@e.invalid:8080/r.git"] {
            let mut url = remote_url.to_owned();
            assert_eq!(remote.git_headers(&mut url), [sub.clone(), own.clone()]);
            assert_eq!(url, "http://e.invalid:8080/r.git");
        }
        assert_eq!(remote.git_headers(&mut "git@e.invalid:r".to_owned()), [sub]);
    }

    #[test]
    fn a_login_of_a_repository_becomes_a_header() {
        let (_dir, remote) = remote(&[]);
        for (url, header) in [
            ("https://u:p%40@e.invalid/r.git", Some("Basic dTpwQA==")),
            ("https://u@e.invalid/r.git", None),
            ("https://e.invalid/r.git", None),
        ] {
            let mut url = url.to_owned();
            let headers = remote.git_headers(&mut url);
            assert_eq!(url, "https://e.invalid/r.git");
            let expected =
                header.map(|header| ("https://e.invalid/".to_owned(), header.to_owned()));
            assert_eq!(headers, Vec::from_iter(expected));
        }
    }
}
