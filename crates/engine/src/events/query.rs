//! Which events are wanted.

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::journal::{self, Reader};
use super::{Event, Subject};
use crate::error::IoContext as _;
use crate::watch::Watch;
use crate::{Engine, Result};

/// Which events are wanted. Of one kind any may fit, and each kind that is named has to.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// From this time on; from now on when absent.
    pub since: Option<SystemTime>,
    /// Only before this time, and waiting for it; without end when absent.
    pub until: Option<SystemTime>,
    /// Only what happened to these kinds of things.
    pub subjects: Vec<String>,
    /// Only these actions; `health_status`, `exec_create` and `exec_start` are also starts of such.
    pub actions: Vec<String>,
    /// Only those of these containers: names and ids, or their starts.
    pub containers: Vec<String>,
    /// Only those of these images: ids and names, with or without a tag; also of their containers.
    pub images: Vec<String>,
    /// Only those of these networks: names and ids, or their starts.
    pub networks: Vec<String>,
    /// Only those of these volumes: names, or their starts.
    pub volumes: Vec<String>,
    /// Only from these scopes; all that is here is `local`.
    pub scopes: Vec<String>,
    /// Only those with all of these labels.
    pub labels: Vec<(String, Option<String>)>,
}

impl EventQuery {
    fn fits(&self, event: &Event) -> bool {
        let attributes = &event.actor.attributes;
        let any = |wanted: &[String], fits: &dyn Fn(&str) -> bool| {
            wanted.is_empty() || wanted.iter().any(|word| fits(word))
        };
        let name = attributes.get("name").map_or("", String::as_str);
        let named = |wanted: &[String], subject| {
            let starts = |word: &str| event.actor.id.starts_with(word) || name.starts_with(word);
            any(wanted, &|word| event.subject == subject && starts(word))
        };
        // As docker: their names go on behind a colon.
        let open = ["health_status", "exec_create", "exec_start"];
        let is_open = self.actions.iter().any(|word| open.contains(&word.as_str()));
        any(&self.subjects, &|word| word == event.subject.name())
            && any(&self.scopes, &|word| word == event.scope)
            && any(&self.actions, &|word| {
                event.action == word || is_open && event.action.starts_with(word)
            })
            && named(&self.containers, Subject::Container)
            && named(&self.networks, Subject::Network)
            && named(&self.volumes, Subject::Volume)
            && any(&self.images, &|word| is_of_image(event, word))
            && self.labels.iter().all(|(key, value)| {
                attributes.get(key).is_some_and(|own| value.as_ref().is_none_or(|v| v == own))
            })
    }
}

/// Whether an event is about the image `wanted`, or a container of it.
fn is_of_image(event: &Event, wanted: &str) -> bool {
    let key = if event.subject == Subject::Image { "name" } else { "image" };
    let name = event.actor.attributes.get(key).map_or("", String::as_str);
    let bare = match name.rsplit_once(':') {
        Some((bare, tag)) if !tag.contains('/') => bare,
        _ => name,
    };
    let is_id = event.subject == Subject::Image && event.actor.id == wanted;
    is_id || (!name.is_empty() && (name == wanted || bare == wanted))
}

impl Engine {
    /// Hands out what has happened and what happens, until the query's end or `visit` breaks off.
    pub fn events(
        &self,
        query: &EventQuery,
        visit: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<()> {
        let root = self.store()?.root();
        let path = journal::path(root);
        let nanoseconds = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
        };
        let reader = match query.since {
            Some(_) => Reader::from_start(root),
            None => Reader::from_end(root),
        };
        let mut reader = reader.at("read", &path)?;
        let since = query.since.map_or(0, nanoseconds);
        let until = query.until.map_or(i64::MAX, nanoseconds);
        let mut watch = Watch::new(&path);
        loop {
            // Looked at before the reading: what happened until then is read now.
            let left = query.until.map_or(Watch::MOMENT, |until| {
                until.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO)
            });
            let mut is_new = false;
            while let Some(event) = reader.next().at("read", &path)? {
                is_new = true;
                if event.time_nano > until {
                    return Ok(());
                }
                if event.time_nano >= since && query.fits(&event) && visit(event).is_break() {
                    return Ok(());
                }
            }
            if left.is_zero() {
                return Ok(());
            }
            if is_new {
                // The file may be another one by now.
                watch = Watch::new(&path);
                continue;
            }
            watch.wait(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn kinds_are_all_needed_and_one_of_each_is_enough() {
        let event = Event::new(Subject::Container, "health_status: healthy", "abc123")
            .with("name", "web")
            .with("image", "host:5000/app:1")
            .with("tier", "front");
        let check = |expected: bool, query: EventQuery| {
            assert_eq!(query.fits(&event), expected, "{query:?}");
        };
        let none = EventQuery::default;
        check(true, none());
        check(true, EventQuery { actions: words(&["die", "health_status"]), ..none() });
        check(false, EventQuery { actions: words(&["health"]), ..none() });
        check(true, EventQuery { containers: words(&["abc"]), ..none() });
        check(true, EventQuery { containers: words(&["x", "web"]), ..none() });
        check(false, EventQuery { volumes: words(&["web"]), ..none() });
        check(true, EventQuery { images: words(&["host:5000/app"]), ..none() });
        check(false, EventQuery { images: words(&["app"]), ..none() });
        check(false, EventQuery { subjects: words(&["image"]), ..none() });
        let label = |value: &str| vec![("tier".to_owned(), Some(value.to_owned()))];
        check(true, EventQuery { labels: label("front"), ..none() });
        check(false, EventQuery { labels: label("back"), ..none() });
    }
}
