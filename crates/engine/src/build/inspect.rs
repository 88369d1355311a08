//! A shell in the place of a step that failed.

use std::fmt;
use std::sync::Arc;

use bld_event::Cancel;
use bld_sandbox::SandboxError;
use bld_solve::{Inspect, Scene, StepFailure};

use crate::containers::streams::attended;
use crate::containers::{Control, Exit, Io};
use crate::error::{IoContext as _, in_one_line};
use crate::{EngineError, Result};

/// What is done about a step that fails, while all that it ran with is still there.
#[derive(Clone, Default)]
pub struct OnFailure(Option<Arc<Look>>);

type Look = dyn Fn(&FailedStep<'_>) + Send + Sync;

impl OnFailure {
    /// Calls `look` on the thread of the step; the build ends when it returns. Steps beside that one
    /// go on meanwhile.
    pub fn call(look: impl Fn(&FailedStep<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(look)))
    }

    pub(super) fn inspect(&self, cancel: &Cancel) -> Option<Arc<dyn Inspect>> {
        let look = Arc::clone(self.0.as_ref()?);
        Some(Arc::new(Caller { look, cancel: cancel.clone() }))
    }
}

impl fmt::Debug for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnFailure").field(&self.0.is_some()).finish()
    }
}

struct Caller {
    look: Arc<Look>,
    cancel: Cancel,
}

impl Inspect for Caller {
    fn inspect(&self, scene: &Scene<'_>) {
        (self.look)(&FailedStep { scene, cancel: &self.cancel });
    }
}

/// A step that failed.
#[derive(Debug)]
pub struct FailedStep<'a> {
    scene: &'a Scene<'a>,
    cancel: &'a Cancel,
}

impl FailedStep<'_> {
    /// What it is called, e.g. `[build 2/5] RUN make`.
    pub fn name(&self) -> &str {
        self.scene.name
    }

    /// Why it failed, in one line.
    pub fn reason(&self) -> String {
        in_one_line(self.scene.failure)
    }

    /// What there is to see is what was there before the step.
    pub fn is_before(&self) -> bool {
        self.scene.is_before
    }

    /// Runs a shell on a terminal, as the step ran, until it ends. `io` is opened for each try.
    ///
    /// # Errors
    /// [`EngineError::NoShell`] when the step's file system has none.
    pub fn shell(&self, io: impl Fn() -> std::io::Result<Io>, control: &Control) -> Result<Exit> {
        const PLAIN: &str = "/bin/sh";
        let mut shells = vec![self.scene.shell];
        if self.scene.shell != PLAIN {
            shells.push(PLAIN);
        }
        for shell in &shells {
            let mut kill = None;
            let ran =
                attended((true, true), io().at("duplicate", "the terminal")?, control, |stdio| {
                    let process =
                        self.scene.spawn(vec![(*shell).to_owned()], stdio).map_err(started)?;
                    let handle = process.handle();
                    kill = Some(self.cancel.on_cancel(move || {
                        // A shell that ended at this moment needs no killing.
                        let _ = handle.kill_all();
                    }));
                    Ok(process)
                });
            match ran {
                Err(EngineError::Start { source: SandboxError::NotFound { .. } }) => {}
                ran => return ran,
            }
        }
        Err(EngineError::NoShell { tried: shells.join(", ") })
    }
}

fn started(failure: StepFailure) -> EngineError {
    match failure {
        StepFailure::Sandbox(source) => EngineError::Start { source },
        other => EngineError::Invalid { what: in_one_line(&other) },
    }
}
