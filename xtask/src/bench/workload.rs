//! What is timed.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

/// One thing to time.
pub(super) struct Workload {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// The directory with the Dockerfile.
    pub(super) context: PathBuf,
    pub(super) prepare: Prepare,
    pub(super) action: Action,
}

/// In what state a builder's store is when the time starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Prepare {
    /// It holds nothing.
    Empty,
    /// It holds the base image.
    Base,
    /// The same was built before.
    Built,
}

/// What happens while the time runs.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// A build that may use the cache.
    Build,
    /// A build that may not.
    BuildWithoutCache,
    /// A container of this image runs `true`.
    Run(String),
}

/// Writes the contexts below `directory`; base images come from `registry`.
pub(super) fn write(directory: &Path, registry: &str) -> Result<Vec<Workload>> {
    let busybox = format!("{registry}/busybox:latest");
    let context = |name: &str, dockerfile: &str| -> Result<PathBuf> {
        let context = directory.join(name);
        fs::create_dir_all(&context)?;
        fs::write(context.join("Dockerfile"), dockerfile)?;
        Ok(context)
    };
    let steps = |count: usize| {
        (0..count).fold(format!("FROM {busybox}\n"), |mut text, n| {
            let _ = writeln!(text, "RUN echo step{n} > /s{n}");
            text
        })
    };
    let mut stages = String::new();
    for n in 0..8 {
        let _ = writeln!(stages, "FROM {busybox} AS s{n}\nRUN sleep 0.5 && echo {n} > /o{n}");
    }
    let _ = writeln!(stages, "FROM {busybox}");
    for n in 0..8 {
        let _ = writeln!(stages, "COPY --from=s{n} /o{n} /o{n}");
    }
    let ten = context("ten", &steps(10))?;
    let one = context("one", &steps(1))?;
    let eight = context("eight", &stages)?;
    let pull = context("pull", &format!("FROM {registry}/debian:latest\nRUN true\n"))?;

    let workload = |id, title, context: &PathBuf, prepare, action| Workload {
        id,
        title,
        context: context.clone(),
        prepare,
        action,
    };
    Ok(vec![
        workload("W1", "10 RUN, nothing changed", &ten, Prepare::Built, Action::Build),
        workload("W2", "10 RUN, no cache", &ten, Prepare::Base, Action::BuildWithoutCache),
        workload("W2a", "1 RUN, no cache", &one, Prepare::Base, Action::BuildWithoutCache),
        workload(
            "W5",
            "8 stages of sleep 0.5, no cache",
            &eight,
            Prepare::Base,
            Action::BuildWithoutCache,
        ),
        workload("W5b", "the same, nothing changed", &eight, Prepare::Built, Action::Build),
        workload("W7", "pull and unpack Debian, RUN true", &pull, Prepare::Empty, Action::Build),
        workload("W9", "run --rm busybox true", &one, Prepare::Base, Action::Run(busybox)),
    ])
}
