//! Images: lists, what is in them, and how two differ.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use bld_engine::images::{
    Amount, DiffDocument, DiffOptions, ImageAnatomy, ImageFilter, ImageSummary, LayerAnatomy,
    LayerEffect, LayerEntry, diff_images,
};
use bld_event::Events;
use bld_layer::{Kind, shown};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Shared};
use crate::app::App;
use crate::error::ApiError;
use crate::json::time;

/// How many of the largest and the most wasteful files are named.
const TOP: usize = 20;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/images", get(list))
        .route("/images/{id}", get(inspect).delete(remove))
        .route("/images/{id}/packages", get(packages))
        .route("/images/{id}/layers/{number}/files", get(files))
        .route("/diff", get(diff))
}

async fn list(State(app): Shared) -> Answer {
    let images = app.call(|engine| engine.images(&ImageFilter::default())).await?;
    Ok(Json(images.iter().map(summary).collect()))
}

fn summary(image: &ImageSummary) -> Value {
    let record = &image.record;
    json!({
        "id": record.id.to_string(),
        "tags": image.tags.iter().map(bld_oci::Reference::familiar).collect::<Vec<_>>(),
        "digests": image
            .repo_digests
            .iter()
            .map(|known| format!("{}@{}", known.repo, known.digest))
            .collect::<Vec<_>>(),
        "platform": record.platform,
        "createdAt": time(record.created),
        "size": record.size,
        "containers": image.containers,
    })
}

async fn inspect(State(app): Shared, Path(id): Path<String>) -> Answer {
    let name = id.clone();
    let (details, history) = app
        .call(move |engine| {
            let details = engine.image_details(&name)?;
            let history = engine.image_history(&name)?;
            Ok::<_, bld_engine::EngineError>((details, history))
        })
        .await?;
    let anatomy = app.anatomy(id).await?;
    let history = history.iter().map(|entry| {
        json!({
            "createdAt": entry.created,
            "createdBy": entry.created_by,
            "size": entry.size,
            "comment": entry.comment,
        })
    });
    Ok(Json(json!({
        "id": details.record.id.to_string(),
        "tags": details.tags.iter().map(bld_oci::Reference::familiar).collect::<Vec<_>>(),
        "platform": details.record.platform,
        "createdAt": time(details.record.created),
        "size": details.record.size,
        "config": details.config,
        "history": history.collect::<Value>(),
        "layers": anatomy.layers.iter().map(layer).collect::<Value>(),
        "visible": amount(&anatomy.visible),
        "wasted": anatomy.wasted,
        "largest": anatomy
            .largest
            .iter()
            .map(|file| json!({ "path": shown(&file.path), "size": file.size, "layer": file.layer }))
            .collect::<Value>(),
        "worst": anatomy
            .worst
            .iter()
            .map(|path| {
                json!({ "path": shown(&path.path), "wasted": path.wasted, "layers": path.layers })
            })
            .collect::<Value>(),
    })))
}

fn layer(found: &LayerAnatomy) -> Value {
    json!({
        "diffId": found.layer.diff_id.to_string(),
        "size": found.layer.size,
        "compressed": found.compressed,
        "createdBy": found.layer.created_by,
        "added": amount(&found.added),
        "replaced": amount(&found.replaced),
        "removed": amount(&found.removed),
        "hidden": found.hidden,
    })
}

fn amount(amount: &Amount) -> Value {
    json!({ "files": amount.files, "bytes": amount.bytes })
}

#[derive(Deserialize)]
struct Place {
    #[serde(default = "root")]
    path: String,
}

fn root() -> String {
    "/".to_owned()
}

/// What a layer has right in one directory. Of what lies deeper, numbers.
async fn files(
    State(app): Shared,
    Path((id, number)): Path<(String, usize)>,
    Query(Place { path }): Query<Place>,
) -> Answer {
    let anatomy = app.anatomy(id).await?;
    let layer = anatomy.layers.get(number).ok_or_else(|| ApiError::not_found("layer"))?;
    Ok(Json(directory(&layer.entries, FilePath::new(&path))))
}

