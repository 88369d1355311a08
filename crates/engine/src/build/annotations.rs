//! Annotations of what is exported.

use std::collections::BTreeMap;

use bld_oci::Platform;

/// What an annotation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationScope {
    /// The manifest of an image.
    Manifest,
    /// What an index says of the manifest of an image.
    ManifestDescriptor,
    /// The index over the images of several platforms.
    Index,
    /// What a layout says of that index.
    IndexDescriptor,
}

/// One annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// What it is about.
    pub scope: AnnotationScope,
    /// Only of images for this platform.
    pub platform: Option<Platform>,
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// All annotations of one output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations(Vec<Annotation>);

impl Annotations {
    /// Adds one; of the same name and scope, a later one counts.
    pub fn push(&mut self, annotation: Annotation) {
        self.0.push(annotation);
    }

    /// Those of an image for `platform` in this scope.
    pub fn of(&self, scope: AnnotationScope, platform: &Platform) -> BTreeMap<String, String> {
        let is_meant = |annotation: &&Annotation| {
            annotation.scope == scope
                && annotation.platform.as_ref().is_none_or(|wanted| platform.satisfies(wanted))
        };
        let pair = |annotation: &Annotation| (annotation.key.clone(), annotation.value.clone());
        self.0.iter().filter(is_meant).map(pair).collect()
    }

    /// Those of the index, or of what leads to it.
    pub fn of_index(&self, scope: AnnotationScope) -> BTreeMap<String, String> {
        let is_meant = |annotation: &&Annotation| annotation.scope == scope;
        let pair = |annotation: &Annotation| (annotation.key.clone(), annotation.value.clone());
        self.0.iter().filter(is_meant).map(pair).collect()
    }

    /// Whether any of them is in this scope.
    pub fn has(&self, scope: AnnotationScope) -> bool {
        self.0.iter().any(|annotation| annotation.scope == scope)
    }

    /// Whether any of them needs an index.
    pub fn need_index(&self) -> bool {
        self.has(AnnotationScope::Index) || self.has(AnnotationScope::IndexDescriptor)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Annotation> for Annotations {
    fn from_iter<I: IntoIterator<Item = Annotation>>(annotations: I) -> Self {
        Self(annotations.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_for_scopes_and_platforms() {
        let arm = Platform::new("linux", "arm64", None);
        let amd = Platform::new("linux", "amd64", None);
        let annotation = |scope, platform: Option<&Platform>, value: &str| Annotation {
            scope,
            platform: platform.cloned(),
            key: "a".to_owned(),
            value: value.to_owned(),
        };
        let manifest = AnnotationScope::Manifest;
        let all: Annotations = [
            annotation(manifest, None, "1"),
            annotation(manifest, Some(&arm), "2"),
            annotation(AnnotationScope::ManifestDescriptor, None, "3"),
        ]
        .into_iter()
        .collect();
        assert_eq!(all.of(manifest, &arm)["a"], "2");
        assert_eq!(all.of(manifest, &amd)["a"], "1");
        assert_eq!(all.of(AnnotationScope::ManifestDescriptor, &amd)["a"], "3");
        assert!(!all.need_index());
    }
}
