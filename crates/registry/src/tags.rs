//! The tags of a repository.

use bld_oci::Reference;
use reqwest::header::LINK;
use reqwest::{Method, Request, Response, Url};
use serde::Deserialize;

use crate::client::Client;
use crate::error::RegistryError;

/// The largest page that is read.
const PAGE_MAX: usize = 8 << 20;

impl Client {
    /// All tags of the repository of `reference`, in the order of the registry.
    ///
    /// # Errors
    /// Whatever keeps from asking, and [`RegistryError::Denied`].
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let repository = self.origin(reference).await?;
        let mut tags = Vec::new();
        let mut next = Some(repository.url("tags/list")?);
        while let Some(url) = next {
            let request = || Ok(Request::new(Method::GET, url.clone()));
            let response = repository.send("list tags", &request).await?;
            // A page that leads back to itself would never end.
            next = next_page(&response, &url).filter(|next| *next != url);
            let body = repository.endpoint.transport.body(response, PAGE_MAX).await;
            let body = body
                .map_err(|source| repository.interrupted("list tags", source))?
                .ok_or_else(|| repository.protocol("its list of tags has no end"))?;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|error| repository.protocol(format!("its list of tags: {error}")))?;
            tags.extend(page.tags.unwrap_or_default());
        }
        Ok(tags)
    }
}

/// The address in `Link: <...>; rel="next"`.
pub(crate) fn next_page(response: &Response, url: &Url) -> Option<Url> {
    let link = response.headers().get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    parameters.contains("next").then(|| url.join(target).ok())?
}
