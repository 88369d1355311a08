//! Building an image: read, lower, solve, hand out.

mod annotations;
mod contexts;
mod definition;
mod error;
mod hand_out;
mod inspect;
mod keys;
mod listing;
mod output;
mod policy;
mod questions;
mod remotes;
mod request;
mod resolver;
mod verify;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use bld_dockerfile::{Diagnostic, Dockerfile, Severity};
use bld_event::{Cancel, EventKind, Events, VertexId};
use bld_graph::{LowerOptions, Plan};
use bld_oci::Platform;
use bld_remote::Remote as RemoteSources;
use bld_solve::{Devices, Environment, Granted, Limits, NetworkSetup, Shared, SolveError};
use bld_store::Lease;

pub use annotations::{Annotation, AnnotationScope, Annotations};
pub use bld_graph::{Outline, OutlineMount, Remote, Target};
pub use bld_solve::{StepError, StepFailure, TracedCache};
pub use contexts::Incoming;
pub use error::{BuildError, SourceText};
pub use inspect::{FailedStep, OnFailure};
pub use keys::KeyAgent;
pub use listing::{ContextListing, ExcludedFile, IncludedFile};
pub use policy::{PolicyError, SourcePolicy};
pub use questions::CheckedBuild;
pub use request::{
    ArchiveStream, BuildRequest, BuildResult, Built, Context, Destination, DockerfileSource,
    FixedTimes, ImageOptions, NamedContext, Naming, NetworkMode, Output, Secret, StepCounts,
    WrittenManifest,
};

pub use verify::{UnfixedTimes, Verification};

use crate::containers::spec::limits;
use crate::share::{Bringer, Importing, Imports};
use crate::{Engine, EngineError, attest};
use contexts::Files;
use definition::Definition;
use hand_out::HandOut;
use output::Wanted;
use remotes::BuildSources;
use resolver::{BuildImages, BuildResolver, Found};

/// A build that is lowered and ready to run.
#[derive(Debug)]
pub struct PlannedBuild {
    /// The Dockerfile.
    pub source: SourceText,
    /// What to do, for each platform.
    pub plans: Vec<Plan>,
    /// What reading the Dockerfile is shown as.
    pub vertex: VertexId,
    begun: SystemTime,
    wanted: Vec<Wanted>,
    contexts: BTreeMap<String, Files>,
    found: Found,
    /// What others have made.
    imports: Importing,
}

impl PlannedBuild {
    /// What is worth a look but stops nothing.
    pub fn warnings(&self) -> Vec<Diagnostic> {
        let mut warnings: Vec<Diagnostic> = Vec::new();
        for warning in self.plans.iter().flat_map(|plan| &plan.warnings) {
            if !warnings.contains(warning) {
                warnings.push(warning.clone());
            }
        }
        warnings
    }
}

impl Engine {
    /// Reads and lowers a build without running anything. Contexts that lie elsewhere are brought
    /// here.
    pub fn plan(
        &self,
        request: &BuildRequest,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<PlannedBuild, BuildError> {
        self.mending(events, || self.stopped_by(cancel).plan_once(request, events, cancel))
    }

    fn plan_once(
        &self,
        request: &BuildRequest,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<PlannedBuild, BuildError> {
        let (begun, wanted) = (SystemTime::now(), output::wanted(request)?);
        let definition = Definition::read(self, request, events, cancel)?;
        let SourceText { name, text } = &definition.source;
        let (name, text) = (name.clone(), bld_dockerfile::value::redacted_text(text));
        events.emit(definition.vertex, EventKind::Dockerfile { name, text });
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
        let text = &definition.source.text;
        if !parsed.is_ok() {
            let options = definition.options(request, request.platforms.first());
            let mut diagnostics = bld_graph::check_text(&parsed.dockerfile, text, &options);
            diagnostics.retain(|found| found.severity == Severity::Warning);
            diagnostics.extend(parsed.diagnostics.iter().cloned());
            return Err(refused(diagnostics));
        }
        // While the registry is asked for the base images.
        let imports = Importing::start(self, &request.cache_from, events, cancel)?;
        let found = Found::default();
        let mut resolver = self.resolver(request, &definition, (events, cancel), &found);
        let platforms: Vec<Option<&Platform>> = match request.platforms.as_slice() {
            [] => vec![None],
            platforms => platforms.iter().map(Some).collect(),
        };
        let mut plans = Vec::with_capacity(platforms.len());
        for platform in platforms {
            let mut options = definition.options(request, platform);
            if request.reproducible {
                fix_time(&parsed.dockerfile, &mut options);
            }
            match bld_graph::lower(&parsed.dockerfile, text, &options, &mut resolver) {
                Ok(plan) => plans.push(plan),
                Err(errors) => return Err(refused(errors)),
            }
        }
        let Definition { source, vertex, contexts } = definition;
        Ok(PlannedBuild { source, plans, vertex, begun, wanted, contexts, found, imports })
    }

    fn resolver<'a>(
        &'a self,
        request: &'a BuildRequest,
        definition: &'a Definition,
        (events, cancel): (&'a Events, &'a Cancel),
        found: &Found,
    ) -> BuildResolver<'a> {
        BuildResolver {
            engine: self,
            events,
            cancel,
            request,
            files: &definition.contexts,
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
        self.stopped_by(cancel).build_once(request, planned, events, cancel)
    }

    fn build_once(
        &self,
        request: &BuildRequest,
        planned: PlannedBuild,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<BuildResult, BuildError> {
        let PlannedBuild { source, mut plans, begun, wanted, contexts, found, imports, .. } =
            planned;
        let remote = self.remote(request, cancel)?;
        for plan in &mut plans {
            let resolved = remotes::resolve(plan, &remote, request.policy.as_ref(), events);
            if let Err(diagnostics) = resolved {
                return Err(BuildError::Dockerfile { source_text: source, diagnostics });
            }
        }
        let brought = contexts.values().filter_map(|files| files.material.clone());
        let mut materials: Vec<_> =
            plans.iter().flat_map(attest::materials).chain(brought).collect();
        materials.sort();
        materials.dedup();
        let outside = (contexts, found, remote, imports);
        let outside = Outside::of(self, request, outside, (events, cancel))?;
        for attempt in 0.. {
            let solved = bld_solve::solve(&plans, &source.text, outside.environment()?)
                .map_err(|error| of_solver(error, &source))?;
            let provenance = request
                .attest
                .provenance
                .as_ref()
                .map(|asked| asked.claim(request, &materials, (begun, SystemTime::now())));
            let hand_out =
                HandOut::new(self, request, &plans, &solved, &outside.bringer, (events, cancel))?
                    .claiming(provenance);
            match hand_out.all(&wanted, &request.cache_to) {
                // What depends on it is forgotten by now, and is made again.
                Err(BuildError::Engine(EngineError::LayerGone { .. })) if attempt < ATTEMPTS => {}
                handed => return Ok(BuildResult { materials, ..handed? }),
            }
        }
        Err(BuildError::Canceled)
    }
}

/// A build starts again at most so often because layers cannot be had.
const ATTEMPTS: usize = 16;

fn of_solver(error: SolveError, source: &SourceText) -> BuildError {
    match error {
        SolveError::Step(error) => BuildError::Step { source_text: source.clone(), error },
        SolveError::Canceled => BuildError::Canceled,
        SolveError::Store(error) => BuildError::Store(error),
        other @ SolveError::Runtime(_) => BuildError::Solve(other),
    }
}

/// What is outside of one build, for each of its attempts.
struct Outside<'a> {
    engine: &'a Engine,
    request: &'a BuildRequest,
    events: &'a Events,
    cancel: &'a Cancel,
    found: Found,
    remote: RemoteSources,
    /// They keep what was brought here while the build lasts.
    contexts: BTreeMap<String, Files>,
    bringer: Bringer,
    shared: Arc<Imports>,
    /// Keeps results that were known until they are handed out.
    lease: Arc<Lease>,
}

impl<'a> Outside<'a> {
    fn of(
        engine: &'a Engine,
        request: &'a BuildRequest,
        (contexts, found, remote, imports): (
            BTreeMap<String, Files>,
            Found,
            RemoteSources,
            Importing,
        ),
        (events, cancel): (&'a Events, &'a Cancel),
    ) -> Result<Self, BuildError> {
        let caches = imports.finish();
        let bringer = engine.bringer(events)?.offering(&caches);
        let shared = Arc::new(Imports::new(caches, bringer.clone()));
        let lease = Arc::new(engine.store()?.lease());
        Ok(Self {
            engine,
            request,
            events,
            cancel,
            found,
            remote,
            contexts,
            bringer,
            shared,
            lease,
        })
    }

