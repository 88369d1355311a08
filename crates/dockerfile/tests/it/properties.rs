//! What holds for every input.

use std::time::{Duration, Instant};

use bld_dockerfile::expand::Expander;
use bld_dockerfile::ignore::{Patterns, glob_match};
use bld_dockerfile::{Diagnostic, Mount, lint, parse, parse_bytes, parse_instruction};
use proptest::collection::vec;
use proptest::prelude::*;

/// Pieces that Dockerfiles are made of, so that the generator gets past the first line.
fn piece() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "FROM ",
        "from ",
        "a",
        "a:b AS c",
        "\n",
        "\n",
        "\n",
        "\r\n",
        " ",
        "\t",
        "RUN ",
        "CMD\n",
        "VOLUME \t",
        "COPY ",
        "ADD ",
        "ENV ",
        "ARG ",
        "LABEL ",
        "CMD ",
        "ENTRYPOINT ",
        "SHELL ",
        "VOLUME ",
        "EXPOSE ",
        "USER ",
        "WORKDIR ",
        "HEALTHCHECK ",
        "STOPSIGNAL ",
        "ONBUILD ",
        "MAINTAINER ",
        "k=v ",
        "\\\n",
        "`\n",
        "\\",
        "`",
        "'",
        "\"",
        "$",
        "${",
        "}",
        "$x",
        "${x:-y}",
        "<<EOF",
        "<<-'E'",
        "EOF\n",
        "E\n",
        "--mount=type=cache,target=/x ",
        "--from=",
        "--",
        "--link ",
        "[",
        "]",
        "[\"a\", \"b\"]",
        "# ",
        "# escape=`\n",
        "# check=skip=all\n",
        "é",
        "\u{a0}",
        "\u{feff}",
        "--interval=1s ",
        "NONE",
        "80/tcp ",
        "/x ",
        "\u{2028}",
        "\0",
        "=",
        ",",
        ":",
        "<",
        "%",
    ]);
    prop_oneof![8 => fixed.prop_map(str::to_owned), 1 => ".{0,3}"]
}

fn source() -> impl Strategy<Value = String> {
    vec(piece(), 0..60).prop_map(|pieces| pieces.concat())
}

/// Dockerfiles that parse: lines that do so on their own, put together.
fn valid_source() -> impl Strategy<Value = String> {
    let line = vec(piece(), 2..8).prop_map(|pieces| pieces.concat() + "\n");
    let line = line.prop_filter("an instruction on its own", |line| {
        let parsed = parse(&format!("FROM a\n{line}"));
        let stages = &parsed.dockerfile.stages;
        parsed.is_ok() && (stages.len() > 1 || stages.iter().any(|s| !s.instructions.is_empty()))
    });
    let head = prop::sample::select(vec!["", "# escape=`\n", "\n# a\nARG x=1\n", "# note\n"]);
    (head, vec(line, 1..4)).prop_map(|(head, lines)| format!("{head}FROM a\n{}", lines.concat()))
}

/// A tree without the places things were written at, which printing may change.
fn shape(dockerfile: &bld_dockerfile::Dockerfile) -> String {
    let mut out = String::new();
    let mut debug = format!("{:?}", dockerfile.stages) + &format!("{:?}", dockerfile.global_args);
    // Nothing but spans is printed in this form.
    while let Some(at) = debug.find("Span { start: ") {
        out.push_str(&debug[..at]);
        let end = debug[at..].find('}').map_or(debug.len(), |end| at + end + 1);
        debug.drain(..end);
    }
    let text = out + &debug;
    // The line as written is what printing normalises.
    let mut kept = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(" text: \"") {
        let value = at + " text: \"".len();
        let mut escaped = false;
        let end = rest[value..].find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        kept.push_str(&rest[..at]);
        rest = &rest[value + end.unwrap_or(rest.len() - value)..];
    }
    kept + rest
}

