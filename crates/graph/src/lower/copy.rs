//! `COPY` and `ADD`.

use bld_dockerfile::expand::Expander;
use bld_dockerfile::ignore::Glob;
use bld_dockerfile::value::{Mode, redacted};
use bld_dockerfile::{self as dockerfile, Diagnostic, Heredoc, Source, Span, Spanned};
use petgraph::graph::NodeIndex;

use super::Lowering;
use super::build::{Inputs, outside};
use super::path;
use super::remote::{self, Remote};
use super::stage::Stage;
use super::step::Step;
use crate::op::{CopyOp, CopySource, Op};

/// The operands of either instruction.
pub(super) struct Transfer<'a> {
    keyword: &'static str,
    sources: &'a [Source],
    dest: &'a Spanned<String>,
    from: Option<&'a Spanned<String>>,
    chown: Option<&'a Spanned<String>>,
    chmod: Option<&'a Spanned<String>>,
    link: bool,
    parents: bool,
    excludes: &'a [Spanned<String>],
    /// What only `ADD` can do.
    add: Option<&'a dockerfile::Add>,
}

impl<'a> From<&'a dockerfile::Copy> for Transfer<'a> {
    fn from(copy: &'a dockerfile::Copy) -> Self {
        Self {
            keyword: "COPY",
            sources: &copy.sources,
            dest: &copy.dest,
            from: copy.from.as_ref(),
            chown: copy.chown.as_ref(),
            chmod: copy.chmod.as_ref(),
            link: copy.link,
            parents: copy.parents,
            excludes: &copy.excludes,
            add: None,
        }
    }
}

impl<'a> From<&'a dockerfile::Add> for Transfer<'a> {
    fn from(add: &'a dockerfile::Add) -> Self {
        Self {
            keyword: "ADD",
            sources: &add.sources,
            dest: &add.dest,
            from: None,
            chown: add.chown.as_ref(),
            chmod: add.chmod.as_ref(),
            link: add.link,
            parents: false,
            excludes: &add.excludes,
            add: Some(add),
        }
    }
}

/// Where paths are looked for.
enum Origin {
    /// In the build context.
    Context,
    /// In a tree; none: an empty one.
    Tree(Option<NodeIndex>),
}

