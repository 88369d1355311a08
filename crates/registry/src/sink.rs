//! Bytes from the network into the store, hashed and written on a thread of their own.

use std::io::{Error, ErrorKind, Write as _};

use bld_oci::Digest;
use bld_store::{Store, StoreError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::bytes::Bytes;

use crate::tap::Tap;

/// Pieces on their way to the disk, for each blob. A piece is what one read of the socket gives,
/// some 16 KiB.
const QUEUE: usize = 64;

enum Message {
    Data(Bytes),
    Commit(Digest),
}

/// The writing half of a blob that is being received. Dropped without a commit, it leaves nothing.
pub struct Sink {
    queue: mpsc::Sender<Message>,
    writer: JoinHandle<Result<(), StoreError>>,
    received: u64,
}

impl Sink {
    /// What comes goes through `tap`, too.
    pub fn open(store: &Store, tap: Tap) -> Self {
        let (queue, pieces) = mpsc::channel(QUEUE);
        let store = store.clone();
        let writer = tokio::task::spawn_blocking(move || write(&store, pieces, tap));
        Self { queue, writer, received: 0 }
    }

    /// Bytes taken so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.received += bytes.len() as u64;
        self.put(Message::Data(bytes)).await
    }

    /// Makes the bytes a blob, if they hash to `expected`.
    pub async fn commit(mut self, expected: Digest) -> Result<(), StoreError> {
        self.put(Message::Commit(expected)).await?;
        self.end().await
    }

    /// Throws away what came, and returns when nothing is left of it.
    pub async fn discard(self) {
        let Self { queue, writer, .. } = self;
        drop(queue);
        // How the thread ended does not matter any more.
        let _ = writer.await;
    }

    async fn put(&mut self, message: Message) -> Result<(), StoreError> {
        match self.queue.send(message).await {
            Ok(()) => Ok(()),
            // The thread ends early only with an error.
            Err(_) => self.end().await,
        }
    }

    async fn end(&mut self) -> Result<(), StoreError> {
        match (&mut self.writer).await {
            Ok(result) => result,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only a runtime that is being shut down cancels the thread, and us with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

fn write(
    store: &Store,
    mut pieces: mpsc::Receiver<Message>,
    mut tap: Tap,
) -> Result<(), StoreError> {
    let mut blob = store.blob_writer()?;
    while let Some(message) = pieces.blocking_recv() {
        match message {
            Message::Data(bytes) if bytes.is_empty() => {}
            Message::Data(bytes) => {
                blob.write_all(&bytes).map_err(|e| write_error(store, e))?;
                tap.pass(bytes);
            }
            Message::Commit(expected) => {
                blob.commit(Some(expected))?;
                tap.end();
                return Ok(());
            }
        }
    }
    Ok(())
}

fn write_error(store: &Store, source: Error) -> StoreError {
    let path = store.root().to_owned();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::NoSpace { path },
        _ => StoreError::Io { action: "write a blob in", path, source },
    }
}
