//! What an operation takes of its inputs: the files behind the sources of COPY and ADD and behind
//! bind mounts, and their digests.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bld_dockerfile::ignore::{Patterns, glob_match};
use bld_graph::{CopyOp, CopySource, ExecOp, Input, MountKind, Op, Vertex};
use bld_layer::copy::{self, CopyError, Item, Listing};
use bld_layer::{Filter, StatCache, Verdict, View};
use bld_oci::{Digest, Hasher};
use bld_store::SnapshotId;

use crate::context::{LocalContext, Remembered};
use crate::environment::Environment;
use crate::error::{MissingSource, StepFailure};

/// The files of a local context that its ignore rules let through.
pub(crate) fn context_view(context: &Arc<LocalContext>) -> View {
    let view = View::plain(context.root().to_owned());
    if context.is_unfiltered() {
        return view;
    }
    let rules = Arc::clone(context);
    view.with_filter(Arc::new(move |path: &Path, is_dir: bool| {
        let path = path.to_string_lossy();
        match (rules.excludes(&path), is_dir) {
            (false, _) => Verdict::Take,
            (true, true) if rules.may_include_below(&path) => Verdict::Descend,
            (true, _) => Verdict::Skip,
        }
    }))
}

/// The merged files of a snapshot.
pub(crate) fn snapshot_view(env: &Environment, snapshot: SnapshotId) -> Result<View, StepFailure> {
    Ok(View::new(env.store.layers(snapshot)?))
}

/// Digest of what `vertex` selects of a local context that it takes as `input`.
pub(crate) fn context_digest(
    vertex: &Vertex,
    input: Input,
    context: &Arc<LocalContext>,
    remembered: &Remembered,
) -> Result<Digest, StepFailure> {
    let place = Place::Context(context);
    // Whoever owns the files here, they land as 0:0 unless --chown says otherwise, which the
    // operation itself tells.
    digest(
        vertex,
        input,
        &context_view(context),
        &place,
        Some((0, 0)),
        Some(remembered as &dyn StatCache),
    )
}

/// Digest of what `vertex` selects of a snapshot that it takes as `input`.
pub(crate) fn snapshot_digest(
    vertex: &Vertex,
    input: Input,
    snapshot: SnapshotId,
    env: &Environment,
) -> Result<Digest, StepFailure> {
    digest(vertex, input, &snapshot_view(env, snapshot)?, &Place::Tree("the stage"), None, None)
}

fn digest(
    vertex: &Vertex,
    input: Input,
    view: &View,
    place: &Place<'_>,
    owner: Option<(u32, u32)>,
    cache: Option<&dyn StatCache>,
) -> Result<Digest, StepFailure> {
    let mut hasher = Hasher::new();
    for items in selected(vertex, input, view, place)? {
        if let Op::Exec(_) = vertex.op {
            // A directory that is mounted is seen itself; of one that is copied only what is in it.
            for Item { node, .. } in &items {
                let (uid, gid) = owner.unwrap_or((node.meta.uid, node.meta.gid));
                let xattrs = node.xattrs()?;
                hasher.update(format!("{:o} {uid} {gid} {xattrs:?}\0", node.meta.mode).as_bytes());
            }
        }
        let digest = copy::selection_digest(view, &items, owner, None, cache)?;
        hasher.update(digest.as_bytes());
    }
    Ok(hasher.finish())
}

/// The files that `vertex` selects of a local context that it takes as `input`.
pub(crate) fn context_listing(
    vertex: &Vertex,
    input: Input,
    context: &Arc<LocalContext>,
    remembered: &Remembered,
) -> Result<Option<Listing>, StepFailure> {
    let view = context_view(context);
    let items = selected(vertex, input, &view, &Place::Context(context))?.concat();
    let remembered = Some(remembered as &dyn StatCache);
    Ok(copy::listing(&view, &items, Some((0, 0)), remembered, u64::MAX)?)
}

