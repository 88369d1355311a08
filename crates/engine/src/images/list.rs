//! Lists of images.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use bld_dockerfile::ignore::glob_match;
use bld_oci::{Digest, Reference};
use bld_store::{ImageRecord, RepoDigest};

use super::{config, find};
use crate::{Engine, Result};

/// One image as lists show it.
#[derive(Debug, Clone)]
pub struct ImageSummary {
    /// The record in the store.
    pub record: ImageRecord,
    /// The tags that were asked for, sorted; none when the image has none.
    pub tags: Vec<Reference>,
    /// The digests it is known under in registries.
    pub repo_digests: Vec<RepoDigest>,
    /// Containers made from it.
    pub containers: usize,
}

/// Which images a list shows.
#[derive(Debug, Clone, Default)]
pub struct ImageFilter {
    /// Only images of these repositories, or tags: `name`, `name:tag` or patterns of them.
    pub references: Vec<String>,
    /// Only images without (`true`) or with (`false`) a name.
    pub dangling: Option<bool>,
    /// Only images with these labels, and values if given.
    pub labels: Vec<(String, Option<String>)>,
    /// Only images without any of these labels, or without these values of them.
    pub without_labels: Vec<(String, Option<String>)>,
    /// Only images older than this one.
    pub before: Option<String>,
    /// Only images newer than this one.
    pub since: Option<String>,
    /// Only images made before this.
    pub until: Option<SystemTime>,
}

impl Engine {
    /// The images that `filter` lets through, newest first.
    pub fn images(&self, filter: &ImageFilter) -> Result<Vec<ImageSummary>> {
        let store = self.store()?;
        let created_of = |name: &Option<String>| -> Result<Option<SystemTime>> {
            name.as_ref().map(|name| Ok(find::find(self, name)?.record.created)).transpose()
        };
        let (before, since) = (created_of(&filter.before)?, created_of(&filter.since)?);
        let mut tags: HashMap<Digest, Vec<Reference>> = HashMap::new();
        for tag in store.tags()? {
            if let Ok(reference) = Reference::parse(&tag.name) {
                tags.entry(tag.id).or_default().push(reference);
            }
        }
        let in_use: Vec<Digest> = self.containers_using()?;
        let mut images = Vec::new();
        for record in store.images()? {
            let mut tags = tags.remove(&record.id).unwrap_or_default();
            tags.sort_by_key(ToString::to_string);
            let repo_digests = store.repo_digests_of(&record.id)?;
            // A name shows the image for this machine.
            if tags.is_empty() && store.is_variant(&record.id)? {
                continue;
            }
            let outside = before.is_some_and(|t| record.created >= t)
                || since.is_some_and(|t| record.created <= t)
                || filter.until.is_some_and(|t| record.created >= t)
                || filter.dangling.is_some_and(|dangling| dangling != tags.is_empty());
            if outside || !self.has_labels(&record, filter)? {
                continue;
            }
            if !filter.references.is_empty() {
                tags.retain(|tag| filter.references.iter().any(|pattern| selects(pattern, tag)));
                if tags.is_empty() {
                    continue;
                }
            }
            let containers = in_use.iter().filter(|id| **id == record.id).count();
            images.push(ImageSummary { record, tags, repo_digests, containers });
        }
        images.sort_by_key(|image| Reverse(image.record.created));
        Ok(images)
    }

    fn has_labels(&self, image: &ImageRecord, filter: &ImageFilter) -> Result<bool> {
        if filter.labels.is_empty() && filter.without_labels.is_empty() {
            return Ok(true);
        }
        let labels = config(self.store()?, &image.id)?.config.labels;
        Ok(matches_labels(&labels, &filter.labels) && lacks_labels(&labels, &filter.without_labels))
    }
}

/// Whether `labels` has every one of `wanted`.
pub(crate) fn matches_labels(
    labels: &BTreeMap<String, String>,
    wanted: &[(String, Option<String>)],
) -> bool {
    wanted.iter().all(|(key, value)| {
        labels.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
    })
}

/// Whether `labels` has none of `unwanted`.
pub(crate) fn lacks_labels(
    labels: &BTreeMap<String, String>,
    unwanted: &[(String, Option<String>)],
) -> bool {
    unwanted.iter().all(|label| !matches_labels(labels, std::slice::from_ref(label)))
}

/// Whether `pattern`, a repository with or without a tag, names `tag`. As in docker, `*` matches
/// within one part of a path.
fn selects(pattern: &str, tag: &Reference) -> bool {
    let familiar = tag.familiar();
    let name = tag.familiar_name();
    let fits = |text: &str| text == pattern || glob_match(pattern, text).unwrap_or(false);
    if fits(&familiar) || fits(&name) {
        return true;
    }
    // The long spelling of a short name, e.g. `docker.io/library/busybox`.
    Reference::parse(pattern).is_ok_and(|wanted| {
        wanted.name() == tag.name()
            && (wanted.tag() == tag.tag()
                || !pattern.rsplit('/').next().unwrap_or(pattern).contains(':'))
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn patterns_select_repositories_and_tags() {
        let tag = Reference::parse("registry.example:5000/team/app:1.2").unwrap();
        for (pattern, expected) in [
            ("registry.example:5000/team/app", true),
            ("registry.example:5000/team/app:1.2", true),
            ("registry.example:5000/team/app:2", false),
            ("registry.example:5000/*/app", true),
            ("registry.example:5000/team/a*:1.*", true),
            ("app", false),
        ] {
            assert_eq!(selects(pattern, &tag), expected, "{pattern}");
        }
        let busybox = Reference::parse("busybox").unwrap();
        assert!(selects("docker.io/library/busybox", &busybox) && selects("busy*", &busybox));
    }

    #[test]
    fn labels_match_by_key_or_value() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert!(matches_labels(&labels, &[("a".into(), None)]));
        assert!(matches_labels(&labels, &[("a".into(), Some("1".into()))]));
        assert!(!matches_labels(&labels, &[("a".into(), Some("2".into()))]));
        assert!(!matches_labels(&labels, &[("b".into(), None)]));
        assert!(lacks_labels(&labels, &[("b".into(), None), ("a".into(), Some("2".into()))]));
        assert!(!lacks_labels(&labels, &[("b".into(), None), ("a".into(), None)]));
    }
}
