//! Large Dockerfiles, each of which would show something that grows with the square of the lines.

use std::fmt::Write as _;

/// Lines of each.
const LINES: usize = 10_000;

/// Id, title and text of each.
pub(super) fn shapes() -> [(&'static str, &'static str, String); 4] {
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
