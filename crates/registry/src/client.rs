//! The client: registries it has spoken to, and who is asked for what.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use bld_oci::Reference;
use reqwest::{Method, Request};
use tokio::sync::OnceCell;

use crate::auth::session::Target;
use crate::config::{Config, Mirror, RegistryConfig};
use crate::endpoint::Endpoint;
use crate::error::RegistryError;
use crate::repository::{Access, Repository};
use crate::rules::{Rule, RuleMirror};
use crate::sync::lock;

/// Speaks to registries. Cloning is cheap; clones share connections and tokens.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    endpoints: Mutex<HashMap<Key, Arc<OnceCell<Arc<Endpoint>>>>>,
    /// Mirrors that did not answer, or had no time. They are not waited for again.
    dead: Mutex<HashSet<Key>>,
}

/// What tells endpoints apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// The registry.
    registry: String,
    /// Of a mirror with settings of its own: its number. The registry is then the one that it is a mirror of.
    mirror: Option<usize>,
    /// Whether a rule says that it may be spoken to without certificates.
    insecure: bool,
}

impl Key {
    fn of(registry: &str, insecure: bool) -> Self {
        Self { registry: registry.to_owned(), mirror: None, insecure }
    }
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// What a tag names now.
    Tag,
    /// What has a certain digest.
    Content,
}

impl Need {
    /// What it takes to read the manifest of `reference`.
    pub(crate) fn of(reference: &Reference) -> Self {
        if reference.digest().is_some() { Self::Content } else { Self::Tag }
    }
}

