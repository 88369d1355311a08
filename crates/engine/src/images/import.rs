//! A root filesystem from elsewhere as an image.

use std::io::{self, Read};

use bld_event::{Cancel, Events};
use bld_export::{Recipe, assemble};
use bld_graph::{HttpOp, Remote};
use bld_layer::{ApplyOptions, View};
use bld_oci::{Digest, History, ImageConfig, Platform};
use bld_remote::Access;
use bld_store::Store;

use super::find;
use crate::containers::commit::apply_changes;
use crate::error::in_one_line;
use crate::{Engine, EngineError, Result};

/// How a root filesystem becomes an image.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// The image's name; none leaves it without.
    pub reference: Option<String>,
    /// Dockerfile instructions that make its configuration.
    pub changes: Vec<String>,
    /// What it is about.
    pub message: String,
    /// What it runs on; this machine's platform when absent.
    pub platform: Option<Platform>,
    /// The time it is made, in seconds since 1970; now when absent.
    pub epoch: Option<i64>,
}

impl Engine {
    /// Makes an image of one layer of the tar `input`, which may be compressed; its id.
    ///
    /// # Errors
    /// [`EngineError::Archive`] for what is no tar, or no complete one.
    pub fn import_image(
        &self,
        input: impl Read + Send + 'static,
        request: &ImportRequest,
        events: &Events,
    ) -> Result<Digest> {
        let reference = request.reference.as_deref().map(find::parse).transpose()?;
        if let Some(reference) = reference.as_ref().filter(|name| name.digest().is_some()) {
            return Err(EngineError::TagWithDigest { reference: reference.to_string() });
        }
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        let config = ImageConfig::for_platform(&platform);
        let config = apply_changes(&config, &request.changes)?;
        let store = self.store()?;
        let task = events.task("importing files");
        let snapshot = task.finish(unpack(store, input))?;
        let entry = History {
            comment: Some(request.message.clone()).filter(|message| !message.is_empty()),
            ..History::default()
        };
        let recipe = Recipe {
            config,
            history: vec![entry],
            snapshot: Some(snapshot),
            platform,
            epoch: request.epoch,
        };
        let record = assemble(store, recipe)?;
        if let Some(reference) = reference {
            store.tag(&reference.to_string(), &record.id, None)?;
            self.announce_image("tag", &record.id, &reference.familiar());
        }
        self.announce_image("import", &record.id, &record.id.to_string());
        Ok(record.id)
    }

    /// [`import_image`](Self::import_image) of what `url` names.
    ///
    /// # Errors
    /// As that, and when it cannot be downloaded.
    pub fn import_url(
        &self,
        url: &str,
        request: &ImportRequest,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<Digest> {
        let failed = |problem: String| EngineError::Download { url: url.to_owned(), problem };
        let Some(Remote::Http(mut op)) = Remote::parse(url).map_err(failed)? else {
            return Err(failed("it is no URL of a file".to_owned()));
        };
        let store = self.store()?;
        let remote = bld_remote::Remote::new(store.clone(), Access::default(), cancel.clone());
        let task = events.task(format!("downloading {url}"));
        let downloaded = download(&remote, &mut op);
        let snapshot = task.finish(downloaded).map_err(|error| failed(in_one_line(&error)))?;
        let unreadable = |source| EngineError::Tree { path: "/".into(), source };
        let files = View::new(store.layers(snapshot)?);
        let file = files.read_dir("/").map_err(unreadable)?.into_iter().next();
        let file = file.ok_or_else(|| failed("nothing arrived".to_owned()))?;
        self.import_image(files.open(&file).map_err(unreadable)?, request, events)
    }
}

fn download(
    remote: &bld_remote::Remote,
    op: &mut HttpOp,
) -> Result<bld_store::SnapshotId, bld_remote::RemoteError> {
    remote.resolve_http(op, &|_, _| {})?;
    remote.download(op, &|_, _| {})
}

fn unpack(store: &Store, input: impl Read + Send + 'static) -> Result<bld_store::SnapshotId> {
    let problem = |error: io::Error| EngineError::Archive { problem: error.to_string() };
    let mut input = bld_layer::decoder(input).map_err(problem)?;
    let mut start = Vec::new();
    input.by_ref().take(512).read_to_end(&mut start).map_err(problem)?;
    let is_empty = start.len() == 512 && start.iter().all(|byte| *byte == 0);
    if !is_empty && !bld_layer::is_tar(&start) {
        let problem = "the input is no tar archive, plain or compressed".to_owned();
        return Err(EngineError::Archive { problem });
    }
    let active = store.prepare(None)?;
    let mut whole = io::Cursor::new(start).chain(input);
    bld_layer::apply(&mut whole, active.upper(), &ApplyOptions::default())
        .map_err(|error| EngineError::Archive { problem: in_one_line(&error) })?;
    Ok(active.commit()?)
}
