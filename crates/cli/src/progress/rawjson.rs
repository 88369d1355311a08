//! One JSON object per event, in the form of BuildKit's `SolveStatus`, for programs.

use std::io::{self, Write};
use std::time::SystemTime;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bld_event::{Event, EventKind, Stream, VertexId};
use serde::Serialize;

use super::steps::{End, Step, Steps, Why};
use super::{Reader, write_line};

/// The reader.
pub(super) struct RawJson<W> {
    out: W,
}

impl<W: Write> RawJson<W> {
    /// Writes to `out`.
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }
}

#[derive(Serialize, Default)]
struct Status {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vertexes: Vec<Vertex>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<VertexStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<Log>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

#[derive(Serialize)]
struct Vertex {
    digest: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cached: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The id by which the result can be asked for; ours, not BuildKit's.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    /// Why the result was known or was not; ours, not BuildKit's.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

/// Why a result was known, or was not.
#[derive(Serialize)]
struct Reason {
    /// `hit` or `miss`.
    result: &'static str,
    /// What kind of hit or miss it is, in one word.
    kind: &'static str,
    /// The reason in one line.
    text: String,
    /// Everything that is not as it was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<String>,
    /// The vertices where that began, if not here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl From<&Why> for Reason {
    fn from(why: &Why) -> Self {
        match why {
            Why::Hit(hit) => Self {
                result: "hit",
                kind: hit.word(),
                text: hit.to_string(),
                changes: Vec::new(),
                causes: Vec::new(),
                advice: None,
            },
            Why::Miss(miss) => Self {
                result: "miss",
                kind: miss.kind.word(),
                text: miss.to_string(),
                changes: miss.changes.clone(),
                causes: miss.causes.iter().copied().map(digest).collect(),
                advice: miss.advice.clone(),
            },
        }
    }
}

#[derive(Serialize)]
struct VertexStatus {
    id: String,
    vertex: String,
    name: String,
    current: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
}

#[derive(Serialize)]
struct Log {
    vertex: String,
    stream: u8,
    data: String,
    timestamp: String,
}

#[derive(Serialize)]
struct Warning {
    vertex: String,
    level: u8,
    /// In base64, as are all bytes in Go's JSON.
    short: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// BuildKit names vertices by digests; ours are numbers, told in the same form.
fn digest(id: VertexId) -> String {
    format!("sha256:{:064x}", id.get())
}

fn time(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

fn vertex(id: VertexId, step: &Step) -> Vertex {
    let end = step.ended.as_ref();
    // BuildKit has a start for every vertex that has an end.
    let started = step.started.or(end.map(|(at, _)| *at));
    Vertex {
        digest: digest(id),
        inputs: step.vertex.inputs.iter().copied().map(digest).collect(),
        name: step.vertex.name.clone(),
        started: started.map(time),
        completed: end.map(|(at, _)| time(*at)),
        cached: matches!(end, Some((_, End::Cached))),
        error: match end {
            Some((_, End::Failed(error))) => Some(error.clone()),
            Some((_, End::Canceled)) => Some("context canceled".to_owned()),
            _ => None,
        },
        result: step.vertex.result.clone(),
        reason: None,
    }
}

impl<W: Write + Send> Reader for RawJson<W> {
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn event(&mut self, event: &Event, steps: &mut Steps) -> io::Result<()> {
        let Some(step) = steps.get_mut(event.id) else { return Ok(()) };
        step.fresh.clear();
        let mut status = Status::default();
        match &event.kind {
            EventKind::Log { stream, data } => status.logs.push(Log {
                vertex: digest(event.id),
                stream: if *stream == Stream::Stdout { 1 } else { 2 },
                data: BASE64_STANDARD.encode(data),
                timestamp: time(event.at),
            }),
            EventKind::Progress(progress) => status.statuses.push(VertexStatus {
                id: progress.item.clone(),
                vertex: digest(event.id),
                name: progress.item.clone(),
                current: progress.current,
                total: progress.total,
                timestamp: time(event.at),
                completed: progress.done.then(|| time(event.at)),
            }),
            // The nearest that BuildKit has: a piece of work that is over as soon as it is told.
            EventKind::Note { message } => status.statuses.push(VertexStatus {
                id: message.clone(),
                vertex: digest(event.id),
                name: message.clone(),
                current: 0,
                total: None,
                timestamp: time(event.at),
                completed: Some(time(event.at)),
            }),
            EventKind::Warning { message, url } => status.warnings.push(Warning {
                vertex: digest(event.id),
                level: 1,
                short: BASE64_STANDARD.encode(message),
                url: url.clone(),
            }),
            // For those who look at builds afterwards.
            EventKind::Dockerfile { .. } => return Ok(()),
            EventKind::Missed(_) | EventKind::Cached(_) => status.vertexes.push(Vertex {
                reason: step.why.as_ref().map(Reason::from),
                ..vertex(event.id, step)
            }),
            _ => status.vertexes.push(vertex(event.id, step)),
        }
        let json = serde_json::to_string(&status).map_err(io::Error::other)?;
        write_line(&mut self.out, &json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_as_from_buildkit() -> io::Result<()> {
        let id = VertexId::next();
        let mut steps = Steps::default();
        let mut reader = RawJson::new(Vec::new());
        let planned = bld_event::Vertex {
            id,
            name: "[1/1] RUN x".into(),
            stage: String::new(),
            inputs: Vec::new(),
            lines: Some((2, 2)),
            internal: false,
            result: None,
        };
        for kind in [
            EventKind::Planned(planned),
            EventKind::Started,
            EventKind::Log { stream: Stream::Stdout, data: b"hi\n".to_vec() },
            EventKind::Note { message: "waiting".into() },
            EventKind::Warning { message: "hm".into(), url: None },
            EventKind::Failed { error: "exit code: 1".into() },
        ] {
            let event = Event { at: SystemTime::UNIX_EPOCH, id, kind };
            steps.apply(&event);
            reader.event(&event, &mut steps)?;
        }
        let text = String::from_utf8_lossy(&reader.out).replace(&digest(id), "DIGEST");
        assert_eq!(
            text,
            r#"{"vertexes":[{"digest":"DIGEST","name":"[1/1] RUN x"}]}
{"vertexes":[{"digest":"DIGEST","name":"[1/1] RUN x","started":"1970-01-01T00:00:00Z"}]}
{"logs":[{"vertex":"DIGEST","stream":1,"data":"aGkK","timestamp":"1970-01-01T00:00:00Z"}]}
{"statuses":[{"id":"waiting","vertex":"DIGEST","name":"waiting","current":0,"timestamp":"1970-01-01T00:00:00Z","completed":"1970-01-01T00:00:00Z"}]}
{"warnings":[{"vertex":"DIGEST","level":1,"short":"aG0="}]}
{"vertexes":[{"digest":"DIGEST","name":"[1/1] RUN x","started":"1970-01-01T00:00:00Z","completed":"1970-01-01T00:00:00Z","error":"exit code: 1"}]}
"#
        );
        Ok(())
    }
}
