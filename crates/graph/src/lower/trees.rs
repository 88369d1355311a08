//! Where files come from: stages, images and contexts.

use std::rc::Rc;

use bld_dockerfile::{Diagnostic, Span, Spanned, suggest};
use bld_oci::Platform;
use petgraph::graph::NodeIndex;

use super::Lowering;
use super::build::outside;
use super::scope::Scope;
use super::table::Found;
use crate::op::{ContextOp, ImageOp, Op};
use crate::plan::{Surroundings, Vertex};
use crate::resolve::{ImageRequest, NamedContext, ResolveError, ResolvedImage};

/// Images that are often meant when one can't be found.
const COMMON_IMAGES: &[&str] =
    &["alpine", "busybox", "centos", "debian", "fedora", "golang", "node", "python", "ubuntu"];

impl Lowering<'_> {
    /// The build context.
    pub(super) fn context(&mut self) -> NodeIndex {
        let (builder, platform) = (&mut self.builder, self.options.target_platform());
        *self.context.get_or_insert_with(|| {
            let op = Op::Context(ContextOp { name: ContextOp::MAIN.to_owned() });
            builder.source(outside(op, "[internal] load build context".to_owned(), platform))
        })
    }

    /// The tree that `--from` or `from=` names in stage `index`; none: an empty one.
    pub(super) fn tree(
        &mut self,
        from: &Spanned<String>,
        index: usize,
    ) -> Result<Option<NodeIndex>, Diagnostic> {
        let name = from.as_str();
        match self.table.find(name, index) {
            Found::Earlier(stage) => {
                if self.stages[stage].is_none() {
                    self.stages_of(stage); // only a trigger has named it
                }
                return Ok(self.stages[stage].as_ref().and_then(|stage| stage.root));
            }
            Found::NotYet(stage) => return Err(self.not_yet(stage, index, from)),
            Found::NoSuchIndex(count) => {
                let message = format!("invalid stage index {name}");
                let help = format!("stages are counted from 0, the last one is {}", count - 1);
                return Err(Diagnostic::error(message, from.span).with_help(help));
            }
            Found::Nothing if name == "scratch" => return Ok(None),
            Found::Nothing => {}
        }
        if let Some(known) = self.externals.get(name) {
            return Ok(*known);
        }
        let tree = self.external(name, from.span)?;
        self.externals.insert(name.to_owned(), tree);
        Ok(tree)
    }

    /// The tree of a named context or an image that no stage starts from.
    fn external(&mut self, name: &str, span: Span) -> Result<Option<NodeIndex>, Diagnostic> {
        let platform = self.options.target_platform();
        let image = match self.named(name, platform, span)? {
            Some(NamedContext::Files(op)) => return Ok(Some(self.files(op, name, platform))),
            Some(NamedContext::Image(image)) => Rc::from(image),
            None => self.image(name, platform, span)?,
        };
        let vertex = image_vertex(&image, platform).map(|mut vertex| {
            vertex.span = span;
            self.builder.source(vertex)
        });
        Ok(vertex)
    }

    /// The vertex of a named context that is files.
    pub(super) fn files(&mut self, op: Op, name: &str, platform: &Platform) -> NodeIndex {
        self.builder.source(outside(op, format!("[context {name}] load"), platform))
    }

    /// A stage is named before it is defined.
    fn not_yet(&self, stage: usize, index: usize, from: &Spanned<String>) -> Diagnostic {
        let (this, other) = (self.table.label(index), self.table.label(stage));
        let name = &from.value;
        if stage == index {
            let message = format!("circular dependency: stage {this:?} takes files from itself");
            return Diagnostic::error(message, from.span);
        }
        if self.needs(stage, index) {
            let message = format!(
                "circular dependency: stage {other:?} needs stage {this:?}, which needs {name:?}"
            );
            return Diagnostic::error(message, from.span);
        }
        let message = format!("stage {name:?} is used before it is defined");
        Diagnostic::error(message, from.span)
            .with_help(format!("move stage {other:?} above stage {this:?}"))
    }

    /// Whether `stage` needs `other`, directly or through stages between.
    fn needs(&self, stage: usize, other: usize) -> bool {
        let mut seen = vec![false; self.table.entries.len()];
        let mut open = vec![stage];
        while let Some(stage) = open.pop() {
            if stage == other {
                return true;
            }
            if !std::mem::replace(&mut seen[stage], true) {
                open.extend(self.table.needs(stage));
            }
        }
        false
    }

    /// What `name` stands for if it was given with `--build-context`.
    pub(super) fn named(
        &mut self,
        name: &str,
        platform: &Platform,
        span: Span,
    ) -> Result<Option<NamedContext>, Diagnostic> {
        if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case(ContextOp::MAIN) {
            return Ok(None);
        }
        let key = (name.to_owned(), platform.clone());
        if let Some(known) = self.contexts.get(&key) {
            return Ok(known.clone());
        }
        let answer = self.resolver.context(name, platform).map_err(|error| {
            failure(format!("failed to resolve the named context {name:?}: {error}"), error, span)
        })?;
        self.contexts.insert(key, answer.clone());
        Ok(answer)
    }

    /// Resolves an image by its name as written.
    pub(super) fn image(
        &mut self,
        name: &str,
        platform: &Platform,
        span: Span,
    ) -> Result<Rc<ResolvedImage>, Diagnostic> {
        let request = ImageRequest::new(name, platform).map_err(|error| {
            let message = format!("invalid image name {name:?}: {error}");
            self.suggest_source(name, Diagnostic::error(message, span))
        })?;
        if let Some(known) = self.images.get(&request) {
            return Ok(Rc::clone(known));
        }
        let image = self.resolver.image(&request).map_err(|error| {
            let message = format!("failed to resolve {}: {error}", request.reference);
            self.suggest_source(name, failure(message, error, span))
        })?;
        let image = Rc::new(image);
        self.images.insert(request, Rc::clone(&image));
        Ok(image)
    }

    /// Adds what `name` may have been meant to be, unless there is better advice.
    fn suggest_source(&self, name: &str, diagnostic: Diagnostic) -> Diagnostic {
        if diagnostic.help.is_some() {
            return diagnostic;
        }
        let stage = suggest(name, self.table.stage_names()).map(|near| format!("stage {near:?}"));
        let image = || suggest(name, COMMON_IMAGES.iter().copied()).map(|near| format!("{near:?}"));
        match stage.or_else(image) {
            Some(near) => diagnostic.with_help(format!("did you mean {near}?")),
            None => diagnostic,
        }
    }

    /// The stages that `target` needs, itself included, as far as the file tells, in its order.
    pub(super) fn needed_by(&mut self, target: usize) -> Vec<usize> {
        let mut needed = vec![false; self.table.entries.len()];
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            if std::mem::replace(&mut needed[index], true) {
                continue;
            }
            if let Some(name) = self.table.entries[index].name.clone() {
                // A failure is reported when the stage is lowered.
                let platform = self.options.target_platform();
                let _ = self.named(&name, platform, Span::default());
            }
            if self.replacement(index).is_none() {
                open.extend(self.table.needs(index));
            }
        }
        (0..needed.len()).filter(|index| needed[*index]).collect()
    }

    /// The named context that stands in for a stage, once [`Lowering::needed_by`] has asked.
    fn replacement(&self, index: usize) -> Option<&NamedContext> {
        let name = self.table.entries[index].name.clone()?;
        self.contexts.get(&(name, self.options.target_platform().clone()))?.as_ref()
    }

    /// Tells the resolver which images these stages are going to ask for.
    pub(super) fn prefetch(&mut self, stages: &[usize]) {
        let target = self.options.target_platform();
        let mut requests = Vec::new();
        let mut add = |name: &str, platform: &Platform| {
            requests.extend(ImageRequest::new(name, platform));
        };
        for &index in stages {
            if self.replacement(index).is_some() {
                continue;
            }
            if let Some(name) = self.table.base_image(index) {
                let wanted = self.platform_flag(index).ok().flatten();
                add(name, wanted.as_ref().unwrap_or(target));
            }
            for name in self.table.images(self.file, index) {
                add(&name, target);
            }
        }
        requests.sort();
        requests.dedup();
        if !requests.is_empty() {
            self.resolver.prefetch(&requests);
        }
    }
}

/// The vertex of an image, without a place in the Dockerfile; none: the image has no layers.
pub(super) fn image_vertex(image: &ResolvedImage, platform: &Platform) -> Option<Vertex> {
    let diff_ids = image.config.rootfs.diff_ids.clone();
    if diff_ids.is_empty() {
        return None;
    }
    let reference = image.reference.clone();
    let pinned = image.digest.map(|digest| reference.with_digest(digest));
    let name = format!("FROM {}", pinned.as_ref().unwrap_or(&reference));
    let op = Op::Image(ImageOp { diff_ids, reference, manifest: image.manifest });
    let config = &image.config.config;
    let surroundings = Surroundings {
        env: Scope::from_image(&config.env).process_env(),
        arguments: 0,
        cwd: config.working_dir.clone(),
        user: config.user.clone(),
        shell: config.shell.clone(),
    };
    Some(Vertex { surroundings, ..outside(op, name, platform) })
}

/// An error of the resolver as a diagnostic.
pub(super) fn failure(message: String, error: ResolveError, span: Span) -> Diagnostic {
    let diagnostic = Diagnostic::error(message, span);
    match error.help {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    }
}
