//! The pieces of a large blob, several of which are on their way at the same time.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::pin;

use futures_util::TryStreamExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::bytes::Bytes;

use crate::blob::{Wanted, pieces};
use crate::error::RegistryError;
use crate::repository::Repository;

/// Pieces that are on their way, or here and waiting for those before them: so much memory a blob takes
/// at most.
const AT_ONCE: usize = 3;
/// A connection that brought so many bytes is worth another one.
const GOOD_PROGRESS: u64 = 32 << 10;

/// The bytes of a blob from somewhere on, in order. Dropped, it asks for no more.
pub(crate) struct Ahead {
    repository: Repository,
    wanted: Wanted,
    /// Where the first piece begins that nobody has asked for.
    next: u64,
    /// What comes of the pieces that were asked for, in order.
    coming: VecDeque<mpsc::UnboundedReceiver<Result<Bytes, RegistryError>>>,
    tasks: JoinSet<()>,
}

impl Ahead {
    /// Asks for what there is from `start` on.
    pub(crate) fn begin(repository: &Repository, wanted: Wanted, start: u64) -> Self {
        let (repository, coming) = (repository.clone(), VecDeque::new());
        let mut ahead = Self { repository, wanted, next: start, coming, tasks: JoinSet::new() };
        ahead.ask();
        ahead
    }

    /// The next bytes; none: that was all.
    ///
    /// # Errors
    /// What became of the piece that is due, after as many attempts as it is worth.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        while let Some(piece) = self.coming.front_mut() {
            if let Some(bytes) = piece.recv().await {
                return bytes.map(Some);
            }
            self.coming.pop_front();
            self.ask();
        }
        Ok(None)
    }

    fn ask(&mut self) {
        let size = self.wanted.size;
        while self.coming.len() < AT_ONCE && self.next < size {
            let range = self.next..size.min(self.next + self.wanted.piece_size);
            self.next = range.end;
            let (send, receive) = mpsc::unbounded_channel();
            self.tasks.spawn(fetch(self.repository.clone(), self.wanted, range, send));
            self.coming.push_back(receive);
        }
    }
}

/// Receives one piece. A connection that breaks within it is followed by another; what else goes wrong is
/// the business of whoever wants the whole blob.
async fn fetch(
    repository: Repository,
    wanted: Wanted,
    mut range: Range<u64>,
    send: mpsc::UnboundedSender<Result<Bytes, RegistryError>>,
) {
    let Wanted { digest, size, .. } = wanted;
    loop {
        let begun = range.start;
        let mut bytes = pin!(pieces(repository.clone(), digest, size, range.clone()));
        let error = loop {
            match bytes.try_next().await {
                Ok(Some(piece)) => {
                    range.start += piece.len() as u64;
                    if send.send(Ok(piece)).is_err() {
                        return; // nobody wants it any more
                    }
                }
                Ok(None) => return,
                Err(error) => break error,
            }
        };
        if !error.is_transient() || range.start - begun < GOOD_PROGRESS {
            send.send(Err(error)).ok();
            return;
        }
    }
}
