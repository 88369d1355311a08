//! Going on when something in the store turns out to be damaged.

use bld_event::Events;
use bld_oci::Digest;

use crate::{Engine, EngineError, Result};

impl Engine {
    /// Does `verb`. When it fails and has met damaged blobs, these are dropped, which is told, and it
    /// is done again: what can be fetched or made again is, and what is damaged is never used.
    pub(crate) fn mending<T, E: From<EngineError>>(
        &self,
        events: &Events,
        mut verb: impl FnMut() -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut dropped = Vec::new();
        loop {
            let failed = match verb() {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let news = self.drop_damaged(events)?;
            // A disk that damages what was just written does not get better.
            if news.is_empty() || news.iter().any(|digest| dropped.contains(digest)) {
                return Err(failed);
            }
            dropped.extend(news);
        }
    }

    /// Passes `result` on; if it is a failure, what was found damaged is dropped, so that the next
    /// try fetches or makes it again. For what cannot simply be done once more.
    pub(crate) fn dropping_damage<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.drop_damaged(&Events::none())?;
        }
        result
    }

    /// Drops the blobs that were found damaged.
    fn drop_damaged(&self, events: &Events) -> Result<Vec<Digest>> {
        let dropped = self.store()?.drop_damaged()?;
        for (digest, images) in &dropped {
            let task = events.task(format!("drop blob {digest}, which is damaged"));
            for image in images {
                task.progress(format!("dropping image {image} with it"), 1, Some(1), true);
            }
            task.done();
        }
        Ok(dropped.into_iter().map(|(digest, _)| digest).collect())
    }
}
