//! Making a container: everything is decided and made here that a start relies on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use bld_event::Events;
use bld_layer::View;
use bld_oci::{ContainerConfig, Digest, Healthcheck, Platform};
use bld_sandbox::Ids;
use bld_store::{ImageRecord, Store, StoreError};
use rustix::system::uname;

use super::logging::LogBound;
use super::model::{
    Attachment, Container, HostConfig, Limits, Mount, MountSource, NetworkMode, Sharing, State,
};
use super::names;
use crate::error::IoContext as _;
use crate::steps::BuildStep;
use crate::{Engine, EngineError, Result, images};

/// What a container is to be. Where nothing is said, the image decides.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// The image, by name or id, which must be in the store; or the step of a build, by id.
    pub image: String,
    /// Which one, where the name stands for images of several platforms.
    pub platform: Option<Platform>,
    /// Its name; one is made up when absent.
    pub name: Option<String>,
    /// The command, instead of the image's.
    pub command: Vec<String>,
    /// The entrypoint, instead of the image's, whose command is dropped too; an empty list clears.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`, or `NAME` to take the variable out.
    pub env: Vec<String>,
    /// User, instead of the image's.
    pub user: Option<String>,
    /// Working directory, instead of the image's.
    pub working_dir: Option<String>,
    /// Labels, added to the image's.
    pub labels: BTreeMap<String, String>,
    /// What is said of the health check; the rest is as the image says.
    pub healthcheck: Healthcheck,
    /// Stop signal, instead of the image's.
    pub stop_signal: Option<String>,
    /// Ports that are exposed besides the image's.
    pub expose: Vec<String>,
    /// What is mounted. Volumes of the image are added.
    pub mounts: Vec<Mount>,
    /// Containers whose binds and volumes are mounted as well.
    pub volumes_from: Vec<String>,
    /// Networks to be on besides the first one, with what is wished for on each; what is said of the
    /// first one is under its name.
    pub networks: BTreeMap<String, Attachment>,
    /// Everything else.
    pub host: HostConfig,
}

/// What a container is made from.
/// Where the ids begin that are given to containers with a user namespace of their own, how many each
/// gets, and for how many containers they are: where systemd-nspawn looks for such ids, too, which
/// account tools leave alone. See <https://systemd.io/UIDS-GIDS/>.
const FIRST_ID: u32 = 0x0008_0000;
const IDS: u32 = 0x0001_0000;
const BLOCKS: u32 = (0x6fff_0000 - FIRST_ID) / IDS;

enum Base {
    Image(ImageRecord),
    Step(Box<BuildStep>),
}

impl Base {
    fn id(&self) -> Digest {
        match self {
            Self::Image(image) => image.id,
            Self::Step(step) => step.id,
        }
    }

    fn platform(&self) -> &str {
        match self {
            Self::Image(image) => &image.platform,
            Self::Step(step) => &step.platform,
        }
    }

    fn config(&self, store: &Store) -> Result<ContainerConfig> {
        match self {
            Self::Image(image) => Ok(images::config(store, &image.id)?.config),
            Self::Step(step) => Ok(step.config.clone()),
        }
    }
}

impl Engine {
    /// The image `name` stands for or, when there is no such image, the step of a build.
    fn base(&self, name: &str, platform: Option<&Platform>) -> Result<Base> {
        match self.find_image_for(name, platform) {
            Ok(image) => Ok(Base::Image(image)),
            Err(error @ (EngineError::NoSuchImage { .. } | EngineError::Reference { .. })) => {
                match self.find_step(name) {
                    Ok(step) => Ok(Base::Step(Box::new(step))),
                    Err(EngineError::NoSuchStep { .. }) => Err(error),
                    Err(other) => Err(other),
                }
            }
            Err(other) => Err(other),
        }
    }

