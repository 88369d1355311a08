//! What becomes of containers, images, networks and volumes, told to whoever wants to know.
//!
//! Every process that changes one of them appends to a journal in the store's root, which is all that
//! `bld events` reads: there is nobody who could be asked. Its size is bounded, so that the oldest is
//! forgotten.

mod journal;
mod query;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bld_oci::Digest;
use serde::{Deserialize, Serialize};

pub use self::query::EventQuery;
use crate::containers::Container;
use crate::{Engine, images};

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

impl Subject {
    /// `container`, `image`, `network` or `volume`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
        }
    }
}

/// Something that happened, in the form of docker's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What it happened to.
    #[serde(rename = "Type")]
    pub subject: Subject,
    /// What happened, such as `start`.
    #[serde(rename = "Action")]
    pub action: String,
    /// The very one it happened to.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `local`.
    pub scope: String,
    /// When, in seconds since 1970.
    pub time: i64,
    /// When, in nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// The container, image, network or volume of an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Its id; the name of a volume.
    #[serde(rename = "ID")]
    pub id: String,
    /// What is worth knowing: the name, labels, and what the action brought.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// Something that happens to `id`; the journal says when.
    fn new(subject: Subject, action: impl Into<String>, id: impl Into<String>) -> Self {
        let actor = Actor { id: id.into(), attributes: BTreeMap::new() };
        let (action, scope) = (action.into(), "local".to_owned());
        Self { subject, action, actor, scope, time: 0, time_nano: 0 }
    }

    /// Something that happens to a container.
    pub(crate) fn container(container: &Container, action: impl Into<String>) -> Self {
        let mut event = Self::new(Subject::Container, action, &container.id);
        event.actor.attributes.clone_from(&container.config.labels);
        event.with("image", &container.image_name).with("name", &container.name)
    }

    /// A container comes to a network or leaves it.
    pub(crate) fn network_of(container: &Container, action: &str, network: &str, id: &str) -> Self {
        Self::network(action, network, id).with("container", &container.id)
    }

    /// Something that happens to a network, which is a bridge.
    pub(crate) fn network(action: &str, name: &str, id: &str) -> Self {
        Self::new(Subject::Network, action, id).with("name", name).with("type", "bridge")
    }

    /// Something that happens to a volume.
    pub(crate) fn volume(action: &str, name: &str) -> Self {
        Self::new(Subject::Volume, action, name).with("driver", "local")
    }

    /// Something that happens to an image, by the name it has or loses.
    pub(crate) fn image(action: &str, id: &Digest, name: &str) -> Self {
        Self::new(Subject::Image, action, id.to_string()).with("name", name)
    }

    /// The same with one more attribute.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.actor.attributes.insert(name.to_owned(), value.into());
        self
    }

    fn at(mut self, time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.time = since.as_secs().cast_signed();
        self.time_nano = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        self
    }
}

impl Engine {
    /// Enters what has happened, in this order. It has happened, whether it can be entered or not: a full
    /// disk is no reason to say that it failed.
    pub(crate) fn announce(&self, events: impl IntoIterator<Item = Event>) {
        if let Ok(store) = self.store() {
            let _forgotten = journal::append(store.root(), events);
        }
    }

    /// Enters what has happened to a container.
    pub(crate) fn announce_container(&self, container: &Container, action: &str) {
        self.announce([Event::container(container, action)]);
    }

    /// Enters what has happened to an image, called `name`, with its labels.
    pub(crate) fn announce_image(&self, action: &str, id: &Digest, name: &str) {
        let mut event = Event::image(action, id, name);
        if let Ok(config) = self.store().and_then(|store| images::config(store, id)) {
            event.actor.attributes.extend(config.config.labels);
            event = event.with("name", name);
        }
        self.announce([event]);
    }
}
