//! Which caches a build uses and feeds: plain data.

use std::path::PathBuf;
use std::time::Duration;

use bld_cache::gha::GhaCache;
use bld_cache::manifest::Form;
use bld_cache::s3::S3Cache;
use bld_layer::Compression;
use bld_oci::Digest;

/// A cache to read, `--cache-from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheSource {
    /// A cache, or an image with a cache in it, of a registry.
    Registry {
        /// Its reference, as given.
        reference: String,
    },
    /// A directory.
    Local {
        /// Where.
        dir: PathBuf,
        /// Which cache of the directory, unless `digest` says it.
        tag: String,
        /// Which cache of the directory.
        digest: Option<Digest>,
    },
    /// A bucket.
    S3(S3Cache),
    /// The cache service of GitHub Actions.
    Gha(GhaCache),
}

/// What of a build is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExportMode {
    /// The steps whose layers are in the result.
    #[default]
    Min,
    /// All steps.
    Max,
}

/// A cache to write, `--cache-to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheTarget {
    /// A reference of a registry.
    Registry {
        /// The reference, as given.
        reference: String,
        /// How.
        options: CacheOptions,
    },
    /// A directory.
    Local {
        /// Which.
        local: LocalTarget,
        /// How.
        options: CacheOptions,
    },
    /// A bucket.
    S3 {
        /// Which, and how it is written to.
        s3: S3Target,
        /// How.
        options: CacheOptions,
    },
    /// The cache service of GitHub Actions.
    Gha {
        /// Which, and what of it.
        gha: GhaCache,
        /// How.
        options: CacheOptions,
    },
    /// The configuration of the image itself.
    Inline,
}

/// A directory to write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTarget {
    /// Where.
    pub dir: PathBuf,
    /// The name of the cache in it.
    pub tag: String,
    /// Remove blobs that nothing in the directory needs any more.
    pub prune: bool,
}

/// A bucket to write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Target {
    /// Which of its objects.
    pub cache: S3Cache,
    /// Blobs that were written or used longer ago than this become as new.
    pub refresh: Duration,
    /// Blobs that are sent at the same time, one at least.
    pub parallelism: usize,
}

/// How a cache is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheOptions {
    /// What of the build.
    pub mode: ExportMode,
    /// The manifest's form.
    pub form: Form,
    /// Compression of layers that have no blob yet.
    pub compression: Compression,
    /// Write all layers in this compression, also those that have a blob in another one.
    pub force_compression: bool,
    /// A cache that cannot be written fails no build.
    pub ignore_error: bool,
    /// Cache mounts that the build's steps have go along.
    pub mounts: bool,
}
