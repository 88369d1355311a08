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
use bld_graph::{ContextOp, Entitlements, LowerOptions, Network, NoCache, Plan};
use bld_oci::Platform;
use bld_solve::{Environment, Limits, LocalContext, NetworkSetup, SolveError};

pub use error::{BuildError, SourceText};
pub use request::{
    BuildRequest, BuildResult, Context, Destination, DockerfileSource, ImageOptions, NamedContext,
    NetworkMode, Output, Secret, StepCounts,
};

use crate::Engine;
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
    pub fn plan(&self, request: &BuildRequest, events: &Events) -> Result<PlannedBuild, BuildError> {
        let task = events.task("[internal] load build definition from Dockerfile");
        let read = definition::dockerfile(&request.dockerfile, &request.context);
        let (source, path) = task.finish(read)?;
        let parsed = bld_dockerfile::parse(&source.text);
        if !parsed.is_ok() {
            return Err(BuildError::Dockerfile { source_text: source, diagnostics: parsed.diagnostics });
        }
        let mut contexts = BTreeMap::new();
        if let Context::Dir(dir) = &request.context {
            let context = definition::context(dir, path.as_deref())?;
            contexts.insert(ContextOp::MAIN.to_owned(), context);
        }
        for (name, context) in &request.named_contexts {
            if let NamedContext::Dir(dir) = context {
                contexts.insert(name.clone(), definition::context(dir, None)?);
            }
        }
        let found = Found::default();
        let mut resolver = BuildResolver {
            engine: self,
            events,
            contexts: &request.named_contexts,
            pull: request.pull,
            found: Arc::clone(&found),
            known: HashMap::new(),
        };
        let options = options(request);
        match bld_graph::lower(&parsed.dockerfile, &source.text, &options, &mut resolver) {
            Ok(mut plan) => {
                plan.warnings.extend(parsed.diagnostics);
                plan.warnings.sort_by_key(|warning| warning.span);
                Ok(PlannedBuild { source, plan, contexts, found })
            }
            Err(errors) => {
                let mut diagnostics = parsed.diagnostics;
                diagnostics.extend(errors);
                Err(BuildError::Dockerfile { source_text: source, diagnostics })
            }
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
        let names = output::names(request)?;
        let store = self.store()?;
        let PlannedBuild { source, plan, contexts, found } = planned;
        let environment = Environment {
            store: store.clone(),
            lease: store.lease(),
            images: Arc::new(BuildImages {
                store: store.clone(),
                events: events.clone(),
                found,
            }),
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
        let solved = bld_solve::solve(plan.clone(), &source.text, environment).map_err(|error| {
            match error {
                SolveError::Step(error) => BuildError::Step { source_text: source, error },
                SolveError::Canceled => BuildError::Canceled,
                SolveError::Store(error) => BuildError::Store(error),
                other => BuildError::Solve(other),
            }
        })?;
        self.hand_out(request, &names, &plan, &solved, events)
    }
}

fn options(request: &BuildRequest) -> LowerOptions {
    let allowed = |name: &str| request.allow.iter().any(|entitlement| entitlement == name);
    LowerOptions {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        labels: request.labels.clone(),
        no_cache: match (request.no_cache, request.no_cache_filter.is_empty()) {
            (true, _) => NoCache::All,
            (false, true) => NoCache::Off,
            (false, false) => NoCache::Stages(request.no_cache_filter.clone()),
        },
        network: match request.network {
            NetworkMode::Default => Network::Default,
            NetworkMode::Host => Network::Host,
            NetworkMode::None => Network::None,
        },
        extra_hosts: request.add_hosts.clone(),
        entitlements: Entitlements {
            network_host: allowed("network.host"),
            security_insecure: allowed("security.insecure"),
            device: allowed("device"),
        },
        platform: request.platform.clone(),
        ..LowerOptions::new(Platform::host())
    }
}