/// The entries right in what is shown as `dir`: these are names in a list, and lead to no file of this
/// machine.
fn directory(entries: &[LayerEntry], dir: &FilePath) -> Value {
    #[derive(Default)]
    struct Child<'a> {
        own: Option<&'a LayerEntry>,
        files: u64,
        bytes: u64,
        hides: u64,
    }
    let mut children: BTreeMap<PathBuf, Child<'_>> = BTreeMap::new();
    for entry in entries {
        let path = PathBuf::from(shown(&entry.path));
        let Ok(rest) = path.strip_prefix(dir) else { continue };
        let mut parts = rest.components();
        let Some(first) = parts.next() else { continue };
        let child = children.entry(PathBuf::from(first.as_os_str())).or_default();
        if parts.next().is_none() {
            child.own = Some(entry);
        }
        if entry.kind != Kind::Dir {
            child.files += 1;
        }
        child.bytes += entry.size;
        child.hides += entry.hides;
    }
    children
        .iter()
        .map(|(name, child)| {
            // A directory that the layer does not change has no entry of its own.
            let kind = child.own.map_or(Kind::Dir, |entry| entry.kind);
            let change = child.own.map_or("same", |entry| match entry.change {
                LayerEffect::Adds => "added",
                LayerEffect::Replaces => "changed",
                LayerEffect::Removes | LayerEffect::RemovesNothing => "removed",
            });
            json!({
                "name": name.to_string_lossy(),
                "type": kind.name(),
                "change": change,
                "size": child.bytes,
                "files": child.files,
                "hides": child.hides,
            })
        })
        .collect()
}

#[derive(Deserialize)]
struct Pair {
    from: String,
    to: String,
    path: Option<String>,
}

async fn diff(
    State(app): Shared,
    Query(Pair { from, to, path }): Query<Pair>,
) -> Result<Json<DiffDocument>, ApiError> {
    let document = app.call(move |engine| {
        let before = engine.image_contents(&from, &Events::none())?;
        let after = engine.image_contents(&to, &Events::none())?;
        // Lines are told of one file at a time: of all they could be very many.
        let text = path.as_ref().and(DiffOptions::default().text);
        let options = DiffOptions { text, ..DiffOptions::default() };
        let diff = diff_images(&before, &after, &options)?;
        let mut document = DiffDocument::new((&before, &after), &diff);
        if let Some(path) = &path {
            document.retain_file(path);
        }
        Ok::<_, bld_engine::EngineError>(document)
    });
    Ok(Json(document.await?))
}

/// The packages in an image, as SPDX has it.
async fn packages(State(app): Shared, Path(id): Path<String>) -> Answer {
    Ok(Json(app.call(move |engine| engine.sbom(&id, &Events::none())).await?))
}

async fn remove(State(app): Shared, Path(id): Path<String>) -> Answer {
    let removed = app.call(move |engine| engine.remove_image(&id, false)).await?;
    Ok(Json(json!({ "removed": removed.len() })))
}

impl App {
    /// The image `name`, taken apart. The last one is kept: a page asks for one directory after another.
    async fn anatomy(&self, name: String) -> Result<Arc<ImageAnatomy>, ApiError> {
        let kept = Arc::clone(&self.anatomy);
        self.call(move |engine| {
            let id = engine.image_details(&name)?.record.id;
            let known = |kept: &Option<Arc<ImageAnatomy>>| {
                kept.as_ref().filter(|one| one.record.id == id).map(Arc::clone)
            };
            let lock = || kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(anatomy) = known(&lock()) {
                return Ok(anatomy);
            }
            let anatomy = Arc::new(engine.image_anatomy(&name, TOP, &Events::none())?);
            *lock() = Some(Arc::clone(&anatomy));
            Ok::<_, bld_engine::EngineError>(anatomy)
        })
        .await
    }
}
