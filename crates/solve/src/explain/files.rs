//! Which of the files that a step takes of a local context are not what they were.

use std::collections::{BTreeMap, BTreeSet};

use bld_graph::Input;
use bld_layer::Kind;
use bld_layer::copy::{Listed, Listing};
use bld_oci::Digest;
use bld_store::SnapshotId;

use super::words::quoted;
use crate::context::{LocalContext, Remembered};
use crate::select;
use crate::solver::Build;
use crate::step::Tree;

/// The files that step `index` takes of a local context as `input`; none if it is no such input or
/// its files cannot be read any more.
pub(super) fn now(build: &Build, index: usize, input: Input) -> Option<Listing> {
    let Tree::Context(context) = build.tree(index, input)? else { return None };
    let read = build.steps[index].inputs.iter().find(|one| one.input == input)?.files();
    if let Some(files) = read {
        return select::listing_of(context, &files).ok()?;
    }
    let remembered = Remembered::open(&build.env, context);
    select::context_listing(build.vertex(index), input, context, &remembered).ok()?
}

/// Most bytes of the files of two snapshots that are compared one by one, which takes reading them.
const MOST_BYTES: u64 = 64 << 20;

/// Tells what differs between what step `index` takes of two snapshots as `input`; none if that is not
/// known.
pub(super) fn compare_snapshots(
    build: &Build,
    index: usize,
    input: Input,
    (then, now): (SnapshotId, SnapshotId),
) -> Option<Vec<String>> {
    let listing = |snapshot| {
        build.env.lease.hold(snapshot).ok()?.then_some(())?;
        let vertex = build.vertex(index);
        select::snapshot_listing(vertex, input, snapshot, &build.env, MOST_BYTES).ok()?
    };
    Some(compare(&listing(then)?, &listing(now)?, None))
}

/// The files that were listed when `content` stood for them.
pub(super) fn then(build: &Build, content: &Digest) -> Option<Listing> {
    Listing::decode(&build.env.store.listing(content).ok()??)
}

/// Something that came, went or changed: a file, or a directory with all that is in it.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Renamed(String, String),
    Changed(String, String),
    New(String, usize),
    Gone(String, usize),
}

/// Tells what changed, `context` being where the files are now.
pub(super) fn compare(
    then: &Listing,
    now: &Listing,
    context: Option<&LocalContext>,
) -> Vec<String> {
    let said = |change| match change {
        Change::Renamed(from, to) => format!("{} renamed to {}", quoted(&from), quoted(&to)),
        Change::Changed(path, how) => format!("{} changed ({how})", quoted(&path)),
        Change::New(path, files) => format!("{} is new{}", quoted(&path), counted(files)),
        Change::Gone(path, files) => match context.and_then(|context| ignored(context, &path)) {
            Some(rule) => format!("{} is ignored now ({rule})", quoted(&path)),
            None => format!("{} is gone{}", quoted(&path), counted(files)),
        },
    };
    changes(then, now).into_iter().map(said).collect()
}

fn counted(files: usize) -> String {
    match files {
        0 => String::new(),
        1 => " (with 1 entry)".to_owned(),
        many => format!(" (with {many} entries)"),
    }
}

/// The rule that keeps `path`, which is there, out of the context.
fn ignored(context: &LocalContext, path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    let rule = context.excluding_rule(path)?;
    context.root().join(path).symlink_metadata().ok()?;
    let file = context.ignore_file()?.file_name()?.to_string_lossy();
    Some(format!("{file}:{}: {}", rule.line, rule.pattern))
}

fn changes(then: &Listing, now: &Listing) -> Vec<Change> {
    let mut found = Vec::new();
    let paths: BTreeSet<&Vec<u8>> = then.0.keys().chain(now.0.keys()).collect();
    let (mut gone, mut new) = (Units::default(), Units::default());
    for path in paths {
        match (then.0.get(path), now.0.get(path)) {
            (Some(old), None) => gone.add(path, old),
            (None, Some(file)) => new.add(path, file),
            (Some(old), Some(file)) if old != file => {
                found.push(Change::Changed(shown(path, file), aspects(old, file)));
            }
            _ => {}
        }
    }
    let renamed = renamed(&gone, &new);
    let mut first: Vec<Change> =
        renamed.iter().map(|(from, to)| Change::Renamed(gone.name(from), new.name(to))).collect();
    let is_renamed = |path: &Vec<u8>| renamed.iter().any(|(from, to)| from == path || to == path);
    let rest = |units: &Units, change: fn(String, usize) -> Change| -> Vec<Change> {
        let rest = units.0.iter().filter(|(path, _)| !is_renamed(path));
        rest.map(|(path, files)| change(units.name(path), files.len() - 1)).collect()
    };
    first.append(&mut found);
    first.append(&mut rest(&new, Change::New));
    first.append(&mut rest(&gone, Change::Gone));
    first
}

/// Files that came or went, by the topmost directory that did so with them; each with its path
/// relative to that.
#[derive(Default)]
struct Units<'a>(BTreeMap<Vec<u8>, Vec<(&'a [u8], &'a Listed)>>);

impl<'a> Units<'a> {
    /// Adds a file; what is in a directory comes after it.
    fn add(&mut self, path: &'a [u8], file: &'a Listed) {
        // The directory may have other names between it and its contents: `a`, `a-b`, `a/c`.
        let mut ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let unit = ends.find_map(|(end, _)| self.0.contains_key(&path[..end]).then_some(end));
        match unit.and_then(|end| self.0.get_mut(&path[..end]).map(|files| (end, files))) {
            Some((end, files)) => files.push((&path[end..], file)),
            None => drop(self.0.insert(path.to_vec(), vec![(b"", file)])),
        }
    }

