//! Noticing that a container's holder is gone.
//!
//! The document says who holds a running container. As long as that very process lives, the
//! document is right. Otherwise the machine went down or the holder was killed, and with it the
//! container: the kernel sees to that. Nobody was left to enter it, so the first to look does.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bld_store::StoreError;
use rustix::process::{Signal, pidfd_send_signal};

use super::model::{Container, State, Status};
use super::{decode, encode};
use crate::events::Event;
use crate::{Engine, Result};

/// The exit code of what was killed with its holder: that of `SIGKILL`.
const KILLED: i32 = 128 + 9;

/// How long the kernel may take to end what its holder's death has condemned.
const PATIENCE: Duration = Duration::from_secs(10);

/// The container with the state it is really in; none when it has removed itself by now.
pub(super) fn settle(engine: &Engine, container: Container) -> Result<Option<Container>> {
    if !container.state.is_running()
        || container.state.holder.is_some_and(super::process::ProcessId::is_alive)
    {
        return Ok(Some(container));
    }
    // The holder's end and its last words may have come in between; whoever has the layer decides.
    let layer = match engine.store()?.container_layer(&container.id) {
        Ok(layer) => layer,
        Err(StoreError::SnapshotInUse { .. }) => return Ok(Some(container)),
        Err(StoreError::MissingContainer { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(stored) = engine.store()?.container(&container.id)? else { return Ok(None) };
    let mut container = decode(stored)?;
    if container.state.is_running() {
        end_process(&container.state);
        // What is left of it there is taken away with the container at the latest.
        let _left = engine.forget_foreign(&container);
        let waited = container.state.status == Status::Restarting;
        container.unplug();
        container.state = State {
            status: Status::Exited,
            process: None,
            holder: None,
            exit_code: if waited { container.state.exit_code } else { KILLED },
            error: "its holder was killed".to_owned(),
            finished: Some(SystemTime::now()),
            ..container.state
        };
        let document = encode(&container)?;
        engine.store()?.update_container(&container.id, |state| *state = document)?;
        let die = Event::container(&container, "die");
        engine.announce([die.with("exitCode", container.state.exit_code.to_string())]);
        // Control groups of the dead; those that resist are left for the next look.
        let _left = bld_sandbox::cgroup::sweep(super::spec::CGROUP_PREFIX, None);
    }
    drop(layer);
    if container.host.auto_remove {
        engine.discard(&container, true)?;
        return Ok(None);
    }
    Ok(Some(container))
}

/// Makes sure that the first process is gone, and with it everything in the container.
fn end_process(state: &State) {
    let Some(process) = state.process else { return };
    if let Some(fd) = process.open() {
        // Gone in between is as good.
        let _gone = pidfd_send_signal(&fd, Signal::KILL);
    }
    let end = Instant::now() + PATIENCE;
    while process.is_alive() && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
}
