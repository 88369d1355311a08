//! `--on-error=shell`: a shell in the place of the step that failed.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bld_engine::EngineError;
use bld_engine::build::{FailedStep, OnFailure};
use bld_engine::containers::Control;

use crate::commands::run::{Streams, streams_of};
use crate::error::{Failure, describe};
use crate::progress::Pause;
use crate::terminal::Raw;

/// `--on-error`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OnError {
    /// The build ends.
    #[default]
    Fail,
    /// A shell is opened first.
    Shell,
}

/// Refuses what cannot work before anything is built.
pub(super) fn check() -> Result<(), Failure> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return Ok(());
    }
    Err(Failure::new("--on-error=shell needs a terminal: standard input or output is none")
        .with_hint(
            "without one, `bld run -it ID` opens a shell afterwards; a failed build tells the id",
        ))
}

/// What is said when a step failed and there was no place to open a shell in.
pub(super) const NO_PLACE: &str =
    "note: no shell was opened: the step failed before it could run anything";

/// Opens a shell in a failed step's place, while the display of the progress is paused. `reached` is
/// set then.
pub(super) fn on_failure(pause: Pause, control: Control, reached: Arc<AtomicBool>) -> OnFailure {
    OnFailure::call(move |step| {
        reached.store(true, Ordering::Relaxed);
        let _paused = pause.hold();
        tell(&announcement(step));
        if let Err(failure) = open(step, &control) {
            failure.print("ERROR: ");
        }
    })
}

fn open(step: &FailedStep<'_>, control: &Control) -> Result<(), Failure> {
    let raw = Raw::enter()?;
    let streams = Streams { stdin: true, stdout: true, stderr: false };
    let ended = step.shell(|| streams_of(streams, true), control);
    drop(raw);
    match ended {
        Ok(_) => Ok(()),
        Err(error @ EngineError::NoShell { .. }) => Err(Failure::new(describe(&error))
            .with_hint("`COPY --from=busybox /bin/busybox /bin/sh` would give it one")),
        Err(error) => Err(error.into()),
    }
}

fn announcement(step: &FailedStep<'_>) -> String {
    let what = if step.is_before() {
        "This is a shell with the files as they were before it"
    } else {
        "This is a shell in its place: its mounts, environment, user and network, and the files as it left them"
    };
    format!(
        "\n{} failed: {}\n{what}.\nLeave with `exit` or Ctrl-D; the build fails then.\n",
        step.name().replace('\n', " "),
        step.reason()
    )
}

fn tell(text: &str) {
    // Nobody reads standard error: there is nobody to tell that to.
    let _unread = io::stderr().write_all(format!("{text}\n").as_bytes());
}
