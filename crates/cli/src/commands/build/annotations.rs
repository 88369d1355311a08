//! Annotations, as `--annotation` and the keys of `--output` have them.

use bld_engine::build::{Annotation, AnnotationScope};
use bld_oci::Platform;

/// The kinds of annotations by the names buildx gives them.
const SCOPES: [(&str, AnnotationScope); 4] = [
    ("manifest", AnnotationScope::Manifest),
    ("manifest-descriptor", AnnotationScope::ManifestDescriptor),
    ("index", AnnotationScope::Index),
    ("index-descriptor", AnnotationScope::IndexDescriptor),
];

/// `[TYPE[PLATFORM][,TYPE...]:]KEY=VALUE`; without a type, it is about the manifest.
pub(crate) fn of_flag(word: &str) -> Result<Vec<Annotation>, String> {
    let (key, value) = word.split_once('=').ok_or("the form is key=value")?;
    let (kinds, key) = key.split_once(':').unwrap_or(("manifest", key));
    kinds.split(',').map(|kind| annotation(kind, key, value)).collect()
}

/// A key of an output, `annotation[-TYPE][[PLATFORM]].KEY`; none when it is another one.
pub(super) fn of_key(key: &str, value: &str) -> Option<Result<Annotation, String>> {
    let rest = key.strip_prefix("annotation")?;
    let (kind, name) = split_kind(rest)?;
    let kind = match kind.strip_prefix('-') {
        Some(kind) => kind.to_owned(),
        None => format!("manifest{kind}"),
    };
    Some(annotation(&kind, name, value))
}

/// Splits behind the kind: a dot within the brackets of a platform (`windows(10.0)`) ends nothing.
fn split_kind(rest: &str) -> Option<(&str, &str)> {
    if !rest.is_empty() && !rest.starts_with(['-', '.', '[']) {
        return None;
    }
    let after = rest.find(']').filter(|end| rest[..*end].contains('[')).unwrap_or(0);
    let dot = after + rest[after..].find('.')?;
    Some((&rest[..dot], &rest[dot + 1..]))
}

fn annotation(kind: &str, key: &str, value: &str) -> Result<Annotation, String> {
    let (name, platform) = match kind.split_once('[') {
        None => (kind, None),
        Some((name, rest)) => {
            let platform = rest.strip_suffix(']').ok_or("a bracket is not closed")?;
            (name, Some(Platform::parse(platform).map_err(|error| error.to_string())?))
        }
    };
    let (_, scope) = SCOPES
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| format!("unknown annotation type {name:?}"))?;
    if key.is_empty() {
        return Err("the key is empty".to_owned());
    }
    let about_index = matches!(scope, AnnotationScope::Index | AnnotationScope::IndexDescriptor);
    if about_index && platform.is_some() {
        return Err(format!("{name} is for all platforms"));
    }
    Ok(Annotation { scope: *scope, platform, key: key.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(word: &str) -> String {
        match of_flag(word) {
            Ok(all) => all
                .iter()
                .map(|a| {
                    let platform =
                        a.platform.as_ref().map_or_else(String::new, |p| format!(" {p}"));
                    format!("{:?}{platform} {}={}", a.scope, a.key, a.value)
                })
                .collect::<Vec<_>>()
                .join("; "),
            Err(why) => why,
        }
    }

    #[test]
    fn flags_name_types_and_platforms() {
        assert_eq!(flag("a.b/C=x=y"), "Manifest a.b/C=x=y");
        assert_eq!(flag("index,manifest:k=v"), "Index k=v; Manifest k=v");
        assert_eq!(
            flag("manifest-descriptor[linux/arm64]:k="),
            "ManifestDescriptor linux/arm64 k="
        );
        assert_eq!(flag("k"), "the form is key=value");
        assert_eq!(flag("manifests:k=v"), "unknown annotation type \"manifests\"");
        assert_eq!(flag("index[linux/arm64]:k=v"), "index is for all platforms");
        assert_eq!(flag("=v"), "the key is empty");
    }

    #[test]
    fn keys_of_outputs_name_them_too() {
        let key = |key: &str| {
            of_key(key, "v").map(|found| found.map(|a| format!("{:?} {}", a.scope, a.key)))
        };
        assert_eq!(key("annotation.org.Title"), Some(Ok("Manifest org.Title".into())));
        assert_eq!(key("annotation-index.k"), Some(Ok("Index k".into())));
        assert_eq!(
            key("annotation-manifest-descriptor[linux/amd64].k"),
            Some(Ok("ManifestDescriptor k".into()))
        );
        assert_eq!(key("annotation[linux/amd64].k"), Some(Ok("Manifest k".into())));
        assert_eq!(key("annotations.k"), None);
        assert!(key("annotation-nosuch.k").is_some_and(|found| found.is_err()));
    }
}
