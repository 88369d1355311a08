//! From what a user typed to a container, and lists of containers.

use std::cmp::Reverse;

use bld_dockerfile::ignore::glob_match;
use bld_oci::Digest;
use bld_store::StoreError;

use super::health::HealthStatus;
use super::model::{Container, Status};
use super::{decode, liveness};
use crate::{Engine, EngineError, Result, images};

/// Which containers a list shows. Within one criterion any value will do, but every criterion that
/// has values must be met.
#[derive(Debug, Clone, Default)]
pub struct ContainerFilter {
    /// Also containers that do not run; other criteria may imply it.
    pub all: bool,
    /// Only the newest so many, running or not.
    pub last: Option<usize>,
    /// Starts of ids.
    pub ids: Vec<String>,
    /// Parts of names; `^` and `$` bind to their ends.
    pub names: Vec<String>,
    /// Labels, and values if given.
    pub labels: Vec<(String, Option<String>)>,
    /// Exit codes.
    pub exited: Vec<i32>,
    /// States.
    pub status: Vec<Status>,
    /// Images they descend from.
    pub ancestors: Vec<String>,
    /// Only those created before this one.
    pub before: Option<String>,
    /// Only those created after this one.
    pub since: Option<String>,
    /// Names of volumes, or places they are mounted at.
    pub volumes: Vec<String>,
    /// Networks.
    pub networks: Vec<String>,
    /// How well they are; none for those that have no health check.
    pub health: Vec<Option<HealthStatus>>,
}

impl Engine {
    /// The container `name` stands for: its name, its id, or the unique start of its id.
    pub fn find_container(&self, name: &str) -> Result<Container> {
        let bare = name.strip_prefix('/').unwrap_or(name);
        let missing = || EngineError::NoSuchContainer { name: name.to_owned() };
        match self.store()?.container(bare) {
            Ok(Some(stored)) => liveness::settle(self, decode(stored)?)?.ok_or_else(missing),
            Ok(None) | Err(StoreError::MissingContainer { .. }) => Err(missing()),
            Err(StoreError::Ambiguous { prefix, .. }) => {
                Err(EngineError::AmbiguousContainer { prefix })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The containers that `filter` lets through, newest first.
    pub fn containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>> {
        let mut containers = self.all_containers()?;
        containers.sort_by_key(|container| Reverse(container.created));
        let ancestors = self.ancestors(&filter.ancestors)?;
        let created = |name: &Option<String>| {
            name.as_ref()
                .map(|name| Ok::<_, EngineError>(self.find_container(name)?.created))
                .transpose()
        };
        let (before, since) = (created(&filter.before)?, created(&filter.since)?);
        let all = filter.all
            || filter.last.is_some()
            || !filter.status.is_empty()
            || !filter.exited.is_empty();
        containers.retain(|container| {
            (all || container.state.is_running())
                && before.is_none_or(|time| container.created < time)
                && since.is_none_or(|time| container.created > time)
                && (filter.ancestors.is_empty() || ancestors.contains(&container.image))
                && fits(container, filter)
        });
        containers.truncate(filter.last.unwrap_or(usize::MAX));
        Ok(containers)
    }

    /// Every container, each with the state it is really in.
    pub(crate) fn all_containers(&self) -> Result<Vec<Container>> {
        let mut containers = Vec::new();
        for stored in self.store()?.containers()? {
            containers.extend(liveness::settle(self, decode(stored)?)?);
        }
        Ok(containers)
    }

    /// The images of every container.
    pub(crate) fn containers_using(&self) -> Result<Vec<Digest>> {
        Ok(self.all_containers()?.iter().flat_map(Container::images).collect())
    }

    /// The images `names` stand for and all that are built upon them.
    fn ancestors(&self, names: &[String]) -> Result<Vec<Digest>> {
        let mut fitting = Vec::new();
        for name in names {
            let store = self.store()?;
            let base = match images::find::find(self, name) {
                Ok(found) => found.record,
                Err(EngineError::NoSuchImage { .. }) => continue,
                Err(error) => return Err(error),
            };
            let built_upon = |layers: &[Digest]| {
                layers.len() > base.layers.len()
                    && !base.layers.is_empty()
                    && layers.starts_with(&base.layers)
            };
            fitting.push(base.id);
            fitting.extend(
                store.images()?.into_iter().filter(|i| built_upon(&i.layers)).map(|i| i.id),
            );
        }
        Ok(fitting)
    }
}

fn fits(container: &Container, filter: &ContainerFilter) -> bool {
    fn any<T>(wanted: &[T], fits: impl Fn(&T) -> bool) -> bool {
        wanted.is_empty() || wanted.iter().any(fits)
    }
    any(&filter.ids, |id| container.id.starts_with(id.as_str()))
        && any(&filter.names, |pattern| name_fits(pattern, &container.name))
        && any(&filter.status, |status| container.state.status == *status)
        && any(&filter.health, |health| {
            container.state.health.as_ref().map(|health| health.status) == *health
        })
        && any(&filter.exited, |code| {
            container.state.status == Status::Exited && container.state.exit_code == *code
        })
        && any(&filter.networks, |network| container.is_on(network))
        && any(&filter.volumes, |volume| {
            container.mounts.iter().any(|mount| {
                mount.target == *volume
                    || matches!(&mount.source, super::MountSource::Volume { name, .. } if name == volume)
            })
        })
        && images::list::matches_labels(&container.config.labels, &filter.labels)
}

/// Docker takes a regular expression here; what people write are parts of names, bound to the ends
/// or not, and wildcards.
fn name_fits(pattern: &str, name: &str) -> bool {
    // Docker's own names begin with a slash, which some scripts write.
    let (bound_start, pattern) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    let (bound_end, pattern) = match pattern.strip_suffix('$') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let glob = pattern.replace(".*", "*");
    let (start, end) = (if bound_start { "" } else { "*" }, if bound_end { "" } else { "*" });
    glob_match(&format!("{start}{glob}{end}"), name).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::name_fits;

    #[test]
    fn names_fit_in_part_unless_bound() {
        for (pattern, expected) in [
            ("eb", true),
            ("^web$", true),
            ("^/web", true),
            ("^eb", false),
            ("we$", false),
            ("w.*b", true),
        ] {
            assert_eq!(name_fits(pattern, "web"), expected, "{pattern}");
        }
    }
}
