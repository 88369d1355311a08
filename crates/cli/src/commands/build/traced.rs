//! `--traced-cache`

use bld_engine::build::TracedCache;

/// What is done with what steps read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Mode {
    /// It is not recorded.
    Off,
    /// It is recorded for later builds.
    Record,
    /// Steps that read nothing that changed are not run.
    Use,
    /// They are run, and the build fails when they do something else.
    Verify,
}

impl From<Mode> for TracedCache {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Off => Self::Off,
            Mode::Record => Self::Record,
            Mode::Use => Self::Use,
            Mode::Verify => Self::Verify,
        }
    }
}
