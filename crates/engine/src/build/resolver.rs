//! What names in a Dockerfile stand for: images of the store or a registry, and named contexts.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bld_event::{Cancel, Events, VertexId};
use bld_graph::{
    ContextOp, ImageOp, ImageRequest, NamedContext as Resolved, Op, ResolveError, ResolvedImage,
    Resolver,
};
use bld_oci::{Digest, ImageConfig, Platform, Reference, chain_id};
use bld_solve::Images;
use bld_store::{ImageRecord, SnapshotId, Store};

use super::contexts::Files;
use super::policy::PolicyError;
use super::request::{BuildRequest, NamedContext};
use crate::error::in_one_line;
use crate::images::variants::variant;
use crate::share::Bringer;
use crate::{Engine, EngineError, images};

/// The images a build resolved, by the identity their operations have.
pub(super) type Found = Arc<Mutex<HashMap<Digest, ImageRecord>>>;

/// Images that registries are asked for at the same time.
const AT_ONCE: usize = 8;

/// Resolves the names of one build.
pub(super) struct BuildResolver<'a> {
    pub(super) engine: &'a Engine,
    pub(super) events: &'a Events,
    pub(super) cancel: &'a Cancel,
    /// What is asked for.
    pub(super) request: &'a BuildRequest,
    /// The contexts that are files.
    pub(super) files: &'a BTreeMap<String, Files>,
    pub(super) found: Found,
    /// What was asked for before.
    pub(super) known: HashMap<ImageRequest, Result<ResolvedImage, ResolveError>>,
}

impl BuildResolver<'_> {
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, EngineError> {
        let store = self.engine.store()?;
        if !self.request.pull
            && let Some(image) = variant(store, &reference.to_string(), platform)?
        {
            let config = config(store, &image)?;
            return Ok(self.remember(reference.clone(), image, config));
        }
        if !self.request.pull
            && let Some(id) = local(store, reference)?
            && let Some(image) = store.image(&id)?
        {
            let config = config(store, &image)?;
            if config.platform().satisfies(platform) {
                return Ok(self.remember(reference.clone(), image, config));
            }
        }
        let image = self.engine.find_remote(reference, platform, self.events)?;
        let config = config(store, &image)?;
        Ok(self.remember(reference.clone(), image, config))
    }

    /// Whether a registry will be asked for an image, as far as can be told.
    fn is_far(&self, request: &ImageRequest) -> bool {
        let name = context_name(&request.reference.familiar());
        let is_context =
            |context: &String| context_name(context.split("::").next().unwrap_or_default()) == name;
        if self.known.contains_key(request) || self.request.named_contexts.keys().any(is_context) {
            return false;
        }
        let is_here =
            || Ok::<_, EngineError>(local(self.engine.store()?, &request.reference)?.is_some());
        self.request.pull || !is_here().unwrap_or(true)
    }

    /// What an image turns out to be: the first of those that may be meant.
    fn answer(&self, request: &ImageRequest) -> Result<ResolvedImage, ResolveError> {
        let mut refused: Option<ResolveError> = None;
        for reference in self.meant(request).map_err(|error| failed(&error))? {
            match self.image_called(reference, &request.platform) {
                Ok(image) => return Ok(image),
                Err(error) => {
                    refused = Some(match refused {
                        None => error,
                        Some(before) => ResolveError {
                            message: format!("{}; {}", before.message, error.message),
                            help: before.help.or(error.help),
                        },
                    });
                }
            }
        }
        Err(refused.unwrap_or(ResolveError { message: "it means nothing".to_owned(), help: None }))
    }

    /// The images that may be meant, the likeliest first; at least one.
    fn meant(&self, request: &ImageRequest) -> Result<Vec<Reference>, EngineError> {
        let own = || vec![request.reference.clone()];
        if !request.is_short {
            return Ok(own());
        }
        if !self.request.pull && local(self.engine.store()?, &request.reference)?.is_some() {
            return Ok(own());
        }
        let meant = self.engine.meant(&request.reference.familiar())?;
        Ok(if meant.is_empty() { own() } else { meant })
    }

    /// The image of this name and no other.
    fn image_called(
        &self,
        reference: Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, ResolveError> {
        let reference = match &self.request.policy {
            Some(policy) => policy.image(&reference).map_err(|error| denied(&error))?,
            None => reference,
        };
        let task = self.events.task(format!("[internal] load metadata for {reference}"));
        task.finish(self.resolve(&reference, platform)).map_err(|error| failed(&error))
    }

    fn remember(
        &self,
        reference: Reference,
        image: ImageRecord,
        config: ImageConfig,
    ) -> ResolvedImage {
        let digest = image.manifest;
        if let Some(chain) = chain_id(&image.layers) {
            self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(chain, image);
        }
        ResolvedImage { reference, digest, manifest: digest, config }
    }

    fn resolve_layout(
        &self,
        name: &str,
        path: &Path,
        selector: Option<&str>,
        platform: &Platform,
    ) -> Result<ResolvedImage, ResolveError> {
        let reference = Reference::parse(name).map_err(|error| failed(&error))?;
        let resolve = || -> Result<ResolvedImage, EngineError> {
            let store = self.engine.store()?;
            let image = self.engine.import_layout(path, selector, platform)?;
            let config = config(store, &image)?;
            Ok(self.remember(reference, image, config))
        };
        resolve().map_err(|error| failed(&error))
    }
}

