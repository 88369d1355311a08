//! What arrives at a step and is not what arrived when it was recorded.

use bld_event::MissKind;
use bld_graph::{Input, Op};
use bld_store::{Record, RecordInput};

use super::{Portrait, called, fields, files};
use crate::evaluate;
use crate::solver::Build;
use crate::step::{StepInput, Tree};

/// How the inputs differ.
#[derive(Default)]
pub(super) struct Differences {
    /// Files of local contexts.
    pub(super) files: Vec<String>,
    /// Files of other stages.
    pub(super) arrived: Vec<String>,
    /// What comes of other steps.
    pub(super) follows: Vec<String>,
    /// The steps where that began.
    pub(super) causes: Vec<usize>,
    /// What the step stands on is known, and is another step than before.
    pub(super) moved: bool,
}

/// Compares the inputs of step `index` with those of `record`.
pub(super) fn compare(
    build: &Build,
    index: usize,
    portrait: &Portrait,
    record: &Record,
) -> Differences {
    let mut found = Differences::default();
    for (number, input) in build.steps[index].inputs.iter().enumerate() {
        let recorded = evaluate::recorded_input(&record.inputs, input);
        let is_same = |then: &RecordInput| {
            then.definition == input.definition && evaluate::is_current(build, input, then)
        };
        if recorded.is_some_and(is_same) && !build.steps[input.step].forced {
            continue;
        }
        match (build.trees[input.step].get(), recorded) {
            (Some(Tree::Context(context)), then) => {
                let changes = then
                    .and_then(|then| files::then(build, &then.definition))
                    .zip(portrait.listing(build, index, number))
                    .map(|(then, now)| files::compare(&then, now, Some(context)))
                    .filter(|changes| !changes.is_empty());
                let name = build.input_name(input);
                found.files.extend(changes.unwrap_or_else(|| vec![format!("{name} changed")]));
            }
            // Made anew, with what it gave before.
            (Some(Tree::Snapshot(now)), Some(then)) if then.snapshot == Some(*now) => {}
            (Some(Tree::Snapshot(now)), Some(RecordInput { snapshot: Some(then), .. }))
                if input.input != Input::Root =>
            {
                let change = files::compare_snapshots(build, index, input.input, (*then, *now));
                if change.as_ref().is_none_or(|changes| !changes.is_empty()) {
                    found.arrived.extend(change.unwrap_or_default());
                    provider(build, input, record, recorded, &mut found);
                }
            }
            _ => provider(build, input, record, recorded, &mut found),
        }
    }
    found.causes.sort_unstable();
    found.causes.dedup();
    found.follows.extend(because(build, &found.causes));
    found
}

/// Names the steps that others follow: two of them, of many.
fn because(build: &Build, causes: &[usize]) -> Option<String> {
    let said = causes.iter().map(|&cause| {
        let verb = match build.told[cause].get().map(|told| told.kind) {
            Some(MissKind::New) => "is new",
            Some(MissKind::Moved) => "moved",
            Some(MissKind::Forced) => "was made anew",
            Some(MissKind::Gone) => "had to be made again, and is not the same",
            _ => "changed",
        };
        format!("{} {verb}", called(&build.vertex(cause).name))
    });
    let said: Vec<String> = said.take(2).collect();
    let more = match causes.len() - said.len() {
        0 => String::new(),
        more => format!(", and for {more} more"),
    };
    (!said.is_empty()).then(|| format!("because {}{more}", said.join(" and ")))
}

/// What there is to say of a step that gives something else than what was recorded.
fn provider(
    build: &Build,
    input: &StepInput,
    record: &Record,
    then: Option<&RecordInput>,
    found: &mut Differences,
) {
    if let Some(told) = build.told[input.step].get() {
        found.causes.extend(&told.causes);
        return;
    }
    if then.is_some_and(|then| then.definition == input.definition) {
        let name = called(&build.vertex(input.step).name);
        found.follows.push(format!("because {name} was made anew since"));
        return;
    }
    // It was known: so here is where the difference begins.
    let now = &build.vertex(input.step).name;
    let earlier = record.fields[fields::PROVIDERS][StepInput::role(input.input)].as_str();
    let is_image = matches!(build.op(input.step), Op::Image(_));
    found.follows.push(match earlier.map(|name| (instruction(name), instruction(now))) {
        Some((then, now)) if is_image && then.starts_with("FROM ") => image(then, now),
        None if is_image => {
            format!("base image changed: it is {} now", reference(instruction(now)))
        }
        Some((then, now)) if then != now => {
            found.moved = true;
            format!("comes after {} now, came after {}", called(now), called(then))
        }
        _ => format!("what {} gives is not the same as before", called(now)),
    });
}

/// What is told of a base image.
fn image(then: &str, now: &str) -> String {
    let (then, now) = (reference(then), reference(now));
    let parts = |image: &str| match image.split_once('@') {
        Some((name, digest)) => (name.to_owned(), digest.get(..19).map(str::to_owned)),
        None => (image.to_owned(), None),
    };
    match (parts(then), parts(now)) {
        ((old, was), (new, is)) if old != new => {
            let full = |name: String, digest: Option<String>| match digest {
                Some(digest) => format!("{name}@{digest}"),
                None => name,
            };
            format!("base image changed from {} to {}", full(old, was), full(new, is))
        }
        ((name, Some(was)), (_, Some(is))) if was != is => {
            format!("base image {name} changed from {was} to {is}")
        }
        ((name, _), _) => format!("base image {name} changed: it has other layers"),
    }
}

/// The image of a `FROM`.
fn reference(from: &str) -> &str {
    from.strip_prefix("FROM ").unwrap_or(from)
}

/// A step's instruction, without its place such as `[build 2/5]`.
fn instruction(name: &str) -> &str {
    match name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, instruction)) => instruction,
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_by_what_differs() {
        let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
        let from = |name: &str, letter: &str| format!("FROM {name}@{}", digest(letter));
        assert_eq!(
            image(&from("r/a:1", "a"), &from("r/a:1", "b")),
            "base image r/a:1 changed from sha256:aaaaaaaaaaaa to sha256:bbbbbbbbbbbb"
        );
        assert_eq!(image("FROM r/a:1", "FROM r/b:1"), "base image changed from r/a:1 to r/b:1");
        assert_eq!(image("FROM a", "FROM a"), "base image a changed: it has other layers");
    }

    #[test]
    fn the_place_is_no_part_of_an_instruction() {
        assert_eq!(instruction("[build 2/5] RUN [ -f x ] && y"), "RUN [ -f x ] && y");
        assert_eq!(instruction("RUN x"), "RUN x");
    }
}
