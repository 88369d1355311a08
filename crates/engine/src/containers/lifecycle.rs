//! Starting, stopping, waiting, renaming.

use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bld_sandbox::signal_number;
use bld_store::StoreError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::attach::Socket;
use super::model::{Container, Status};
use super::names;
use crate::error::IoContext as _;
use crate::events::Event;
use crate::{Engine, EngineError, Result};

/// How long a container gets after its stop signal when nobody says.
const STOP_TIMEOUT: i64 = 10;

/// The name of the file in a container's directory by which its removal waits for those who want
/// to know how it ended.
const WAITERS: &str = "waiters";

impl Engine {
    /// Where the container `id` has its files other than the root filesystem.
    pub(crate) fn container_dir(&self, id: &str) -> Result<PathBuf> {
        Ok(self.store()?.containers_dir().join(id))
    }

    /// Starts a container in the background, held by a monitor of its own. One that runs already is
    /// left alone.
    pub fn start_container(&self, name: &str) -> Result<Container> {
        let container = self.find_container(name)?;
        if !container.state.is_running() {
            super::monitor::launch(self, &container, None)?;
        }
        Ok(container)
    }

    /// Asks a container to end, and kills it when it has not after `timeout` seconds (its own
    /// timeout when absent; without end when negative). One that does not run is left alone.
    pub fn stop_container(
        &self,
        name: &str,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<()> {
        let mut container = self.find_container(name)?;
        if !container.state.is_running() {
            return Ok(());
        }
        let signal = signal.or(container.config.stop_signal.as_deref()).unwrap_or("SIGTERM");
        let signal = parse_signal(signal)?;
        let timeout = timeout.or(container.host.stop_timeout).unwrap_or(STOP_TIMEOUT);
        let patience = u64::try_from(timeout).ok().map(Duration::from_secs);
        self.keep_down(&container)?;
        loop {
            wake(&container)?;
            send(&container, signal)?;
            self.announce_signal(&container, signal);
            if !wait_for_end(&container, patience)? {
                send(&container, Signal::KILL.as_raw())?;
                self.announce_signal(&container, Signal::KILL.as_raw());
            }
            self.wait_until_settled(&container)?;
            if !container.is_restarted() {
                self.announce_container(&container, "stop");
                return Ok(());
            }
            // Its holder may not have heard before it started it again.
            match self.find_container(&container.id) {
                Ok(now) if now.state.is_running() => container = now,
                Ok(_) | Err(EngineError::NoSuchContainer { .. }) => {
                    self.announce_container(&container, "stop");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Stops a container, if it runs, and starts it again.
    pub fn restart_container(
        &self,
        name: &str,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<()> {
        self.stop_container(name, signal, timeout)?;
        let container = self.start_container(name)?;
        self.announce_container(&container, "restart");
        Ok(())
    }

    /// Sends a running container a signal. After `SIGKILL`, waits for its end. One that is asked to
    /// end, by `SIGKILL` or its stop signal, is not started again.
    pub fn kill_container(&self, name: &str, signal: &str) -> Result<()> {
        let container = self.find_container(name)?;
        let signal = parse_signal(signal)?;
        if !container.state.is_running() {
            return Err(EngineError::NotRunning { container: container.id });
        }
        let kills = signal == Signal::KILL.as_raw();
        let stops = match container.config.stop_signal.as_deref() {
            Some(own) => parse_signal(own)? == signal,
            None => true,
        };
        if kills || stops {
            self.keep_down(&container)?;
        }
        send(&container, signal)?;
        self.announce_signal(&container, signal);
        if kills {
            wake(&container)?;
            self.wait_until_settled(&container)?;
        }
        Ok(())
    }

    /// Sees to it that a container is not started again when it ends.
    fn keep_down(&self, container: &Container) -> Result<()> {
        if container.is_restarted() {
            self.update(&container.id, |container| container.stop_asked = true)?;
            // While it waits before the next start, its holder looks when somebody comes.
            let _gone = Socket::connect(&self.container_dir(&container.id)?);
        }
        Ok(())
    }

    /// Waits until a container does not run; how it ended the last time.
    pub fn wait_container(&self, name: &str) -> Result<i32> {
        let container = self.find_container(name)?;
        if !container.state.is_running() {
            return Ok(container.state.exit_code);
        }
        // A container that removes itself keeps its document while somebody has this lock.
        let path = self.container_dir(&container.id)?.join(WAITERS);
        let waiters = match File::create(&path) {
            // It has removed itself in between.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(EngineError::NoSuchContainer { name: name.to_owned() });
            }
            waiters => waiters.at("create", &path)?,
        };
        waiters.lock_shared().at("lock", &path)?;
        self.wait_until_settled(&container)?;
        Ok(self.find_container(&container.id)?.state.exit_code)
    }

    /// Lets those who wait for a container's end read how it ended, before its document goes.
    pub(super) fn wait_for_waiters(&self, container: &Container) -> Result<()> {
        let path = self.container_dir(&container.id)?.join(WAITERS);
        match File::open(&path) {
            Ok(waiters) => waiters.lock().at("lock", &path),
            Err(_) => Ok(()),
        }
    }

    /// Waits until the container's holder has entered its end.
    pub(super) fn wait_until_settled(&self, container: &Container) -> Result<()> {
        wait_for_end(container, None)?;
        let mut pause = Duration::from_micros(200);
        loop {
            match self.find_container(&container.id) {
                // What was being started again when it was to stop is ended by its holder.
                Ok(now)
                    if now.state.is_running()
                        && (now.state.process == container.state.process || now.stop_asked) => {}
                Ok(_) | Err(EngineError::NoSuchContainer { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Gives a container another name.
    pub fn rename_container(&self, name: &str, new: &str) -> Result<()> {
        let container = self.find_container(name)?;
        let new = new.strip_prefix('/').unwrap_or(new);
        if !names::is_valid(new) {
            return Err(EngineError::ContainerName { name: new.to_owned() });
        }
        if container.name == new {
            let what = "renaming a container with the same name as its current name".to_owned();
            return Err(EngineError::Invalid { what });
        }
        match self.store()?.rename_container(&container.id, new) {
            Err(StoreError::NameTaken { name, id }) => {
                return Err(EngineError::NameInUse { name, id });
            }
            other => other?,
        }
        let renamed = Container { name: new.to_owned(), ..container.clone() };
        let event = Event::container(&renamed, "rename");
        self.announce([event.with("oldName", format!("/{}", container.name))]);
        Ok(())
    }

    /// Stops everything in a running container until [`unpause_container`](Self::unpause_container).
    pub fn pause_container(&self, name: &str) -> Result<()> {
        let container = self.find_container(name)?;
        match container.state.status {
            Status::Running => freeze(&container, true)?,
            Status::Paused => return Err(EngineError::AlreadyPaused { container: container.id }),
            Status::Restarting => return Err(EngineError::Restarting { container: container.id }),
            _ => return Err(EngineError::NotRunning { container: container.id }),
        }
        self.update(&container.id, |container| container.state.status = Status::Paused)?;
        self.announce_container(&container, "pause");
        Ok(())
    }

    /// Lets a paused container run again.
    pub fn unpause_container(&self, name: &str) -> Result<()> {
        let container = self.find_container(name)?;
        if container.state.status != Status::Paused {
            return Err(EngineError::NotPaused { container: container.id });
        }
        freeze(&container, false)?;
        self.update(&container.id, |container| container.state.status = Status::Running)?;
        self.announce_container(&container, "unpause");
        Ok(())
    }

    /// Changes a container that may change under our hands; how it is then.
    pub(crate) fn update(
        &self,
        id: &str,
        change: impl FnOnce(&mut Container),
    ) -> Result<Container> {
        let invalid = |source| EngineError::ContainerDocument { id: id.to_owned(), source };
        let mut outcome = Ok(());
        let stored = self.store()?.update_container(id, |document| {
            outcome = serde_json::from_value::<Container>(std::mem::take(document))
                .map_err(invalid)
                .and_then(|mut container| {
                    change(&mut container);
                    *document = super::encode(&container)?;
                    Ok(())
                });
        })?;
        outcome?;
        super::decode(stored)
    }
}

/// Stops everything in a running container, or lets it run again.
fn freeze(container: &Container, frozen: bool) -> Result<()> {
    let group = container.cgroup()?;
    let done = if frozen { group.freeze() } else { group.thaw() };
    done.map_err(|source| EngineError::Cgroup { source })
}

/// Lets a paused container hear its signals.
fn wake(container: &Container) -> Result<()> {
    if container.state.status == Status::Paused { freeze(container, false) } else { Ok(()) }
}

/// The number of a signal.
pub(super) fn parse_signal(name: &str) -> Result<i32> {
    signal_number(name)
        .ok_or_else(|| EngineError::Invalid { what: format!("Invalid signal: {name}") })
}

/// Sends a signal to the container's first process. One that is gone is no error.
pub(super) fn send(container: &Container, signal: i32) -> Result<()> {
    let Some(fd) = container.state.process.and_then(super::ProcessId::open) else { return Ok(()) };
    let invalid = || EngineError::Invalid { what: format!("Invalid signal: {signal}") };
    let signal = Signal::from_named_raw(signal).ok_or_else(invalid)?;
    match pidfd_send_signal(fd, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        other => other.at("signal", format!("container {}", container.id)),
    }
}

/// Waits for the end of the container's first process; whether it came in time.
fn wait_for_end(container: &Container, patience: Option<Duration>) -> Result<bool> {
    let Some(fd) = container.state.process.and_then(super::ProcessId::open) else {
        return Ok(true);
    };
    let deadline = patience.map(|patience| Instant::now() + patience);
    loop {
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut fds, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return Ok(ready.at("wait for", format!("container {}", container.id))? > 0),
        }
    }
}
