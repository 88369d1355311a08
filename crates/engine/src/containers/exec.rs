//! Further processes in a container that runs.

use std::thread;

use bld_layer::View;
use bld_sandbox::{ExecSpec, Process, Stdio};
use serde::{Deserialize, Serialize};

use super::control::Control;
use super::create::set_env;
use super::model::{Container, Status};
use super::relay::Io;
use super::streams::attended;
use super::supervise::Exit;
use super::{ProcessId, names, spec};
use crate::error::IoContext as _;
use crate::events::Event;
use crate::{Engine, EngineError, Result};

/// What is to run in a container besides its first process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The container.
    pub container: String,
    /// The command line.
    pub command: Vec<String>,
    /// `NAME=value`, or `NAME` to take a variable of the container out.
    pub env: Vec<String>,
    /// User, instead of the container's.
    pub user: Option<String>,
    /// Working directory, instead of the container's.
    pub working_dir: Option<String>,
    /// It gets a terminal.
    pub tty: bool,
    /// Its standard input is open.
    pub open_stdin: bool,
    /// It gets all rights, in the container's mounts and devices.
    pub privileged: bool,
}

/// What is told of a command: see [`events`](crate::events).
pub(super) struct Told {
    event: Event,
    command: String,
}

impl Told {
    pub(super) fn new(container: &Container, request: &ExecRequest) -> Result<Self> {
        let id = names::id().at("read", "/dev/urandom")?;
        let event = Event::container(container, "exec_die").with("execID", id);
        Ok(Self { event, command: request.command.join(" ") })
    }

    pub(super) fn begun(&self) -> [Event; 2] {
        ["exec_create", "exec_start"].map(|action| Event {
            action: format!("{action}: {}", self.command),
            ..self.event.clone()
        })
    }

    pub(super) fn ended(self, code: i32) -> Event {
        self.event.with("exitCode", code.to_string())
    }
}

impl Engine {
    /// Runs a command in a running container and waits for its end. It dies with this process.
    ///
    /// # Errors
    /// [`EngineError::Start`] when the program could not be started.
    pub fn exec_container(&self, request: &ExecRequest, io: Io, control: &Control) -> Result<Exit> {
        let container = self.find_container(&request.container)?;
        let told = Told::new(&container, request)?;
        let exit =
            self.exec_attended(&container, request, io, control, &|| self.announce(told.begun()))?;
        self.announce([told.ended(exit.code)]);
        Ok(exit)
    }

    /// As [`exec_container`](Self::exec_container), of which nobody else is told; `started` is called when
    /// it runs.
    pub(super) fn exec_attended(
        &self,
        container: &Container,
        request: &ExecRequest,
        io: Io,
        control: &Control,
        started: &dyn Fn(),
    ) -> Result<Exit> {
        attended((request.tty, request.open_stdin), io, control, |stdio| {
            let process = self.exec(container, request, stdio, true)?;
            started();
            Ok(process)
        })
    }

    /// Starts a command in a running container and leaves it alone. Nobody reads what it writes, or
    /// learns how it ends.
    ///
    /// # Errors
    /// [`EngineError::Start`] when the program could not be started.
    pub fn exec_detached(&self, request: &ExecRequest) -> Result<()> {
        let container = self.find_container(&request.container)?;
        let told = Told::new(&container, request)?;
        let mut process = self.exec(&container, request, Stdio::Null, false)?;
        self.announce(told.begun());
        // It is our child: as long as we live and do not reap it, its container cannot end.
        let reap = move || drop(process.wait());
        let reaper = thread::Builder::new().name("exec".to_owned()).spawn(reap);
        reaper.map(drop).at("start a thread for", "the command")
    }

    pub(super) fn exec(
        &self,
        container: &Container,
        request: &ExecRequest,
        stdio: Stdio,
        die_with_parent: bool,
    ) -> Result<Process> {
        let id = || container.id.clone();
        match container.state.status {
            Status::Paused => return Err(EngineError::Paused { container: id() }),
            Status::Restarting => return Err(EngineError::Restarting { container: id() }),
            Status::Created | Status::Running | Status::Exited => {}
        }
        let first = container.state.process.filter(|process| process.is_alive());
        let Some(ProcessId { pid, .. }) = first.filter(|_| container.state.is_running()) else {
            return Err(EngineError::NotRunning { container: id() });
        };
        let user = request.user.as_ref().unwrap_or(&container.config.user);
        let account =
            spec::account(&self.container_view(container)?, user, &container.host.groups)?;
        let mut env = spec::environment(container, request.tty, &account.home);
        for variable in &request.env {
            match variable.split_once('=') {
                Some((name, value)) => set_env(&mut env, name, Some(value)),
                None => set_env(&mut env, variable, None),
            }
        }
        let host = &container.host;
        let cwd = request.working_dir.as_ref().unwrap_or(&container.config.working_dir);
        let exec = ExecSpec {
            env,
            cwd: if cwd.is_empty() { "/".to_owned() } else { cwd.clone() },
            user: account.user,
            capabilities: spec::capabilities(host)?,
            seccomp: super::security::seccomp(host, spec::capabilities(host)?)?,
            no_new_privileges: spec::no_new_privileges(host),
            privileged: request.privileged || host.privileged,
            rlimits: spec::rlimits(host)?,
            stdio,
            die_with_parent,
            ..ExecSpec::new(request.command.iter().cloned())
        };
        self.spawn_in(container, pid, exec)
    }

    /// The root filesystem of a container, without its mounts.
    fn container_view(&self, container: &Container) -> Result<View> {
        let store = self.store()?;
        let missing = || EngineError::NoSuchContainer { name: container.id.clone() };
        let layer = store.container(&container.id)?.and_then(|container| container.layer);
        Ok(View::new(store.layers(layer.ok_or_else(missing)?)?))
    }
}