    fn environment(&self) -> Result<Environment, BuildError> {
        let Self { engine, request, events, cancel, .. } = self;
        let store = engine.store()?;
        Ok(Environment {
            store: store.clone(),
            lease: Arc::clone(&self.lease),
            images: Arc::new(BuildImages {
                store: store.clone(),
                found: Arc::clone(&self.found),
                bringer: self.bringer.clone(),
            }),
            sources: Arc::new(BuildSources {
                remote: self.remote.clone(),
                events: (*events).clone(),
            }),
            shared: Arc::clone(&self.shared) as Arc<dyn Shared>,
            describe: !request.cache_to.is_empty(),
            contexts: self
                .contexts
                .iter()
                .map(|(name, files)| (name.clone(), Arc::clone(&files.local)))
                .collect(),
            stat_cache: !request.no_stat_cache,
            secrets: request
                .secrets
                .iter()
                .map(|(id, secret)| (id.clone(), secret.value.clone()))
                .collect(),
            ssh: request.ssh.clone(),
            network: NetworkSetup {
                bridge: engine.config().bridge.clone(),
                state: engine.config().run_dir.clone(),
            },
            limits: Limits {
                jobs: request.jobs,
                shm_size: request.shm_size,
                ulimits: request.ulimits.clone(),
                resources: limits(&request.resources).within_rights().0,
                together: limits(&request.together).within_rights().0,
                cgroup_parent: request.cgroup_parent.clone(),
            },
            devices: Devices {
                dirs: engine.config().device_dirs.clone(),
                granted: request.allow.iter().filter_map(|word| granted(word)).collect(),
            },
            traced: request.traced,
            inspect: request.on_failure.inspect(cancel),
            events: (*events).clone(),
            cancel: (*cancel).clone(),
        })
    }
}

/// Fixes the time of a build to 1970 where neither the caller nor the Dockerfile fixes it.
fn fix_time(dockerfile: &Dockerfile, options: &mut LowerOptions) {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let mut given = dockerfile.global_args();
    let by_file = given.any(|pair| pair.name.value == NAME && pair.value.is_some());
    let by_caller = options.build_args.get(NAME).is_some_and(|value| !value.is_empty());
    if !by_file && !by_caller {
        options.build_args.insert(NAME.to_owned(), "0".to_owned());
    }
}

/// The devices that an entitlement allows: `device`, `device=NAME`, `device=NAME,alias=ALIAS`.
fn granted(entitlement: &str) -> Option<Granted> {
    if entitlement == "device" {
        return Some(Granted::All);
    }
    let named = entitlement.strip_prefix("device=")?;
    Some(match named.split_once(",alias=") {
        Some((device, name)) => Granted::Alias { device: device.to_owned(), name: name.to_owned() },
        None => Granted::Named(named.to_owned()),
    })
}
