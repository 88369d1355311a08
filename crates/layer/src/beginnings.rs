//! The digest of a layer that begins like an earlier one.
//!
//! A digest is made from the first byte to the last, so one changed file costs reading a whole layer
//! again. But how far the hash function was after the beginnings of earlier layers can be kept, and
//! what an archive begins with is known without reading a file: its headers, and between them files
//! whose digests are known. So a layer is hashed from where it parts from what was hashed before, or
//! a little earlier.

use std::io::Write as _;
use std::mem;

use bld_oci::{Digest, Hasher};

use crate::pack::{Out, unwritten, write_contents};
use crate::{FileStamp, Node, Result, View, WriteBehind};

/// What is known of layers and of how they begin.
pub trait Beginnings {
    /// The digest of the contents of a file of the layer, if it is known and the file never changes.
    fn contents(&self, stamp: &FileStamp) -> Option<Digest>;

    /// The [state](Hasher::state) of the hash after the beginning that is called so.
    fn get(&mut self, beginning: &Digest) -> Option<Vec<u8>>;

    /// Remembers the state after a beginning.
    fn put(&mut self, beginning: Digest, state: Vec<u8>);
}

/// The bytes of an archive after which a state is worth keeping.
const STEP: u64 = 16 << 20;

/// Hashes an archive, skipping the beginning that is known.
pub(crate) struct Hashing<'a> {
    known: &'a mut dyn Beginnings,
    hasher: WriteBehind<Hasher>,
    /// Over all that is in the archive so far, with digests of files instead of their bytes; none once
    /// a file came whose digest is not known.
    beginning: Option<Hasher>,
    /// What `hasher` has not seen yet, as that may prove needless; none once it did not.
    skipped: Option<Vec<Piece>>,
    /// Bytes since the last step.
    since: u64,
    buffer: Vec<u8>,
}

enum Piece {
    Header(Vec<u8>),
    Contents(View, Node),
}

impl<'a> Hashing<'a> {
    pub(crate) fn new(known: &'a mut dyn Beginnings) -> Self {
        Self {
            known,
            hasher: WriteBehind::new(Hasher::new()),
            beginning: Some(Hasher::new()),
            skipped: Some(Vec::new()),
            since: 0,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn finish(mut self) -> Result<Digest> {
        self.catch_up()?;
        Ok(self.hasher.finish().map_err(unwritten)?.finish())
    }

    /// Hashes what was skipped, and skips nothing any more.
    fn catch_up(&mut self) -> Result<()> {
        self.skipped.take().into_iter().flatten().try_for_each(|piece| self.hash(&piece))
    }

    fn take(&mut self, piece: Piece) -> Result<()> {
        match &mut self.skipped {
            Some(skipped) => {
                skipped.push(piece);
                Ok(())
            }
            None => self.hash(&piece),
        }
    }

    fn hash(&mut self, piece: &Piece) -> Result<()> {
        match piece {
            Piece::Header(bytes) => self.hasher.write_all(bytes).map_err(unwritten),
            Piece::Contents(view, node) => {
                write_contents(view, node, &mut self.hasher, &mut self.buffer)
            }
        }
    }

    /// Goes on from the state that is known for all that came so far, or tells it.
    fn step(&mut self) -> Result<()> {
        self.since = 0;
        let Some(beginning) = self.beginning.clone().map(Hasher::finish) else { return Ok(()) };
        if let Some(skipped) = &mut self.skipped
            && let Some(hasher) = self.known.get(&beginning).and_then(|s| Hasher::resume(&s))
        {
            skipped.clear();
            self.hasher = WriteBehind::new(hasher);
            return Ok(());
        }
        self.catch_up()?;
        let behind = mem::replace(&mut self.hasher, WriteBehind::new(Hasher::new()));
        let hasher = behind.finish().map_err(unwritten)?;
        self.known.put(beginning, hasher.state());
        self.hasher = WriteBehind::new(hasher);
        Ok(())
    }
}

impl Out for Hashing<'_> {
    fn header(&mut self, bytes: &[u8]) -> Result<()> {
        // Here, between two files, and not after one, whose padding belongs to it.
        if self.since >= STEP {
            self.step()?;
        }
        self.since += bytes.len() as u64;
        if let Some(beginning) = &mut self.beginning {
            beginning.update(bytes);
        }
        self.take(Piece::Header(bytes.to_vec()))
    }

    fn contents(&mut self, view: &View, node: &Node) -> Result<()> {
        self.since += node.meta.size;
        let digest = self.beginning.as_ref().and_then(|_| {
            let stamp = FileStamp::of(&node.meta);
            self.known.contents(&stamp)
        });
        match (&mut self.beginning, digest) {
            (Some(beginning), Some(digest)) => beginning.update(digest.as_bytes()),
            _ => {
                self.beginning = None;
                self.catch_up()?;
            }
        }
        self.take(Piece::Contents(view.clone(), node.clone()))
    }
}
