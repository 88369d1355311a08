//! A container into an image: its writable layer becomes the topmost layer.

use std::path::PathBuf;

use bld_event::Events;
use bld_export::{Recipe, assemble, copy_layer};
use bld_graph::{
    ImageRequest, LowerOptions, NamedContext, ResolveError, ResolvedImage, Resolver, lower,
};
use bld_layer::TarOptions;
use bld_oci::{Digest, History, ImageConfig, Platform};
use bld_store::SnapshotId;

use super::model::{Container, Status};
use crate::events::Event;
use crate::{Engine, EngineError, Result, images};

/// How a container becomes an image.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// The container.
    pub container: String,
    /// The image's name; none leaves it without.
    pub reference: Option<String>,
    /// Who made it.
    pub author: String,
    /// What it is about.
    pub message: String,
    /// Dockerfile instructions that change its configuration.
    pub changes: Vec<String>,
    /// Stop the container while its files are read.
    pub pause: bool,
}

impl Engine {
    /// Makes an image of a container; its id.
    pub fn commit_container(&self, request: &CommitRequest, events: &Events) -> Result<Digest> {
        let reference = request.reference.as_deref().map(images::find::parse).transpose()?;
        let store = self.store()?;
        let container = self.find_container(&request.container)?;
        let (mut config, parent, mut history) = self.base_of(&container, events)?;
        config.config = container.config.clone();
        config.config = apply_changes(&config, &request.changes)?.config;
        let upper = self
            .container_upper(&container.id)?
            .ok_or_else(|| EngineError::NoSuchContainer { name: request.container.clone() })?;

        let mut pause = request.pause && container.state.status == Status::Running;
        if pause {
            match self.pause_container(&container.id) {
                // What can't be stopped changes meanwhile, as it does without pausing.
                Err(EngineError::NoGroup { .. }) => pause = false,
                paused => paused?,
            }
        }
        let task = events.task(format!("committing {}", container.short_id()));
        let copied = task.finish(copy_layer(store, Some(parent), &upper, &TarOptions::default()));
        if pause {
            self.unpause_container(&container.id)?;
        }
        let snapshot = copied?;
        if !request.author.is_empty() {
            config.author = Some(request.author.clone());
        }
        let entry = History {
            created_by: Some(container.command().join(" ")),
            author: Some(request.author.clone()).filter(|author| !author.is_empty()),
            comment: Some(request.message.clone()).filter(|message| !message.is_empty()),
            ..History::default()
        };
        history.push(entry);
        let platform = config.platform();
        let recipe = Recipe { config, history, snapshot: Some(snapshot), platform, epoch: None };
        let record = assemble(store, recipe)?;
        if let Some(reference) = reference {
            store.tag(&reference.to_string(), &record.id, None)?;
            self.announce_image("tag", &record.id, &reference.familiar());
        }
        let event = Event::container(&container, "commit");
        self.announce([event.with("imageID", record.id.to_string())]);
        Ok(record.id)
    }

    /// What a container lies on: the configuration of its image, its snapshot, and an entry for the
    /// history of each layer that the configuration does not know. Those of a step, which is no
    /// image, are all such.
    fn base_of(
        &self,
        container: &Container,
        events: &Events,
    ) -> Result<(ImageConfig, SnapshotId, Vec<History>)> {
        let store = self.store()?;
        if let Some(image) = store.image(&container.image)? {
            let snapshot = self.unpack_image(&image, events)?;
            return Ok((images::config(store, &image.id)?, snapshot, Vec::new()));
        }
        let missing = || EngineError::NoSuchImage { name: container.image.to_string() };
        // A step may be forgotten while its container is there, which keeps the snapshot.
        let layer = store.container(&container.id)?.and_then(|container| container.layer);
        let snapshot = store.snapshot(layer.ok_or_else(missing)?)?.and_then(|layer| layer.parent);
        let snapshot = snapshot.ok_or_else(missing)?;
        let entry = History {
            created_by: Some(format!("step {}", container.image_name)),
            ..History::default()
        };
        let history = vec![entry; store.ancestry(snapshot)?.len()];
        let platform = Platform::parse(&container.platform)?;
        Ok((ImageConfig::for_platform(&platform), snapshot, history))
    }

