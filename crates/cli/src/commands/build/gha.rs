//! `type=gha` of `--cache-from` and `--cache-to`: the words, and what a job finds around it.

use std::time::Duration;

use bld_dockerfile::value::parse_bool;
use bld_engine::share::{CacheService, GhaCache, Listing, Protocol, ServiceToken};

use super::caches::Words;
use super::outputs::fields;
use crate::error::Failure;
use crate::output::units::parse_duration;

/// How long one thing may take, unless somebody says so.
const TIMEOUT: Duration = Duration::from_mins(10);

/// Where GitHub has its newer service, whichever variable says it.
const NEWER: &str = "https://results-receiver.actions.githubusercontent.com/";

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The token of the job that we are a part of.
pub(crate) fn token() -> Option<ServiceToken> {
    variable("ACTIONS_RUNTIME_TOKEN").map(ServiceToken::new)
}

/// Whether a cache says something: an empty one does not, and neither does one of GitHub's outside of it,
/// as nobody wants another command line at home.
pub(super) fn is_active(word: &str) -> bool {
    let fields = fields(word);
    let pairs = fields.iter().filter_map(|field| field.split_once('='));
    let pairs: Vec<_> = pairs.map(|(key, value)| (key.trim(), value.trim())).collect();
    let is = |name: &str| {
        pairs.iter().any(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_empty())
    };
    let is_ours =
        pairs.iter().any(|(key, value)| key.eq_ignore_ascii_case("type") && *value == "gha");
    let has_url = || is("url") || is("url_v2") || URLS.iter().any(|name| variable(name).is_some());
    !word.is_empty() && (!is_ours || ((is("token") || token().is_some()) && has_url()))
}

const URLS: [&str; 2] = ["ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL"];

/// A line if there are caches that say nothing.
pub(super) fn note<'a>(mut words: impl Iterator<Item = &'a String>) -> Option<String> {
    words.any(|word| !word.is_empty() && !is_active(word)).then(|| {
        "note: type=gha has no effect: outside of GitHub Actions it needs token= and url= or url_v2="
            .to_owned()
    })
}

/// What buildx and BuildKit make of the words and of the environment.
pub(super) fn cache(words: &mut Words<'_>) -> Result<GhaCache, Failure> {
    let version = match words.take("version").as_deref() {
        None => None,
        Some("1") => Some(Protocol::V1),
        Some("2") => Some(Protocol::V2),
        Some(other) => return Err(words.invalid(&format!("unknown version {other:?}"))),
    };
    let is_newer =
        variable("ACTIONS_CACHE_SERVICE_V2").is_some_and(|text| parse_bool(&text) == Some(true));
    let around = |name: &str| variable(name);
    let newer = words.take("url_v2").or_else(|| {
        let asked = version == Some(Protocol::V2) || (version.is_none() && is_newer);
        asked.then(|| around(URLS[1])).flatten()
    });
    let older = words.take("url").or_else(|| around(URLS[0])).or_else(|| around(URLS[1]));
    let service = match (newer, older) {
        (Some(url), _) if version != Some(Protocol::V1) => {
            CacheService { url, protocol: Protocol::V2 }
        }
        (_, Some(url)) => {
            let protocol = if url.starts_with(NEWER) { Protocol::V2 } else { Protocol::V1 };
            CacheService { url, protocol: version.unwrap_or(protocol) }
        }
        _ => return Err(words.invalid("url (or ACTIONS_CACHE_URL) is required for type=gha")),
    };
    let Some(token) = words.take("token").map(ServiceToken::new).or_else(token) else {
        return Err(words.invalid("token (or ACTIONS_RUNTIME_TOKEN) is required for type=gha"));
    };
    let timeout = match words.take("timeout") {
        None => TIMEOUT,
        Some(text) => parse_duration(&text).map_err(|why| words.invalid(&why))?,
    };
    let scope = words.take("scope").unwrap_or_else(|| "buildkit".to_owned());
    let api = || variable("GITHUB_API_URL").unwrap_or_else(|| "https://api.github.com".to_owned());
    // One without the other is of no use, and no mistake in BuildKit.
    let listing = match (words.take("repository"), words.take("ghtoken")) {
        (Some(repository), Some(token)) => {
            Some(Listing { api: api(), repository, token: ServiceToken::new(token) })
        }
        _ => None,
    };
    Ok(GhaCache { service, token, scope, timeout, listing })
}
