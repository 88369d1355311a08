//! Looking into a step that failed, right where it failed.

use bld_sandbox::{Process, Stdio};

use crate::error::StepFailure;

/// Looks into the step that ends a build.
pub trait Inspect: Send + Sync {
    /// Called on the thread of the first step that fails, while all that it ran with is there.
    /// Other steps go on meanwhile. All of it is taken away when this returns.
    fn inspect(&self, scene: &Scene<'_>);
}

/// A step that failed, and a way to run something in its place.
pub struct Scene<'a> {
    /// The step, e.g. `[build 2/5] RUN make`.
    pub name: &'a str,
    /// Why it failed.
    pub failure: &'a StepFailure,
    /// What there is to see is what was there before the step, not what it left.
    pub is_before: bool,
    /// The program of the step's shell, e.g. `/bin/bash`.
    pub shell: &'a str,
    pub(crate) spawn: &'a Spawn<'a>,
}

/// Starts a command line with standard streams.
pub(crate) type Spawn<'a> = dyn Fn(Vec<String>, Stdio) -> Result<Process, StepFailure> + 'a;

impl Scene<'_> {
    /// Starts `args` on the step's file system, with its mounts, environment, user, working
    /// directory and network. What is written to the file system is there for the next one started;
    /// mounts in memory begin as they did for the step. One process at a time.
    ///
    /// # Errors
    /// There is no such program, most of the time.
    pub fn spawn(&self, args: Vec<String>, stdio: Stdio) -> Result<Process, StepFailure> {
        (self.spawn)(args, stdio)
    }
}

impl std::fmt::Debug for Scene<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scene").field("name", &self.name).finish_non_exhaustive()
    }
}
