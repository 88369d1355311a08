//! Lowering takes no time worth mentioning, whatever the file is made of.

mod support;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use support::{Images, options};

const LINES: usize = 10_000;

/// The best of a few runs, lowering only. A release build on an idle machine takes 8 to 30 ms for
/// what is below; the bounds are for what grows with the square of the lines.
fn check(name: &str, source: &str) {
    let parsed = bld_dockerfile::parse(source);
    assert!(parsed.is_ok(), "{name}: {:?}", parsed.diagnostics.first());
    let best = (0..3).map(|_| {
        let start = Instant::now();
        let plan = bld_graph::lower(&parsed.dockerfile, source, &options(), &mut Images::any());
        assert!(plan.is_ok(), "{name}");
        start.elapsed()
    });
    let best = best.min().unwrap_or_default();
    let limit = if cfg!(debug_assertions) { 2_000 } else { 250 };
    assert!(best < Duration::from_millis(limit), "{name} takes {best:?}");
}

#[test]
fn instructions_of_one_stage() {
    let mut source = "FROM busybox\n".to_owned();
    for line in 0..LINES {
        let _ = match line % 5 {
            0 => writeln!(source, "RUN echo $HOME {line} && make target-{line}"),
            1 => writeln!(source, "COPY --chown=1:1 src/{line} dir/$PATH/"),
            2 => writeln!(source, "ENV NAME{} value-{line}", line % 100),
            3 => writeln!(source, "ARG ARG{}=$NAME2", line % 50),
            _ => writeln!(source, "RUN --mount=type=cache,target=/c{line} [\"true\"]"),
        };
    }
    check("one stage", &source);
}

#[test]
fn chain_of_stages() {
    let mut source = "FROM busybox AS s0\n".to_owned();
    for stage in 1..LINES / 2 {
        let _ = writeln!(source, "FROM s{} AS s{stage}\nRUN make {stage}", stage - 1);
    }
    check("chain of stages", &source);
}

#[test]
fn fan_of_stages() {
    let mut source = String::new();
    for stage in 0..LINES / 3 {
        let _ = writeln!(source, "FROM image{stage} AS s{stage}\nRUN make {stage}");
    }
    source.push_str("FROM scratch\n");
    for stage in 0..LINES / 3 {
        let _ = writeln!(source, "COPY --from=s{stage} /out /out/{stage}");
    }
    check("fan of stages", &source);
}

#[test]
fn variables_without_end() {
    let mut source = "FROM busybox\n".to_owned();
    for line in 0..LINES {
        let _ = writeln!(source, "ENV NAME{line}=${{NAME{}}}x{line}", line.saturating_sub(1) % 10);
    }
    check("variables", &source);
}
