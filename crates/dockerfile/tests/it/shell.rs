//! Expansion against the tables of words and variables.

use std::collections::BTreeMap;

use crate::common::{corpus, read};
use bld_dockerfile::expand::Expander;

#[test]
fn words_are_split_as_in_the_table() {
    let Some(table) = corpus("shell/wordsTest") else { return };
    let mut env = BTreeMap::new();
    let mut rows = 0;
    for (number, line) in (1..).zip(read(&table).lines()) {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        if let Some(pair) = line.strip_prefix("ENV ") {
            let (name, value) = pair.trim_start().split_once('=').unwrap_or((pair, ""));
            env.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let (input, expected) = line.split_once('|').unwrap_or_else(|| panic!("row {number}"));
        let expected: Vec<_> = expected.trim_start_matches(' ').split(',').collect();
        let words = Expander::default().words(input.trim(), &env);
        assert_eq!(words.as_deref(), Ok(&expected.map_to_strings()[..]), "row {number}: {line}");
        rows += 1;
    }
    assert!(rows > 5, "only {rows} rows");
}

trait MapToStrings {
    fn map_to_strings(&self) -> Vec<String>;
}

impl MapToStrings for Vec<&str> {
    fn map_to_strings(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn variables_expand_as_in_the_table() {
    let Some(table) = corpus("shell/envVarTest") else { return };
    let env = [("PWD", "/home"), ("SHELL", "bash"), ("KOREAN", "한국어"), ("NULL", "")];
    let mut rows = 0;
    for (number, line) in (1..).zip(read(&table).lines()) {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let columns: Vec<_> = line.trim().split('|').map(str::trim).collect();
        let [platform, input, expected] = columns[..] else { panic!("row {number}: {line}") };
        if platform == "W" {
            continue; // names don't depend on case here
        }
        let result = Expander::default().word(input, &env).map(|expanded| expanded.text);
        if expected == "error" {
            assert!(result.is_err(), "row {number}: {line}: {result:?}");
        } else {
            assert_eq!(result.as_deref(), Ok(expected), "row {number}: {line}");
        }
        rows += 1;
    }
    assert!(rows > 50, "only {rows} rows");
}
