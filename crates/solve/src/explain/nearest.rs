//! Finding the earlier record that a step is compared with.

use std::cmp::Reverse;
use std::collections::HashSet;

use bld_oci::Digest;
use bld_store::Record;
use serde_json::Value;

use super::{fields, words};
use crate::error::StepFailure;
use crate::evaluate;
use crate::solver::Build;

/// Records of the same stage and kind of operation that are looked at, the newest ones.
const NEIGHBOURS: usize = 32;

/// Records of the very same operation, wherever it stood.
const TWINS: usize = 4;

/// The least that two operations have in common, of 100, if one is taken for the other's earlier self
/// anywhere but at the same place of the previous build.
const ALIKE: usize = 40;

/// The record that is most like step `index`, which is now as `now` says; none if it is a new one.
pub(super) fn find(
    build: &Build,
    index: usize,
    now: &Value,
) -> Result<Option<Record>, StepFailure> {
    let (step, store) = (&build.steps[index], &build.env.store);
    let previous = build.previous.get().map_or(&[][..], |previous| previous.records(store));
    let same_kind = previous.iter().filter(|record| record.fields["op"] == now["op"]);
    let mut records: Vec<(bool, Record)> = same_kind.map(|record| (true, record.clone())).collect();
    let mut older = store.find_similar(&step.scope, NEIGHBOURS)?;
    // What was built elsewhere is of interest only where nothing was built here.
    if previous.is_empty() {
        older.extend(store.find_by_op(&step.op, TWINS)?);
    }
    for record in older {
        if !records.iter().any(|(_, known)| known.definition == record.definition) {
            records.push((false, record));
        }
    }
    // An operation that is still there is its own earlier self and nobody else's.
    let others: HashSet<Digest> =
        build.steps.iter().map(|step| step.op).filter(|op| *op != step.op).collect();
    let candidates = records.into_iter().filter(|(_, record)| !others.contains(&record.op));
    let ranked = candidates.filter_map(|(is_previous, record)| {
        let rank = rank(build, index, now, &record, is_previous)?;
        Some((rank, record))
    });
    // Of equals the first, which is the newest.
    Ok(ranked.min_by_key(|(rank, _)| *rank).map(|(_, record)| record))
}

/// How far `record` is from the step: whether it is of an older build, how many things differ, and how
/// much; none if it is another step altogether.
fn rank(
    build: &Build,
    index: usize,
    now: &Value,
    record: &Record,
    is_previous: bool,
) -> Option<impl Ord + Copy + use<>> {
    let step = &build.steps[index];
    let is_here = record.fields[fields::PLACE] == now[fields::PLACE];
    let likeness = likeness(&record.fields, now);
    if record.op != step.op && !(is_previous && is_here) && likeness < ALIKE {
        return None;
    }
    let inputs = step.inputs.iter().filter(|input| {
        let then = evaluate::recorded_input(&record.inputs, input);
        then.is_none_or(|then| then.definition != input.definition)
    });
    let own =
        if record.op == step.op { 0 } else { fields::compare(&record.fields, now).len().max(1) };
    let distance = own + inputs.count() + usize::from(!is_here);
    Some((!is_previous, distance, Reverse(likeness / 10)))
}

/// How much the operations have in common in what they are about, of 100.
fn likeness(then: &Value, now: &Value) -> usize {
    let about = |fields: &Value| {
        ["args", "sources", "dest", "path", "filename"]
            .iter()
            .filter(|name| !fields[**name].is_null())
            .map(|name| fields[*name].to_string())
            .collect::<String>()
    };
    words::likeness(&about(then), &about(now))
}
