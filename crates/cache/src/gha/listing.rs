//! The list of all entries, which GitHub's general API has: one request for many entries.

use std::collections::HashSet;

use reqwest::{Method, Url};
use serde::Deserialize;

use super::Token;
use super::wire::{Ask, Wire};

/// Entries of a page.
const PAGE: usize = 100;

/// Pages that are read at most.
const PAGES_MAX: usize = 200;

/// Where the entries of a repository are listed, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// URL of the general API.
    pub api: String,
    /// The repository, `owner/name`.
    pub repository: String,
    /// Who asks. It is another token than that of the service.
    pub token: Token,
}

impl Listing {
    /// The keys of all entries of `branches` that begin with `prefix`.
    pub(super) async fn keys(
        &self,
        wire: &Wire,
        prefix: &str,
        branches: &HashSet<&str>,
    ) -> Result<Vec<String>, String> {
        #[derive(Deserialize)]
        struct Page {
            actions_caches: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            key: String,
            #[serde(rename = "ref")]
            branch: String,
        }
        let base =
            format!("{}/repos/{}/actions/caches", self.api.trim_end_matches('/'), self.repository);
        let base = Url::parse(&base).map_err(|_| "the API is at no URL".to_owned())?;
        let mut keys = Vec::new();
        for page in 1..=PAGES_MAX {
            let mut url = base.clone();
            url.query_pairs_mut()
                .append_pair("per_page", &PAGE.to_string())
                .append_pair("page", &page.to_string())
                .append_pair("key", prefix);
            let ask = Ask::new(Method::GET, url, "")
                .with("accept", "application/vnd.github+json")
                .with("x-github-api-version", "2022-11-28")
                .authorized(&self.token);
            let body = wire.ask(&ask).await?.success()?;
            let found: Page = serde_json::from_slice(&body)
                .map_err(|error| format!("its answer is malformed: {error}"))?;
            let is_last = found.actions_caches.len() < PAGE;
            let own = found.actions_caches.into_iter();
            let own = own.filter(|entry| branches.contains(entry.branch.as_str()));
            keys.extend(own.map(|entry| entry.key));
            if is_last {
                break;
            }
        }
        Ok(keys)
    }
}
