//! Parser directives: `# name=value` at the very top.

use nom::bytes::complete::take_while;
use nom::character::complete::{char, satisfy};
use nom::combinator::recognize;
use nom::sequence::delimited;
use nom::{IResult, Offset, Parser};

use super::lines::{Line, Lines};
use crate::ast::Directives;
use crate::diagnostic::Diagnostic;
use crate::span::{Span, Spanned};

/// The directives there are.
pub(crate) const NAMES: [&str; 3] = ["check", "escape", "syntax"];

/// A directive line: its name in lower case, and its value.
struct Directive<'a> {
    name: &'a str,
    value: &'a str,
}

/// Reads the directives; they end at the first line that is none.
pub(super) fn read(lines: &mut Lines<'_>, diagnostics: &mut Vec<Diagnostic>) -> Directives {
    let mut directives = Directives::default();
    let mut escape: Option<Span> = None;
    // A script header may stand before the directives that concern the choice of frontend and
    // the checks; for the lexer itself it is a comment and ends the directives.
    let script = lines.peek().is_some_and(|line| line.text.starts_with("#!"));
    if script {
        lines.next();
    }
    while let Some(line) = lines.peek() {
        let Some(directive) = parse(&line, "#") else { break };
        let span = line.span();
        let value = first_word(&line, directive.value);
        let again = match directive.name.to_ascii_lowercase().as_str() {
            "syntax" => directives.syntax.replace(value).map(|old| old.span),
            "check" => directives.check.replace(value).map(|old| old.span),
            "escape" if script => None,
            "escape" => {
                match directive.value {
                    "\\" => directives.escape = '\\',
                    "`" => directives.escape = '`',
                    other => diagnostics.push(bad_escape(other, place(&line, other))),
                }
                escape.replace(span)
            }
            _ => break,
        };
        if again.is_some() {
            diagnostics.push(repeated(directive.name, span));
        }
        lines.next();
    }
    directives
}

/// The names in `# name=value` comments above the first instruction that are no directives, each
/// with whether the line is where directives end, so that it would be one by another name.
pub(crate) fn stray(source: &str) -> Vec<(Spanned<String>, bool)> {
    let mut lines = Lines::new(source);
    if lines.peek().is_some_and(|line| line.text.starts_with("#!")) {
        lines.next();
    }
    let mut top = true;
    let mut found = Vec::new();
    for line in lines.take_while(|line| line.is_blank() || line.comment().is_some()) {
        let directive = parse(&line, "#");
        let known = |name: &str| NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
        let Some(Directive { name, .. }) = directive else {
            top = false;
            continue;
        };
        if !(top && known(name)) {
            let span = place(&line, name);
            found.push((Spanned::new(name.to_owned(), span), top));
            top = false;
        }
    }
    found
}

/// The frontend that a build file of any format asks for: `# syntax=`, `// syntax=`, or the
/// `syntax` key of a JSON document. The value is the image reference.
pub fn detect_syntax(source: &str) -> Option<Spanned<String>> {
    for comment in ["#", "//"] {
        let mut lines = Lines::new(source);
        if lines.peek().is_some_and(|line| line.text.starts_with("#!")) {
            lines.next();
        }
        for line in lines {
            let Some(directive) = parse(&line, comment) else { break };
            match directive.name.to_ascii_lowercase().as_str() {
                "syntax" => return Some(first_word(&line, directive.value)),
                "escape" | "check" => {}
                _ => break,
            }
        }
    }
    let document: serde_json::Value = serde_json::from_str(source).ok()?;
    let reference = document.get("syntax")?.as_str()?;
    Some(Spanned::new(reference.to_owned(), Span::new(0, source.len())))
}

fn parse<'a>(line: &Line<'a>, comment: &str) -> Option<Directive<'a>> {
    let text = line.text.trim_start().strip_prefix(comment)?.trim_start();
    let (value, name) = name_and_equals(text).ok()?;
    let value = value.trim();
    (!value.is_empty()).then_some(Directive { name, value })
}

/// `name =`, the name being a letter followed by letters and digits.
fn name_and_equals(input: &str) -> IResult<&str, &str> {
    let letter = satisfy(|c| c.is_ascii_alphabetic());
    let name = recognize((letter, take_while(|c: char| c.is_ascii_alphanumeric())));
    let blanks = || take_while(char::is_whitespace);
    let mut parser = (name, delimited(blanks(), char('='), blanks()));
    let (rest, (name, _)) = parser.parse(input)?;
    Ok((rest, name))
}

/// What follows a blank in the value is a remark.
fn first_word(line: &Line<'_>, value: &str) -> Spanned<String> {
    let word = value.split(' ').next().unwrap_or(value);
    Spanned::new(word.to_owned(), place(line, word))
}

fn place(line: &Line<'_>, part: &str) -> Span {
    let start = line.start + line.text.offset(part);
    Span::new(start, start + part.len())
}

fn bad_escape(value: &str, span: Span) -> Diagnostic {
    Diagnostic::error(format!("invalid escape token '{value}': it must be ` or \\"), span)
        .with_help("write # escape=\\ or # escape=`")
}

fn repeated(name: &str, span: Span) -> Diagnostic {
    let name = name.to_ascii_lowercase();
    Diagnostic::error(format!("only one {name} parser directive can be used"), span)
        .with_help("remove this line or the earlier one")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directives(source: &str) -> (Directives, usize) {
        let mut diagnostics = Vec::new();
        let directives = read(&mut Lines::new(source), &mut diagnostics);
        (directives, diagnostics.len())
    }

    fn syntax(source: &str) -> Option<String> {
        detect_syntax(source).map(|syntax| syntax.value)
    }

    #[test]
    fn directives_stand_at_the_top() {
        let (d, errors) =
            directives("# escape = `\n#syntax=a/b // note\n  # Check=skip=all\nFROM x");
        assert_eq!((d.escape, errors), ('`', 0));
        assert_eq!(d.syntax.map(|s| s.value).as_deref(), Some("a/b"));
        assert_eq!(d.check.map(|s| s.value).as_deref(), Some("skip=all"));
        for ended in
            ["# note\n# escape=`", "\n# escape=`", "# colour=blue\n# escape=`", "#!/x\n# escape=`"]
        {
            assert_eq!(directives(ended).0.escape, '\\', "{ended}");
        }
    }

    #[test]
    fn directives_are_unique_and_checked() {
        assert_eq!(directives("# escape=`\n# escape=`\n").1, 1);
        assert_eq!(directives("# escape=x\n").1, 1);
        assert_eq!(directives("# syntax=a\n# SYNTAX=b\n").1, 1);
    }

    #[test]
    fn the_syntax_is_found_in_any_format() {
        assert_eq!(syntax("# syntax = a:b // opts\nFROM x").as_deref(), Some("a:b"));
        assert_eq!(syntax("#!/bin/sh\n# syntax = a").as_deref(), Some("a"));
        assert_eq!(syntax("#!/bin/sh\n\n# syntax = a"), None);
        assert_eq!(syntax("//syntax=foo\n//key=value").as_deref(), Some("foo"));
        assert_eq!(syntax("{\"syntax\": \"foo\", \"bar\": []}").as_deref(), Some("foo"));
        assert_eq!(syntax("{\"syntax\": \"foo\"}\n# syntax=bar"), None);
        assert_eq!(syntax("\u{feff}# syntax=x\n").as_deref(), Some("x"));
    }
}
