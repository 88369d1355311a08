//! What a COPY takes, file by file and small enough to be kept: to say later which file changed.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;

use bld_oci::{Digest, Hasher};
use rayon::prelude::*;

use super::{CopyError, Item};
use crate::digest::{self, Inside};
use crate::{Kind, Node, Result, StatCache, View};

/// One file of a [`Listing`], as far as it counts for [`selection_digest`](super::selection_digest).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Tells one set of extended attributes from another; empty without any.
    pub xattrs: String,
    /// Tells the contents of one file from another's; of a link, where it leads; of a device, its
    /// numbers.
    pub content: String,
}

/// Files by their path in the tree they are taken from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing(pub BTreeMap<Vec<u8>, Listed>);

/// Hexadecimal digits that tell one content from another. It is for people: nothing is decided by it.
const DIGITS: usize = 16;

/// Names the format, and ends every field.
const MAGIC: &[u8] = b"bldlist1\0";

/// Compression: paths shrink, digests do not, whatever the level.
const LEVEL: i32 = 1;

/// Largest listing that is read, bytes.
const LIMIT: usize = 1 << 30;

/// Lists what `items` are, as they will land with the given owner; `None` if their contents are more
/// than `most` bytes.
///
/// # Errors
/// [`CopyError::Layer`] when the source cannot be read.
pub fn listing(
    source: &View,
    items: &[Item],
    owner: Option<(u32, u32)>,
    cache: Option<&dyn StatCache>,
    most: u64,
) -> Result<Option<Listing>, CopyError> {
    let mut files = BTreeMap::new();
    let mut bytes = 0;
    for item in items {
        let taken = item.taken(source)?;
        bytes += taken.iter().map(|(_, taken)| taken.node.meta.size).sum::<u64>();
        if bytes > most {
            return Ok(None);
        }
        let listed = taken.par_iter().filter(|taken| taken.node.meta.kind != Kind::Socket);
        let listed = listed.map(|taken| {
            let path = taken.node.relative().as_os_str().as_bytes().to_vec();
            let inside = match &taken.inside {
                Some(inside) => inside,
                None => &digest::look_inside(source, &taken.node, cache)?,
            };
            Ok((path, listed_as(&taken.node, inside, owner)?))
        });
        files.extend(listed.collect::<Result<Vec<_>>>()?);
    }
    Ok(Some(Listing(files)))
}

fn listed_as(node: &Node, inside: &Inside, owner: Option<(u32, u32)>) -> Result<Listed> {
    let kind = node.meta.kind;
    let content = match kind {
        Kind::File => inside.contents.map_or_else(String::new, |read| short(&read.digest)),
        Kind::Symlink => node.link_target()?.to_string_lossy().replace('\0', ""),
        Kind::CharDevice | Kind::BlockDevice => format!("{:?}", node.meta.rdev),
        Kind::Dir | Kind::Fifo | Kind::Socket => String::new(),
    };
    let mut xattrs = Hasher::new();
    for (name, value) in &inside.xattrs {
        for bytes in [name.as_bytes(), value] {
            xattrs.update(&(bytes.len() as u64).to_le_bytes());
            xattrs.update(bytes);
        }
    }
    Ok(Listed {
        kind,
        // The mode of a link is not used by anything.
        mode: if kind == Kind::Symlink { 0o777 } else { node.meta.mode },
        owner: owner.unwrap_or((node.meta.uid, node.meta.gid)),
        xattrs: if inside.xattrs.is_empty() { String::new() } else { short(&xattrs.finish()) },
        content,
    })
}

fn short(digest: &Digest) -> String {
    let mut hex = digest.hex();
    hex.truncate(DIGITS);
    hex
}

impl Listing {
    /// The listing for a file, compressed.
    ///
    /// # Errors
    /// The compressor has failed, which nobody has seen yet.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let mut text = MAGIC.to_vec();
        for (path, file) in &self.0 {
            let Listed { kind, mode, owner: (user, group), xattrs, content } = file;
            let letter = letter(*kind);
            text.extend_from_slice(
                format!("{letter} {mode:o} {user} {group} {xattrs} {content}\0").as_bytes(),
            );
            text.extend_from_slice(path);
            text.push(0);
        }
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        compressor.compress(&text)
    }

    /// What [`encode`](Self::encode) gave; `None` if it is damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = zstd::bulk::Decompressor::new().ok()?.decompress(bytes, LIMIT).ok()?;
        let mut fields = text.strip_prefix(MAGIC)?.split(|byte| *byte == 0);
        let mut files = BTreeMap::new();
        while let (Some(file), Some(path)) = (fields.next(), fields.next()) {
            files.insert(path.to_vec(), parsed(std::str::from_utf8(file).ok()?)?);
        }
        Some(Self(files))
    }
}

fn parsed(text: &str) -> Option<Listed> {
    let mut fields = text.splitn(6, ' ');
    let mut next = || fields.next();
    let letter = next()?;
    Some(Listed {
        kind: KINDS.into_iter().find(|(known, _)| letter.starts_with(*known))?.1,
        mode: u32::from_str_radix(next()?, 8).ok()?,
        owner: (next()?.parse().ok()?, next()?.parse().ok()?),
        xattrs: next()?.to_owned(),
        content: next()?.to_owned(),
    })
}

const KINDS: [(char, Kind); 7] = [
    ('f', Kind::File),
    ('d', Kind::Dir),
    ('l', Kind::Symlink),
    ('c', Kind::CharDevice),
    ('b', Kind::BlockDevice),
    ('p', Kind::Fifo),
    ('s', Kind::Socket),
];

fn letter(kind: Kind) -> char {
    KINDS.into_iter().find(|(_, known)| *known == kind).map_or('f', |(letter, _)| letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_survives_the_trip() -> io::Result<()> {
        let file = |kind, content: &str| Listed {
            kind,
            mode: 0o4755,
            owner: (1, 2),
            xattrs: String::new(),
            content: content.to_owned(),
        };
        let listing = Listing(BTreeMap::from([
            (b"a b/\xff\n".to_vec(), file(Kind::File, "0123")),
            (b"link".to_vec(), file(Kind::Symlink, "to a place with blanks")),
            (b"dir".to_vec(), file(Kind::Dir, "")),
        ]));
        let bytes = listing.encode()?;
        assert_eq!(Listing::decode(&bytes).as_ref(), Some(&listing));
        let mut torn = bytes.clone();
        torn.truncate(bytes.len() - 3);
        assert_eq!(Listing::decode(&torn), None);
        assert_eq!(Listing::decode(b""), None);
        Ok(())
    }
}
