//! Checks: what is worth a look but stops nothing.

use std::collections::BTreeSet;

use bld_dockerfile::lint::{self, rules, warn};
use bld_dockerfile::{ArgPair, Diagnostic, InstructionKind, Severity, Span, Spanned};

use super::Lowering;
use super::path;
use super::report::did_you_mean;
use super::stage::Stage;
use crate::args;
use crate::resolve::ResolvedImage;

impl Lowering<'_> {
    /// Adds what the text alone tells of the stages that were lowered, and what can only be told
    /// once they all are.
    pub(super) fn check(&mut self) {
        self.check_text();
        self.check_unused_args();
    }

    fn check_text(&mut self) {
        let starts: Vec<usize> = self.file.stages.iter().map(|stage| stage.span.start).collect();
        for found in lint::check_with(self.file, self.source, &self.report.checks) {
            let stage = starts.partition_point(|start| *start <= found.span.start).checked_sub(1);
            let stage = stage.map(|index| self.stages[index].as_ref());
            // Only a base image can tell that somebody has chosen a shell there.
            let excused = |stage: &Stage| {
                stage.base_shell && found.rule == Some(rules::JSON_ARGS_RECOMMENDED.name)
            };
            // Lowering has said it, of the path that comes out.
            if found.rule == Some(rules::WORKDIR_RELATIVE_PATH.name) {
                continue;
            }
            match stage {
                Some(None) => {} // not built
                Some(Some(stage)) if excused(stage) => {}
                Some(Some(_)) | None => self.report.keep(found),
            }
        }
    }

    /// Warns of build arguments that nothing declares.
    fn check_unused_args(&mut self) {
        let in_stages = self.file.stages.iter().flat_map(|stage| &stage.instructions);
        let in_stages = in_stages.flat_map(|instruction| declared(&instruction.kind));
        let declared: BTreeSet<&str> =
            self.file.global_args().chain(in_stages).map(|pair| pair.name.as_str()).collect();
        for name in self.options.build_args.keys().map(String::as_str) {
            let by_trigger =
                || self.stages.iter().flatten().any(|stage| stage.scope.is_declared(name));
            let known = args::BUILTIN.contains(&name)
                || args::PROXIES.contains(&name.to_ascii_uppercase().as_str())
                || self.globals.vars.get(name).is_some();
            if known || declared.contains(name) || by_trigger() {
                continue;
            }
            let near = did_you_mean(name, declared.iter().copied());
            self.report.push(Diagnostic {
                severity: Severity::Warning,
                rule: None,
                message: format!("build argument {name:?} was not consumed{near}"),
                span: Span::default(),
                label: None,
                help: Some(format!("declare it where it is used: `ARG {name}`")),
            });
        }
    }

    /// Warns if an image is for another platform than asked for.
    pub(super) fn check_base_platform(&mut self, stage: &Stage, image: &ResolvedImage) {
        let wanted = stage.platform.normalized();
        let is = image.config.platform();
        let says = !is.os.is_empty() && !is.architecture.is_empty();
        if says && (is.os != wanted.os || is.architecture != wanted.architecture) {
            let from = &self.file.stages[stage.index].from.image;
            let (wanted, is) = (wanted.to_string(), is.to_string());
            let warning = warn::invalid_base_image_platform(&from.value, &wanted, &is, from.span);
            self.report.push(warning);
        }
    }

    /// Warns of a source that `.dockerignore` keeps out. With exceptions in it there is no telling:
    /// a directory may be excluded and a file in it not.
    pub(super) fn check_ignored(&mut self, keyword: &str, word: &Spanned<String>) {
        let Some(ignore) = &self.options.ignore else { return };
        if ignore.has_exceptions() {
            return;
        }
        let path = path::join("/", &word.value);
        let (path, rule) = match path.strip_prefix('/') {
            None | Some("") => {
                let all = ["*", "**", "**/*"];
                (".", ignore.rules().find(|rule| all.contains(&rule.pattern.as_str())))
            }
            Some(path) if ignore.matches(path) => (path, ignore.matching_rule(path)),
            Some(_) => return,
        };
        if let Some(rule) = rule {
            let warning = warn::copy_ignored_file(keyword, path, Some(rule), word.span);
            self.report.push(warning);
        }
    }
}

/// The arguments that an instruction, or what it triggers, declares.
fn declared(kind: &InstructionKind) -> &[ArgPair] {
    match kind {
        InstructionKind::Arg(pairs) => pairs,
        InstructionKind::Onbuild(onbuild) => declared(&onbuild.instruction.kind),
        _ => &[],
    }
}
