//! Building again, with nothing that the first build left behind, to see whether the same comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write as _};
use std::thread;

use bld_event::{Cancel, EventKind, Events};
use bld_graph::{Op, Plan};
use bld_layer::{Aspect, TarOptions};
use bld_oci::{Digest, Platform, Reference};
use bld_solve::TracedCache;
use bld_store::ImageRecord;

use super::error::BuildError;
use super::inspect::OnFailure;
use super::request::{BuildRequest, BuildResult, Built, ImageOptions, Output};
use crate::attest::Attestations;
use crate::error::IoContext as _;
use crate::images::{DiffOptions, ImageContents, ImageDiff, LayerChange, diff_images, find};
use crate::{Engine, EngineConfig, EngineError};

/// What came out of building twice.
#[derive(Debug)]
pub struct Verification {
    /// The image of the build that is verified.
    pub first: ImageContents,
    /// The image of the one in a fresh store, which is gone but for what is needed to tell.
    pub second: ImageContents,
    /// How they differ, in more than what nothing fixes.
    pub diff: ImageDiff,
    /// How many times differ that nothing fixes.
    pub times: UnfixedTimes,
}

/// Numbers of times that differ and that the build does not fix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnfixedTimes {
    /// In the configuration.
    pub created: usize,
    /// Of files.
    pub files: usize,
    /// Layers that differ in nothing but times of files.
    pub layers: usize,
}

impl UnfixedTimes {
    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl Engine {
    /// Builds `request` again in a fresh store, and compares the images, one for each platform, with
    /// those of `result`. `tell` is handed what there is to tell while the fresh store exists. Base
    /// images of this store are taken from it, everything else comes from where it came from.
    ///
    /// # Errors
    /// When the second build fails, or the images cannot be read.
    pub fn verify_build<T>(
        &self,
        request: &BuildRequest,
        result: &BuildResult,
        (events, cancel): (&Events, &Cancel),
        tell: impl FnOnce(&[Verification]) -> T,
    ) -> Result<T, BuildError> {
        let scratch = self.store()?.scratch()?;
        let root = scratch.path().join("store");
        let fresh = Self::open(EngineConfig { root, ..self.config().clone() });
        let events = &again(events);
        self.lend_images(&fresh, request, (events, cancel))?;
        let request = BuildRequest { outputs: vec![same_image(request)], ..anew(request) };
        let planned = fresh.plan(&request, events, cancel)?;
        let second = fresh.build(&request, planned, events, cancel)?;
        let task = events.task("comparing the images");
        let pairs = result.built.iter().zip(&second.built);
        let compared =
            pairs.map(|(first, second)| self.compare(&fresh, first, second, events)).collect();
        let verifications: Vec<Verification> = task.finish(compared)?;
        Ok(tell(&verifications))
    }

    fn compare(
        &self,
        fresh: &Self,
        first: &Built,
        second: &Built,
        events: &Events,
    ) -> Result<Verification, EngineError> {
        let fixed = first.fixed;
        let first = self.contents_of(first.image.clone(), None, events)?;
        let second = fresh.contents_of(second.image.clone(), None, events)?;
        let mut diff = diff_images(&first, &second, &DiffOptions::default())?;
        // How an image is packed is no part of what was built.
        diff.fields.retain(|field| !field.path.starts_with("manifest"));
        let mut times = UnfixedTimes::default();
        if !fixed.created {
            let before = diff.fields.len();
            diff.fields.retain(|field| !is_time(&field.path));
            times.created = before - diff.fields.len();
        }
        if !fixed.files {
            for file in &mut diff.files {
                if file.difference.before.is_some() && file.difference.after.is_some() {
                    let before = file.difference.aspects.len();
                    file.difference.aspects.retain(|aspect| *aspect != Aspect::Time);
                    times.files += before - file.difference.aspects.len();
                }
            }
            diff.files.retain(|file| {
                let difference = &file.difference;
                let both = difference.before.is_some() && difference.after.is_some();
                !both || !difference.aspects.is_empty()
            });
            let before = diff.layers.len();
            let mut kept = Vec::with_capacity(before);
            for layer in std::mem::take(&mut diff.layers) {
                if self.only_times(fresh, (&first, &second), layer)? {
                    times.layers += 1;
                } else {
                    kept.push(layer);
                }
            }
            diff.layers = kept;
        }
        // The ids of layers are told with the layers.
        Ok(Verification { first, second, diff, times })
    }

    /// Whether two layers differ in nothing but the times of files.
    fn only_times(
        &self,
        fresh: &Self,
        (first, second): (&ImageContents, &ImageContents),
        change: LayerChange,
    ) -> Result<bool, EngineError> {
        let LayerChange::Replaced { before, after } = change else { return Ok(false) };
        let one = self.timeless(&first.record, before)?;
        Ok(one.is_some() && one == fresh.timeless(&second.record, after)?)
    }

    /// The digest of a layer of an image without times.
    fn timeless(&self, image: &ImageRecord, layer: usize) -> Result<Option<Digest>, EngineError> {
        let store = self.store()?;
        let Some(snapshot) = image.snapshot else { return Ok(None) };
        let Some(id) = store.ancestry(snapshot)?.get(layer).copied() else { return Ok(None) };
        let options = TarOptions { mtime: Some(0), ..TarOptions::default() };
        let (digest, _) = bld_layer::diff_id(&store.layer(id), &options)
            .map_err(|source| EngineError::Tree { path: "/".into(), source })?;
        Ok(Some(digest))
    }

    /// Puts the images that the build takes from this store into the `fresh` one. What is not all
    /// here is fetched again.
    fn lend_images(
        &self,
        fresh: &Self,
        request: &BuildRequest,
        (events, cancel): (&Events, &Cancel),
    ) -> Result<(), BuildError> {
        let planned = self.plan(request, &Events::none(), cancel)?;
        let mut lent: BTreeMap<Reference, Vec<Digest>> = BTreeMap::new();
        for plan in &planned.plans {
            for reference in references(plan) {
                let ids = lent.entry(reference.clone()).or_default();
                ids.extend(self.lend(fresh, &reference, &plan.platform, events)?);
            }
        }
        let store = fresh.store()?;
        for (reference, mut ids) in lent {
            ids.dedup();
            let Some(first) = ids.first() else { continue };
            match reference.digest() {
                Some(digest) => store.add_repo_digest(&reference.name(), &digest, first)?,
                None => store.tag_variants(&reference.to_string(), &ids, first)?,
            }
        }
        Ok(())
    }

    /// Puts the image `reference` for `platform` into the `fresh` store, if all of it is in this one.
    fn lend(
        &self,
        fresh: &Self,
        reference: &Reference,
        platform: &Platform,
        events: &Events,
    ) -> Result<Option<Digest>, EngineError> {
        let names = [reference.to_string()];
        let Ok(found) = find::find(self, &names[0]) else { return Ok(None) };
        if self.unpack_image(&found.record, events).is_err() {
            return Ok(None);
        }
        let (reader, writer) = io::pipe().at("create", "a pipe")?;
        let (saved, loaded) = thread::scope(|scope| {
            let save = scope.spawn(|| {
                let mut out = BufWriter::with_capacity(1 << 20, writer);
                let none = Events::none();
                let saved = self.save_images(&names, false, Some(platform), &mut out, &none);
                saved.is_ok() && out.flush().is_ok()
            });
            let loaded = fresh.load_images(reader, Some(platform), &Events::none());
            (save.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), loaded)
        });
        if !saved {
            return Ok(None);
        }
        Ok(loaded?.first().map(|image| image.id))
    }
}