/// The files that `vertex` selects of a snapshot that it takes as `input`, unless they are more than
/// `most` bytes.
pub(crate) fn snapshot_listing(
    vertex: &Vertex,
    input: Input,
    snapshot: SnapshotId,
    env: &Environment,
    most: u64,
) -> Result<Option<Listing>, StepFailure> {
    let view = snapshot_view(env, snapshot)?;
    let items = selected(vertex, input, &view, &Place::Tree("the stage"))?.concat();
    Ok(copy::listing(&view, &items, None, None, most)?)
}

/// What `vertex` selects of `input`, source by source.
fn selected(
    vertex: &Vertex,
    input: Input,
    view: &View,
    place: &Place<'_>,
) -> Result<Vec<Vec<Item>>, StepFailure> {
    let Input::From(number) = input else {
        return Err(StepFailure::Unsupported("a context as root filesystem".to_owned()));
    };
    match &vertex.op {
        Op::Copy(op) => {
            let paths = op.sources.iter().filter_map(|source| match source {
                CopySource::Tree { input, path, .. } if *input == Some(number) => Some(path),
                _ => None,
            });
            paths.map(|path| sources(op, view, path, place)).collect()
        }
        Op::Exec(op) => {
            bind_sources(op, number).map(|path| Ok(vec![bind_source(view, path, place)?])).collect()
        }
        other => Err(StepFailure::Unsupported(format!("{} of a context", other.kind()))),
    }
}

/// The paths within input `number` that the mounts of `op` show.
fn bind_sources(op: &ExecOp, number: usize) -> impl Iterator<Item = &str> {
    op.mounts.iter().filter_map(move |mount| match &mount.kind {
        MountKind::Bind { input: Some(input), source, .. }
        | MountKind::Cache { input: Some(input), source, .. }
            if *input == number =>
        {
            Some(source.as_str())
        }
        _ => None,
    })
}

/// The file or directory that a bind mount shows.
pub(crate) fn bind_source(view: &View, path: &str, place: &Place<'_>) -> Result<Item, StepFailure> {
    let node = view.resolve(path)?.ok_or_else(|| missing(path, view, place))?;
    Ok(Item { name: node.name().to_owned(), node, filter: None })
}

/// Where a source is looked for, for messages.
pub(crate) enum Place<'a> {
    /// In a directory of this machine.
    Context(&'a LocalContext),
    /// In the result of a stage or an image.
    Tree(&'a str),
}

/// The files that one source of a COPY names.
pub(crate) fn sources(
    op: &CopyOp,
    view: &View,
    path: &str,
    place: &Place<'_>,
) -> Result<Vec<Item>, StepFailure> {
    let excludes = excludes(&op.excludes)?;
    let mut items =
        if op.parents { with_parents(view, path, place)? } else { matching(view, path, place)? };
    if let Some(excludes) = excludes {
        for item in &mut items {
            item.filter = Some(both(item.filter.take(), Arc::clone(&excludes)));
        }
    }
    Ok(items)
}

/// What `path` names, wildcards and all.
fn matching(view: &View, path: &str, place: &Place<'_>) -> Result<Vec<Item>, StepFailure> {
    let matches = |pattern: &OsStr, name: &OsStr| {
        glob_match(&pattern.to_string_lossy(), &name.to_string_lossy()).unwrap_or(false)
    };
    match copy::select(view, Path::new(path), &matches) {
        Err(CopyError::NotFound { .. }) => Err(missing(path, view, place)),
        other => Ok(other?),
    }
}

/// `--exclude`: patterns relative to each source.
fn excludes(patterns: &[String]) -> Result<Option<Filter>, StepFailure> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let rules = patterns_of(&patterns.join("\n"))?;
    Ok(Some(Arc::new(move |path: &Path, is_dir| {
        let path = path.to_string_lossy();
        match (rules.matches(&path), is_dir) {
            (false, _) => Verdict::Take,
            (true, true) if rules.may_contain_exception_below(&path) => Verdict::Descend,
            (true, _) => Verdict::Skip,
        }
    })))
}

