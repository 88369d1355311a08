//! The checks against the examples of their documentation.

use crate::common::{corpus, json};
use bld_dockerfile::{lint, parse};

/// Rules that can't be decided without the environment of the base image.
const NEED_THE_BUILD: [&str; 1] = ["UndefinedVar"];

#[test]
fn bad_examples_warn_and_good_ones_do_not() {
    let Some(examples) = corpus("lint_cases.json") else { return };
    let cases = json(&examples);
    let cases = cases.as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(cases.len() > 5, "only {} rules", cases.len());
    for case in cases {
        let rule = case["rule"].as_str().unwrap_or_default();
        assert!(lint::Rule::find(rule).is_some(), "{rule} is not known");
        if NEED_THE_BUILD.contains(&rule) {
            continue;
        }
        for (kind, expected) in [("bad", true), ("good", false)] {
            let examples = case[kind].as_array().map(Vec::as_slice).unwrap_or_default();
            assert!(!examples.is_empty(), "{rule} has no {kind} examples");
            for example in examples.iter().filter_map(|example| example.as_str()) {
                // Some are excerpts that leave the stage out.
                let from = example.lines().any(|line| line.to_lowercase().starts_with("from "));
                let source =
                    if from { example.to_owned() } else { format!("FROM alpine\n{example}") };
                let warnings = lint::check(&parse(&source).dockerfile, &source);
                let warns = warnings.iter().any(|warning| warning.rule == Some(rule));
                assert_eq!(warns, expected, "{rule}, {kind}: {source}\n{warnings:#?}");
            }
        }
    }
}
