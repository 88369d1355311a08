//! Carrying out a plan.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::plan::{Placement, Plan};
use super::{CopyError, CopyRequest, CopyStats, landing};
use crate::error::Context;
use crate::upper::{self, Special, Upper};
use crate::{Kind, Result, contents};

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
            let attributes = landing(&placement.node, request.owner, request.chmod, request.mtime)?;
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
    let written = {
        let upper = &*upper;
        let written = batches.par_iter().map(|batch| batch.write(request, upper));
        written.try_reduce(|| 0, |a, b| Ok(a + b))?
    };
    for (path, target) in links {
        let parent = upper.open_dir(path.parent().unwrap_or(path))?;
        upper.put_hardlink(parent, path, target)?;
    }
    for (path, node) in &plan.tops {
        upper.set_time(path, request.implied_dir(node).mtime);
    }
    Ok(CopyStats { files: plan.placements.len() as u64, bytes: written })
}

impl Batch<'_> {
    fn write(&self, request: &CopyRequest<'_>, upper: &Upper) -> Result<u64> {
        let dir = upper.open_dir(self.dir)?;
        let mut bytes = 0;
        for (path, placement) in &self.files {
            bytes += write_file(request, upper, &dir, path, placement)?;
        }
        Ok(bytes)
    }
}

fn write_file(
    request: &CopyRequest<'_>,
    upper: &Upper,
    dir: &OwnedFd,
    path: &Path,
    placement: &Placement,
) -> Result<u64> {
    let node = &placement.node;
    let attributes = landing(node, request.owner, request.chmod, request.mtime)?;
    if node.meta.kind == Kind::File {
        let source = request.source.open(node)?;
        let file = upper.put_file(dir.as_fd(), path)?;
        let real: PathBuf = upper.real(path);
        let bytes = contents::copy(&source, &file, &node.meta).context("write", &real)?;
        upper::finish_file(&file, &attributes).context("set the attributes of", &real)?;
        return Ok(bytes);
    }
    if let Some(special) = Special::of(node)? {
        upper.put_special(dir.as_fd(), path, &special, &attributes)?;
    }
    Ok(0)
}
