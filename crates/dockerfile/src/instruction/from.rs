//! `FROM`

use super::Lower;
use super::flags::Takes;
use crate::ast::From;
use crate::diagnostic::Diagnostic;
use crate::expand::Expander;
use crate::span::Spanned;
use crate::syntax::{Operands, Statement};

impl Lower<'_> {
    /// Reads `FROM [--platform=P] IMAGE [AS NAME]`.
    pub(crate) fn from(&mut self, statement: &Statement) -> Option<From> {
        let flags = self.flags(statement, &[("platform", Takes::Value)]);
        let words = match &statement.operands {
            Operands::Words(words) => words.as_slice(),
            _ => &[],
        };
        let (image, named) = match words {
            [image] => (image, None),
            [image, keyword, name] if keyword.value.eq_ignore_ascii_case("as") => {
                (image, Some((keyword, name)))
            }
            _ => {
                self.wrong_count(statement, words);
                return None;
            }
        };
        if let Some((_, name)) = named
            && !is_stage_name(&name.value)
        {
            self.error(
                format!("invalid name for build stage: {:?}", name.value),
                name.span,
                "begin it with a letter and use letters, digits, `-`, `_` and `.` only",
            );
            return None;
        }
        let platform = flags?.value("platform").filter(|platform| !platform.value.is_empty());
        // The base of every stage is looked at, built or not.
        let expander = Expander::new(self.escape);
        for word in platform.iter().chain([image]) {
            if let Err(error) = expander.parse(&word.value) {
                self.diagnostics.push(error.diagnostic(word));
            }
        }
        Some(From {
            image: image.clone(),
            platform,
            name: named.map(|(_, name)| name.clone()),
            as_keyword: named.map(|(keyword, _)| keyword.clone()),
        })
    }

    fn wrong_count(&mut self, statement: &Statement, words: &[Spanned<String>]) {
        let error = Diagnostic::error(
            "FROM requires either one or three arguments",
            if words.is_empty() { statement.keyword.span } else { statement.operands_span },
        );
        self.diagnostics.push(match words {
            [image, name] => error.with_help(format!(
                "to name the stage write `FROM {} AS {}`",
                image.value, name.value
            )),
            [] => error.with_help("write `FROM image` or `FROM image AS name`"),
            _ => error.with_help("nothing may follow `FROM image AS name`"),
        });
    }
}

/// Whether `name` may name a stage, once in lower case: `[a-z][a-z0-9-_.]*`.
fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
