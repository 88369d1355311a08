//! Here-documents: the words that introduce them, and their bodies.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while};
use nom::character::complete::{anychar, char, digit0, satisfy};
use nom::combinator::{cond, opt, recognize, value, verify};
use nom::multi::{many0_count, many1_count};
use nom::sequence::{delimited, preceded};
use nom::{IResult, Offset, Parser};

use super::lines::{Joined, Line, Lines};
use crate::ast::Heredoc;
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::suggest::suggest;

/// A word that introduces a here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Introducer {
    /// Where it stands in the line.
    pub(crate) span: Span,
    name: String,
    expand: bool,
    chomp: bool,
    fd: Option<u32>,
}

/// Finds the words that introduce here-documents, wherever they stand in the line.
///
/// The line is split as a shell would split it, always with backslash as the escape character. A
/// line with a quote that isn't closed has none: the shell will say what it thinks of it.
pub(super) fn find(line: &str) -> Vec<Introducer> {
    if !line.contains("<<") {
        return Vec::new();
    }
    let Ok(("", words)) = words(line) else { return Vec::new() };
    words
        .into_iter()
        .filter_map(|word| {
            let start = line.offset(word);
            introducer(word, Span::new(start, start + word.len()))
        })
        .collect()
}

/// The words of a line, quotes and all.
fn words(line: &str) -> IResult<&str, Vec<&str>> {
    let blanks = || take_while(char::is_whitespace);
    let last_brace = line.rfind('}').unwrap_or(0);
    let mut words = Vec::new();
    let (mut rest, _) = blanks().parse(line)?;
    while !rest.is_empty() {
        let word;
        let piece = |input| piece(input, line.len() - last_brace);
        (rest, word) = recognize(many1_count(piece)).parse(rest)?;
        words.push(word);
        (rest, _) = blanks().parse(rest)?;
    }
    Ok((rest, words))
}

/// A piece of a word. With no more than `braceless` bytes to come there is no closing brace among
/// them; knowing that saves looking for one again and again.
fn piece(input: &str, braceless: usize) -> IResult<&str, ()> {
    let escaped = || value((), preceded(char('\\'), opt(anychar)));
    let single = delimited(char('\''), take_while(|c| c != '\''), char('\''));
    let inside = alt((escaped(), value((), satisfy(|c| c != '"' && c != '\\'))));
    let double = delimited(char('"'), many0_count(inside), char('"'));
    // Blanks between `<<` and the delimiter don't end the word.
    let blanks = take_while(|c| matches!(c, ' ' | '\t' | '\r'));
    let arrow = (tag("<<"), opt(char('-')), blanks);
    // A substitution may hold blanks. What else is in it is the shell's business.
    let braced = (tag("${"), take_while(|c| c != '}'), char('}'));
    let braced = cond(input.len() > braceless, braced);
    let braced = verify(braced, |found: &Option<_>| found.is_some());
    let plain = satisfy(|c| !c.is_whitespace() && !matches!(c, '\'' | '"'));
    alt((
        value((), single),
        value((), double),
        escaped(),
        value((), arrow),
        value((), braced),
        value((), plain),
    ))
    .parse(input)
}

/// Takes a word apart: `3<<-"EOF"`.
fn introducer(word: &str, span: Span) -> Option<Introducer> {
    let mut head = (digit0::<&str, nom::error::Error<&str>>, tag("<<"), opt(char('-')));
    let (rest, (fd, _, dash)) = head.parse(word).ok()?;
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let (name, quoted) = unquote(rest);
    let single_word = !name.is_empty() && (quoted || !name.contains(char::is_whitespace));
    single_word.then(|| Introducer {
        span,
        name,
        expand: !quoted,
        chomp: dash.is_some(),
        fd: fd.parse().ok(),
    })
}

/// The delimiter without quotes and escapes, and whether there were quotes.
fn unquote(word: &str) -> (String, bool) {
    let mut name = String::with_capacity(word.len());
    let mut quoted = false;
    let mut open = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match (open, c) {
            (None, '\'' | '"') => {
                open = Some(c);
                quoted = true;
            }
            (Some(quote), c) if c == quote => open = None,
            (Some('"'), '\\') => {
                let mut ahead = chars.clone();
                match ahead.next() {
                    Some(c @ ('"' | '$' | '\\')) => {
                        name.push(c);
                        chars = ahead;
                    }
                    _ => name.push('\\'),
                }
            }
            (None, '\\') => name.extend(chars.next()),
            (_, c) => name.push(c),
        }
    }
    (name, quoted)
}

/// Reads the bodies of `introducers`, which follow one another, from the lines below.
pub(super) fn bodies(
    introducers: Vec<Introducer>,
    joined: &Joined<'_>,
    lines: &mut Lines<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Heredoc> {
    let mut heredocs = Vec::with_capacity(introducers.len());
    for Introducer { span, name, expand, chomp, fd } in introducers {
        let span = joined.span(span);
        let start = lines.offset();
        let below = lines.clone();
        let (mut content, terminated) = body(&name, chomp, lines);
        if !terminated {
            let slip = slip(&name, &below);
            // Go on behind what was meant as the end, to find what else is wrong; once, since
            // every time may take as long as the file.
            if let Some(slip) = slip.as_ref().filter(|_| !diagnostics.iter().any(is_unterminated)) {
                content.truncate(slip.line.start - start);
                *lines = slip.rest.clone();
            }
            diagnostics.push(unterminated(&name, span, slip.as_ref()));
        }
        let content_span = Span::new(start, start + content.len());
        heredocs.push(Heredoc { name, content, expand, chomp, fd, span, content_span });
    }
    heredocs
}

/// The lines up to the one that is `name`, and whether there is one.
fn body(name: &str, chomp: bool, lines: &mut Lines<'_>) -> (String, bool) {
    let mut content = String::new();
    for line in lines {
        let text = if chomp { line.text.trim_start_matches('\t') } else { line.text };
        if text == name {
            return (content, true);
        }
        content.push_str(line.whole);
    }
    (content, false)
}

/// A line that was meant to end a document.
struct Slip<'a> {
    line: Line<'a>,
    /// Its number in the file, from 1.
    number: usize,
    /// What comes behind it.
    rest: Lines<'a>,
}

