//! Containers: lists, life, output, use, and terminals.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use bld_engine::EngineError;
use bld_engine::containers::{
    Container, ContainerFilter, Control, ExecRequest, Io, LogQuery, RemoveOptions,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{Answer, Shared};
use crate::app::App;
use crate::error::ApiError;
use crate::json::time;
use crate::stream::{Listener, event, failure};

/// How far two looks at what a container uses are apart.
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/containers", get(list))
        .route("/containers/{id}", get(inspect).delete(remove))
        .route("/containers/{id}/start", post(start))
        .route("/containers/{id}/stop", post(stop))
        .route("/containers/{id}/restart", post(restart))
        .route("/containers/{id}/kill", post(kill))
        .route("/containers/{id}/logs", get(logs))
        .route("/containers/{id}/stats", get(stats))
        .route("/containers/{id}/exec", get(exec))
}

async fn list(State(app): Shared) -> Answer {
    let filter = ContainerFilter { all: true, ..ContainerFilter::default() };
    let containers = app.call(move |engine| engine.containers(&filter)).await?;
    Ok(Json(containers.iter().map(document).collect()))
}

async fn inspect(State(app): Shared, Path(id): Path<String>) -> Answer {
    let container = app.call(move |engine| engine.find_container(&id)).await?;
    let mut all = document(&container);
    all["config"] = json!(container.config);
    all["mounts"] = json!(container.mounts);
    all["networks"] = json!(container.networks);
    all["host"] = json!(container.host);
    Ok(Json(all))
}

fn document(container: &Container) -> Value {
    let state = &container.state;
    json!({
        "id": container.id,
        "name": container.name,
        "image": container.image_name,
        "imageId": container.image.to_string(),
        "command": container.command(),
        "createdAt": time(container.created),
        "startedAt": state.started.map(time),
        "finishedAt": state.finished.map(time),
        "status": state.status.name(),
        "health": state.health.as_ref().map(|health| health.status.name()),
        "exitCode": state.exit_code,
        "error": state.error,
        "oomKilled": state.oom_killed,
        "restarts": container.restarts,
        "ports": container.ports,
        "tty": container.host.tty,
    })
}