fn spans_are_inside(diagnostics: &[Diagnostic], source: &str) -> bool {
    diagnostics.iter().all(|d| d.span.start <= d.span.end && d.span.end <= source.len())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: None, // a failure is worth a test of its own
        max_local_rejects: u32::MAX,
        max_global_rejects: u32::MAX,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_are_parsed(bytes in vec(any::<u8>(), 0..400)) {
        let parsed = parse_bytes(&bytes);
        let source = String::from_utf8_lossy(&bytes);
        prop_assert!(spans_are_inside(&parsed.diagnostics, &source));
        let _ = lint::check(&parsed.dockerfile, &source);
        let _ = parse_instruction(&source);
    }

    #[test]
    fn any_dockerfile_is_parsed_and_checked(source in source()) {
        let parsed = parse(&source);
        prop_assert!(spans_are_inside(&parsed.diagnostics, &source));
        let warnings = lint::check(&parsed.dockerfile, &source);
        prop_assert!(spans_are_inside(&warnings, &source));
        for diagnostic in parsed.diagnostics.iter().chain(&parsed.deferred).chain(&warnings) {
            prop_assert!(source.get(diagnostic.span.range()).is_some(), "{diagnostic:?}");
        }
    }

    #[test]
    fn printing_and_parsing_again_changes_nothing(source in valid_source()) {
        let parsed = parse(&source);
        prop_assume!(parsed.is_ok());
        let printed = parsed.dockerfile.to_string();
        let again = parse(&printed);
        prop_assert!(again.is_ok(), "{printed:?}: {:#?}", again.diagnostics);
        prop_assert_eq!(shape(&again.dockerfile), shape(&parsed.dockerfile), "{}", printed);
        prop_assert_eq!(again.dockerfile.to_string(), printed);
    }

    #[test]
    fn any_word_is_expanded_or_refused(word in vec(piece(), 0..20), value in ".{0,8}") {
        let word = word.concat();
        let env = [("x", value.as_str())];
        for escape in ['\\', '`'] {
            let expander = Expander::new(escape);
            if let Err(error) = expander.word(&word, &env) {
                prop_assert!(word.get(error.span.range()).is_some(), "{error:?}");
            }
            let _ = expander.words(&word, &env);
            let _ = expander.display(&word, &env);
        }
        let _ = Expander::heredoc(&word, &env);
    }

    #[test]
    fn words_without_syntax_expand_to_themselves(word in "[^$'\"\\\\`]{0,20}") {
        let expanded = Expander::default().word(&word, &()).map(|expanded| expanded.text);
        prop_assert_eq!(expanded, Ok(word));
    }

    #[test]
    fn any_mount_is_read_or_refused(text in "[a-z=,\"$ ]{0,30}") {
        if let Err(error) = Mount::parse(&text) {
            prop_assert!(text.get(error.span.range()).is_some(), "{error:?}");
        }
    }

    #[test]
    fn literal_names_match_themselves(name in "[a-z/.]{0,20}") {
        prop_assert_eq!(glob_match(&name, &name), Ok(true));
        let escaped: String = name.chars().flat_map(|c| ['\\', c]).collect();
        prop_assert_eq!(glob_match(&escaped, &name), Ok(true));
    }

    #[test]
    fn walking_and_asking_agree(
        lines in vec("!?[ab*?/]{1,6}", 0..6),
        path in "[ab]{1,2}(/[ab]{1,2}){0,3}",
    ) {
        let Ok(patterns) = Patterns::new(lines.iter().map(String::as_str)) else { return Ok(()) };
        let mut verdict = None;
        for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
            let here = &path[..end];
            let next = patterns.enter(verdict.as_ref(), here);
            prop_assert_eq!(next.excluded(), patterns.matches(here), "{:?} {}", lines, here);
            // Skipping an excluded directory must not lose anything.
            if verdict.as_ref().is_some_and(|above: &bld_dockerfile::ignore::Verdict| above.excluded())
                && !next.excluded()
            {
                let dir = here.rsplit_once('/').map_or("", |(dir, _)| dir);
                prop_assert!(patterns.may_contain_exception_below(dir), "{:?} {}", lines, here);
            }
            verdict = Some(next);
        }
    }
}

/// Repetitions that would show quadratic or exponential behaviour at once: 100 KB take
/// milliseconds when they don't, and minutes when they do.
#[test]
fn hostile_repetitions_stay_quick() {
    let pieces = [
        "$",
        "${",
        "${x:-",
        "}",
        "$x ",
        "'",
        "\"",
        "\\",
        "\\\n",
        "`",
        "<<",
        "<<E ",
        "<<E ${",
        "--",
        "--x=\"",
        "--mount=a ",
        "[",
        "[\"a\",",
        "a=b ",
        "a ",
        "#\n",
        "\u{a0}",
        "ONBUILD ",
        "FROM a AS b\n",
        "FROM $b$c\n",
        "ARG a b\n",
        "RUN <<E\n",
        "RUN a \\\n\n",
        "&&\n",
    ];
    for prefix in ["", "RUN ", "COPY ", "ENV a="] {
        for piece in pieces {
            let repeated = piece.repeat(100_000 / piece.len());
            let source = format!("FROM a\n{prefix}{repeated}\n");
            let started = Instant::now();
            let parsed = parse(&source);
            let _ = lint::check(&parsed.dockerfile, &source);
            let _ = parsed.dockerfile.to_string();
            let _ = Expander::default().words(&repeated, &());
            let took = started.elapsed();
            assert!(took < Duration::from_secs(5), "{prefix:?} and {piece:?}: {took:?}");
        }
    }
}