/// The first line that is `name` but for blanks, else the first that is nearly that word.
fn slip<'a>(name: &str, below: &Lines<'a>) -> Option<Slip<'a>> {
    let like = |test: &dyn Fn(&str) -> bool| {
        let mut rest = below.clone();
        let line = rest.find(|line| test(line.text.trim()))?;
        Some(Slip { line, number: rest.number_of(&line), rest })
    };
    like(&|text| text == name)
        .or_else(|| like(&|text| suggest(text, std::iter::once(name)).is_some()))
}

const UNTERMINATED: &str = "unterminated heredoc";

fn is_unterminated(diagnostic: &Diagnostic) -> bool {
    diagnostic.message.starts_with(UNTERMINATED)
}

fn unterminated(name: &str, span: Span, slip: Option<&Slip<'_>>) -> Diagnostic {
    let error = Diagnostic::error(format!("{UNTERMINATED} `{name}`"), span);
    let Some(Slip { line, number, .. }) = slip else {
        return error.with_label("the document starts below this line and never ends").with_help(
            format!(
                "end it with a line that is exactly `{name}`; for a shift or redirection, put \
                 quotes around the `<<`"
            ),
        );
    };
    let text = line.text.trim();
    let only_tabs = line.text.trim_start_matches('\t') == name;
    let help = if only_tabs {
        format!("write `<<-{name}`, which allows tabs before the end, or take the tabs away")
    } else if text == name {
        format!("take the blanks around `{name}` away: it must be all of its line")
    } else {
        format!("write `{name}` there: the two must be the same, also in case")
    };
    let written = line.text.replace('\t', "\\t");
    error
        .with_label(format!("line {number} looks like the end, but it is `{written}`"))
        .with_help(help)
}

/// The word that introduces `heredoc`, quoted where its delimiter needs it.
pub(crate) fn introduce(heredoc: &Heredoc) -> String {
    let fd = heredoc.fd.map_or_else(String::new, |fd| fd.to_string());
    let dash = if heredoc.chomp { "-" } else { "" };
    let mut delimiter = String::new();
    for (at, c) in heredoc.name.char_indices() {
        let special = if heredoc.expand {
            // A leading dash would be taken for that of `<<-`.
            c.is_whitespace() || matches!(c, '\'' | '"' | '\\') || (at == 0 && c == '-')
        } else {
            matches!(c, '"' | '$' | '\\')
        };
        if special {
            delimiter.push('\\');
        }
        delimiter.push(c);
    }
    if !heredoc.expand {
        delimiter = format!("\"{delimiter}\"");
    }
    format!("{fd}<<{dash}{delimiter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<String> {
        find(line).into_iter().map(|heredoc| heredoc.name).collect()
    }

    #[test]
    fn introducers_are_words_of_their_own() {
        for (line, expected) in [
            ("RUN <<EOF", &["EOF"][..]),
            ("RUN <<- EOF", &["EOF"]),
            ("RUN << -EOF", &["-EOF"]),
            ("RUN << EOF > foo", &["EOF"]),
            ("RUN 4<<EOF <<'EOF2'", &["EOF", "EOF2"]),
            ("RUN <<EOF;cat", &["EOF;cat"]),
            ("RUN <<$EOF ${x y}", &["$EOF"]),
            ("RUN <<'one two'", &["one two"]),
            ("RUN '<<EOF'", &[]),
            ("RUN \"<<EOF\" <EOF", &[]),
            ("RUN cat<<EOF", &[]),
            ("RUN <<<EOF", &[]),
            ("RUN echo $((1<<3))", &[]),
            ("RUN <<", &[]),
            ("RUN <<- ", &[]),
            ("RUN <<''", &[]),
            ("RUN <<EOF it's", &[]),
            ("RUN <<'EOF", &[]),
        ] {
            assert_eq!(names(line), expected, "{line}");
        }
    }

    #[test]
    fn quotes_forbid_expansion() {
        for (word, name, expand) in [
            ("<<EOF", "EOF", true),
            ("<<eo'f'", "eof", false),
            ("<<eo\\'f", "eo'f", true),
            ("<<'e'o\\'f", "eo'f", false),
            ("<<\"a\\b\\\"\"", "a\\b\"", false),
        ] {
            let found = find(word);
            assert_eq!(found.len(), 1, "{word}");
            assert_eq!((found[0].name.as_str(), found[0].expand), (name, expand), "{word}");
        }
    }

    #[test]
    fn digits_name_the_descriptor() {
        let found = find("RUN 3<<-EOF");
        assert_eq!((found[0].fd, found[0].chomp), (Some(3), true));
        assert_eq!(found[0].span, Span::new(4, 11));
        assert_eq!(find("RUN <<EOF")[0].fd, None);
    }
}
