//! What names in a Dockerfile stand for: images of the store or a registry, and named contexts.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

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
    pub(super) known: HashMap<(String, String), Result<ResolvedImage, ResolveError>>,
}

impl BuildResolver<'_> {
    fn resolve(&self, request: &ImageRequest) -> Result<ResolvedImage, EngineError> {
        let store = self.engine.store()?;
        if !self.request.pull
            && let Some(image) = variant(store, &request.reference.to_string(), &request.platform)?
        {
            let config = config(store, &image)?;
            return Ok(self.remember(request.reference.clone(), image, config));
        }
        if !self.request.pull
            && let Some(id) = local(store, &request.reference)?
            && let Some(image) = store.image(&id)?
        {
            let config = config(store, &image)?;
            if config.platform().satisfies(&request.platform) {
                return Ok(self.remember(request.reference.clone(), image, config));
            }
        }
        let image = self.engine.find_remote(&request.reference, &request.platform, self.events)?;
        let config = config(store, &image)?;
        Ok(self.remember(request.reference.clone(), image, config))
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
    fn image(&mut self, request: &ImageRequest) -> Result<ResolvedImage, ResolveError> {
        let key = (request.reference.to_string(), request.platform.to_string());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let allowed = match &self.request.policy {
            Some(policy) => policy.image(&request.reference).map_err(|error| denied(&error))?,
            None => request.reference.clone(),
        };
        let request = ImageRequest { reference: allowed, platform: request.platform.clone() };
        let task = self.events.task(format!("[internal] load metadata for {}", request.reference));
        let resolved = task.finish(self.resolve(&request)).map_err(|error| failed(&error));
        self.known.insert(key, resolved.clone());
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
                let reference = Reference::parse(image).map_err(|error| failed(&error))?;
                let request = ImageRequest { reference, platform: platform.clone() };
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