    fn name(&self, path: &[u8]) -> String {
        match self.0.get(path).and_then(|files| files.first()) {
            Some((_, file)) => shown(path, file),
            None => String::from_utf8_lossy(path).into_owned(),
        }
    }
}

/// Most files that went or came among which renamed ones are looked for: everything is compared with
/// everything, and of many, nobody would read all names anyway.
const MOST_RENAMED: usize = 200;

/// What went under one name and came under another: each the only one of its kind.
fn renamed(gone: &Units<'_>, new: &Units<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let alike = |units: &Units<'_>, files: &[(&[u8], &Listed)]| -> Vec<Vec<u8>> {
        let alike = units.0.iter().filter(|(_, other)| other.as_slice() == files);
        alike.map(|(path, _)| path.clone()).take(2).collect()
    };
    if gone.0.len().max(new.0.len()) > MOST_RENAMED {
        return Vec::new();
    }
    let pairs = gone.0.iter().filter_map(|(from, files)| {
        match (alike(gone, files).as_slice(), alike(new, files).as_slice()) {
            ([_], [to]) => Some((from.clone(), to.clone())),
            _ => None,
        }
    });
    pairs.collect()
}

/// A path as it is shown: that of a directory ends in a slash.
fn shown(path: &[u8], file: &Listed) -> String {
    let slash = if file.kind == Kind::Dir { "/" } else { "" };
    format!("{}{slash}", String::from_utf8_lossy(path))
}

/// What of a file is not as it was.
fn aspects(then: &Listed, now: &Listed) -> String {
    if then.kind != now.kind {
        return format!("was a {}, is a {}", word(then.kind), word(now.kind));
    }
    let mut aspects = Vec::new();
    if then.content != now.content {
        aspects.push(match now.kind {
            Kind::Symlink => {
                format!("link target from {} to {}", quoted(&then.content), quoted(&now.content))
            }
            Kind::File => "bytes".to_owned(),
            _ => "device number".to_owned(),
        });
    }
    if then.mode != now.mode {
        aspects.push(format!("mode from {:04o} to {:04o}", then.mode, now.mode));
    }
    if then.owner != now.owner {
        let ((user, group), (new_user, new_group)) = (then.owner, now.owner);
        aspects.push(format!("owner from {user}:{group} to {new_user}:{new_group}"));
    }
    if then.xattrs != now.xattrs {
        aspects.push("extended attributes".to_owned());
    }
    aspects.join(", ")
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Dir => "directory",
        Kind::Symlink => "link",
        Kind::CharDevice | Kind::BlockDevice => "device",
        Kind::Fifo => "pipe",
        Kind::Socket => "socket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(files: &[(&str, Kind, u32, &str)]) -> Listing {
        let listed = |(path, kind, mode, content): &(&str, Kind, u32, &str)| {
            let file = Listed {
                kind: *kind,
                mode: *mode,
                owner: (0, 0),
                xattrs: String::new(),
                content: (*content).to_owned(),
            };
            (path.as_bytes().to_vec(), file)
        };
        Listing(files.iter().map(listed).collect())
    }

    fn said(then: &[(&str, Kind, u32, &str)], now: &[(&str, Kind, u32, &str)]) -> Vec<String> {
        compare(&listing(then), &listing(now), None)
    }

    #[test]
    fn what_changed_of_a_file_is_told() {
        use Kind::{Dir, File, Symlink};
        let then = [
            ("bytes", File, 0o644, "1"),
            ("both", File, 0o644, "1"),
            ("dir", Dir, 0o755, ""),
            ("gone", File, 0o644, "5"),
            ("link", Symlink, 0o777, "a"),
            ("mode", File, 0o644, "1"),
            ("type", File, 0o644, "1"),
        ];
        let now = [
            ("bytes", File, 0o644, "2"),
            ("both", File, 0o600, "2"),
            ("dir", Dir, 0o700, ""),
            ("link", Symlink, 0o777, "b"),
            ("mode", File, 0o755, "1"),
            ("new name", File, 0o644, "6"),
            ("type", Symlink, 0o777, "1"),
        ];
        assert_eq!(
            said(&then, &now),
            [
                "both changed (bytes, mode from 0644 to 0600)",
                "bytes changed (bytes)",
                "dir/ changed (mode from 0755 to 0700)",
                "link changed (link target from a to b)",
                "mode changed (mode from 0644 to 0755)",
                "type changed (was a file, is a link)",
                "\"new name\" is new",
                "gone is gone",
            ]
        );
        assert_eq!(said(&then, &then), <[&str; 0]>::default());
    }

    #[test]
    fn renames_are_told_where_they_are_certain() {
        use Kind::{Dir, File};
        assert_eq!(
            said(&[("a", File, 0o644, "1")], &[("b", File, 0o644, "1")]),
            ["a renamed to b"]
        );
        // Whichever it was.
        assert_eq!(
            said(&[("a", File, 0o644, "1")], &[("b", File, 0o644, "1"), ("c", File, 0o644, "1")]),
            ["b is new", "c is new", "a is gone"]
        );
        let dir = |name: &'static str, inner: &'static str, last: &'static str| {
            [(name, Dir, 0o755, ""), (inner, File, 0o644, "1"), (last, File, 0o644, "2")]
        };
        assert_eq!(said(&dir("a", "a/x", "a/y"), &dir("b", "b/x", "b/y")), ["a/ renamed to b/"]);
        assert_eq!(
            said(
                &[],
                &[("a", Dir, 0o755, ""), ("a-b", File, 0o644, "7"), ("a/c", File, 0o644, "8")]
            ),
            ["a/ is new (with 1 entry)", "a-b is new"]
        );
    }
}
