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
            let news = self.drop_damaged(events)?.into_iter().map(|(digest, _)| digest);
            let news: Vec<Digest> = news.collect();
            // A disk that damages what was just written does not get better.
            if news.is_empty() || news.iter().any(|digest| dropped.contains(digest)) {
                return Err(failed);
            }
            dropped.extend(news);
        }
    }

    /// Drops the blobs that this engine has met and found damaged; which they were, each with the names
    /// of the images that are gone with it. What failed because of them can then be done again, with what
    /// is fetched or made anew.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn drop_damaged(&self, events: &Events) -> Result<Vec<(Digest, Vec<String>)>> {
        let Some(store) = self.store.get() else { return Ok(Vec::new()) };
        let dropped = store.drop_damaged()?;
        for (digest, images) in &dropped {
            let task = events.task(format!("drop blob {digest}, which is damaged"));
            for image in images {
                task.progress(format!("dropping image {image} with it"), 1, Some(1), true);
            }
            task.done();
        }
        Ok(dropped)
    }
}