    /// Makes a container. The image's layers are unpacked if they are not yet.
    pub fn create_container(&self, request: &CreateRequest, events: &Events) -> Result<Container> {
        let store = self.store()?;
        let base = self.base(&request.image, request.platform.as_ref())?;
        let config = merge(base.config(store)?, request)?;
        if config.entrypoint.iter().chain(&config.cmd).flatten().next().is_none() {
            return Err(EngineError::NoCommand);
        }
        check(request)?;
        let snapshot = match &base {
            Base::Image(image) => self.unpack_image(image, events)?,
            Base::Step(step) => self.bring_step(step, events)?,
        };
        let id = names::id().at("read", "/dev/urandom")?;
        let mut container = Container {
            name: String::new(),
            created: SystemTime::now(),
            image: base.id(),
            image_name: request.image.clone(),
            platform: base.platform().to_owned(),
            mounts: Vec::new(),
            host: request.host.clone(),
            state: State::default(),
            networks: BTreeMap::new(),
            ports: Vec::new(),
            stop_asked: false,
            restarts: 0,
            config,
            id,
        };
        if container.host.own_users {
            container.host.ids = Some(self.free_ids(&container)?);
        }
        self.choose_networks(&mut container, request)?;
        self.choose_donors(&mut container.host)?;
        if container.host.hostname.is_empty() {
            container.host.hostname = match container.host.network {
                NetworkMode::Host => uname().nodename().to_string_lossy().into_owned(),
                _ => container.short_id(),
            };
        }
        bld_solve::merge_layers(store, snapshot);
        let active = store.prepare(Some(snapshot))?;
        let view = View::new(active.layers().to_vec());
        let wanted = self.wanted_mounts(request)?;
        container.mounts = self.resolve_mounts(wanted, &container.config, &view, events)?;
        self.enter(&mut container, request.name.as_deref())?;
        let kept = active.keep(&container.id).map_err(EngineError::from);
        match kept {
            Ok(_layer) => {
                self.announce_container(&container, "create");
                Ok(container)
            }
            Err(error) => {
                store.delete_container(&container.id)?;
                Err(error)
            }
        }
    }

    /// Ids of the host that no other container has.
    fn free_ids(&self, container: &Container) -> Result<(u32, u32)> {
        let taken: Vec<u32> =
            self.all_containers()?.iter().filter_map(|other| Some(other.host.ids?.0)).collect();
        // By chance, so that two that are made at the same time do not choose the same.
        let start = u32::from_str_radix(container.id.get(..8).unwrap_or_default(), 16).unwrap_or(0);
        let block = |n: u32| FIRST_ID + (start.wrapping_add(n) % BLOCKS) * IDS;
        let free = (0..BLOCKS).map(block).find(|first| !taken.contains(first));
        let none = || EngineError::Invalid { what: "all ids are in use by containers".to_owned() };
        Ok((free.ok_or_else(none)?, IDS))
    }

    /// Finds the networks a container is to be on.
    fn choose_networks(&self, container: &mut Container, request: &CreateRequest) -> Result<()> {
        match &container.host.network {
            NetworkMode::Container(name) => {
                let id = self.find_container(name)?.id;
                container.host.network = NetworkMode::Container(id);
            }
            NetworkMode::Named(name) => {
                container.host.network = match self.network(name)?.name {
                    name if name == crate::networks::DEFAULT => NetworkMode::Bridge,
                    name => NetworkMode::from(name),
                };
            }
            NetworkMode::Bridge | NetworkMode::Host | NetworkMode::None => {}
        }
        let bridged = container.host.network.is_bridged();
        if bridged {
            container.networks.insert(container.host.network.name(), Attachment::default());
        }
        for (name, wish) in &request.networks {
            let network = self.network(name)?;
            let certain = wish.ip.is_some() || wish.ip6.is_some() || !wish.aliases.is_empty();
            if !bridged || !network.driver.has_bridge() {
                let what = "conflicting options: only containers on bridges can be on several \
                            networks, or have aliases and addresses of their own";
                return Err(EngineError::Invalid { what: what.to_owned() });
            }
            if network.name == crate::networks::DEFAULT && certain {
                let what = "invalid config for network bridge: network-scoped aliases and \
                            user-specified IP addresses are only supported for user-defined networks";
                return Err(EngineError::Invalid { what: what.to_owned() });
            }
            container.networks.insert(network.name, wish.clone());
        }
        Ok(())
    }

    /// Finds the containers whose processes and shared memory a container is to have.
    fn choose_donors(&self, host: &mut HostConfig) -> Result<()> {
        if let Sharing::Container(name) = &host.pid {
            host.pid = Sharing::Container(self.find_container(name)?.id);
        }
        if let Sharing::Container(name) = &host.ipc {
            let donor = self.find_container(name)?;
            if donor.host.ipc == Sharing::Own {
                return Err(EngineError::NotShareable { container: donor.id });
            }
            host.ipc = Sharing::Container(donor.id);
        }
        Ok(())
    }

