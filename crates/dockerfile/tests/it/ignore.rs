//! Ignore patterns against the tables of `moby/patternmatcher`.

use crate::common::{corpus, json};
use bld_dockerfile::ignore::{self, Patterns};

#[test]
fn patterns_match_as_in_the_table() {
    let Some(cases) = corpus("dockerignore/patternmatcher_cases.json") else { return };
    let table = json(&cases);
    let rows = table.as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(rows.len() > 50, "only {} rows", rows.len());
    for row in rows {
        let patterns = row["patterns"].as_array().map(Vec::as_slice).unwrap_or_default();
        let patterns = Patterns::new(patterns.iter().filter_map(|pattern| pattern.as_str()));
        if row.get("error").is_some() {
            assert!(patterns.is_err(), "{row}");
            continue;
        }
        let patterns = patterns.unwrap_or_else(|error| panic!("{row}: {error}"));
        let path = row["path"].as_str().unwrap_or_default();
        assert_eq!(Some(patterns.matches(path)), row["match"].as_bool(), "{row}");
    }
}

#[test]
fn ignore_files_are_read_as_in_the_example() {
    let Some(example) = corpus("dockerignore/ignorefile_case.json") else { return };
    let case = json(&example);
    let read: Vec<_> = ignore::lines(case["input"].as_str().unwrap_or_default())
        .map(|(_, pattern)| serde_json::Value::from(pattern))
        .collect();
    assert_eq!(Some(&read), case["patterns"].as_array());
}