impl Lowering<'_> {
    pub(super) fn copy(
        &mut self,
        stage: &mut Stage,
        step: &Step,
        transfer: &Transfer,
    ) -> Result<(), Diagnostic> {
        let origin = match transfer.from {
            Some(from) => Origin::Tree(self.tree(from, stage.index)?),
            None => Origin::Context,
        };
        let chown = self.flag(stage, transfer.chown)?;
        let chmod = self.flag(stage, transfer.chmod)?;
        let dest = self.expand(&stage.scope, transfer.dest)?;
        let excludes = transfer.excludes.iter().map(|word| self.expand(&stage.scope, word));
        let excludes = excludes.collect::<Result<Vec<_>, _>>()?;

        // As it is recorded: what is flagged, what is copied, where to.
        let mut text = transfer.keyword.to_owned();
        if transfer.parents {
            text.push_str(" --parents");
        }
        for (flag, value) in [("chown", &chown), ("chmod", &chmod)] {
            if let Some(value) = value {
                text.extend([" --", flag, "=", value]);
            }
        }
        let mut shown = self.shown(stage, step);
        let mut inputs = Inputs::default();
        let mut sources = Vec::with_capacity(transfer.sources.len());
        for source in transfer.sources {
            if let Source::Path(word) = source {
                let path = self.expand(&stage.scope, word)?;
                let hidden = redacted(&path);
                text.extend([" ", &hidden]);
                if hidden != path {
                    shown = shown.replace(&path, &hidden);
                }
                let word = Spanned::new(path, word.span);
                sources.push(self.path_source(transfer, &origin, &word, &mut inputs, stage)?);
            }
        }
        for source in transfer.sources {
            if let Source::Heredoc(heredoc) = source {
                text.extend([" <<", &heredoc.name]);
                let content = self.inline(stage, heredoc)?;
                sources.push(CopySource::Inline { name: heredoc.name.clone(), content });
            }
        }
        text.extend([" ", &dest, " # buildkit"]);

        let chmod = match (chmod, transfer.chmod) {
            (Some(mode), Some(word)) => Some(normal_mode(mode, word.span)?),
            _ => None,
        };
        let op = CopyOp {
            // A name is looked up in the root, which a linked copy must not depend on. With a mode
            // BuildKit copies plainly, too: the directories above what is copied would get it.
            link: transfer.link && chmod.is_none() && chown.as_deref().is_none_or(is_numeric),
            chown,
            chmod,
            parents: transfer.parents,
            excludes,
            ..CopyOp::new(sources, path::join_dest(&stage.workdir(), &dest))
        };
        let vertex = self.vertex(stage, step, Op::Copy(Box::new(op)), &shown);
        let root = self.builder.add(vertex, stage.root, &inputs);
        stage.layer(text, root);
        Ok(())
    }

    /// Expands a flag; an empty one counts as not given.
    fn flag(
        &mut self,
        stage: &Stage,
        word: Option<&Spanned<String>>,
    ) -> Result<Option<String>, Diagnostic> {
        let value = word.map(|word| self.expand(&stage.scope, word)).transpose()?;
        Ok(value.filter(|value| !value.is_empty()))
    }

    /// One source that is no here-document; `word` is expanded.
    fn path_source(
        &mut self,
        transfer: &Transfer,
        origin: &Origin,
        word: &Spanned<String>,
        inputs: &mut Inputs,
        stage: &Stage,
    ) -> Result<CopySource, Diagnostic> {
        let error = |message: String| Diagnostic::error(message, word.span);
        let remote = Remote::parse(&word.value)
            .map_err(|why| error(format!("invalid git source {:?}: {why}", word.value)))?;
        if let Some(remote) = remote {
            let Some(add) = transfer.add else {
                let kind = match remote {
                    Remote::Http(_) => "a URL",
                    Remote::Git(_) => "a git repository",
                };
                let help = "use ADD, which downloads it";
                return Err(error(format!("source can't be {kind} for COPY")).with_help(help));
            };
            return self.remote_source(add, remote, word, inputs, stage);
        }
        if let Some(checksum) = transfer.add.and_then(|add| add.checksum.as_ref()) {
            let message = "checksum requires HTTP(S) or git sources";
            return Err(Diagnostic::error(message, checksum.span));
        }
        let patterns = word.value.split('/').filter(|part| part.contains(['*', '?', '[']));
        for pattern in patterns {
            Glob::new(pattern).map_err(|bad| {
                error(bad.to_string()).with_help("write `[[]` for a bracket in a name")
            })?;
        }
        let input = match origin {
            Origin::Tree(tree) => *tree,
            Origin::Context => {
                self.check_ignored(transfer.keyword, word);
                Some(self.context())
            }
        };
        let path = match (transfer.parents, word.value.split_once("/./")) {
            (true, Some((parent, kept))) => {
                let parent = path::join("/", parent);
                format!("{}/.{}", parent.trim_end_matches('/'), path::join("/", kept))
            }
            _ => path::join("/", &word.value),
        };
        let unpack = transfer.add.is_some_and(|add| add.unpack.unwrap_or(true));
        Ok(CopySource::Tree { input: input.map(|tree| inputs.number(tree)), path, unpack })
    }

    fn remote_source(
        &mut self,
        add: &dockerfile::Add,
        mut remote: Remote,
        word: &Spanned<String>,
        inputs: &mut Inputs,
        stage: &Stage,
    ) -> Result<CopySource, Diagnostic> {
        if let Some(checksum) = &add.checksum {
            if add.sources.len() != 1 {
                let message = "checksum can't be specified for multiple sources";
                return Err(Diagnostic::error(message, checksum.span));
            }
            let value = self.expand(&stage.scope, checksum)?;
            remote::set_checksum(&mut remote, &value).map_err(|why| {
                Diagnostic::error(format!("invalid checksum {value:?}: {why}"), checksum.span)
            })?;
        }
        let (op, path, unpack) = match remote {
            Remote::Http(http) => {
                let path = format!("/{}", http.filename);
                (Op::Http(http), path, add.unpack.unwrap_or(false))
            }
            Remote::Git(mut git) => {
                git.keep_git_dir |= add.keep_git_dir.unwrap_or(false);
                (Op::Git(git), "/".to_owned(), false)
            }
        };
        let mut vertex = outside(op, redacted(&word.value), &stage.platform);
        vertex.stage.clone_from(&stage.label);
        vertex.span = word.span;
        let input = Some(inputs.number(self.builder.source(vertex)));
        Ok(CopySource::Tree { input, path, unpack })
    }

    /// The content of a here-document that becomes a file.
    fn inline(&mut self, stage: &Stage, heredoc: &Heredoc) -> Result<String, Diagnostic> {
        let body = heredoc.body();
        if !heredoc.expand {
            return Ok(body.into_owned());
        }
        let expanded = Expander::heredoc(&body, &stage.scope).map_err(|error| {
            let message = format!("failed to expand the here-document {}: {error}", heredoc.name);
            Diagnostic::error(message, heredoc.content_span)
        })?;
        self.report.undefined(&expanded.unset, &stage.scope, heredoc.content_span);
        Ok(expanded.text)
    }
}

/// Whether `user[:group]` needs no lookup.
fn is_numeric(owner: &str) -> bool {
    owner.split(':').all(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A valid mode, octal ones in their one spelling.
fn normal_mode(text: String, span: Span) -> Result<String, Diagnostic> {
    match text.parse::<Mode>() {
        Ok(Mode::Octal(bits)) => Ok(format!("{bits:04o}")),
        Ok(Mode::Symbolic(_)) => Ok(text),
        Err(error) => Err(Diagnostic::error(error.to_string(), span)),
    }
}