    /// Unpacks an image as a task of its own, which is silent when there is nothing to do.
    pub(crate) fn unpack_image(
        &self,
        image: &ImageRecord,
        events: &Events,
    ) -> Result<bld_store::SnapshotId> {
        let store = self.store()?;
        if let Some(snapshot) = image.snapshot
            && store.is_here(snapshot)?
        {
            return Ok(snapshot);
        }
        let task = events.task(format!("unpacking {}", image.id));
        let unpacked = self.bringer(events)?.bring_image(image, task.id());
        // What a container lies on has to last as long as it does.
        let unpacked = unpacked.and_then(|id| store.sync().map(|()| id).map_err(Into::into));
        task.finish(unpacked)
    }

    /// The snapshot of a step, with its files here.
    fn bring_step(&self, step: &BuildStep, events: &Events) -> Result<bld_store::SnapshotId> {
        let store = self.store()?;
        if !store.is_here(step.snapshot)? {
            let task = events.task(format!("bringing the files of {}", step.name));
            let brought = self.bringer(events)?.bring(step.snapshot, task.id());
            task.finish(brought.and_then(|()| store.sync().map_err(Into::into)))?;
        }
        Ok(step.snapshot)
    }

    /// Writes the container's document, under the name asked for or a new one.
    fn enter(&self, container: &mut Container, name: Option<&str>) -> Result<()> {
        let store = self.store()?;
        if let Some(name) = name {
            let name = name.strip_prefix('/').unwrap_or(name);
            if !names::is_valid(name) {
                return Err(EngineError::ContainerName { name: name.to_owned() });
            }
            name.clone_into(&mut container.name);
            return put(store, container);
        }
        for attempt in 0.. {
            container.name = names::name(attempt).at("read", "/dev/urandom")?;
            match put(store, container) {
                Err(EngineError::NameInUse { .. }) if attempt < 50 => {}
                done => return done,
            }
        }
        Ok(())
    }

    /// What was asked for, and what other containers have where nothing was asked for.
    fn wanted_mounts(&self, request: &CreateRequest) -> Result<Vec<Mount>> {
        let mut mounts = request.mounts.clone();
        for word in &request.volumes_from {
            let (name, read_only) = match word.rsplit_once(':') {
                Some((name, "ro")) => (name, true),
                Some((name, "rw" | "z" | "Z")) => (name, false),
                _ => (word.as_str(), false),
            };
            for mount in self.find_container(name)?.mounts {
                let taken = mounts.iter().any(|known| clean(&known.target) == mount.target);
                if !taken && !matches!(mount.source, MountSource::Tmpfs { .. }) {
                    mounts.push(Mount { read_only: mount.read_only || read_only, ..mount });
                }
            }
        }
        Ok(mounts)
    }

    /// Finds or makes what is to be mounted.
    fn resolve_mounts(
        &self,
        mut mounts: Vec<Mount>,
        config: &ContainerConfig,
        image: &View,
        events: &Events,
    ) -> Result<Vec<Mount>> {
        for path in &config.volumes {
            let path = clean(path);
            if !mounts.iter().any(|mount| clean(&mount.target) == path) {
                let source = MountSource::Volume {
                    name: String::new(),
                    anonymous: true,
                    copy: true,
                    subpath: None,
                };
                mounts.push(Mount { source, target: path, read_only: false });
            }
        }
        for mount in &mut mounts {
            if !mount.target.starts_with('/') {
                return Err(EngineError::MountTarget { target: mount.target.clone() });
            }
            mount.target = clean(&mount.target);
            match &mut mount.source {
                MountSource::Bind { path, create, .. } => {
                    if !path.exists() {
                        if !*create {
                            return Err(EngineError::BindSource { path: path.clone() });
                        }
                        std::fs::create_dir_all(&*path).at("create", &*path)?;
                    }
                }
                MountSource::Volume { name, anonymous, copy, subpath } => {
                    let volume = match name.as_str() {
                        "" => self.create_anonymous_volume()?,
                        name => self.create_volume(name, &BTreeMap::new())?,
                    };
                    *anonymous = volume.anonymous;
                    name.clone_from(&volume.name);
                    // What is shown of it has to be there, so there is nothing to fill.
                    if *copy && subpath.is_none() {
                        volume.fill(image, Path::new(&mount.target))?;
                    }
                }
                MountSource::Image { name, id, subpath } => {
                    let found = self.find_image(name)?;
                    let snapshot = self.unpack_image(&found, events)?;
                    let view = View::new(self.store()?.layers(snapshot)?);
                    let is_there = |path: &String| matches!(view.resolve(path), Ok(Some(_)));
                    if let Some(path) = subpath.as_ref().filter(|path| !is_there(path)) {
                        let what = format!("cannot access path {path}: no such file or directory");
                        return Err(EngineError::Invalid { what });
                    }
                    *id = Some(found.id);
                    mount.read_only = true;
                }
                MountSource::Tmpfs { .. } => {}
            }
        }
        // A mount within another one has to come after it.
        mounts.sort_by_key(|mount| mount.target.matches('/').count());
        Ok(mounts)
    }
}

