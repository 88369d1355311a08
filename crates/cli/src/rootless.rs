//! Who we are: root, or an ordinary user who is root over containers of his own.

use std::path::Path;
use std::sync::OnceLock;

use bld_engine::rootless;

use crate::error::{Failure, describe};

/// With which rights this process does what it does.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    /// Root's, be it of a container that somebody runs us in.
    Root,
    /// Those of the user with this number, in a user namespace of his own.
    Rootless(u32),
    /// Those of the user with this number, and why there is no such namespace.
    Refused(u32, String),
}

static STANDING: OnceLock<Standing> = OnceLock::new();

/// Whether this is an ordinary user's process, whatever number that has in its namespace.
pub(crate) fn is_ordinary() -> bool {
    match STANDING.get() {
        Some(standing) => !matches!(standing, Standing::Root),
        None => !rustix::process::geteuid().is_root(),
    }
}

/// The number of the user whose process this is, outside of the namespace it may be in.
pub(crate) fn user() -> u32 {
    match STANDING.get() {
        Some(Standing::Rootless(user) | Standing::Refused(user, _)) => *user,
        Some(Standing::Root) | None => rustix::process::getuid().as_raw(),
    }
}

/// Becomes root over containers of one's own, if this is not root; `run_dir` is the engine's. To be
/// called once, before any thread is started.
pub(crate) fn settle(run_dir: &Path) -> &'static Standing {
    STANDING.get_or_init(|| {
        let user = rustix::process::geteuid();
        if !user.is_root() {
            return match rootless::enter(run_dir) {
                Ok(()) => Standing::Rootless(user.as_raw()),
                Err(error) => Standing::Refused(user.as_raw(), describe(&error)),
            };
        }
        match rootless::has_entered(run_dir) {
            // It holds a container, which is nothing to be told about.
            Ok(true) => Standing::Rootless(user.as_raw()),
            _ => Standing::Root,
        }
    })
}

impl Standing {
    /// Whether containers can be dealt with.
    ///
    /// # Errors
    /// Why they can't.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Root | Self::Rootless(_) => Ok(()),
            Self::Refused(_, why) => Err(Failure::new(format!("failed to {why}"))
                .with_hint("`bld doctor` says what is missing, and how to get it")
                .with_code(125)),
        }
    }
}
