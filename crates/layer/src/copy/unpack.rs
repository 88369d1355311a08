//! ADD of a local archive.

use std::io::{Cursor, Read};
use std::path::Path;

use super::{CopyError, CopyRequest, Item};
use crate::apply::{ApplyOptions, Whiteouts, apply};
use crate::error::Context;
use crate::upper::{Attributes, Upper};
use crate::{Kind, Result, archive, decoder, is_tar, read_ahead};

/// If `item` is a tar archive, plain or compressed, unpacks it into the directory `request.dest`
/// and returns true. What it is, its contents tell, never its name. The other items of the request
/// do not matter.
///
/// The destination is made when it is missing. Entries replace what is in their place, except that
/// directories merge; symbolic links on the way are followed inside the root; owner, mode and time
/// are those of the archive, unless `request.owner` says otherwise.
///
/// # Errors
/// [`CopyError::NotADirectory`] when the destination is no directory; [`CopyError::Layer`] when the
/// archive is damaged or an entry can't be unpacked.
pub fn unpack(request: &CopyRequest<'_>, item: &Item) -> Result<bool, CopyError> {
    let Some(mut tar) = open_archive(request, item)? else { return Ok(false) };
    let mut upper = Upper::open(request.upper, request.dest_view)?;
    let target = upper.canonical(request.dest, request.follow_dest_symlinks)?;
    for path in target.ancestors() {
        if let Some(node) = upper.merged().lookup(path)?
            && !node.meta.is_dir()
        {
            let (dest, path) = (request.dest.to_owned(), path.to_owned());
            return Err(CopyError::NotADirectory { dest, path });
        }
    }
    // The mode is not that of --chmod: it does not apply to archives at all.
    let made = Attributes { mode: 0o755, ..request.implied_dir(&item.node) };
    upper.dir(&target, &made)?;
    upper.finish()?;
    let options = ApplyOptions {
        whiteouts: Whiteouts::Literal,
        owner: request.owner,
        mtime: request.mtime,
        flat: false,
        lower: Some(request.dest_view.clone()),
        prefix: target,
    };
    apply(&mut tar, Path::new(request.upper), &options)?;
    Ok(true)
}

/// The uncompressed archive, if the item is one. What cannot even be decoded up to its first
/// header is none.
fn open_archive(request: &CopyRequest<'_>, item: &Item) -> Result<Option<impl Read + use<>>> {
    if item.node.meta.kind != Kind::File {
        return Ok(None);
    }
    let file = request.source.open(&item.node)?;
    let Ok(mut decoded) = decoder(file) else { return Ok(None) };
    let mut prefix = Vec::with_capacity(archive::BLOCK);
    let read = decoded.by_ref().take(archive::BLOCK as u64).read_to_end(&mut prefix);
    if read.is_err() || !is_tar(&prefix) {
        return Ok(None);
    }
    // Decompressing and writing files out overlap.
    let ahead = read_ahead(decoded).context("read", item.node.real())?;
    Ok(Some(Cursor::new(prefix).chain(ahead)))
}