impl Client {
    /// A client with these settings. Nothing is connected to yet.
    ///
    /// # Errors
    /// [`RegistryError::Config`] when a setting cannot be used.
    pub fn new(config: Config) -> Result<Self, RegistryError> {
        let all = config.registries.values().flat_map(|settings| {
            let mirrors = settings.mirrors.iter().filter_map(|mirror| mirror.settings.as_deref());
            std::iter::once(settings).chain(mirrors)
        });
        let authorities = all.flat_map(|settings| &settings.authorities);
        for pem in config.authorities.iter().chain(authorities) {
            let certificates = reqwest::Certificate::from_pem_bundle(pem);
            if !certificates.is_ok_and(|certificates| !certificates.is_empty()) {
                let reason = "a certificate authority is not in PEM format".to_owned();
                return Err(RegistryError::Config { reason });
            }
        }
        // A mirror that fails is passed over, so one that cannot work has to be told here.
        for mirror in config.registries.values().flat_map(|settings| &settings.mirrors) {
            let name = mirror.name.trim_end_matches('/');
            let example = Reference::parse(&format!("{name}/x"));
            let host = name.split('/').next().unwrap_or_default();
            if !example.is_ok_and(|example| example.domain() == host) {
                let reason = format!("mirror {name:?} is not of the form host[:port][/prefix]");
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
        let endpoint = self.endpoint(&self.key(registry, registry)?, registry, None).await?;
        let target = Target { repository: String::new(), scopes: Vec::new() };
        let root = endpoint.base.clone();
        let repository =
            Repository { endpoint, target, retry: self.config().retry, mirrored: None };
        let request = || Ok(Request::new(Method::GET, root.clone()));
        repository.send("log in", &request).await.map(drop).map_err(|error| match error {
            RegistryError::Denied { errors, source, .. } => {
                RegistryError::NotAccepted { registry: registry.to_owned(), errors, source }
            }
            other => other,
        })
    }

    /// The registry called `registry`, connected; without `settings`, by those for its name.
    async fn endpoint(
        &self,
        key: &Key,
        registry: &str,
        settings: Option<&RegistryConfig>,
    ) -> Result<Arc<Endpoint>, RegistryError> {
        let cell = {
            let mut endpoints = lock(&self.0.endpoints);
            Arc::clone(endpoints.entry(key.clone()).or_default())
        };
        let default = RegistryConfig::default();
        let settings = settings.or_else(|| self.config().of(registry)).unwrap_or(&default);
        let lenient = key.insecure.then(|| RegistryConfig { insecure: true, ..settings.clone() });
        let settings = lenient.as_ref().unwrap_or(settings);
        let connect =
            || async { Ok(Arc::new(Endpoint::connect(registry, settings, self.config()).await?)) };
        cell.get_or_try_init(connect).await.cloned()
    }

    /// How `registry` is spoken to about the repository or registry `name`, by the rules.
    fn key(&self, registry: &str, name: &str) -> Result<Key, RegistryError> {
        let rule = Rule::of_name(&self.config().rules, name);
        rule.map_or(Ok(()), |rule| rule.check(name))?;
        Ok(Key::of(registry, rule.is_some_and(|rule| rule.insecure)))
    }

    /// The repository that `reference` names, to write to, with blobs from `mount_from`. It is where the name
    /// says: a rule that moves what is read moves no writing.
    pub(crate) async fn destination(
        &self,
        reference: &Reference,
        mount_from: &[String],
    ) -> Result<Repository, RegistryError> {
        let registry = reference.domain();
        let key = self.key(registry, &reference.name())?;
        let endpoint = self.endpoint(&key, registry, None).await?;
        let retry = self.config().retry;
        Ok(Repository::new(endpoint, reference.path(), Access::Push, mount_from, retry))
    }

    /// Has `read` look for something of `reference` in one place after the other, until it is found.
    /// Mirrors that do not have what is needed are passed over.
    /// The error is that of the registry itself, whose word is the one that counts.
    pub(crate) async fn find<T, F>(
        &self,
        reference: &Reference,
        need: Need,
        read: impl Fn(Repository) -> F,
    ) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, RegistryError>>,
    {
        for mirror in self.mirrors(reference, need)? {
            if lock(&self.0.dead).contains(&mirror.key) {
                continue;
            }
            let Ok(repository) = self.open(&mirror).await else {
                lock(&self.0.dead).insert(mirror.key);
                continue;
            };
            match read(repository).await {
                // It was waited for as long as is reasonable, once.
                Err(error) if error.is_transient() => {
                    lock(&self.0.dead).insert(mirror.key);
                }
                Err(error) if error.is_of_the_source() => {}
                result => return result,
            }
        }
        read(self.origin(reference).await?).await
    }

    /// Where else what is needed of `reference` can be had, in the order of the settings.
    fn mirrors<'a>(
        &'a self,
        reference: &Reference,
        need: Need,
    ) -> Result<Vec<Source<'a>>, RegistryError> {
        let registry = reference.domain();
        if let Some(rule) = Rule::of(&self.config().rules, reference) {
            rule.check(&reference.name())?;
            if rule.location.is_some() || !rule.mirrors.is_empty() {
                return ruled(rule, reference, need);
            }
        }
        let Some(settings) = self.config().of(registry) else { return Ok(Vec::new()) };
        // Nobody can say whether there are other mirrors, so none is asked.
        let mirrors = settings.mirrors.iter().enumerate().filter(|_| settings.fault.is_none());
        let able = mirrors.filter(|(_, mirror)| match need {
            Need::Tag => mirror.resolves,
            Need::Content => mirror.pulls,
        });
        let source = |(number, mirror): (usize, &'a Mirror)| {
            let name = mirror.name.trim_end_matches('/');
            let (host, prefix) = name.split_once('/').unwrap_or((name, ""));
            let slash = if prefix.is_empty() { "" } else { "/" };
            let settings = mirror.settings.as_deref();
            let key = match settings {
                Some(_) => Key { mirror: Some(number), ..Key::of(registry, false) },
                None => Key::of(host, false),
            };
            let path = format!("{prefix}{slash}{}", reference.path());
            let mirrored = Some(registry.to_owned());
            Source { key, registry: host.to_owned(), path, settings, mirrored }
        };
        Ok(able.map(source).collect())
    }