    /// The directory of what a container has written, for reading.
    pub(crate) fn container_upper(&self, id: &str) -> Result<Option<PathBuf>> {
        let store = self.store()?;
        let layer = store.container(id)?.and_then(|container| container.layer);
        Ok(layer.map(|layer| store.layer(layer)))
    }
}

/// `config` after the instructions `changes`, by the rules of a Dockerfile.
pub(crate) fn apply_changes(config: &ImageConfig, changes: &[String]) -> Result<ImageConfig> {
    const ALLOWED: [&str; 9] =
        ["CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "ONBUILD", "USER", "VOLUME", "WORKDIR"];
    if changes.is_empty() {
        return Ok(config.clone());
    }
    let invalid = |what: String| EngineError::Change { what };
    for change in changes {
        let word = change.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if !ALLOWED.contains(&word.as_str()) || change.contains('\n') {
            return Err(invalid(format!("{word} is not a valid change command")));
        }
    }
    let source = format!("FROM container\n{}\n", changes.join("\n"));
    let parsed = bld_dockerfile::parse(&source);
    let first = |diagnostics: &[bld_dockerfile::Diagnostic]| {
        let error = diagnostics.iter().find(|diagnostic| diagnostic.is_error());
        invalid(
            error.map_or_else(|| "cannot be understood".to_owned(), |error| error.message.clone()),
        )
    };
    if !parsed.is_ok() {
        return Err(first(&parsed.diagnostics));
    }
    // The image's own triggers are for those who build upon it; this is the image itself.
    let mut base = config.clone();
    let triggers = std::mem::take(&mut base.config.on_build);
    let platform = config.platform();
    let options = LowerOptions::new(platform);
    let plan = lower(&parsed.dockerfile, &source, &options, &mut Itself(base))
        .map_err(|errors| first(&errors))?;
    let mut changed = plan.config;
    changed.config.on_build.splice(0..0, triggers);
    changed.history.clone_from(&config.history);
    Ok(changed)
}

/// Every name is the one image.
struct Itself(ImageConfig);

impl Resolver for Itself {
    fn image(&mut self, request: &ImageRequest) -> Result<ResolvedImage, ResolveError> {
        Ok(ResolvedImage {
            reference: request.reference.clone(),
            digest: None,
            manifest: None,
            config: self.0.clone(),
        })
    }

    fn context(&mut self, _: &str, _: &Platform) -> Result<Option<NamedContext>, ResolveError> {
        Ok(None)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn changes_are_dockerfile_instructions() {
        let mut config = ImageConfig::for_platform(&Platform::host());
        config.config.env = vec!["PATH=/bin".into()];
        config.config.on_build = vec!["RUN x".into()];
        let changes =
            ["CMD [\"echo\", \"hi\"]", "ENV A=$PATH", "EXPOSE 80", "LABEL a=b", "ONBUILD RUN y"];
        let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
        let changed = apply_changes(&config, &changes).unwrap().config;
        assert_eq!(changed.cmd.unwrap(), ["echo", "hi"]);
        assert_eq!(changed.env, ["PATH=/bin", "A=/bin"]);
        assert!(changed.exposed_ports.contains("80/tcp"));
        assert_eq!(changed.labels["a"], "b");
        assert_eq!(changed.on_build, ["RUN x", "RUN y"]);
    }

    #[test]
    fn what_would_change_files_is_refused() {
        let config = ImageConfig::for_platform(&Platform::host());
        for change in ["RUN true", "COPY a b", "CMD x\nRUN y", ""] {
            assert!(apply_changes(&config, &[change.to_owned()]).is_err(), "{change}");
        }
    }
}
