//! What containers have to say of themselves in the journal of events.

use std::time::Duration;

use super::model::{Container, MountSource};
use super::supervise::Exit;
use crate::Engine;
use crate::events::Event;

impl Engine {
    /// A container runs: it is on its networks, has its volumes, and has been started.
    pub(super) fn announce_start(&self, container: &Container) {
        let mut events = self.places(container, "connect");
        events.extend(volumes(container).map(|(name, target, read_only)| {
            Event::volume("mount", name)
                .with("container", &container.id)
                .with("destination", target)
                .with("propagation", "")
                .with("read/write", (!read_only).to_string())
        }));
        events.push(Event::container(container, "start"));
        self.announce(events);
    }

    /// A container has ended, with the networks it was on.
    pub(super) fn announce_end(&self, container: &Container, exit: Exit, lasted: Duration) {
        let mut events = Vec::new();
        if exit.oom_killed {
            events.push(Event::container(container, "oom"));
        }
        let die = Event::container(container, "die").with("exitCode", exit.code.to_string());
        events.push(die.with("execDuration", lasted.as_secs().to_string()));
        events.extend(self.places(container, "disconnect"));
        events.extend(
            volumes(container)
                .map(|(name, ..)| Event::volume("unmount", name).with("container", &container.id)),
        );
        self.announce(events);
    }

    /// A container has been sent a signal.
    pub(super) fn announce_signal(&self, container: &Container, signal: i32) {
        let event = Event::container(container, "kill");
        self.announce([event.with("signal", signal.to_string())]);
    }

    fn places(&self, container: &Container, action: &str) -> Vec<Event> {
        let known = container.networks.keys().filter_map(|name| self.network(name).ok());
        known
            .map(|network| Event::network_of(container, action, &network.name, &network.id))
            .collect()
    }
}

fn volumes(container: &Container) -> impl Iterator<Item = (&str, &str, bool)> {
    container.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume { name, .. } => {
            Some((name.as_str(), mount.target.as_str(), mount.read_only))
        }
        MountSource::Bind { .. } | MountSource::Tmpfs { .. } | MountSource::Image { .. } => None,
    })
}
