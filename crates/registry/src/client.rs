//! The client: registries it has spoken to, and who is asked for what.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use bld_oci::Reference;
use reqwest::{Method, Request};
use tokio::sync::OnceCell;

use crate::auth::session::Target;
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::error::RegistryError;
use crate::repository::{Access, Repository};
use crate::sync::lock;

/// Speaks to registries. Cloning is cheap; clones share connections and tokens.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    endpoints: Mutex<HashMap<String, Arc<OnceCell<Arc<Endpoint>>>>>,
    /// Mirrors that did not answer. They are not waited for again.
    dead: Mutex<HashSet<String>>,
}

impl Client {
    /// A client with these settings. Nothing is connected to yet.
    ///
    /// # Errors
    /// [`RegistryError::Config`] when a setting cannot be used.
    pub fn new(config: Config) -> Result<Self, RegistryError> {
        let authorities = config.registries.values().flat_map(|settings| &settings.authorities);
        for pem in config.authorities.iter().chain(authorities) {
            let certificates = reqwest::Certificate::from_pem_bundle(pem);
            if !certificates.is_ok_and(|certificates| !certificates.is_empty()) {
                let reason = "a certificate authority is not in PEM format".to_owned();
                return Err(RegistryError::Config { reason });
            }
        }
        // A mirror that fails is passed over, so one that cannot work has to be told here.
        for mirror in config.registries.values().flat_map(|settings| &settings.mirrors) {
            let example = Reference::parse(&format!("{}/x", mirror.trim_end_matches('/')));
            let host = mirror.split('/').next().unwrap_or_default();
            if !example.is_ok_and(|example| example.domain() == host) {
                let reason = format!("mirror {mirror:?} is not of the form host[:port][/prefix]");
                return Err(RegistryError::Config { reason });
            }
        }
        Ok(Self(Arc::new(Inner { config, endpoints: Mutex::default(), dead: Mutex::default() })))
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Checks that `registry` accepts the credentials the client has for it.
    ///
    /// # Errors
    /// [`RegistryError::NotAccepted`] when it does not, and whatever keeps from asking.
    pub async fn login(&self, registry: &str) -> Result<(), RegistryError> {
        let endpoint = self.endpoint(registry).await?;
        let target = Target { repository: String::new(), scopes: Vec::new() };
        let root = endpoint.base.clone();
        let repository = Repository { endpoint, target, retry: self.config().retry };
        let request = || Ok(Request::new(Method::GET, root.clone()));
        repository.send("log in", &request).await.map(drop).map_err(|error| match error {
            RegistryError::Denied { errors, source, .. } => {
                RegistryError::NotAccepted { registry: registry.to_owned(), errors, source }
            }
            other => other,
        })
    }

    /// The registry called `registry`, connected.
    async fn endpoint(&self, registry: &str) -> Result<Arc<Endpoint>, RegistryError> {
        let cell = {
            let mut endpoints = lock(&self.0.endpoints);
            Arc::clone(endpoints.entry(registry.to_owned()).or_default())
        };
        let connect = || async { Ok(Arc::new(Endpoint::connect(registry, self.config()).await?)) };
        cell.get_or_try_init(connect).await.cloned()
    }

    /// The repository that `reference` names, to write to, with blobs from `mount_from`.
    pub(crate) async fn destination(
        &self,
        reference: &Reference,
        mount_from: &[String],
    ) -> Result<Repository, RegistryError> {
        let endpoint = self.endpoint(reference.domain()).await?;
        let retry = self.config().retry;
        Ok(Repository::new(endpoint, reference.path(), Access::Push, mount_from, retry))
    }

    /// Has `read` look for something of `reference` in one place after the other, until it is found.
    /// The error is that of the registry itself, whose word is the one that counts.
    pub(crate) async fn find<T, F>(
        &self,
        reference: &Reference,
        read: impl Fn(Repository) -> F,
    ) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, RegistryError>>,
    {
        for mirror in self.mirrors(reference) {
            if lock(&self.0.dead).contains(&mirror.registry) {
                continue;
            }
            let Ok(repository) = self.open(&mirror).await else {
                lock(&self.0.dead).insert(mirror.registry);
                continue;
            };
            match read(repository).await {
                Err(error) if error.is_of_the_source() => {}
                result => return result,
            }
        }
        read(self.origin(reference).await?).await
    }

    /// Where else the content of `reference` can be had, in the order of the settings.
    fn mirrors(&self, reference: &Reference) -> Vec<Source> {
        let settings = self.config().registries.get(reference.domain());
        let mirror = |mirror: &String| {
            let mirror = mirror.trim_end_matches('/');
            let (registry, prefix) = mirror.split_once('/').unwrap_or((mirror, ""));
            let slash = if prefix.is_empty() { "" } else { "/" };
            let path = format!("{prefix}{slash}{}", reference.path());
            Source { registry: registry.to_owned(), path }
        };
        settings.iter().flat_map(|settings| &settings.mirrors).map(mirror).collect()
    }

    /// The repository that `reference` names, to read from; mirrors do not count.
    pub(crate) async fn origin(&self, reference: &Reference) -> Result<Repository, RegistryError> {
        let (registry, path) = (reference.domain().to_owned(), reference.path().to_owned());
        self.open(&Source { registry, path }).await
    }

    /// The repository at `source`, to read from.
    async fn open(&self, source: &Source) -> Result<Repository, RegistryError> {
        let endpoint = self.endpoint(&source.registry).await?;
        let retry = self.config().retry;
        Ok(Repository::new(endpoint, &source.path, Access::Pull, &[], retry))
    }
}

/// A place where the content of a reference can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    registry: String,
    path: String,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;
    use crate::config::RegistryConfig;

    #[test]
    fn a_mirror_may_have_a_prefix() {
        let mirrors = vec!["localhost:5000".to_owned(), "m.example/hub/".to_owned()];
        let settings = RegistryConfig { mirrors, ..RegistryConfig::default() };
        let registries = [("docker.io".to_owned(), settings)].into();
        let client = Client::new(Config { registries, ..Config::default() }).unwrap();
        let mirrors = |reference: &str| -> Vec<_> {
            let sources = client.mirrors(&Reference::parse(reference).unwrap());
            sources
                .into_iter()
                .map(|source| format!("{} {}", source.registry, source.path))
                .collect()
        };
        assert_eq!(
            mirrors("busybox"),
            ["localhost:5000 library/busybox", "m.example hub/library/busybox"]
        );
        assert_eq!(mirrors("quay.io/a/b"), Vec::<String>::new());
    }

    #[test]
    fn settings_are_checked_at_once() {
        let mirrors = vec!["https://m.example".to_owned()];
        let settings = RegistryConfig { mirrors, ..RegistryConfig::default() };
        let registries = [("docker.io".to_owned(), settings)].into();
        let config = Config { registries, ..Config::default() };
        assert!(matches!(Client::new(config), Err(RegistryError::Config { .. })));
        let config = Config { authorities: vec![b"nonsense".to_vec()], ..Config::default() };
        assert!(matches!(Client::new(config), Err(RegistryError::Config { .. })));
    }
}
