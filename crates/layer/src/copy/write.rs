//! Carrying out a plan.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::Path;

use rayon::prelude::*;

use super::plan::{Placement, Plan};
use super::read::Taken;
use super::share::{Shared, Site};
use super::{CopyError, CopyRequest, CopyStats, landing};
use crate::digest::stamp_of;
use crate::error::Context;
use crate::upper::{self, Attributes, Special, Upper};
use crate::view::Opener;
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
    shared: &Shared<'_>,
    plan: &Plan,
    upper: &mut Upper,
) -> Result<CopyStats, CopyError> {
    for (path, made) in &plan.parents {
        upper.dir(path, made)?;
    }
    let mut batches: Vec<Batch<'_>> = Vec::new();
    // The batch of each directory that still takes files.
    let mut filling: HashMap<&OsStr, usize> = HashMap::new();
    let mut links = Vec::new();
    let mut first: HashMap<(usize, u64, u64), &Path> = HashMap::new();
    for (path, placement) in &plan.placements {
        let path = Path::new(path);
        let dir = path.parent().unwrap_or(path);
        let meta = &placement.node().meta;
        if meta.is_dir() {
            let parent = upper.dir(dir, &request.implied_dir(placement.node()))?;
            let mut attributes =
                landing(placement.taken(), request.owner, request.chmod, request.mtime)?;
            if placement.merges {
                upper.inherit(path, &mut attributes)?;
            }
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
        let open = filling.entry(dir.as_os_str()).or_insert(usize::MAX);
        if batches.get(*open).is_none_or(|batch| batch.files.len() == CHUNK) {
            *open = batches.len();
            batches.push(Batch { dir, files: Vec::new() });
        }
        batches[*open].files.push((path, placement));
    }
    let mut stats = {
        let upper = &*upper;
        let several: HashSet<&Path> = links.iter().map(|(_, target)| *target).collect();
        let stats = batches.par_iter().map(|batch| batch.write(request, shared, &several, upper));
        stats.try_reduce(CopyStats::default, |a, b| {
            Ok(CopyStats {
                files: 0,
                bytes: a.bytes + b.bytes,
                shared: a.shared + b.shared,
                changed: a.changed + b.changed,
            })
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

impl<'a> Batch<'a> {
    fn write(
        &self,
        request: &'a CopyRequest<'_>,
        shared: &Shared<'_>,
        several: &HashSet<&Path>,
        upper: &Upper,
    ) -> Result<CopyStats> {
        let site = shared.site(upper, self.dir)?;
        let mut opener = Opener::default();
        let mut stats = CopyStats::default();
        for (path, placement) in &self.files {
            let taken = placement.taken();
            let node = &taken.node;
            let attributes = landing(taken, request.owner, request.chmod, request.mtime)?;
            if node.meta.kind == Kind::File {
                // One of several names: it is nobody else's.
                let shared = (!several.contains(path)).then_some(shared);
                if let Some(shared) = shared
                    && shared.link(request, &site, path, taken, &attributes)?
                {
                    stats.shared += 1;
                    continue;
                }
                let written = write_file(&mut opener, shared, &site, path, taken, &attributes)?;
                stats.bytes += written.bytes;
                stats.changed += written.changed;
            } else if let Some(special) = Special::of(node)? {
                upper.put_special(&site.dir, path, &special, &attributes)?;
            }
        }
        Ok(stats)
    }
}

fn write_file<'a>(
    opener: &mut Opener<'a>,
    shared: Option<&Shared<'_>>,
    site: &Site<'_>,
    path: &Path,
    taken: &'a Taken,
    attributes: &Attributes,
) -> Result<CopyStats> {
    let node = &taken.node;
    let source = opener.open(node)?;
    let file = site.upper.put_file(&site.dir, path, attributes)?;
    let real = || site.upper.real(path);
    let read = taken.inside.as_ref().and_then(|inside| inside.contents);
    let mut stats = CopyStats::default();
    // What is in the file now, if that is known.
    let mut landed = None;
    match read {
        // Nothing but the bytes themselves can tell whether they are those that were read before.
        Some(contents) if contents.stamp.is_none() => {
            let mut hasher = bld_oci::Hasher::new();
            let hash = |bytes: &[u8]| hasher.update(bytes);
            stats.bytes = contents::copy_shown(&source, &file, node.meta.size, hash)
                .with_context("write", real)?;
            landed = Some(hasher.finish()).filter(|digest| *digest == contents.digest);
        }
        _ => {
            stats.bytes = contents::copy(&source, &file, &node.meta).with_context("write", real)?;
            if let Some(contents) = read
                && contents.stamp == Some(stamp_of(&source, node)?)
            {
                landed = Some(contents.digest);
            }
        }
    }
    stats.changed = u64::from(read.is_some() && landed.is_none());
    let meta = upper::finish_file(&file, attributes).with_context("set the attributes of", real)?;
    if let Some(shared) = shared {
        shared.tell(&meta, landed, attributes);
    }
    Ok(stats)
}
