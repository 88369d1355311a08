//! Every rule has a page, and what the page shows as bad warns and what it shows as good does not.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use bld_dockerfile::ignore::Patterns;
use bld_dockerfile::lint::{Origin, RULES, Rule, rules};
use bld_oci::{ImageConfig, Platform};
use support::{Images, options};

fn pages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules")
}

/// The fenced blocks of `language` in a page, with the line above each.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<(&'p str, &'p str)> {
    let fence = format!("```{language}\n");
    let parts = page.match_indices(&fence).map(|(at, _)| {
        let title = page[..at].trim_end().lines().last().unwrap_or_default();
        let body = &page[at + fence.len()..];
        (title, body.split("```").next().unwrap_or_default())
    });
    parts.collect()
}

/// Whether `rule` finds something in `source`.
fn finds(rule: &Rule, source: &str, ignore: Option<&str>) -> bool {
    let options = bld_graph::LowerOptions {
        ignore: ignore.map(|text| Patterns::parse(text).unwrap()),
        ..options()
    };
    let arm64 = ImageConfig::for_platform(&Platform::new("linux", "arm64", None));
    let mut images = if *rule == rules::INVALID_BASE_IMAGE_PLATFORM {
        Images::busybox().with("only-for-arm64:latest", arm64)
    } else {
        Images::any()
    };
    let parsed = bld_dockerfile::parse(source);
    assert!(parsed.is_ok(), "{source}\n{:?}", parsed.diagnostics);
    let found = bld_graph::check(&parsed.dockerfile, source, &options, &mut images);
    found.iter().any(|found| found.rule == Some(rule.name))
}

#[test]
fn every_rule_has_a_page_whose_examples_hold() {
    for rule in RULES {
        let path = pages().join(format!("{}.md", rule.name));
        let page = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(page.starts_with(&format!("# {}\n", rule.name)), "{}", rule.name);
        if rule.origin != Origin::Experimental {
            assert!(page.contains(&format!("# check=skip={}", rule.name)), "{}", rule.name);
        }
        let ignore = blocks(&page, "dockerignore").first().map(|(_, text)| *text);
        let examples = blocks(&page, "dockerfile");
        for (title, bad) in [("Bad:", true), ("Good:", false)] {
            let of_kind = examples.iter().filter(|(above, _)| *above == title);
            assert!(of_kind.clone().count() > 0, "{} has no example under {title:?}", rule.name);
            for (_, source) in of_kind {
                assert_eq!(finds(rule, source, ignore), bad, "{} {title}\n{source}", rule.name);
            }
        }
    }
}

#[test]
fn the_index_names_every_page_and_nothing_else() {
    let index = fs::read_to_string(pages().join("README.md")).unwrap();
    for rule in RULES {
        let link = format!("| [{0}]({0}.md) | ", rule.name);
        assert_eq!(index.matches(&link).count(), 1, "{}", rule.name);
    }
    for entry in fs::read_dir(pages()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(name == "README" || Rule::find(&name).is_some(), "{name} is no rule");
    }
}
