//! Builds: those that ran here, and those that do.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bld_engine::history::{BuildRecord, Said, Status};
use bld_event::EventKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Shared};
use crate::app::App;
use crate::error::ApiError;
use crate::json::{milliseconds, time};
use crate::stream::{Listener, MOMENT, event, failure};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/builds", get(list))
        .route("/builds/{reference}", get(inspect).delete(remove))
        .route("/builds/{reference}/attestations", get(attestations))
        .route("/builds/{reference}/events", get(follow))
        .route("/builds/{reference}/logs/{step}", get(log))
}

#[derive(Deserialize)]
struct Filter {
    #[serde(default)]
    filter: String,
}

async fn list(State(app): Shared, Query(Filter { filter }): Query<Filter>) -> Answer {
    let builds = app.call(bld_engine::Engine::builds).await?;
    let wanted = filter.to_lowercase();
    let fits = |build: &&BuildRecord| {
        let begin = &build.begin;
        let trigger = begin.trigger.as_ref();
        let command = trigger.map(|trigger| trigger.command.join(" ")).unwrap_or_default();
        let mut texts = vec![&*build.reference, &*begin.name, word(build.status), &*command];
        texts.extend(build.names.iter().map(String::as_str));
        texts.extend(
            trigger.map(|trigger| [&*trigger.directory, &*trigger.user]).into_iter().flatten(),
        );
        texts.iter().any(|text| text.to_lowercase().contains(&wanted))
    };
    Ok(Json(builds.iter().filter(fits).map(document).collect()))
}

async fn inspect(State(app): Shared, Path(reference): Path<String>) -> Answer {
    let (build, dockerfile) = app
        .call(move |engine| {
            let build = engine.find_build(&reference)?;
            let dockerfile = engine.build_dockerfile(&build)?;
            Ok::<_, bld_engine::EngineError>((build, dockerfile))
        })
        .await?;
    let mut document = document(&build);
    document["source"] = json!(dockerfile);
    Ok(Json(document))
}

/// What was said about what the build made.
async fn attestations(State(app): Shared, Path(reference): Path<String>) -> Answer {
    let said = app
        .call(move |engine| {
            let build = engine.find_build(&reference)?;
            engine.build_attestations(&build)
        })
        .await?;
    let document = |one: &Said| {
        json!({
            "predicateType": one.predicate_type,
            "places": one.places,
            "predicate": one.predicate,
        })
    };
    Ok(Json(said.iter().map(document).collect()))
}

async fn remove(State(app): Shared, Path(reference): Path<String>) -> Result<StatusCode, ApiError> {
    let removed = app
        .call(move |engine| {
            let build = engine.find_build(&reference)?;
            engine.remove_build(&build)
        })
        .await?;
    if removed {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::new(StatusCode::CONFLICT, "conflict", "the build is running"))
    }
}

/// The events of a build, those to come included, and its record when it is over. What the listener
/// has heard before the connection broke is left out.
async fn follow(
    State(app): Shared,
    Path(reference): Path<String>,
    listener: Listener,
) -> Result<Response, ApiError> {
    let mut skip = listener.heard.map_or(0, |last| last.saturating_add(1));
    let (build, mut follower) = app
        .call(move |engine| {
            let build = engine.find_build(&reference)?;
            let follower = engine.follow_build(&build)?;
            Ok::<_, bld_engine::EngineError>((build, follower))
        })
        .await?;
    Ok(listener.answer(async move |out| {
        let mut number = 0_u64;
        loop {
            let read = app.call(move |_| {
                // Asked before reading: what is written between the two is read.
                let is_live = follower.is_live()?;
                let events = follower.piece()?;
                Ok::<_, bld_engine::EngineError>((follower, is_live, events))
            });
            let (back, is_live, events) = match read.await {
                Ok(read) => read,
                Err(error) => {
                    // Whoever does not listen any more misses nothing.
                    let _gone = out.send(failure(&error)).await;
                    return;
                }
            };
            follower = back;
            match events {
                Some(events) => {
                    for one in events {
                        if skip > 0 {
                            skip -= 1;
                        } else if out.send(event("event", &one).id(number)).await.is_err() {
                            return;
                        }
                        number += 1;
                    }
                }
                None if !is_live => break,
                None => tokio::select! {
                    () = out.closed() => return,
                    () = tokio::time::sleep(MOMENT) => {}
                },
            }
        }
        let reference = build.reference;
        let ended = app.call(move |engine| engine.find_build(&reference)).await;
        let last = match &ended {
            Ok(build) => event("end", &document(build)),
            Err(error) => failure(error),
        };
        let _gone = out.send(last).await;
    }))
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    offset: usize,
}

/// What the process of a step wrote, byte by byte, from an offset on.
async fn log(
    State(app): Shared,
    Path((reference, step)): Path<(String, u64)>,
    Query(Part { offset }): Query<Part>,
) -> Result<Response, ApiError> {
    let text = app
        .call(move |engine| {
            let build = engine.find_build(&reference)?;
            let mut follower = engine.follow_build(&build)?;
            let mut text: Option<Vec<u8>> = None;
            while let Some(events) = follower.piece()? {
                for event in events.into_iter().filter(|event| event.id.get() == step) {
                    let text = text.get_or_insert_default();
                    if let EventKind::Log { data, .. } = event.kind {
                        text.extend_from_slice(&data);
                    }
                }
            }
            Ok::<_, bld_engine::EngineError>(text)
        })
        .await?;
    let text = text.ok_or_else(|| ApiError::not_found("step"))?;
    let rest = text.get(offset..).unwrap_or_default().to_vec();
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], rest).into_response())
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Running => "running",
        Status::Completed => "completed",
        Status::Failed => "error",
        Status::Canceled => "canceled",
    }
}

fn document(build: &BuildRecord) -> Value {
    let begin = &build.begin;
    let arguments =
        begin.build_args.iter().map(|(name, value)| json!({ "name": name, "value": value }));
    json!({
        "ref": build.reference,
        "name": begin.name,
        "context": begin.context,
        "dockerfile": begin.dockerfile,
        "target": begin.target,
        "platform": begin.platform,
        "tags": begin.tags,
        "buildArgs": arguments.collect::<Value>(),
        "labels": begin.labels,
        "namedContexts": begin.named_contexts,
        "network": begin.network,
        "noCache": begin.no_cache,
        "trigger": begin.trigger,
        "status": word(build.status),
        "error": build.error,
        "createdAt": time(build.began),
        "completedAt": build.ended.map(time),
        "durationMs": milliseconds(build.duration()),
        "image": build.image,
        "names": build.names,
        "steps": {
            "total": build.steps.total,
            "completed": build.steps.completed,
            "cached": build.steps.cached,
        },
    })
}
