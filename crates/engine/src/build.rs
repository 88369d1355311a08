//! Building an image: read, lower, solve, hand out.

mod definition;
mod error;
mod output;
mod request;
mod resolver;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bld_dockerfile::Diagnostic;
use bld_event::{Cancel, Events};
use bld_graph::Plan;
use bld_solve::{Environment, Limits, LocalContext, NetworkSetup, SolveError};

pub use error::{BuildError, SourceText};
pub use request::{
    BuildRequest, BuildResult, Context, Destination, DockerfileSource, ImageOptions, NamedContext,
    NetworkMode, Output, Secret, StepCounts,
};

use crate::Engine;
use definition::Definition;
use output::HandOut;
use resolver::{BuildImages, BuildResolver, Found};

/// A build that is lowered and ready to run.
#[derive(Debug)]
pub struct PlannedBuild {
    /// The Dockerfile.
    pub source: SourceText,
    /// What to do.
    pub plan: Plan,
    contexts: BTreeMap<String, Arc<LocalContext>>,
    found: Found,
}

impl PlannedBuild {
    /// What is worth a look but stops nothing.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.plan.warnings
    }
}

impl Engine {
    /// Reads and lowers a build without running anything.
    pub fn plan(
        &self,
        request: &BuildRequest,
        events: &Events,
    ) -> Result<PlannedBuild, BuildError> {
        let task = events.task("[internal] load build definition from Dockerfile");
        let definition = task.finish(Definition::read(request))?;
        let parsed = bld_dockerfile::parse(&definition.source.text);
        let refused = |mut diagnostics: Vec<Diagnostic>| {
            // Mistakes in values show only where they are used; one look should find them all.
            for deferred in &parsed.deferred {
                if !diagnostics.iter().any(|known| known.span == deferred.span) {
                    diagnostics.push(deferred.clone());
                }
            }
            diagnostics.sort_by_key(|diagnostic| diagnostic.span);
            BuildError::Dockerfile { source_text: definition.source.clone(), diagnostics }
        };
        if !parsed.is_ok() {
            return Err(refused(parsed.diagnostics.clone()));
        }
        let found = Found::default();
        let mut resolver = self.resolver(request, events, &found);
        let (text, options) = (&definition.source.text, definition.options(request));
        match bld_graph::lower(&parsed.dockerfile, text, &options, &mut resolver) {
            Ok(plan) => Ok(PlannedBuild {
                source: definition.source,
                plan,
                contexts: definition.contexts,
                found,
            }),
            Err(errors) => Err(refused(errors)),
        }
    }

    /// Looks at every stage, or at those a target needs, and says what is wrong and what is worth a
    /// look, in source order. Nothing runs.
    pub fn check_build(
        &self,
        request: &BuildRequest,
        events: &Events,
    ) -> Result<(SourceText, Vec<Diagnostic>), BuildError> {
        let definition = Definition::read(request)?;
        let parsed = bld_dockerfile::parse(&definition.source.text);
        let mut diagnostics = parsed.diagnostics;
        if !diagnostics.iter().any(Diagnostic::is_error) {
            let found = Found::default();
            let mut resolver = self.resolver(request, events, &found);
            let (text, options) = (&definition.source.text, definition.options(request));
            let file = &parsed.dockerfile;
            diagnostics.extend(bld_graph::check(file, text, &options, &mut resolver));
            diagnostics.sort_by_key(|diagnostic| diagnostic.span);
        }
        Ok((definition.source, diagnostics))
    }

    fn resolver<'a>(
        &'a self,
        request: &'a BuildRequest,
        events: &'a Events,
        found: &Found,
    ) -> BuildResolver<'a> {
        BuildResolver {
            engine: self,
            events,
            contexts: &request.named_contexts,
            pull: request.pull,
            found: Arc::clone(found),
            known: HashMap::new(),
        }
    }

    /// Runs a planned build and hands its result out.
    ///
    /// # Errors
    /// The first step that fails ends the build; what other steps have completed stays known.
    pub fn build(
        &self,
        request: &BuildRequest,
        planned: PlannedBuild,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<BuildResult, BuildError> {
        let wanted = output::wanted(request)?;
        let store = self.store()?;
        let PlannedBuild { source, plan, contexts, found } = planned;
        let environment = Environment {
            store: store.clone(),
            lease: store.lease(),
            images: Arc::new(BuildImages { store: store.clone(), events: events.clone(), found }),
            contexts,
            secrets: request
                .secrets
                .iter()
                .map(|(id, secret)| (id.clone(), secret.value.clone()))
                .collect(),
            ssh: request.ssh.clone(),
            network: NetworkSetup {
                bridge: self.config().bridge.clone(),
                state: self.config().run_dir.clone(),
            },
            limits: Limits {
                jobs: request.jobs,
                shm_size: request.shm_size,
                ulimits: request.ulimits.clone(),
            },
            events: events.clone(),
            cancel: cancel.clone(),
        };
        let solved = bld_solve::solve(plan.clone(), &source.text, environment).map_err(
            |error| match error {
                SolveError::Step(error) => BuildError::Step { source_text: source, error },
                SolveError::Canceled => BuildError::Canceled,
                SolveError::Store(error) => BuildError::Store(error),
                other @ SolveError::Runtime(_) => BuildError::Solve(other),
            },
        )?;
        HandOut { engine: self, plan: &plan, solved: &solved, events, cancel, image: None }
            .all(&wanted)
    }
}
