//! Holding a container from its start to its end.

use std::time::SystemTime;

use bld_store::{ContainerLayer, StoreError};

use super::control::Control;
use super::encode;
use super::logs::LogWriter;
use super::model::{Container, LogDriver, Status};
use super::process::ProcessId;
use super::relay::Io;
use super::streams::Streams;
use crate::error::{IoContext as _, in_one_line};
use crate::{Engine, EngineError, Result};

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code of its first process; 128 + signal when a signal ended it.
    pub code: i32,
    /// The kernel killed something in it for lack of memory.
    pub oom_killed: bool,
}

impl Engine {
    /// Runs a container that was created or has ended before, and holds it until its end. `started`
    /// is called when it runs.
    ///
    /// A container that removes itself is gone when this returns, also on failure.
    ///
    /// # Errors
    /// [`EngineError::Start`] when its program could not be started: the container stays as it was,
    /// with the reason entered.
    pub fn run_container(
        &self,
        name: &str,
        io: Io,
        control: &Control,
        started: &mut dyn FnMut(&Container),
    ) -> Result<Exit> {
        let container = self.find_container(name)?;
        let layer = match self.store()?.container_layer(&container.id) {
            Ok(layer) => layer,
            Err(StoreError::SnapshotInUse { .. }) => {
                return Err(EngineError::AlreadyRunning { container: container.name });
            }
            Err(error) => return Err(error.into()),
        };
        let held = self.hold(container.clone(), &layer, io, control, started);
        drop(layer);
        if container.host.auto_remove {
            let discarded = self.discard(&container, true);
            return held.and_then(|exit| discarded.map(|()| exit));
        }
        held
    }

    fn hold(
        &self,
        mut container: Container,
        layer: &ContainerLayer,
        io: Io,
        control: &Control,
        started: &mut dyn FnMut(&Container),
    ) -> Result<Exit> {
        let dir = self.container_dir(&container.id)?;
        std::fs::create_dir_all(&dir).at("create", &dir)?;
        let log = match container.host.log {
            LogDriver::JsonFile => Some(LogWriter::open(&self.log_path(&container.id)?)?),
            LogDriver::None => None,
        };
        let network = self.prepare_network(&container)?;
        container.network.clone_from(&network.endpoint);
        let result = self.run_in_network(&mut container, layer, network, io, control, log, started);
        // Its link ends with its network namespace. Taking it away by hand would only make us wait
        // for the kernel (15 ms).
        container.network = None;
        match &result {
            Ok(exit) => {
                container.state.status = Status::Exited;
                container.state.exit_code = exit.code;
                container.state.oom_killed = exit.oom_killed;
                container.state.finished = Some(SystemTime::now());
            }
            Err(error) => {
                // One that has not run stays as it was; one that we lost was killed for it.
                if container.state.is_running() {
                    container.state.status = Status::Exited;
                    container.state.finished = Some(SystemTime::now());
                }
                container.state.exit_code = error.exit_code();
                container.state.error = in_one_line(error);
            }
        }
        container.state.process = None;
        container.state.holder = None;
        self.save(&container)?;
        result
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `hold`, split off for its errors")]
    fn run_in_network(
        &self,
        container: &mut Container,
        layer: &ContainerLayer,
        network: super::network::Prepared,
        io: Io,
        control: &Control,
        log: Option<LogWriter>,
        started: &mut dyn FnMut(&Container),
    ) -> Result<Exit> {
        let (stdio, streams) =
            Streams::open(container.host.tty, container.host.open_stdin, io.size)?;
        let spec = self.spec(container, layer, network, stdio)?;
        let mut process =
            bld_sandbox::spawn(spec).map_err(|source| EngineError::Start { source })?;
        container.state.status = Status::Running;
        container.state.process = ProcessId::of(process.pid());
        container.state.holder = ProcessId::current();
        container.state.started = Some(SystemTime::now());
        container.state.error = String::new();
        container.state.oom_killed = false;
        self.save(container)?;
        started(container);
        let relays = streams.carry(&mut process, io, log)?;
        // Control groups of those who were killed before they could say that they run. Those that
        // resist are left for the next look.
        let _left = bld_sandbox::cgroup::sweep(super::spec::CGROUP_PREFIX, None);
        let status = relays.attend(&mut process, control)?;
        relays.finish();
        Ok(Exit { code: status.code, oom_killed: status.oom_killed })
    }

    /// Writes the container's document. Its name is the store's business.
    fn save(&self, container: &Container) -> Result<()> {
        let document = encode(container)?;
        self.store()?.update_container(&container.id, |state| *state = document)?;
        Ok(())
    }
}
