//! Contexts other than a directory.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bld_engine::build::{ArchiveStream, Context, DockerfileSource, Incoming, NamedContext, Remote};

use crate::error::Failure;

/// The context, and where the Dockerfile comes from. As docker has it, `file` is relative to the
/// current directory, or to the root of a context that lies elsewhere.
pub(super) fn main(
    context: &str,
    file: Option<&str>,
) -> Result<(Context, DockerfileSource), Failure> {
    let dockerfile = match file.filter(|file| !file.is_empty()) {
        None => DockerfileSource::Default,
        Some("-") if context == "-" => {
            return Err(Failure::new(
                "invalid argument: can't use stdin for both build context and dockerfile",
            ));
        }
        Some("-") => {
            let mut text = Vec::new();
            std::io::stdin().lock().read_to_end(&mut text)?;
            DockerfileSource::Text(text)
        }
        Some(path) => match remote(path, Remote::parse)? {
            Some(Remote::Http(op)) => DockerfileSource::Url(op),
            Some(Remote::Git(_)) => {
                return Err(Failure::new(format!("{path:?} is a repository, not a Dockerfile"))
                    .with_hint("name the repository as the context, and with -f the file in it"));
            }
            None => DockerfileSource::Path(PathBuf::from(path)),
        },
    };
    if context == "-" {
        return from_stdin(dockerfile);
    }
    let context = match remote(context, Remote::parse_context)? {
        Some(remote) => Context::Remote(remote),
        None => Context::Dir(PathBuf::from(context)),
    };
    Ok((context, dockerfile))
}

/// What `name` names elsewhere, unless it is a directory here.
fn remote(
    name: &str,
    parse: impl Fn(&str) -> Result<Option<Remote>, String>,
) -> Result<Option<Remote>, Failure> {
    if Path::new(name).exists() {
        return Ok(None);
    }
    parse(name).map_err(|why| Failure::new(format!("invalid location {name:?}: {why}")))
}

/// Standard input as a context in an archive, or as a Dockerfile without any context.
fn from_stdin(dockerfile: DockerfileSource) -> Result<(Context, DockerfileSource), Failure> {
    match Incoming::look(std::io::stdin())? {
        Incoming::Archive(archive) => {
            Ok((Context::Archive(ArchiveStream::new(archive)), dockerfile))
        }
        Incoming::Text(mut rest) => {
            if !matches!(dockerfile, DockerfileSource::Default) {
                return Err(Failure::new(
                    "invalid argument: -f names a file of the context, but standard input is a \
                     Dockerfile",
                ));
            }
            let mut text = Vec::new();
            rest.read_to_end(&mut text)?;
            Ok((Context::Empty, DockerfileSource::Text(text)))
        }
    }
}

/// `NAME=SOURCE`: a directory, a git repository, a URL, `docker-image://REF`,
/// `oci-layout://PATH[:TAG|@DIGEST]` or `target:STAGE`.
pub(super) fn named(word: &str) -> Result<(String, NamedContext), Failure> {
    let invalid = |why: String| Failure::new(format!("invalid context {word:?}: {why}"));
    let (name, source) =
        word.split_once('=').ok_or_else(|| invalid("the form is NAME=SOURCE".to_owned()))?;
    let context = if let Some(image) = source.strip_prefix("docker-image://") {
        NamedContext::Image(image.to_owned())
    } else if let Some(layout) = source.strip_prefix("oci-layout://") {
        layout_of(layout)
    } else if let Some(remote) = remote(source, Remote::parse_context)? {
        NamedContext::Remote(remote)
    } else if let Some(stage) = source.strip_prefix("target:") {
        NamedContext::Stage(stage.to_owned())
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
        assert!(kind("a=https://x.invalid/y.git#v1").unwrap_or_default().contains("Git("));
        assert!(kind("a=https://x.invalid/y").unwrap_or_default().contains("Http("));
        assert!(named("a=foo://x").is_err() && named("a").is_err());
    }
}
