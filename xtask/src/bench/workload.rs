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
    /// The Dockerfile is checked and nothing built.
    Check,
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
    let checked = shapes()
        .into_iter()
        .map(|(id, title, text)| Ok((id, title, context(id, &text)?)))
        .collect::<Result<Vec<_>>>()?;
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
    let checks = checked
        .iter()
        .map(|(id, title, context)| workload(id, title, context, Prepare::Base, Action::Check));
    let mut workloads = vec![
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
    ];
    workloads.extend(checks);
    Ok(workloads)
}

/// Lines of the files that are checked.
const LINES: usize = 10_000;

/// Large Dockerfiles, each of which would show something that grows with the square of the lines.
fn shapes() -> [(&'static str, &'static str, String); 4] {
    let mut one = "FROM scratch\n".to_owned();
    for line in 0..LINES {
        let _ = match line % 5 {
            0 => writeln!(one, "RUN echo $HOME {line} && make target-{line}"),
            1 => writeln!(one, "COPY --chown=1:1 src/{line} dir/$PATH/"),
            2 => writeln!(one, "ENV NAME{} value-{line}", line % 100),
            3 => writeln!(one, "ARG ARG{}=$NAME2", line % 50),
            _ => writeln!(one, "RUN --mount=type=cache,target=/c{line} [\"true\"]"),
        };
    }
    let mut chain = "FROM scratch AS s0\n".to_owned();
    for stage in 1..LINES / 2 {
        let _ = writeln!(chain, "FROM s{} AS s{stage}\nRUN make {stage}", stage - 1);
    }
    let mut fan = String::new();
    for stage in 0..LINES / 3 {
        let _ = writeln!(fan, "FROM scratch AS s{stage}\nRUN make {stage}");
    }
    fan.push_str("FROM scratch\n");
    for stage in 0..LINES / 3 {
        let _ = writeln!(fan, "COPY --from=s{stage} /out /out/{stage}");
    }
    let mut variables = "FROM scratch\n".to_owned();
    for line in 0..LINES {
        let last = line.saturating_sub(1) % 10;
        let _ = writeln!(variables, "ENV NAME{line}=${{NAME{last}}}x{line}");
    }
    [
        ("W10", "check 10,000 lines of one stage", one),
        ("W10a", "check 5,000 stages, one upon the other", chain),
        ("W10b", "check 3,333 stages and a COPY from each", fan),
        ("W10c", "check 10,000 ENV of one another", variables),
    ]
}
