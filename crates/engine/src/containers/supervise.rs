//! Holding a container from its start to its end, and beyond it when it is to be started again.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bld_store::{ContainerLayer, StoreError};
use rustix::event::{PollFd, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::attach::{self, Post, Socket};
use super::control::Control;
use super::health::{Check, Health, HealthStatus};
use super::lifecycle::send;
use super::logging::LogBound;
use super::logs::LogWriter;
use super::model::{Container, LogDriver, Status};
use super::process::ProcessId;
use super::relay::{Bell, Io};
use super::remove::PATIENCE;
use super::restart::Backoff;
use super::streams::Streams;
use crate::error::{IoContext as _, in_one_line};
use crate::{Engine, EngineError, Result};

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code of its first process; 128 + signal when a signal ended it.
    pub code: i32,
    /// The kernel killed something in it for lack of memory.
    pub oom_killed: bool,
}

/// Who holds a container.
pub(super) enum Holder {
    /// The process that was asked to run it, with its streams.
    Foreground(Io),
    /// A process of its own. Somebody may be attached from the first moment.
    Monitor(Option<Socket>),
}

impl Holder {
    /// Whether somebody sees what the container writes, from its start on.
    fn is_watched(&self) -> bool {
        match self {
            Self::Foreground(io) => io.stdout.is_some() || io.stderr.is_some(),
            Self::Monitor(visitor) => visitor.is_some(),
        }
    }
}

/// What the holder of a container has in hand.
pub(super) struct Held<'a> {
    pub(super) layer: ContainerLayer,
    control: &'a Control,
    post: Post,
    /// What the container uses is counted: one that is there for a moment only need not pay for it.
    pub(super) is_counted: bool,
}

