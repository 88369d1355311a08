//! What the caller of [`lower`](crate::lower()) must be able to answer: the only way out.

use bld_oci::{Digest, ImageConfig, Platform, Reference, ReferenceError};

use crate::op::Op;

/// An image that a build needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRequest {
    /// Its name.
    pub reference: Reference,
    /// Whether the name as written says no registry, and was completed.
    pub is_short: bool,
    /// The platform wanted.
    pub platform: Platform,
}

impl ImageRequest {
    /// For the image `name`, as written, and `platform`.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn new(name: &str, platform: &Platform) -> Result<Self, ReferenceError> {
        let reference = Reference::parse(name)?;
        let is_short = Reference::is_short(name);
        Ok(Self { reference, is_short, platform: platform.clone() })
    }
}

/// What is known of an image once its name is resolved. Layers need not be present.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The name, as asked for or as a named context says.
    pub reference: Reference,
    /// What the name leads to in the registry: an index or a manifest.
    pub digest: Option<Digest>,
    /// The manifest for the platform; none for an image that only exists in the store.
    pub manifest: Option<Digest>,
    /// The configuration.
    pub config: ImageConfig,
}

/// What a name given with `--build-context` stands for.
#[derive(Debug, Clone)]
pub enum NamedContext {
    /// An image of a registry or of an OCI layout.
    Image(Box<ResolvedImage>),
    /// Files: a [`Context`](Op::Context), [`Git`](Op::Git) or [`Http`](Op::Http) operation.
    Files(Op),
}

/// An image or a context could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ResolveError {
    /// Why, as it reads after `failed to resolve busybox:latest: `.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Answers what names stand for.
pub trait Resolver {
    /// Tells in advance which images are going to be asked for, so that they can be resolved all
    /// at once. Some of them may turn out to be named contexts, and others may be asked for too.
    fn prefetch(&mut self, requests: &[ImageRequest]) {
        let _ = requests;
    }

    /// Resolves an image.
    fn image(&mut self, request: &ImageRequest) -> Result<ResolvedImage, ResolveError>;

    /// The time of a source in seconds since 1970: of a git checkout its commit, of a download its
    /// `Last-Modified` or its newest member. None: it has no such time, as directories have none.
    ///
    /// Asked only if `SOURCE_DATE_EPOCH` names the source.
    fn time(&mut self, source: &Op) -> Result<Option<i64>, ResolveError> {
        let _ = source;
        Ok(None)
    }

    /// What `name` stands for; none: it was not given with `--build-context`.
    ///
    /// `name` is a stage name or an image name as written in the Dockerfile. Of `NAME::PLATFORM`,
    /// `NAME` and `NAME:latest` the first that was given counts.
    fn context(
        &mut self,
        name: &str,
        platform: &Platform,
    ) -> Result<Option<NamedContext>, ResolveError>;
}
