//! The lowering itself: one pass over the stages that the target needs, in the order of the file.
//!
//! A stage can only refer to stages before it, so the order of the file is an order in which every
//! stage comes behind those it needs. The one surprise are `ONBUILD` triggers, which are only known
//! once the base of a stage is; what they need is lowered when it is met.

mod base;
mod build;
mod command;
mod copy;
mod epoch;
mod finish;
mod globals;
mod go;
mod lint;
mod metadata;
mod mount;
mod outline;
mod path;
mod remote;
mod report;
mod run;
mod scope;
mod stage;
mod step;
mod table;
mod trees;
mod triggers;

use std::collections::HashMap;
use std::rc::Rc;

use bld_dockerfile::expand::Expander;
use bld_dockerfile::{Diagnostic, Dockerfile, Spanned};
use bld_oci::Platform;
use petgraph::graph::NodeIndex;

use crate::options::LowerOptions;
use crate::plan::Plan;
use crate::resolve::{ImageRequest, NamedContext, ResolvedImage, Resolver};
pub use outline::outline;
pub use remote::Remote;

use build::Builder;
use globals::Globals;
use report::Report;
use scope::Scope;
use stage::Stage;
use table::Table;

/// Lowers a Dockerfile for one platform.
///
/// `source` is the text that was parsed. Syntax errors are the parser's to report, and a file that
/// has some is not worth lowering. What else is wrong comes back all at once, in source order; the
/// warnings of a successful lowering are in the plan, those of the checks included.
///
/// # Errors
/// Everything that is wrong with the stages the target needs, warnings included: at least one
/// diagnostic is an error.
pub fn lower(
    dockerfile: &Dockerfile,
    source: &str,
    options: &LowerOptions,
    resolver: &mut dyn Resolver,
) -> Result<Plan, Vec<Diagnostic>> {
    let mut lowering = Lowering::new(dockerfile, source, options, resolver);
    let target = lowering.target();
    if let Some(target) = target {
        lowering.stages_of(target);
    }
    lowering.finish(target)
}

/// Looks at every stage, or at those the target needs if one is given, and says what is wrong and
/// what is worth a look, in source order.
pub fn check(
    dockerfile: &Dockerfile,
    source: &str,
    options: &LowerOptions,
    resolver: &mut dyn Resolver,
) -> Vec<Diagnostic> {
    let mut lowering = Lowering::new(dockerfile, source, options, resolver);
    if options.target.is_some() {
        if let Some(target) = lowering.target() {
            lowering.stages_of(target);
        }
    } else {
        for index in 0..dockerfile.stages.len() {
            lowering.ensure(index);
        }
    }
    lowering.check();
    lowering.report.refuse_warnings();
    lowering.report.into_sorted()
}

/// What the text alone tells is worth a look, in source order: all that can be said of a file with
/// syntax errors besides these.
pub fn check_text(
    dockerfile: &Dockerfile,
    source: &str,
    options: &LowerOptions,
) -> Vec<Diagnostic> {
    let report = Report::new(dockerfile, options);
    bld_dockerfile::lint::check_with(dockerfile, source, &report.checks)
}

/// Everything that one lowering knows.
struct Lowering<'a> {
    file: &'a Dockerfile,
    source: &'a str,
    options: &'a LowerOptions,
    resolver: &'a mut dyn Resolver,
    expander: Expander,
    globals: Globals,
    table: Table,
    /// The stages that are lowered, by index.
    stages: Vec<Option<Stage>>,
    /// Answers of the resolver, so that nothing is asked twice.
    images: HashMap<ImageRequest, Rc<ResolvedImage>>,
    contexts: HashMap<(String, Platform), Option<NamedContext>>,
    /// The vertices of the build context, and of other trees by name as written.
    context: Option<NodeIndex>,
    externals: HashMap<String, Option<NodeIndex>>,
    builder: Builder,
    report: Report,
}

impl<'a> Lowering<'a> {
    fn new(
        file: &'a Dockerfile,
        source: &'a str,
        options: &'a LowerOptions,
        resolver: &'a mut dyn Resolver,
    ) -> Self {
        let expander = Expander::new(file.directives.escape);
        let mut report = Report::new(file, options);
        let globals = Globals::new(file, options, expander, &mut report);
        let table = Table::new(file, &globals, expander, &options.stage_contexts);
        table.bad_aliases().for_each(|error| report.push(error));
        let mut stages = Vec::new();
        stages.resize_with(file.stages.len(), || None);
        let mut lowering = Self {
            file,
            source,
            options,
            resolver,
            expander,
            globals,
            table,
            stages,
            images: HashMap::new(),
            contexts: HashMap::new(),
            context: None,
            externals: HashMap::new(),
            builder: Builder::default(),
            report,
        };
        lowering.resolve_epoch();
        lowering
    }

    /// The stage to build; none: it can't be told, and why has been reported.
    fn target(&mut self) -> Option<usize> {
        let found = self.table.target(self.options.target.as_deref());
        self.report.take(found)
    }

    /// Lowers a stage and everything it needs.
    fn stages_of(&mut self, target: usize) {
        let needed = self.needed_by(target);
        self.prefetch(&needed);
        for index in needed {
            self.ensure(index);
        }
    }

    /// Lowers a stage unless that is done.
    fn ensure(&mut self, index: usize) {
        if self.stages[index].is_none() {
            let stage = self.stage(index);
            self.stages[index] = Some(stage);
        }
    }

    /// Expands a word and reports variables that nobody declared.
    fn expand(&mut self, scope: &Scope, word: &Spanned<String>) -> Result<String, Diagnostic> {
        let expanded =
            self.expander.word(&word.value, scope).map_err(|error| error.diagnostic(word))?;
        self.report.undefined(&expanded.unset, scope, word.span);
        Ok(expanded.text)
    }
}
