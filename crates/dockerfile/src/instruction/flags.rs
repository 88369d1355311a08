//! Flags held against what an instruction knows.

use super::Lower;
use crate::diagnostic::Diagnostic;
use crate::span::Spanned;
use crate::suggest::suggest;
use crate::syntax::{Flag, Statement};

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, or `=true` or `=false`.
    Switch,
    /// One value.
    Value,
    /// One value each time; may be repeated.
    List,
}

/// The flags of one statement, known to be right.
pub(super) struct Flags<'s>(Vec<(&'static str, &'s Flag)>);

impl Lower<'_> {
    /// Reads the flags of `statement`, which may be those in `known` (names without dashes).
    pub(super) fn flags<'s>(
        &mut self,
        statement: &'s Statement,
        known: &[(&'static str, Takes)],
    ) -> Option<Flags<'s>> {
        let mut flags = Vec::with_capacity(statement.flags.len());
        let mut wrong = false;
        for flag in &statement.flags {
            match check(flag, statement, known, &flags) {
                Ok(name) => flags.push((name, flag)),
                Err(error) => {
                    self.diagnostics.push(error);
                    wrong = true;
                }
            }
        }
        (!wrong).then_some(Flags(flags))
    }

    /// Refuses every flag.
    pub(super) fn no_flags(&mut self, statement: &Statement) -> Option<()> {
        self.flags(statement, &[]).map(drop)
    }
}

fn check(
    flag: &Flag,
    statement: &Statement,
    known: &[(&'static str, Takes)],
    seen: &[(&'static str, &Flag)],
) -> Result<&'static str, Diagnostic> {
    let written = flag.name.value.as_str();
    let bare = written.trim_start_matches('-');
    let Some((name, takes)) =
        known.iter().find(|(name, _)| written.strip_prefix("--") == Some(name))
    else {
        let keyword = statement.keyword.value.to_ascii_uppercase();
        let error =
            Diagnostic::error(format!("unknown flag: {written} for {keyword}"), flag.name.span);
        return Err(match suggest(bare, known.iter().map(|(name, _)| *name)) {
            Some(name) => error.with_help(format!("did you mean --{name}?")),
            None if known.is_empty() => error.with_help(format!(
                "{keyword} takes no flags; write `--` in front of operands that begin with dashes"
            )),
            None => {
                let names: Vec<_> = known.iter().map(|(name, _)| format!("--{name}")).collect();
                error.with_help(format!("{keyword} knows {}", names.join(", ")))
            }
        });
    };
    if *takes != Takes::List && seen.iter().any(|(other, _)| other == name) {
        return Err(Diagnostic::error(format!("duplicate flag specified: {written}"), flag.span())
            .with_help("remove one of them"));
    }
    let value = flag.value.as_ref().map(|value| value.value.as_str());
    match (takes, value) {
        (Takes::Switch, Some(value)) if switch(value).is_some() => Ok(name),
        (Takes::Switch, Some("")) | (Takes::Value | Takes::List, None) => {
            Err(Diagnostic::error(format!("missing a value on flag: {written}"), flag.span())
                .with_help(format!("write `{written}=...`")))
        }
        (Takes::Switch, Some(value)) => {
            let message = format!("expecting boolean value for flag {written}, not: {value}");
            Err(Diagnostic::error(message, flag.span()).with_help("use true or false"))
        }
        (Takes::Switch, None) | (Takes::Value | Takes::List, Some(_)) => Ok(name),
    }
}

fn switch(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

impl Flags<'_> {
    /// The value of a flag that takes one.
    pub(super) fn value(&self, name: &str) -> Option<Spanned<String>> {
        self.list(name).pop()
    }

    /// All values of a flag that may be repeated, in order.
    pub(super) fn list(&self, name: &str) -> Vec<Spanned<String>> {
        let named = self.0.iter().filter(|(known, _)| *known == name);
        named.filter_map(|(_, flag)| flag.value.clone()).collect()
    }

    /// A switch; none when it was not given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        let (_, flag) = self.0.iter().find(|(known, _)| *known == name)?;
        flag.value.as_ref().map_or(Some(true), |value| switch(&value.value))
    }
}
