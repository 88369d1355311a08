//! Volumes, networks, the disk, and what there is to ask for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bld_engine::EngineError;
use bld_engine::disk::{DiskEntry, PruneRule, Pruned};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Shared};
use crate::app::App;
use crate::error::ApiError;
use crate::json::time;

/// The description of the API, as OpenAPI 3.1 has it.
const OPENAPI: &str = include_str!("../openapi.json");

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/openapi.json", get(openapi))
        .route("/volumes", get(volumes))
        .route("/volumes/{name}", delete(remove_volume))
        .route("/networks", get(networks))
        .route("/networks/{name}", delete(remove_network))
        .route("/disk", get(disk))
        .route("/disk/plan", get(plan))
        .route("/disk/prune", post(prune))
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

/// The addresses, one a line.
pub(super) async fn listing() -> Result<String, ApiError> {
    let document: Value =
        serde_json::from_str(OPENAPI).map_err(|error| ApiError::failed(error.to_string()))?;
    let mut text = String::from("The API of bld; described by /api/v1/openapi.json\n\n");
    for (path, verbs) in document["paths"].as_object().into_iter().flatten() {
        for (verb, about) in verbs.as_object().into_iter().flatten() {
            let summary = about["summary"].as_str().unwrap_or_default();
            let verb = verb.to_uppercase();
            let _infallible = writeln!(text, "{verb:6} {path}\n       {summary}");
        }
    }
    Ok(text)
}

async fn volumes(State(app): Shared) -> Answer {
    let document = app
        .call(|engine| {
            let mut rows = Vec::new();
            for volume in engine.volumes()? {
                let users = engine.volume_users(&volume.name)?;
                // One that is removed at this moment has no name any more.
                let name = |id: String| engine.find_container(&id).map_or(id, |user| user.name);
                rows.push(json!({
                    "name": volume.name,
                    "createdAt": time(volume.created),
                    "labels": volume.labels,
                    "anonymous": volume.anonymous,
                    "mountpoint": volume.data,
                    "size": volume.size(),
                    "usedBy": users.into_iter().map(name).collect::<Vec<_>>(),
                }));
            }
            Ok::<_, EngineError>(Value::from(rows))
        })
        .await?;
    Ok(Json(document))
}

async fn remove_volume(
    State(app): Shared,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.call(move |engine| engine.remove_volume(&name, false)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn networks(State(app): Shared) -> Answer {
    let document = app
        .call(|engine| {
            let mut rows = Vec::new();
            for network in engine.networks()? {
                let users = engine.network_users(&network.name)?;
                rows.push(json!({
                    "id": network.id,
                    "name": network.name,
                    "driver": network.driver.name(),
                    "subnet": network.subnet.map(|subnet| subnet.to_string()),
                    "gateway": network.gateway,
                    "internal": network.internal,
                    "predefined": network.is_predefined(),
                    "labels": network.labels,
                    "usedBy": users.into_iter().map(|user| user.name).collect::<Vec<_>>(),
                }));
            }
            Ok::<_, EngineError>(Value::from(rows))
        })
        .await?;
    Ok(Json(document))
}

async fn remove_network(
    State(app): Shared,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.call(move |engine| engine.remove_network(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn disk(State(app): Shared) -> Answer {
    let entries = app.call(bld_engine::Engine::disk_usage).await?;
    let mut kinds: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for one in &entries {
        let kind = kinds.entry(one.kind.to_string()).or_default();
        *kind = (kind.0 + 1, kind.1 + one.bytes);
    }
    let kinds = kinds
        .iter()
        .map(|(kind, (count, bytes))| json!({ "kind": kind, "count": count, "size": bytes }));
    Ok(Json(json!({
        "total": entries.iter().map(|one| one.bytes).sum::<u64>(),
        "reclaimable": entries.iter().filter(|one| !one.in_use).map(|one| one.bytes).sum::<u64>(),
        "kinds": kinds.collect::<Value>(),
        "entries": entries.iter().map(entry).collect::<Value>(),
    })))
}

fn entry(entry: &DiskEntry) -> Value {
    json!({
        "id": entry.id,
        "kind": entry.kind.to_string(),
        "description": entry.description,
        "createdAt": time(entry.created),
        "usedAt": entry.used.map(time),
        "uses": entry.uses,
        "size": entry.bytes,
        "inUse": entry.in_use,
        "shared": entry.shared,
        "mutable": entry.mutable,
        "parents": entry.parents,
    })
}

/// What is to be given up.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Wish {
    /// Also what is internal.
    all: bool,
    /// Only what was not used for so many seconds.
    unused_seconds: Option<u64>,
    /// Bytes that the cache may keep.
    keep_bytes: Option<u64>,
}

impl Wish {
    fn rules(&self) -> Vec<PruneRule> {
        vec![PruneRule {
            all: self.all,
            keep_duration: self.unused_seconds.map(Duration::from_secs),
            // As --keep-storage: what stays in any case.
            reserved: self.keep_bytes,
            ..PruneRule::default()
        }]
    }
}

async fn plan(State(app): Shared, Query(wish): Query<Wish>) -> Answer {
    let pruned = app.call(move |engine| engine.prune_cache(&wish.rules(), true)).await?;
    Ok(Json(given_up(&pruned)))
}

async fn prune(State(app): Shared, wish: Option<Json<Wish>>) -> Answer {
    let Json(wish) = wish.unwrap_or_default();
    let pruned = app.call(move |engine| engine.prune_cache(&wish.rules(), false)).await?;
    Ok(Json(given_up(&pruned)))
}

fn given_up(pruned: &Pruned) -> Value {
    json!({ "total": pruned.bytes, "entries": pruned.entries.iter().map(entry).collect::<Value>() })
}