impl Resolver for BuildResolver<'_> {
    fn prefetch(&mut self, requests: &[ImageRequest]) {
        let mut far: Vec<&ImageRequest> =
            requests.iter().filter(|request| self.is_far(request)).collect();
        far.dedup_by(|one, other| {
            one.reference == other.reference && one.platform == other.platform
        });
        // One is asked for when it is needed.
        if far.len() < 2 {
            return;
        }
        let this = &*self;
        let mut known = Vec::with_capacity(far.len());
        for some in far.chunks(AT_ONCE) {
            thread::scope(|scope| {
                let ask = |request| scope.spawn(move || this.answer(request));
                let asked: Vec<_> = some.iter().map(|request| ask(*request)).collect();
                for (request, asked) in some.iter().zip(asked) {
                    let answer = asked.join().unwrap_or_else(|panic| resume_unwind(panic));
                    known.push(((*request).clone(), answer));
                }
            });
        }
        self.known.extend(known);
    }

    fn image(&mut self, request: &ImageRequest) -> Result<ResolvedImage, ResolveError> {
        if let Some(known) = self.known.get(request) {
            return known.clone();
        }
        let resolved = self.answer(request);
        self.known.insert(request.clone(), resolved.clone());
        resolved
    }

    fn time(&mut self, source: &Op) -> Result<Option<i64>, ResolveError> {
        if let Op::Context(context) = source {
            return Ok(self.files.get(&context.name).and_then(|files| files.time));
        }
        let mut source = source.clone();
        if let Some(policy) = &self.request.policy {
            policy.op(&mut source).map_err(|error| denied(&error))?;
        }
        let remote = self.engine.remote(self.request, self.cancel);
        let remote = remote.map_err(|error| failed(&error))?;
        let time = match source {
            Op::Http(op) => remote.modified(&op),
            Op::Git(mut op) => {
                let found = remote.resolve_git(&mut op);
                found.and_then(|()| remote.checkout(&op)).map(|checkout| Some(checkout.time))
            }
            _ => Ok(None),
        };
        time.map_err(|error| failed(&error))
    }

    fn context(
        &mut self,
        name: &str,
        platform: &Platform,
    ) -> Result<Option<Resolved>, ResolveError> {
        let wanted = context_name(name);
        let names = [format!("{wanted}::{platform}"), wanted];
        let contexts = &self.request.named_contexts;
        let find =
            |wanted: &String| contexts.iter().find(|(name, _)| context_name(name) == *wanted);
        let Some((name, context)) = names.iter().find_map(find) else {
            return Ok(None);
        };
        Ok(Some(match context {
            NamedContext::Dir(_) | NamedContext::Remote(_) => {
                Resolved::Files(Op::Context(ContextOp { name: name.clone() }))
            }
            // The file's own names are looked up before anybody is asked.
            NamedContext::Stage(_) => return Ok(None),
            NamedContext::Image(image) => {
                let request = ImageRequest::new(image, platform).map_err(|error| failed(&error))?;
                Resolved::Image(Box::new(self.image(&request)?))
            }
            NamedContext::OciLayout { path, selector } => {
                if let Some(policy) = &self.request.policy {
                    let identifier = format!("oci-layout://{}", path.display());
                    policy.fixed(&identifier).map_err(|error| denied(&error))?;
                }
                let image = self.resolve_layout(name, path, selector.as_deref(), platform)?;
                Resolved::Image(Box::new(image))
            }
        }))
    }
}

/// The name of a context as it is compared: `docker.io/library/x:latest` is the same as `x`. It may
/// end in `::platform`.
fn context_name(name: &str) -> String {
    let (image, platform) = name.split_once("::").map_or((name, None), |(n, p)| (n, Some(p)));
    let familiar = Reference::parse(image).map(|reference| reference.familiar());
    let familiar = familiar.unwrap_or_else(|_| image.to_owned());
    let short = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    platform.map_or_else(|| short.to_owned(), |platform| format!("{short}::{platform}"))
}

/// The image the store has under this name or digest.
fn local(store: &Store, reference: &Reference) -> Result<Option<Digest>, EngineError> {
    Ok(match reference.digest() {
        Some(digest) => store.find_repo_digest(&reference.name(), &digest)?,
        None => store.resolve(&reference.to_string())?,
    })
}

fn config(store: &Store, image: &ImageRecord) -> Result<ImageConfig, EngineError> {
    images::config(store, &image.id)
}

fn failed(error: &dyn Error) -> ResolveError {
    ResolveError { message: in_one_line(error), help: None }
}

fn denied(error: &PolicyError) -> ResolveError {
    ResolveError { message: error.to_string(), help: error.help() }
}

/// Unpacks the images that a build resolved.
pub(super) struct BuildImages {
    pub(super) store: Store,
    pub(super) found: Found,
    pub(super) bringer: Bringer,
}

impl Images for BuildImages {
    fn unpack(
        &self,
        image: &ImageOp,
        _platform: &Platform,
        vertex: VertexId,
    ) -> Result<SnapshotId, Box<dyn Error + Send + Sync>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let record = chain_id(&image.diff_ids).and_then(|chain| found.get(&chain).cloned());
        drop(found);
        let record =
            record.ok_or_else(|| EngineError::NoSuchImage { name: image.reference.familiar() })?;
        // The store may know more by now.
        let record = self.store.image(&record.id)?.unwrap_or(record);
        Ok(self.bringer.bring_image(&record, vertex)?)
    }
}
