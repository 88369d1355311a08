//! Carrying out a plan.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use rayon::prelude::*;

use super::plan::{Placement, Plan};
use super::share::Shared;
use super::{CopyError, CopyRequest, CopyStats, landing};
use crate::error::Context;
use crate::upper::{self, Attributes, Special, Upper};
use crate::{Kind, Node, Result, contents};

/// Files of one directory that one thread copies before it looks for more to do: enough that
/// opening the directory does not count, few enough that a single large directory keeps every
/// core busy.
const CHUNK: usize = 32;

/// Files that go into the same directory.
struct Batch<'a> {
    dir: &'a Path,
    files: Vec<(&'a Path, &'a Placement)>,
}

pub(super) fn write(
    request: &CopyRequest<'_>,
    shared: &Shared<'_>,
    plan: &Plan,
    upper: &mut Upper,
) -> Result<CopyStats, CopyError> {
    for (path, made) in &plan.parents {
        upper.dir(path, made)?;
    }
    let mut batches: Vec<Batch<'_>> = Vec::new();
    // The batch of each directory that still takes files.
    let mut filling: HashMap<&Path, usize> = HashMap::new();
    let mut links = Vec::new();
    let mut first: HashMap<(usize, u64, u64), &Path> = HashMap::new();
    for (path, placement) in &plan.placements {
        let dir = path.parent().unwrap_or(path);
        let meta = &placement.node.meta;
        if meta.is_dir() {
            let parent = upper.dir(dir, &request.implied_dir(&placement.node))?;
            let mut attributes =
                landing(&placement.node, request.owner, request.chmod, request.mtime)?;
            upper.inherit(path, &mut attributes)?;
            upper.put_dir(parent, path, &attributes)?;
            continue;
        }
        if meta.is_hardlinked() {
            let target = *first.entry((placement.item, meta.dev, meta.ino)).or_insert(path);
            if target != path {
                links.push((path, target));
                continue;
            }
        }
        let open = filling.entry(dir).or_insert(usize::MAX);
        if batches.get(*open).is_none_or(|batch| batch.files.len() == CHUNK) {
            *open = batches.len();
            batches.push(Batch { dir, files: Vec::new() });
        }
        batches[*open].files.push((path, placement));
    }
    let mut stats = {
        let upper = &*upper;
        let stats = batches.par_iter().map(|batch| batch.write(request, shared, upper));
        stats.try_reduce(CopyStats::default, |a, b| {
            Ok(CopyStats { files: 0, bytes: a.bytes + b.bytes, shared: a.shared + b.shared })
        })?
    };
    for (path, target) in links {
        let parent = upper.open_dir(path.parent().unwrap_or(path))?;
        upper.put_hardlink(parent, path, target)?;
    }
    for (path, node) in &plan.tops {
        upper.set_time(path, request.implied_dir(node).mtime);
    }
    stats.files = plan.placements.len() as u64;
    Ok(stats)
}

impl Batch<'_> {
    fn write(
        &self,
        request: &CopyRequest<'_>,
        shared: &Shared<'_>,
        upper: &Upper,
    ) -> Result<CopyStats> {
        let dir = upper.open_dir(self.dir)?;
        let mut stats = CopyStats::default();
        for (path, placement) in &self.files {
            let node = &placement.node;
            let attributes = landing(node, request.owner, request.chmod, request.mtime)?;
            if node.meta.kind == Kind::File {
                if shared.link(request, upper, &dir, path, node, &attributes)? {
                    stats.shared += 1;
                    continue;
                }
                stats.bytes += write_file(request, upper, &dir, path, node, &attributes)?;
            } else if let Some(special) = Special::of(node)? {
                upper.put_special(&dir, path, &special, &attributes)?;
            }
        }
        Ok(stats)
    }
}

fn write_file(
    request: &CopyRequest<'_>,
    upper: &Upper,
    dir: &OwnedFd,
    path: &Path,
    node: &Node,
    attributes: &Attributes,
) -> Result<u64> {
    let source = request.source.open(node)?;
    let file = upper.put_file(dir, path)?;
    let real = upper.real(path);
    let bytes = contents::copy(&source, &file, &node.meta).context("write", &real)?;
    upper::finish_file(&file, attributes).context("set the attributes of", &real)?;
    Ok(bytes)
}