async fn start(State(app): Shared, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    app.call(move |engine| engine.start_container(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn stop(State(app): Shared, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    app.call(move |engine| engine.stop_container(&id, None, None)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn restart(State(app): Shared, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    app.call(move |engine| {
        engine.stop_container(&id, None, None)?;
        engine.start_container(&id)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn kill(State(app): Shared, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    app.call(move |engine| engine.kill_container(&id, "KILL")).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Removal {
    #[serde(default)]
    force: bool,
    #[serde(default)]
    volumes: bool,
}

async fn remove(
    State(app): Shared,
    Path(id): Path<String>,
    Query(Removal { force, volumes }): Query<Removal>,
) -> Result<StatusCode, ApiError> {
    let options = RemoveOptions { force, volumes };
    app.call(move |engine| engine.remove_container(&id, options)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Tail {
    #[serde(default = "most_lines")]
    tail: usize,
}

fn most_lines() -> usize {
    10_000
}

/// What a container writes, from the last `tail` lines on, until it ends.
async fn logs(
    State(app): Shared,
    Path(id): Path<String>,
    Query(Tail { tail }): Query<Tail>,
    listener: Listener,
) -> Result<Response, ApiError> {
    let name = id.clone();
    app.call(move |engine| engine.find_container(&name)).await?;
    Ok(listener.answer(async move |out| {
        let engine = Arc::clone(&app.engine);
        let query = LogQuery { follow: true, tail: Some(tail), ..LogQuery::default() };
        let (cancel, outlet) = (query.cancel.clone(), out.clone());
        let (over, ended) = oneshot::channel::<()>();
        // Not one of the threads for calls: it may wait for as long as the container runs.
        let follow = move || {
            let _over = over;
            let visited = engine.container_logs(&id, &query, &mut |entry| {
                let line = json!({
                    "stream": entry.stream,
                    "time": time(entry.time),
                    "text": entry.text,
                });
                match out.send_blocking(event("line", &line)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            });
            let last = match visited {
                Ok(()) => event("end", &json!({})),
                Err(error) => failure(&error.into()),
            };
            let _gone = out.send_blocking(last);
        };
        // Without a thread there is no log; the page asks again.
        let _ = thread::Builder::new().name("logs".to_owned()).spawn(follow);
        // A container that is silent would keep the thread after the page is gone.
        tokio::select! {
            () = outlet.closed() => cancel.cancel(),
            _ = ended => {}
        }
    }))
}

/// What a container uses, once a second, until it ends.
async fn stats(
    State(app): Shared,
    Path(id): Path<String>,
    listener: Listener,
) -> Result<Response, ApiError> {
    let name = id.clone();
    app.call(move |engine| engine.find_container(&name)).await?;
    Ok(listener.answer(async move |out| {
        let mut before = None;
        loop {
            let name = id.clone();
            let now = app
                .call(move |engine| {
                    let container = engine.find_container(&name)?;
                    engine.container_usage(&container)
                })
                .await;
            let Ok(now) = now else { break };
            if let Some(before) = before.replace(now) {
                let document = json!({
                    "cpuPercent": now.cpu_percent(&before),
                    "memoryBytes": now.memory,
                    "memoryLimit": now.memory_limit,
                    "netRx": now.received,
                    "netTx": now.sent,
                    "ioRead": now.read,
                    "ioWrite": now.written,
                    "pids": now.pids,
                });
                if out.send(event("stats", &document)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = out.closed() => return,
                () = tokio::time::sleep(SECOND) => {}
            }
        }
        let _gone = out.send(event("end", &json!({}))).await;
    }))
}

#[derive(Deserialize)]
struct Shell {
    #[serde(default = "shell")]
    cmd: String,
}

fn shell() -> String {
    "/bin/sh".to_owned()
}

/// A process in a container, at a terminal that is a WebSocket.
async fn exec(
    State(app): Shared,
    Path(id): Path<String>,
    Query(Shell { cmd }): Query<Shell>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    if app.read_only {
        return Err(ApiError::read_only());
    }
    let command: Vec<String> = cmd.split_whitespace().map(str::to_owned).collect();
    if command.is_empty() {
        return Err(ApiError::invalid("a command is needed"));
    }
    let name = id.clone();
    let container = app.call(move |engine| engine.find_container(&name)).await?;
    if !container.state.is_running() {
        return Err(EngineError::NotRunning { container: container.id }.into());
    }
    let request = ExecRequest {
        container: container.id,
        command,
        env: vec!["TERM=xterm-256color".to_owned()],
        tty: true,
        open_stdin: true,
        ..ExecRequest::default()
    };
    Ok(upgrade.on_upgrade(move |socket| terminal(app, request, socket)))
}

/// What the page says besides what is typed.
#[derive(Deserialize)]
struct Told {
    resize: Size,
}

#[derive(Deserialize)]
struct Size {
    rows: u16,
    cols: u16,
}

/// What a process writes, on its way to a WebSocket.
struct Screen(mpsc::Sender<Message>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let message = Message::Binary(bytes.to_vec().into());
        self.0.blocking_send(message).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn terminal(app: Arc<App>, request: ExecRequest, mut socket: WebSocket) {
    let (Ok((stdin, typed)), Ok(control)) = (io::pipe(), Control::new()) else { return };
    let (sender, mut screen) = mpsc::channel(64);
    let engine = Arc::clone(&app.engine);
    let (end, handle) = (sender.clone(), control.clone());
    let run = move || {
        let stdin: OwnedFd = stdin.into();
        let io = Io { stdin: Some(stdin), stdout: Some(Box::new(Screen(sender))), ..Io::default() };
        let said = match engine.exec_container(&request, io, &handle) {
            Ok(exit) => json!({ "exit": exit.code }),
            Err(error) => ApiError::from(error).document(),
        };
        let _gone = end.blocking_send(Message::Text(said.to_string().into()));
    };
    // A thread of its own: it lasts as long as the terminal, and the process dies with it.
    if thread::Builder::new().name("exec".to_owned()).spawn(run).is_err() {
        return;
    }
    let mut typed = tokio::net::unix::pipe::Sender::from_owned_fd(typed.into()).ok();
    loop {
        tokio::select! {
            shown = screen.recv() => {
                let Some(message) = shown else { break };
                let is_last = matches!(message, Message::Text(_));
                if socket.send(message).await.is_err() || is_last {
                    break;
                }
            }
            heard = socket.recv() => match heard {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Some(pipe) = &mut typed
                        && tokio::io::AsyncWriteExt::write_all(pipe, &bytes).await.is_err()
                    {
                        typed = None;
                    }
                }
                Some(Ok(Message::Text(text))) => {
                    if let Ok(Told { resize }) = serde_json::from_str(&text) {
                        control.resize(resize.rows, resize.cols);
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                None | Some(Ok(Message::Close(_)) | Err(_)) => break,
            }
        }
    }
    // The page is gone: so is the terminal.
    drop(typed);
    control.signal(rustix::process::Signal::HUP.as_raw());
    screen.close();
}
