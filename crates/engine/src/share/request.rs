//! Which caches a build uses and feeds: plain data.

use std::path::PathBuf;

use bld_cache::manifest::Form;
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
}