    /// The repository that `reference` names, to read from; mirrors do not count.
    pub(crate) async fn origin(&self, reference: &Reference) -> Result<Repository, RegistryError> {
        let name = reference.name();
        let rule = Rule::of(&self.config().rules, reference);
        let moved = rule.and_then(|rule| Some((rule, rule.location.as_deref()?)));
        let moved = moved.map(|(rule, location)| rule.moved(reference, location)).transpose()?;
        let place = moved.as_ref().unwrap_or(reference);
        let (registry, path) = (place.domain().to_owned(), place.path().to_owned());
        let key = self.key(&registry, &name)?;
        self.open(&Source { key, registry, path, settings: None, mirrored: None }).await
    }

    /// The repository at `source`, to read from.
    async fn open(&self, source: &Source<'_>) -> Result<Repository, RegistryError> {
        let endpoint = self.endpoint(&source.key, &source.registry, source.settings).await?;
        let retry = self.config().retry;
        let repository = Repository::new(endpoint, &source.path, Access::Pull, &[], retry);
        Ok(Repository { mirrored: source.mirrored.clone(), ..repository })
    }
}

/// The mirrors of a rule that have what is needed of `reference`.
fn ruled<'a>(
    rule: &Rule,
    reference: &Reference,
    need: Need,
) -> Result<Vec<Source<'a>>, RegistryError> {
    let able = rule.mirrors.iter().filter(|mirror| match need {
        Need::Tag => mirror.tags,
        Need::Content => mirror.digests,
    });
    let source = |mirror: &RuleMirror| {
        let place = rule.moved(reference, &mirror.location)?;
        let (registry, path) = (place.domain().to_owned(), place.path().to_owned());
        let key = Key::of(&registry, mirror.insecure);
        Ok(Source { key, registry, path, settings: None, mirrored: None })
    };
    able.map(source).collect()
}

/// A place where the content of a reference can be had.
#[derive(Debug, Clone)]
struct Source<'a> {
    key: Key,
    registry: String,
    path: String,
    /// None: those for its name.
    settings: Option<&'a RegistryConfig>,
    /// The registry that it is a mirror of.
    mirrored: Option<String>,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_may_have_a_prefix_and_not_everything() {
        let contents = Mirror { resolves: false, ..Mirror::new("m.example/hub/") };
        let mirrors = vec![Mirror::new("localhost:5000"), contents];
        let settings = RegistryConfig { mirrors, ..RegistryConfig::default() };
        let registries = [("docker.io".to_owned(), settings)].into();
        let client = Client::new(Config { registries, ..Config::default() }).unwrap();
        let mirrors = |reference: &str, need: Need| -> Vec<_> {
            let sources = client.mirrors(&Reference::parse(reference).unwrap(), need).unwrap();
            sources
                .into_iter()
                .map(|source| format!("{} {}", source.registry, source.path))
                .collect()
        };
        assert_eq!(
            mirrors("busybox", Need::Content),
            ["localhost:5000 library/busybox", "m.example hub/library/busybox"]
        );
        assert_eq!(mirrors("busybox", Need::Tag), ["localhost:5000 library/busybox"]);
        assert_eq!(mirrors("quay.io/a/b", Need::Content), Vec::<String>::new());
    }

    #[test]
    fn settings_are_checked_at_once() {
        let mirrors = vec![Mirror::new("https://m.example")];
        let settings = RegistryConfig { mirrors, ..RegistryConfig::default() };
        let registries = [("docker.io".to_owned(), settings)].into();
        let config = Config { registries, ..Config::default() };
        assert!(matches!(Client::new(config), Err(RegistryError::Config { .. })));
        let config = Config { authorities: vec![b"nonsense".to_vec()], ..Config::default() };
        assert!(matches!(Client::new(config), Err(RegistryError::Config { .. })));
    }
}
