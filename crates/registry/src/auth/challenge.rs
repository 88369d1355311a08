//! The `WWW-Authenticate` header, [RFC 9110 section 11.6.1][rfc].
//!
//! [rfc]: https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants to be convinced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Send name and password.
    Basic,
    /// Send a token that the server at `realm` gives out.
    Bearer {
        /// URL of the token server.
        realm: String,
        /// What the token server calls this registry.
        service: Option<String>,
        /// The right that was missing, on a refused request.
        scope: Option<String>,
    },
}

impl Challenge {
    /// The challenge of an answer, the one that shows no password to the registry if there is a
    /// choice; `None` when there is none that is understood.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let all: Vec<_> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|header| header.to_str().ok())
            .flat_map(parse)
            .collect();
        let bearer = all.iter().position(|challenge| *challenge != Self::Basic);
        all.into_iter().nth(bearer.unwrap_or(0))
    }
}

/// Every challenge of one header that is understood.
fn parse(header: &str) -> Vec<Challenge> {
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let (word, after) = split_token(rest);
        if word.is_empty() {
            rest = skip_separator(after.get(1..).unwrap_or_default());
            continue;
        }
        if let Some(value) = after.trim_start().strip_prefix('=') {
            let (value, after) = split_value(value.trim_start());
            if let Some((_, parameters)) = schemes.last_mut() {
                parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = skip_separator(after);
        } else {
            schemes.push((word.to_ascii_lowercase(), Vec::new()));
            rest = skip_separator(after);
        }
    }
    schemes
        .into_iter()
        .filter_map(|(scheme, parameters)| understand(&scheme, &parameters))
        .collect()
}

fn understand(scheme: &str, parameters: &[(String, String)]) -> Option<Challenge> {
    let find =
        |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: find("realm")?,
            service: find("service"),
            scope: find("scope").filter(|scope| !scope.is_empty()),
        }),
        _ => None,
    }
}

fn skip_separator(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', ','])
}

/// The characters up to the first that cannot be part of a word.
fn split_token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_whitespace() || "=,\"".contains(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// A quoted string, or a word.
fn split_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = split_token(text);
        return (word.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        }
    }

    #[test]
    fn headers_of_real_registries() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:samalba/my-app:pull,push""#,
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:samalba/my-app:pull,push"),
                )],
            ),
            (r#"Basic realm="Registry Realm""#, vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                r#"bearer service=x , realm = "a\"b" , error="invalid_token""#,
                vec![bearer("a\"b", Some("x"), None)],
            ),
            (
                r#"Negotiate, Basic realm="r", Bearer realm="https://t/""#,
                vec![Challenge::Basic, bearer("https://t/", None, None)],
            ),
            (r#"Bearer service="no realm""#, vec![]),
            ("", vec![]),
            ("=,\"", vec![]),
            (r#"Bearer realm="unterminated"#, vec![bearer("unterminated", None, None)]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn a_token_is_preferred_to_the_password() {
        let mut headers = HeaderMap::new();
        assert_eq!(Challenge::of(&headers), None);
        for value in ["Basic realm=\"a\"", "Bearer realm=\"b\""] {
            headers.append(WWW_AUTHENTICATE, reqwest::header::HeaderValue::from_static(value));
        }
        assert_eq!(Challenge::of(&headers), Some(bearer("b", None, None)));
    }
}