fn put(store: &Store, container: &Container) -> Result<()> {
    let document = super::encode(container)?;
    match store.put_container(&container.id, &container.name, &document) {
        Err(StoreError::NameTaken { name, id }) => Err(EngineError::NameInUse { name, id }),
        other => Ok(other?),
    }
}

/// Refuses what can be known to be wrong before anything is made.
fn check(request: &CreateRequest) -> Result<()> {
    let invalid = |what: &str| Err(EngineError::Invalid { what: what.to_owned() });
    if request.host.limits.memory.is_some_and(|memory| memory < 6 << 20) {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if request.host.limits.io_weight.is_some_and(|weight| !(10..=1000).contains(&weight)) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    if let Some(what) = contradiction(&request.host.limits) {
        return invalid(&what);
    }
    let mut targets: Vec<_> = request.mounts.iter().map(|mount| clean(&mount.target)).collect();
    targets.sort_unstable();
    if let Some((twice, _)) = targets.iter().zip(targets.iter().skip(1)).find(|(a, b)| a == b) {
        return invalid(&format!("Duplicate mount point: {twice}"));
    }
    super::security::check(&request.host.security_opt)?;
    LogBound::of(&request.host)?;
    if let Some(what) = refused_with_users(&request.host) {
        return invalid(what);
    }
    if let Some(signal) = &request.stop_signal
        && bld_sandbox::signal_number(signal).is_none()
    {
        return invalid(&format!("Invalid signal: {signal}"));
    }
    match &request.working_dir {
        Some(dir) if !dir.starts_with('/') => invalid(&format!(
            "the working directory '{dir}' is invalid, it needs to be an absolute path"
        )),
        _ => Ok(()),
    }
}

/// Which limits do not go together or are none.
fn contradiction(limits: &Limits) -> Option<String> {
    let swap = limits.memory_swap.and_then(|sum| u64::try_from(sum).ok());
    let more = |one: Option<u64>, other| one.zip(other).is_some_and(|(one, other)| one > other);
    let processors = rustix::thread::sched_getaffinity(None).map_or(u32::MAX, |set| set.count());
    let rules = [
        (
            swap.is_some() && limits.memory.is_none(),
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (
            more(limits.memory, swap),
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            more(limits.memory_reservation, limits.memory),
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (
            limits.nano_cpus.is_some() && limits.cpu_period.is_some(),
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ),
        (
            limits.nano_cpus.is_some() && limits.cpu_quota.is_some(),
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            limits.cpu_period.is_some_and(|period| !(1000..=1_000_000).contains(&period)),
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (
            limits.cpu_quota.is_some_and(|quota| quota < 1000),
            "CPU cfs quota can not be less than 1ms (i.e. 1000)",
        ),
    ];
    let broken = rules.into_iter().find(|(broken, _)| *broken).map(|(_, what)| what.to_owned());
    let most = u64::from(processors).saturating_mul(1_000_000_000);
    let too_many = limits.nano_cpus.is_some_and(|cpus| cpus > most);
    let too_many = too_many.then(|| {
        format!(
            "Range of CPUs is from 0.01 to {processors}.00, as there are only {processors} CPUs available"
        )
    });
    broken.or(too_many)
}

/// What does not go together with a user namespace of its own: nothing, where there is none.
fn refused_with_users(host: &HostConfig) -> Option<&'static str> {
    let rules = [
        (host.privileged, "privileged mode is incompatible with user namespaces"),
        (
            host.pid != Sharing::Own,
            "cannot share the host's PID namespace when user namespaces are enabled",
        ),
        (
            host.network == NetworkMode::Host,
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        (
            !matches!(host.ipc, Sharing::Own | Sharing::Shareable) || host.host_uts,
            "cannot share the host's namespaces when user namespaces are enabled",
        ),
        (
            !Ids::own().are_all(),
            "only root can give a container a user namespace of its own: those of an ordinary user share \
             theirs",
        ),
    ];
    let broken = rules.into_iter().find(|(broken, _)| *broken && host.own_users);
    broken.map(|(_, what)| what)
}

/// The image's configuration with what was asked for.
fn merge(mut config: ContainerConfig, request: &CreateRequest) -> Result<ContainerConfig> {
    if let Some(entrypoint) = &request.entrypoint {
        // Whoever changes the entrypoint does not want the arguments of the old one.
        config.cmd = None;
        config.entrypoint = Some(entrypoint.clone()).filter(|words| !words.is_empty());
    }
    if !request.command.is_empty() {
        config.cmd = Some(request.command.clone());
    }
    for variable in &request.env {
        let (name, value) = match variable.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (variable.as_str(), None),
        };
        if name.is_empty() {
            let what = format!("invalid environment variable: {variable}");
            return Err(EngineError::Invalid { what });
        }
        set_env(&mut config.env, name, value);
    }
    if let Some(user) = &request.user {
        config.user.clone_from(user);
    }
    if let Some(dir) = &request.working_dir {
        config.working_dir.clone_from(dir);
    }
    if let Some(signal) = &request.stop_signal {
        config.stop_signal = Some(signal.clone());
    }
    if request.healthcheck != Healthcheck::default() {
        let merged = super::health::merge(&request.healthcheck, config.healthcheck.as_ref());
        config.healthcheck = Some(merged);
    }
    config.labels.extend(request.labels.clone());
    config.exposed_ports.extend(request.expose.iter().cloned());
    Ok(config)
}

/// Sets a variable in place, or takes it out.
pub(crate) fn set_env(env: &mut Vec<String>, name: &str, value: Option<&str>) {
    let known = env.iter().position(|entry| entry.split('=').next() == Some(name));
    match (known, value) {
        (Some(at), Some(value)) => env[at] = format!("{name}={value}"),
        (Some(at), None) => {
            env.remove(at);
        }
        (None, Some(value)) => env.push(format!("{name}={value}")),
        (None, None) => {}
    }
}

/// An absolute path without `.`, `..`, double and trailing slashes.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn image() -> ContainerConfig {
        ContainerConfig {
            env: vec!["PATH=/bin".into(), "A=1".into()],
            entrypoint: Some(vec!["/entry".into()]),
            cmd: Some(vec!["default".into()]),
            ..ContainerConfig::default()
        }
    }

    #[test]
    fn what_is_asked_for_overrules_the_image() {
        let request = CreateRequest {
            command: vec!["x".into()],
            env: vec!["A=2".into(), "B=3".into(), "PATH".into()],
            ..CreateRequest::default()
        };
        let merged = merge(image(), &request).unwrap();
        assert_eq!(merged.env, ["A=2", "B=3"]);
        assert_eq!(merged.entrypoint.as_deref(), Some(&["/entry".to_owned()][..]));
        assert_eq!(merged.cmd.as_deref(), Some(&["x".to_owned()][..]));
    }

    #[test]
    fn a_new_entrypoint_drops_the_command() {
        let cleared = CreateRequest { entrypoint: Some(Vec::new()), ..CreateRequest::default() };
        let merged = merge(image(), &cleared).unwrap();
        assert_eq!((merged.entrypoint, merged.cmd), (None, None));
    }

    #[test]
    fn paths_are_compared_in_one_form() {
        assert_eq!(clean("/data//x/../"), "/data");
        assert_eq!(clean("/"), "/");
    }
}
