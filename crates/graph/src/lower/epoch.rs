//! `SOURCE_DATE_EPOCH`: the fixed time of a build.

use bld_dockerfile::{Add, Diagnostic, InstructionKind, Source, Span, Stage};

use super::Lowering;
use super::remote::{self, Remote};
use super::scope::Ordered;
use super::trees::failure;
use crate::args::EPOCH as NAME;
use crate::op::{ContextOp, Op};
use crate::resolve::NamedContext;

impl Lowering<'_> {
    /// Finds the time, and puts the number in place of a name so that a stage that declares the
    /// argument sees the number. Empty means that there is none.
    pub(super) fn resolve_epoch(&mut self) {
        let default = || self.globals.vars.get(NAME).filter(|value| !value.is_empty());
        let Some(value) = self.globals.build_args.get(NAME).or_else(default).cloned() else {
            return;
        };
        let time = self.epoch(&value);
        self.globals.epoch = self.report.take(time).flatten();
        let given = self.globals.build_args.remove(NAME).is_some();
        self.globals.vars.remove(NAME);
        if let Some(seconds) = self.globals.epoch {
            self.globals.vars.set(NAME, seconds.to_string());
            if given {
                self.globals.build_args.insert(NAME.to_owned(), seconds.to_string());
            }
        }
    }

    /// What `value` means: seconds since 1970, `context`, a named context, or a stage that consists
    /// of one download.
    fn epoch(&mut self, value: &str) -> Result<Option<i64>, Diagnostic> {
        if value.is_empty() {
            return Ok(None);
        }
        if let Ok(seconds) = value.parse() {
            return Ok(Some(seconds));
        }
        let span = self.epoch_span();
        if value == ContextOp::MAIN {
            return self.time(&Op::Context(ContextOp { name: value.to_owned() }), span);
        }
        let platform = self.options.target_platform();
        match self.named(value, platform, span)? {
            Some(NamedContext::Files(op)) => return self.time(&op, span),
            Some(NamedContext::Image(_)) => return Ok(None),
            None => {}
        }
        let file = self.file;
        let is_meant = |stage: &&Stage| {
            stage.from.name.as_ref().is_some_and(|name| name.value.eq_ignore_ascii_case(value))
        };
        let Some(stage) = file.stages.iter().find(is_meant) else {
            let message = format!("invalid {NAME}: {value:?}");
            return Err(Diagnostic::error(message, span).with_help(
                "use seconds since 1970, `context`, or the name of a stage with one remote ADD",
            ));
        };
        let source = self.only_download(stage)?;
        self.time(&source, stage.span)
    }

    fn time(&mut self, source: &Op, span: Span) -> Result<Option<i64>, Diagnostic> {
        self.resolver.time(source).map_err(|error| {
            failure(format!("failed to find the time for {NAME}: {error}"), error, span)
        })
    }

    /// Where the value is written, if it is a default of the file.
    fn epoch_span(&self) -> Span {
        let given = self.globals.build_args.contains_key(NAME);
        let args = self.file.global_args();
        let written = args.filter(|pair| !given && pair.name.value == NAME).last();
        written.and_then(|pair| Some(pair.value.as_ref()?.span)).unwrap_or_default()
    }

    /// The source of a stage that is nothing but arguments and one `ADD` of something remote.
    fn only_download(&self, stage: &Stage) -> Result<Op, Diagnostic> {
        let error = |message: String, span| Err(Diagnostic::error(message, span));
        let mut vars = self.globals.vars.clone();
        vars.remove(NAME);
        if stage.from.image.value != "scratch" {
            let message = format!("a stage for {NAME} must begin with FROM scratch");
            return error(message, stage.from.image.span);
        }
        let mut source = None;
        for instruction in &stage.instructions {
            match &instruction.kind {
                InstructionKind::Arg(pairs) => {
                    for pair in pairs {
                        let given = self.globals.build_args.get(&pair.name.value).cloned();
                        let value = match (given, &pair.value) {
                            (Some(given), _) => given,
                            (None, None) => continue,
                            (None, Some(word)) => {
                                let expanded = self.expander.word(&word.value, &vars);
                                expanded.map_err(|error| error.diagnostic(word))?.text
                            }
                        };
                        vars.set(&pair.name.value, value);
                    }
                }
                InstructionKind::Add(add) if source.is_none() => {
                    source = Some(self.download(add, &vars, instruction.span)?);
                }
                _ => {
                    let message =
                        format!("a stage for {NAME} must hold nothing but one remote ADD");
                    return error(message, instruction.span);
                }
            }
        }
        match source {
            Some(source) => Ok(source),
            None => error(format!("a stage for {NAME} must hold one remote ADD"), stage.span),
        }
    }

    fn download(&self, add: &Add, vars: &Ordered<String>, span: Span) -> Result<Op, Diagnostic> {
        let [Source::Path(word)] = add.sources.as_slice() else {
            let message = format!("the ADD of a stage for {NAME} must have one remote source");
            return Err(Diagnostic::error(message, span));
        };
        let expanded = self.expander.word(&word.value, vars);
        let url = expanded.map_err(|error| error.diagnostic(word))?.text;
        let not_remote = |why: String| Diagnostic::error(why, word.span);
        let parsed = Remote::parse(&url).map_err(not_remote)?;
        let Some(mut source) = parsed else {
            return Err(not_remote(format!("{url:?} is neither a URL nor a git repository")));
        };
        if let Some(checksum) = &add.checksum {
            let expanded = self.expander.word(&checksum.value, vars);
            let checksum_text = expanded.map_err(|error| error.diagnostic(checksum))?.text;
            remote::set_checksum(&mut source, &checksum_text)
                .map_err(|why| Diagnostic::error(why, checksum.span))?;
        }
        Ok(match source {
            Remote::Http(http) => Op::Http(http),
            Remote::Git(git) => Op::Git(git),
        })
    }
}
