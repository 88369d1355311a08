//! Builds in the trace event format, which Perfetto, chrome://tracing and Speedscope read.
//!
//! Each build is a process, and each step a slice on the first thread that is free when it begins, so
//! that the threads show what ran at the same time.

use std::time::{Duration, SystemTime};

use bld_engine::history::BuildRecord;
use serde_json::{Value, json};

use super::inspect::command;
use crate::progress::{StepReport, Why};

/// The document of builds, each with its steps.
pub(super) fn document(builds: &[(BuildRecord, Vec<StepReport>)]) -> Value {
    let events = builds.iter().zip(1..).flat_map(|((build, steps), process)| {
        let title = format!("{} {}", build.begin.name, build.reference);
        let named = json!({
            "ph": "M", "name": "process_name", "pid": process, "args": { "name": title.trim() },
        });
        let whole = json!({
            "ph": "X",
            "name": "build",
            "cat": super::inspect::word(build.status),
            "pid": process,
            "tid": 0,
            "ts": since_1970(build.began),
            "dur": micros(build.duration()),
            "args": {
                "ref": build.reference,
                "command": build.begin.trigger.as_ref().map(command),
                "error": build.error,
                "image": build.image,
            },
        });
        [named, whole].into_iter().chain(slices(steps, process))
    });
    json!({ "displayTimeUnit": "ms", "traceEvents": events.collect::<Value>() })
}

fn slices(steps: &[StepReport], process: usize) -> Vec<Value> {
    let mut begun: Vec<(SystemTime, &StepReport)> =
        steps.iter().filter_map(|step| Some((step.started?, step))).collect();
    begun.sort_by_key(|(started, _)| *started);
    // When what runs on each thread ends.
    let mut ends: Vec<SystemTime> = Vec::new();
    let slices = begun.into_iter().map(|(started, step)| {
        let free = ends.iter().position(|end| *end <= started);
        let thread = free.unwrap_or_else(|| {
            ends.push(started);
            ends.len() - 1
        });
        ends[thread] = started + step.took;
        json!({
            "ph": "X",
            "name": step.name,
            "cat": step.state,
            "pid": process,
            "tid": thread + 1,
            "ts": since_1970(started),
            "dur": micros(step.took),
            "args": {
                "id": step.id,
                "error": step.error,
                "why": step.why.as_ref().map(|why| match why {
                    Why::Hit(hit) => hit.to_string(),
                    Why::Miss(miss) => miss.to_string(),
                }),
            },
        })
    });
    slices.collect()
}

fn since_1970(time: SystemTime) -> u64 {
    micros(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
