//! Blobs: bytes under the name of their digest.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::PoisonError;

use bld_oci::{Digest, Hasher};
use rusqlite::Transaction;
use rustix::fs::{Access, AtFlags};

use crate::db::bytes;
use crate::error::{Result, StoreError};
use crate::flock::Lock;
use crate::store::Inner;
use crate::temporary::Temporary;
use crate::{Store, epoch, layout};

/// Small writes are gathered up to this size; larger ones go straight through.
const BUFFER: usize = 64 * 1024;

impl Store {
    /// Whether the blob is here. It may be collected a moment later unless something names it or a
    /// [`Lease`](crate::Lease) holds it; what names it checks again.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        let name = layout::blob(digest);
        rustix::fs::accessat(&self.inner().root, &name, Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Where the blob is, or would be. Read-only.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner().root.join(layout::blob(digest))
    }

    /// Opens a blob for reading. The bytes are not verified: hash them as they are read, and give
    /// what comes out to [`verify`](Self::verify), unless this process [wrote](Self::has_written) them.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`]
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let fd = self.inner().root.open_file(&layout::blob(digest))?;
        fd.map(File::from).ok_or(StoreError::MissingBlob { digest: *digest })
    }

    /// Reads a blob whole, and verifies it.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`], [`StoreError::DamagedBlob`]
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let mut contents = Vec::new();
        self.open_blob(digest)?
            .read_to_end(&mut contents)
            .map_err(|e| StoreError::io("read", self.blob_path(digest), e))?;
        self.verify(digest, Digest::of(&contents)).map(|()| contents)
    }

    /// Takes notice that the bytes of a blob, when they were read, hashed to `found`.
    ///
    /// # Errors
    /// [`StoreError::DamagedBlob`] if that is not its name; see
    /// [`drop_damaged`](Self::drop_damaged) for what to do about it.
    pub fn verify(&self, digest: &Digest, found: Digest) -> Result<()> {
        if found == *digest {
            return Ok(());
        }
        let mut damaged = self.inner().damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.insert(*digest);
        Err(StoreError::DamagedBlob { digest: *digest, found })
    }

    /// Whether this process wrote the blob, so that hashing it again would prove nothing.
    pub fn has_written(&self, digest: &Digest) -> bool {
        let written = self.inner().written.lock().unwrap_or_else(PoisonError::into_inner);
        written.contains(digest)
    }

    /// Reads a blob and verifies it.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`], [`StoreError::DamagedBlob`]
    pub fn verify_blob(&self, digest: &Digest) -> Result<()> {
        let found = epoch::hash_blob(&self.inner().root, digest)?;
        self.verify(digest, found.ok_or(StoreError::MissingBlob { digest: *digest })?)
    }

    /// Stores `contents`. If they are there already and damaged, this mends them.
    pub fn put_blob(&self, contents: &[u8]) -> Result<Digest> {
        let (digest, size) = (Digest::of(contents), contents.len() as u64);
        let inner = self.inner();
        let exists = inner.fresh.insert_blob(digest, || {
            let hold = inner.hold_blob(&digest)?;
            Ok(hold.filter(|hold| is_whole(self, hold, &digest, size)))
        })?;
        if !exists {
            let (temporary, mut file) = Temporary::create(self, "blob")?;
            file.write_all(contents).map_err(|e| temporary.error("write", e))?;
            place(&temporary, file.into(), digest, size)?;
        }
        Ok(digest)
    }

    /// Starts a blob whose digest is not known yet.
    pub fn blob_writer(&self) -> Result<BlobWriter> {
        let (temporary, file) = Temporary::create(self, "blob")?;
        let file = BufWriter::with_capacity(BUFFER, file);
        Ok(BlobWriter { temporary, file, hasher: Hasher::new(), size: 0 })
    }
}

/// A blob being written. Nothing is stored before [`commit`](Self::commit); dropped without it, it
/// leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    temporary: Temporary,
    file: BufWriter<File>,
    hasher: Hasher,
    size: u64,
}

impl BlobWriter {
    /// Stores what was written, and returns its digest and size in bytes.
    ///
    /// # Errors
    /// [`StoreError::DigestMismatch`] when it is not what was `expected`.
    pub fn commit(self, expected: Option<Digest>) -> Result<(Digest, u64)> {
        let Self { temporary, file, hasher, size } = self;
        let file = file.into_inner().map_err(|e| temporary.error("write", e.into_error()))?;
        let found = hasher.finish();
        match expected {
            Some(expected) if expected != found => {
                Err(StoreError::DigestMismatch { expected, found })
            }
            _ => {
                place(&temporary, file.into(), found, size)?;
                Ok((found, size))
            }
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Makes a file that is complete and open as `fd` the blob `digest`. It is locked before it can be
/// seen, so that garbage collection never finds it free before something names it.
fn place(temporary: &Temporary, fd: OwnedFd, digest: Digest, size: u64) -> Result<()> {
    let inner = temporary.store().inner();
    let name = layout::blob(&digest);
    // Nobody else has opened it: there is nothing to wait for.
    let ours = Lock::try_shared(fd).map_err(|errno| temporary.error("lock", errno))?;
    let hold = loop {
        if temporary.link(&name)? {
            inner.written.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
            break ours;
        }
        match inner.hold_blob(&digest)? {
            Some(theirs) if is_whole(temporary.store(), &theirs, &digest, size) => {
                break Some(theirs);
            }
            Some(_) => {
                temporary.rename(&name)?;
                break ours;
            }
            None => {} // it was being removed
        }
    };
    inner.fresh.insert_blob(digest, || Ok(hold))?;
    Ok(())
}

/// Whether the blob that is there, held by `hold`, is what its name says.
fn is_whole(store: &Store, hold: &Lock, digest: &Digest, size: u64) -> bool {
    hold.size() == Ok(size) && store.verify_blob(digest).is_ok()
}

/// Blobs that are about to be named: each is here, and held until this is dropped.
pub(crate) struct Named(Vec<(Digest, Lock)>);

impl Inner {
    /// Makes sure that all of `digests` are here and stay.
    pub(crate) fn hold_blobs(&self, digests: impl IntoIterator<Item = Digest>) -> Result<Named> {
        let held = digests.into_iter().map(|digest| match self.hold_blob(&digest)? {
            Some(hold) => Ok((digest, hold)),
            None => Err(StoreError::MissingBlob { digest }),
        });
        held.collect::<Result<_>>().map(Named)
    }
}

impl Named {
    /// Enters the blobs in the database; `synced` if a power cut cannot take them any more.
    pub(crate) fn enter(&self, tx: &Transaction<'_>, synced: bool) -> Result<()> {
        let mut insert = tx.prepare_cached(
            "INSERT INTO blobs (digest, size, synced) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET synced = max(synced, excluded.synced)",
        )?;
        for (digest, hold) in &self.0 {
            let size = hold.size().map_err(|e| StoreError::io("stat", layout::blob(digest), e))?;
            insert.execute((bytes(digest), size.cast_signed(), synced))?;
        }
        Ok(())
    }
}

/// Removes all rows that are of no use without the blob.
pub(crate) fn forget(tx: &Transaction<'_>, digest: &Digest) -> Result<()> {
    for sql in [
        "DELETE FROM layer_blobs WHERE digest = ?1",
        "DELETE FROM images WHERE id = ?1 OR manifest = ?1",
        "UPDATE images SET said = NULL WHERE said = ?1",
        "DELETE FROM blobs WHERE digest = ?1",
    ] {
        tx.prepare_cached(sql)?.execute((bytes(digest),))?;
    }
    Ok(())
}
