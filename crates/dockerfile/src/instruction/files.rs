//! `COPY` and `ADD`

use super::Lower;
use super::flags::Takes;
use crate::ast::{Add, Copy, Source};
use crate::diagnostic::Diagnostic;
use crate::span::Spanned;
use crate::syntax::{Operands, Statement};
use crate::value::{Mode, SourceKind};

const COPY: [(&str, Takes); 6] = [
    ("from", Takes::Value),
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Switch),
    ("parents", Takes::Switch),
    ("exclude", Takes::List),
];

const ADD: [(&str, Takes); 7] = [
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Switch),
    ("exclude", Takes::List),
    ("checksum", Takes::Value),
    ("keep-git-dir", Takes::Switch),
    ("unpack", Takes::Switch),
];

impl Lower<'_> {
    pub(super) fn copy(&mut self, statement: &Statement) -> Option<Copy> {
        let flags = self.flags(statement, &COPY)?;
        let (sources, dest) = self.sources(statement)?;
        // An empty one counts as not given, as with every flag that takes a value.
        let from = flags.value("from").filter(|from| !from.value.is_empty());
        if let Some(from) = from.as_ref().filter(|from| from.value.contains('$')) {
            self.error(
                "variable expansion is not supported for --from",
                from.span,
                "define an alias stage, `FROM image-with-$variable AS name`, and use its name",
            );
        }
        let copy = Copy {
            sources,
            dest,
            from,
            chown: flags.value("chown"),
            chmod: flags.value("chmod"),
            link: flags.switch("link").unwrap_or(false),
            parents: flags.switch("parents").unwrap_or(false),
            excludes: flags.list("exclude"),
        };
        self.check_ownership(copy.chown.as_ref(), copy.chmod.as_ref());
        self.check_words(paths(&copy.sources));
        for source in paths(&copy.sources) {
            let kind = self.constant(source).map(|source| SourceKind::of(&source));
            if let Some(kind @ (SourceKind::Http | SourceKind::Git)) = kind {
                let what = if kind == SourceKind::Http { "a URL" } else { "a git reference" };
                self.defer(
                    format!("source can't be {what} for COPY"),
                    source.span,
                    "use ADD to download it",
                );
            }
        }
        Some(copy)
    }

    pub(super) fn add(&mut self, statement: &Statement) -> Option<Add> {
        let flags = self.flags(statement, &ADD)?;
        let (sources, dest) = self.sources(statement)?;
        let add = Add {
            sources,
            dest,
            chown: flags.value("chown"),
            chmod: flags.value("chmod"),
            link: flags.switch("link").unwrap_or(false),
            excludes: flags.list("exclude"),
            checksum: flags.value("checksum"),
            keep_git_dir: flags.switch("keep-git-dir"),
            unpack: flags.switch("unpack"),
        };
        self.check_ownership(add.chown.as_ref(), add.chmod.as_ref());
        self.check_words(paths(&add.sources).chain(&add.checksum));
        if let Some(checksum) = &add.checksum {
            self.check_checksum(checksum, &add.sources);
        }
        Some(add)
    }

    /// The sources and the destination, which is the last operand.
    fn sources(&mut self, statement: &Statement) -> Option<(Vec<Source>, Spanned<String>)> {
        let keyword = statement.keyword.value.to_ascii_uppercase();
        let (Operands::Words(words) | Operands::Json(words)) = &statement.operands else {
            return None;
        };
        let mut operands = operands(words, statement);
        let last = operands.pop();
        if operands.is_empty() {
            self.diagnostics.push(
                Diagnostic::error(
                    format!("{keyword} requires at least two arguments"),
                    if last.is_some() { statement.operands_span } else { statement.keyword.span },
                )
                .with_label("the destination is missing")
                .with_help(format!("write `{keyword} source destination`")),
            );
            return None;
        }
        match last? {
            Source::Path(dest) => {
                self.check_words([&dest]);
                Some((operands, dest))
            }
            Source::Heredoc(heredoc) => {
                self.error(
                    format!("{keyword} cannot accept a heredoc as a destination"),
                    heredoc.span,
                    "name the destination last",
                );
                None
            }
        }
    }

    fn check_ownership(
        &mut self,
        chown: Option<&Spanned<String>>,
        chmod: Option<&Spanned<String>>,
    ) {
        self.check_words(chown.into_iter().chain(chmod));
        let Some(chmod) = chmod else { return };
        if let Some(text) = self.constant(chmod)
            && let Err(error) = text.parse::<Mode>()
        {
            self.deferred.push(Diagnostic::error(error.to_string(), chmod.span));
        }
    }

    fn check_checksum(&mut self, checksum: &Spanned<String>, sources: &[Source]) {
        if sources.len() != 1 {
            self.defer(
                "checksum can't be specified for multiple sources",
                checksum.span,
                "split the instruction: one source for each ADD",
            );
        }
        for source in sources {
            let local = match source {
                Source::Heredoc(_) => true,
                Source::Path(path) => {
                    self.constant(path).is_some_and(|p| SourceKind::of(&p) == SourceKind::Path)
                }
            };
            if local {
                self.defer(
                    "checksum requires an HTTP(S) or git source",
                    checksum.span,
                    "remove --checksum: files of the context are always verified by content",
                );
                return;
            }
        }
    }
}

fn paths(sources: &[Source]) -> impl Iterator<Item = &Spanned<String>> {
    sources.iter().filter_map(|source| match source {
        Source::Path(path) => Some(path),
        Source::Heredoc(_) => None,
    })
}

/// The operands in order. A here-document is one operand even where its introducer holds blanks.
fn operands(words: &[Spanned<String>], statement: &Statement) -> Vec<Source> {
    let mut heredocs = statement.heredocs.iter().peekable();
    let mut operands = Vec::with_capacity(words.len());
    let mut covered = 0;
    for word in words.iter().filter(|word| word.span.start >= statement.operands_span.start) {
        if word.span.start < covered {
            continue;
        }
        match heredocs.next_if(|heredoc| heredoc.span.start <= word.span.start) {
            Some(heredoc) => {
                covered = heredoc.span.end;
                operands.push(Source::Heredoc(heredoc.clone()));
            }
            None => operands.push(Source::Path(word.clone())),
        }
    }
    operands
}