/// `--parents`: the directories where the kept part of the path starts, and of each only what the
/// rest of the path matches.
fn with_parents(view: &View, path: &str, place: &Place<'_>) -> Result<Vec<Item>, StepFailure> {
    let (base, rest) = path.split_once("/./").unwrap_or(("", path));
    let base = if base.is_empty() { "/" } else { base };
    let rest = rest.trim_matches('/').to_owned();
    let mut items = matching(view, base, place)?;
    let wildcard = path.contains(['*', '?', '[', '\\']);
    if !wildcard && view.resolve(Path::new(base).join(&rest))?.is_none() {
        return Err(missing(path, view, place));
    }
    if rest.is_empty() {
        return Ok(items);
    }
    let rules = patterns_of(&rest)?;
    let filter: Filter = Arc::new(move |path: &Path, is_dir| {
        match (rules.matches(&path.to_string_lossy()), is_dir) {
            (true, _) => Verdict::Take,
            (false, true) => Verdict::Descend,
            (false, false) => Verdict::Skip,
        }
    });
    items.retain(|item| item.node.meta.is_dir());
    for item in &mut items {
        item.filter = Some(Arc::clone(&filter));
    }
    Ok(items)
}

fn patterns_of(text: &str) -> Result<Patterns, StepFailure> {
    Patterns::parse(text).map_err(|error| StepFailure::Unsupported(error.to_string()))
}

/// What both filters let through.
fn both(first: Option<Filter>, second: Filter) -> Filter {
    let Some(first) = first else { return second };
    Arc::new(move |path: &Path, is_dir| match (first(path, is_dir), second(path, is_dir)) {
        (Verdict::Skip, _) | (_, Verdict::Skip) => Verdict::Skip,
        (Verdict::Take, Verdict::Take) => Verdict::Take,
        _ => Verdict::Descend,
    })
}

/// `path` without the name of the context's directory, if that is what was meant.
fn from_inside(path: &str, place: &Place<'_>) -> Option<String> {
    let Place::Context(context) = place else { return None };
    let root = context.root().canonicalize().ok()?;
    let inside = Path::new(path).strip_prefix(root.file_name()?).ok()?;
    let exists = !inside.as_os_str().is_empty() && context.root().join(inside).exists();
    exists.then(|| format!("/{}", inside.display()))
}

fn missing(path: &str, view: &View, place: &Place<'_>) -> StepFailure {
    let relative = path.trim_start_matches('/');
    let parent = Path::new(path).parent().unwrap_or(Path::new("/"));
    let wanted = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
    let names: Vec<String> = view
        .read_dir(parent)
        .map(|nodes| nodes.iter().map(|node| node.name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let similar = bld_dockerfile::suggest(&wanted, names.iter().map(String::as_str))
        .map(|name| parent.join(name).to_string_lossy().into_owned())
        .or_else(|| from_inside(relative, place));
    let (place, ignored_by) = match place {
        Place::Tree(name) => ((*name).to_owned(), None),
        Place::Context(context) => {
            let exists = |path: &str| context.root().join(path).symlink_metadata().is_ok();
            let is_pattern = relative.contains(['*', '?', '[']);
            let rule = context.excluding_rule(relative).filter(|_| is_pattern || exists(relative));
            let rule = rule.map(|rule| {
                let file = context.ignore_file().map_or_else(PathBuf::new, Path::to_owned);
                (file, rule.line, rule.pattern.clone())
            });
            (format!("the context {}", context.name()), rule)
        }
    };
    StepFailure::MissingSource(Box::new(MissingSource {
        path: path.to_owned(),
        place,
        ignored_by,
        similar: similar.into_iter().collect(),
    }))
}