/// The images a plan begins with, as they are asked for.
fn references(plan: &Plan) -> Vec<Reference> {
    let images = plan.graph.node_weights().filter_map(|vertex| match &vertex.op {
        Op::Image(image) => Some(image.reference.clone()),
        _ => None,
    });
    let base = plan.base.as_ref().map(|base| base.reference.clone());
    let mut seen = BTreeSet::new();
    images.chain(base).filter(|reference| seen.insert(reference.to_string())).collect()
}

/// The same build, without what is known of earlier ones.
fn anew(request: &BuildRequest) -> BuildRequest {
    BuildRequest {
        no_cache: false,
        no_cache_filter: Vec::new(),
        cache_from: Vec::new(),
        cache_to: Vec::new(),
        traced: TracedCache::default(),
        pull: false,
        no_stat_cache: true,
        attest: Attestations::default(),
        on_failure: OnFailure::default(),
        ..request.clone()
    }
}

/// An output that makes the same image as that of `request` in the store.
fn same_image(request: &BuildRequest) -> Output {
    let given = image_options(&request.outputs);
    let options = ImageOptions {
        epoch: given.epoch,
        rewrite_timestamp: given.rewrite_timestamp,
        ..ImageOptions::default()
    };
    Output::Image { names: Vec::new(), push: false, options }
}

/// How the last of `outputs` that makes an image makes it.
pub(super) fn image_options(outputs: &[Output]) -> ImageOptions {
    let options = outputs.iter().rev().find_map(|output| match output {
        Output::Image { options, .. }
        | Output::Oci { options, .. }
        | Output::Docker { options, .. } => Some(options.clone()),
        Output::Local { .. } | Output::Tar { .. } | Output::CacheOnly => None,
    });
    options.unwrap_or_default()
}

/// The same events, with a word in front of the steps that they are of the second build.
fn again(events: &Events) -> Events {
    let events = events.clone();
    Events::new(move |mut event| {
        if let EventKind::Planned(vertex) = &mut event.kind {
            vertex.name = format!("(again) {}", vertex.name);
        }
        events.emit(event.id, event.kind);
    })
}

fn is_time(path: &str) -> bool {
    path == "created" || (path.starts_with("history[") && path.ends_with("].created"))
}
