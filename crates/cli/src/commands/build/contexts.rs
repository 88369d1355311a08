//! Contexts other than a directory.

use std::io::Read as _;
use std::path::PathBuf;

use bld_engine::build::NamedContext;

use crate::error::Failure;

/// Standard input as a Dockerfile.
pub(super) fn dockerfile_from_stdin() -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    std::io::stdin().lock().read_to_end(&mut text)?;
    if bld_layer::detect(&text).is_some() || bld_layer::is_tar(&text) {
        return Err(Failure::new("a context as an archive on standard input is not supported yet"));
    }
    Ok(text)
}

/// Whether a context is to be fetched from elsewhere.
pub(super) fn is_remote(context: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@", "github.com/"]
        .iter()
        .any(|prefix| context.starts_with(prefix))
}

/// `NAME=SOURCE`: a directory, `docker-image://REF` or `oci-layout://PATH[:TAG|@DIGEST]`.
pub(super) fn named(word: &str) -> Result<(String, NamedContext), Failure> {
    let invalid = |why: String| Failure::new(format!("invalid context {word:?}: {why}"));
    let (name, source) =
        word.split_once('=').ok_or_else(|| invalid("the form is NAME=SOURCE".to_owned()))?;
    let context = if let Some(image) = source.strip_prefix("docker-image://") {
        NamedContext::Image(image.to_owned())
    } else if let Some(layout) = source.strip_prefix("oci-layout://") {
        layout_of(layout)
    } else if is_remote(source) {
        return Err(invalid("remote contexts are not supported yet".to_owned()));
    } else if source.contains("://") {
        return Err(invalid(format!("unknown kind of context {source:?}")));
    } else {
        NamedContext::Dir(PathBuf::from(source))
    };
    Ok((name.to_owned(), context))
}

fn layout_of(layout: &str) -> NamedContext {
    if let Some((path, digest)) = layout.split_once('@') {
        return NamedContext::OciLayout { path: path.into(), selector: Some(digest.to_owned()) };
    }
    // A colon behind the last slash begins the tag.
    let start = layout.rfind('/').map_or(0, |slash| slash + 1);
    match layout[start..].split_once(':') {
        Some((dir, tag)) => NamedContext::OciLayout {
            path: format!("{}{dir}", &layout[..start]).into(),
            selector: Some(tag.to_owned()),
        },
        None => NamedContext::OciLayout { path: layout.into(), selector: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_contexts_have_kinds() {
        let kind = |word: &str| named(word).ok().map(|(_, context)| format!("{context:?}"));
        assert_eq!(kind("a=dir").as_deref(), Some("Dir(\"dir\")"));
        assert_eq!(kind("a=docker-image://busybox").as_deref(), Some("Image(\"busybox\")"));
        let layout = "OciLayout { path: \"/x/y\", selector: Some(\"v1\") }";
        assert_eq!(kind("a=oci-layout:///x/y:v1").as_deref(), Some(layout));
        let layout = "OciLayout { path: \"x\", selector: None }";
        assert_eq!(kind("a=oci-layout://x").as_deref(), Some(layout));
        assert!(
            named("a=https://x/y.git").is_err()
                && named("a=foo://x").is_err()
                && named("a").is_err()
        );
    }
}
