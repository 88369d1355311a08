//! The parser against pairs of a Dockerfile and the structure it must have.

use crate::common::{corpus, entries, json, read};
use bld_dockerfile::syntax::{self, Operands, Statement};
use bld_dockerfile::{Diagnostic, LineIndex, parse};

/// A text as Go's `strconv.Quote` writes it.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out + "\""
}

/// A statement in the notation of the `result` files.
fn dump(statement: &Statement) -> String {
    let mut words = vec![statement.keyword.value.to_lowercase()];
    if !statement.flags.is_empty() {
        let flags: Vec<_> = statement.flags.iter().map(|flag| quote(&flag.to_string())).collect();
        words.push(format!("[{}]", flags.join(" ")));
    }
    dump_operands(&statement.operands, &mut words);
    words.join(" ")
}

fn dump_operands(operands: &Operands, words: &mut Vec<String>) {
    match operands {
        Operands::Text(text) if text.value.is_empty() => {}
        Operands::Text(text) => words.push(quote(&text.value)),
        Operands::Words(list) | Operands::Json(list) => {
            words.extend(list.iter().map(|word| quote(&word.value)));
        }
        Operands::Pairs(pairs) => {
            for pair in pairs {
                let separator = if pair.legacy { "" } else { "=" };
                words.extend([pair.key.as_str(), pair.value.as_str(), separator].map(quote));
            }
        }
        Operands::Test(kind, command) => {
            words.push(quote(&kind.value));
            dump_operands(command, words);
        }
        Operands::Statement(inner) => words.push(format!("({})", dump(inner))),
        Operands::Invalid => words.push("<invalid>".to_owned()),
    }
}

#[test]
fn positive_files_have_the_expected_structure() {
    let Some(files) = corpus("parser/testfiles") else { return };
    for dir in entries(&files) {
        let tree = syntax::read(&read(&dir.join("Dockerfile")));
        assert!(tree.diagnostics.is_empty(), "{}: {:?}", dir.display(), tree.diagnostics);
        let dumped: Vec<_> = tree.statements.iter().map(|s| format!("({})", dump(s))).collect();
        let expected = read(&dir.join("result"));
        assert_eq!(dumped.join("\n"), expected.trim_end(), "{}", dir.display());
    }
}

#[test]
fn negative_files_fail_at_a_line() {
    let Some(files) = corpus("parser/testfiles-negative") else { return };
    for dir in entries(&files) {
        let source = read(&dir.join("Dockerfile"));
        let parsed = parse(&source);
        let error = parsed.diagnostics.iter().find(|diagnostic| diagnostic.is_error());
        let error = error.unwrap_or_else(|| panic!("{} was accepted", dir.display()));
        assert!(LineIndex::new(&source).line_col(error.span.start).0 >= 1);
        assert!(!error.message.is_empty());
    }
}

#[test]
fn statements_know_their_lines() {
    let Some(file) = corpus("parser/testfile-line/Dockerfile") else { return };
    let Some(lines) = corpus("parser/testfile-line/expected_lines.json") else { return };
    let source = read(&file);
    let expected = json(&lines);
    let index = LineIndex::new(&source);
    let tree = syntax::read(&source);
    let lines: Vec<_> = tree.statements.iter().map(|s| index.lines(s.span)).collect();
    let pair = |value: &serde_json::Value| {
        let number = |at: usize| value[at].as_u64().map(|n| n as usize);
        number(0).zip(number(1))
    };
    let children = expected["children"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(
        lines.iter().copied().map(Some).collect::<Vec<_>>(),
        children.iter().map(pair).collect::<Vec<_>>()
    );
    let whole = lines.first().zip(lines.last()).map(|(first, last)| (first.0, last.1));
    assert_eq!(whole, pair(&expected["ast"]));
}

/// Every Dockerfile below `dir`, whatever it is called.
fn all_files(dir: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for path in entries(dir) {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if std::fs::read_dir(&path).is_ok_and(|mut dir| dir.next().is_some()) {
                all_files(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

#[test]
fn real_dockerfiles_parse_and_print() {
    let Some(dockerfiles) = corpus("dockerfiles") else { return };
    let mut files = Vec::new();
    all_files(&dockerfiles, &mut files);
    files.retain(|path| path.extension().is_none_or(|extension| extension != "json"));
    assert!(files.len() > 100, "only {} files", files.len());
    for path in files {
        let source = read(&path);
        let parsed = parse(&source);
        let all = parsed.diagnostics.iter().chain(&parsed.deferred);
        let errors: Vec<&Diagnostic> = all.filter(|d| d.is_error()).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
        assert!(!parsed.dockerfile.stages.is_empty(), "{}", path.display());
        let printed = parsed.dockerfile.to_string();
        let again = parse(&printed);
        assert!(again.diagnostics.is_empty(), "{}: {:#?}", path.display(), again.diagnostics);
        assert_eq!(again.dockerfile.to_string(), printed, "{}", path.display());
    }
}