impl Engine {
    /// Runs a container that was created or has ended before, and holds it until its end. `started`
    /// is called when it runs for the first time.
    ///
    /// A container whose restart policy says so is started again. One that removes itself is gone
    /// when this returns, also on failure.
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
        self.run_held(name, Holder::Foreground(io), control, started)
    }

    /// As [`run_container`](Self::run_container), by whoever `holder` says.
    pub(super) fn run_held(
        &self,
        name: &str,
        holder: Holder,
        control: &Control,
        started: &mut dyn FnMut(&Container),
    ) -> Result<Exit> {
        let container = self.find_container(name)?;
        let layer = self.layer_let_go(&container)?;
        let dir = self.container_dir(&container.id)?;
        std::fs::create_dir_all(&dir).at("create", &dir)?;
        let post = Post::open(&dir).at("listen in", &dir)?;
        if holder.is_watched() {
            self.announce_container(&container, "attach");
        }
        let mut held = Held { layer, control, post, is_counted: false };
        let io = match holder {
            Holder::Foreground(io) => io,
            Holder::Monitor(visitor) => {
                held.is_counted = true;
                let visit = visitor.map(|visitor| held.post.welcome(visitor)).transpose();
                visit.at("listen in", &dir)?.map(attach::io_of).unwrap_or_default()
            }
        };
        let ended = self.hold(container.clone(), &mut held, io, started);
        let Held { layer, mut post, .. } = held;
        drop(layer);
        let ended = if container.host.auto_remove {
            let discarded = self.discard(&container, true);
            ended.and_then(|exit| discarded.map(|()| exit))
        } else {
            ended
        };
        if let Ok(exit) = ended {
            post.dismiss(exit);
        }
        ended
    }

    /// The layer of a container that does not run. Whoever has entered its end holds it for a moment
    /// longer.
    fn layer_let_go(&self, container: &Container) -> Result<ContainerLayer> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.store()?.container_layer(&container.id) {
                Err(StoreError::SnapshotInUse { .. }) => {
                    let runs = self.find_container(&container.id)?.state.is_running();
                    if runs || Instant::now() > end {
                        let container = container.name.clone();
                        return Err(EngineError::AlreadyRunning { container });
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                layer => return Ok(layer?),
            }
        }
    }

    /// Holds a container until it has ended and is not to be started again.
    fn hold(
        &self,
        mut container: Container,
        held: &mut Held<'_>,
        mut io: Io,
        started: &mut dyn FnMut(&Container),
    ) -> Result<Exit> {
        container.stop_asked = false;
        container.restarts = 0;
        let mut backoff = Backoff::default();
        let mut first = true;
        loop {
            let began = Instant::now();
            let io = std::mem::take(&mut io);
            let ran = self.run_once(&mut container, held, io, &mut |container| {
                if std::mem::take(&mut first) {
                    started(container);
                }
            });
            let places = container.networks.clone();
            let pause = self.enter_end(&mut container, &ran, began.elapsed(), &mut backoff)?;
            if let Ok(exit) = &ran {
                let ended = Container { networks: places, ..container.clone() };
                self.announce_end(&ended, *exit, began.elapsed());
            }
            match (&ran, pause) {
                (Ok(exit), Some(pause)) => {
                    held.post.dismiss(*exit);
                    if !self.rest(&container, &mut held.post, pause)? {
                        return ran;
                    }
                }
                _ => return ran,
            }
        }
    }

    /// Enters how a container ended; how long to wait before it is started again, if it is.
    fn enter_end(
        &self,
        container: &mut Container,
        ran: &Result<Exit>,
        lasted: Duration,
        backoff: &mut Backoff,
    ) -> Result<Option<Duration>> {
        let mut pause = None;
        container.state.process = None;
        *container = self.update(&container.id, |stored| {
            stored.state.process = None;
            // Its links end with its network namespace. Taking them away by hand would only make us
            // wait for the kernel (15 ms).
            stored.unplug();
            if let Some(health) = &mut stored.state.health {
                health.status = HealthStatus::Unhealthy;
            }
            match ran {
                Ok(exit) => {
                    if !stored.stop_asked {
                        let policy = &stored.host.restart;
                        pause = backoff.next(policy, stored.restarts, exit.code, lasted);
                    }
                    stored.state.exit_code = exit.code;
                    stored.state.oom_killed = exit.oom_killed;
                }
                Err(error) => {
                    stored.state.exit_code = error.exit_code();
                    stored.state.error = in_one_line(error);
                }
            }
            if pause.is_some() {
                stored.restarts += 1;
                stored.state.status = Status::Restarting;
            } else {
                stored.state.holder = None;
            }
            // One that has not run stays as it was; one that we lost was killed for it.
            if ran.is_ok() || stored.state.is_running() {
                stored.state.finished = Some(SystemTime::now());
                if pause.is_none() {
                    stored.state.status = Status::Exited;
                }
            }
        })?;
        Ok(pause)
    }

    /// Waits before a container is started again; false when somebody does not want that any more.
    fn rest(&self, container: &Container, post: &mut Post, pause: Duration) -> Result<bool> {
        let end = Instant::now() + pause;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout =
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            let mut fds: Vec<PollFd<'_>> = post.poll_fds().collect();
            let polled = poll(&mut fds, Some(&timeout));
            if polled != Err(rustix::io::Errno::INTR) {
                polled.at("wait for", format!("container {}", container.name))?;
            }
            // Nobody can attach to what does not run; that somebody came is what counts.
            drop(post.requests());
            let mut stop = false;
            self.update(&container.id, |stored| {
                stop = stored.stop_asked;
                if stop {
                    stored.state.status = Status::Exited;
                    stored.state.holder = None;
                }
            })?;
            if stop || left.is_zero() {
                return Ok(!stop);
            }
        }
    }

    /// Runs a container to its end, once.
    fn run_once(
        &self,
        container: &mut Container,
        held: &mut Held<'_>,
        io: Io,
        started: &mut dyn FnMut(&Container),
    ) -> Result<Exit> {
        let log = match container.host.log {
            LogDriver::None => None,
            LogDriver::JsonFile | LogDriver::Local => {
                let path = self.log_path(&container.id)?;
                Some(LogWriter::open(&path, LogBound::of(&container.host)?)?)
            }
        };
        let mut network = self.prepare_network(container)?;
        let mut service = std::mem::take(&mut network.service);
        let (stdio, streams) =
            Streams::open(container.host.tty, container.host.open_stdin, io.size)?;
        let spec = self.spec(container, held, network, stdio)?;
        let mut process = self.spawn(container, spec)?;
        container.state.status = Status::Running;
        container.state.process = ProcessId::of(process.pid());
        container.state.holder = ProcessId::current();
        container.state.started = Some(SystemTime::now());
        container.state.error = String::new();
        container.state.oom_killed = false;
        let check = Check::of(container);
        container.state.health = check.as_ref().map(|_| Health::default());
        self.enter_start(container)?;
        if container.stop_asked {
            // While it was being started again.
            send(container, rustix::process::Signal::KILL.as_raw())?;
        }
        self.announce_start(container);
        started(container);
        let mut relays = streams.carry(&mut process, io, log)?;
        // Control groups of those who were killed before they could say that they run. Those that
        // resist are left for the next look.
        let _left = bld_sandbox::cgroup::sweep(super::spec::CGROUP_PREFIX, None);
        let mut refresh = || {
            // What fails here is missed by the container; it is no reason to end it.
            let _missed = self.refreshed(&container.id, &mut service);
        };
        let checked = Bell::new().at("create", "an eventfd")?;
        let status = thread::scope(|scope| {
            if let Some(check) = &check {
                scope.spawn(|| self.check_health(container, check, &checked));
            }
            let status =
                relays.attend(&mut process, held.control, Some(&mut held.post), &mut refresh);
            checked.ring();
            status
        })?;
        relays.finish();
        self.forget_foreign(container)?;
        Ok(Exit { code: status.code, oom_killed: status.oom_killed })
    }

    /// Enters that a container runs. What others may have changed meanwhile stays as it is.
    fn enter_start(&self, container: &mut Container) -> Result<()> {
        *container = self.update(&container.id, |stored| {
            stored.state = container.state.clone();
            stored.networks.clone_from(&container.networks);
            stored.ports.clone_from(&container.ports);
            if container.restarts == 0 {
                stored.restarts = 0;
                stored.stop_asked = false;
            }
        })?;
        Ok(())
    }
}
