//! What a build is asked to do, and what it gives back: plain data with public fields.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bld_graph::{HttpOp, Remote};
use bld_layer::Compression;
use bld_oci::{Digest, Platform};
use bld_solve::TracedCache;
use bld_store::ImageRecord;

use super::annotations::Annotations;
use super::inspect::OnFailure;
use super::policy::SourcePolicy;
use crate::attest::{Attestations, Material};
use crate::containers::Limits;
use crate::history::Said;
use crate::share::{CacheSource, CacheTarget};

/// Where the files that `COPY` and `ADD` see come from.
#[derive(Debug, Clone)]
pub enum Context {
    /// A directory of this machine.
    Dir(PathBuf),
    /// A git repository, or a URL that leads to an archive or a Dockerfile.
    Remote(Remote),
    /// What is in a tar archive, plain or compressed.
    Archive(ArchiveStream),
    /// No files at all, e.g. a Dockerfile on standard input.
    Empty,
}

/// An archive that can be read once.
#[derive(Clone)]
pub struct ArchiveStream(Arc<Mutex<Option<Box<dyn Read + Send>>>>);

impl ArchiveStream {
    /// The archive that `reader` gives.
    pub fn new(reader: impl Read + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(reader)))))
    }

    /// The reader, unless somebody had it before.
    pub(super) fn take(&self) -> Option<Box<dyn Read + Send>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl std::fmt::Debug for ArchiveStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ArchiveStream(..)")
    }
}

/// Where the Dockerfile comes from.
#[derive(Debug, Clone)]
pub enum DockerfileSource {
    /// `Dockerfile` (or `dockerfile`) at the root of the context.
    Default,
    /// The file at this path, which may lie outside the context; of a context that was brought
    /// here, the path in it.
    Path(PathBuf),
    /// A file to download.
    Url(HttpOp),
    /// This text, e.g. read from standard input.
    Text(Vec<u8>),
}

/// A further context, `--build-context NAME=SOURCE`.
#[derive(Debug, Clone)]
pub enum NamedContext {
    /// A directory of this machine.
    Dir(PathBuf),
    /// A git repository, or a URL whose file is called `context`.
    Remote(Remote),
    /// An earlier stage of the same Dockerfile, `target:STAGE`.
    Stage(String),
    /// An image by reference, `docker-image://REF`.
    Image(String),
    /// An image in an OCI layout directory, `oci-layout://PATH[:TAG|@DIGEST]`.
    OciLayout {
        /// The directory that holds `oci-layout` and `index.json`.
        path: PathBuf,
        /// The tag or digest that chooses the image; the only one when absent.
        selector: Option<String>,
    },
}

/// A secret of the command line, `--secret id=ID[,src=PATH|env=NAME]`, already read.
#[derive(Clone)]
pub struct Secret {
    /// The value. It reaches mounts of the steps that ask for it and nothing else.
    pub value: Vec<u8>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How images leave as archives, layouts or uploads.
#[derive(Debug, Clone, Default)]
pub struct ImageOptions {
    /// Compression of layers that have to be written.
    pub compression: Compression,
    /// Write all layers anew in `compression`, also those that exist in another one.
    pub force_compression: bool,
    /// Use OCI media types; Docker's schema 2 types otherwise. `None` is the output's own default.
    pub oci_mediatypes: Option<bool>,
    /// Annotations of what is exported. Docker's media types have no place for any.
    pub annotations: Annotations,
    /// The fixed time of the image, in seconds since 1970, instead of the build's.
    pub epoch: Option<i64>,
    /// No file of a new layer is newer than the fixed time, if there is one.
    pub rewrite_timestamp: bool,
    /// What else becomes of an image in the store and in registries.
    pub naming: Naming,
}

/// How an image is named in the store and in registries.
#[derive(Debug, Clone, Default)]
pub struct Naming {
    /// Push without a tag: the digest is the name.
    pub by_digest: bool,
    /// In the store, too, the image is known by the digest of its manifest in its repositories.
    pub canonical: bool,
    /// A repository in which the image is known by its digest.
    pub dangling: Option<String>,
    /// Only if it has no other name.
    pub dangling_if_unnamed: bool,
    /// The image does not stay in the store, if it was not there before.
    pub discard: bool,
}

/// Where a result goes.
#[derive(Debug, Clone)]
pub enum Output {
    /// The image store, under the given tags; with `push`, also to their registries.
    Image {
        /// Names besides `-t`.
        names: Vec<String>,
        /// Upload to the registry each name belongs to.
        push: bool,
        /// How layers are written when they are uploaded.
        options: ImageOptions,
    },
    /// The files of the final filesystem in a directory.
    Local {
        /// The directory, made when missing.
        dest: PathBuf,
        /// Put the files into a directory that is named after the platform; when it is not said,
        /// only those of several platforms.
        split: Option<bool>,
        /// Remove what is there and not in the result.
        delete: bool,
    },
    /// The files of the final filesystem as one tar.
    Tar {
        /// The file, or standard output.
        dest: Destination,
        /// As that of `Local`.
        split: Option<bool>,
    },
    /// An OCI image layout, as a tar or (`tar: false`) as a directory.
    Oci {
        /// Where to.
        dest: Destination,
        /// Write one tar file instead of a directory.
        tar: bool,
        /// Names besides `-t`.
        names: Vec<String>,
        /// How layers are written.
        options: ImageOptions,
    },
    /// A tar that `docker load` reads; without a destination, the image store.
    Docker {
        /// Where to, `None` for the store.
        dest: Option<Destination>,
        /// Write one tar file instead of a layout in a directory.
        tar: bool,
        /// Names besides `-t`.
        names: Vec<String>,
        /// How layers are written.
        options: ImageOptions,
    },
    /// Nothing; the result stays in the build cache.
    CacheOnly,
}

/// A file to write, or standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A file or directory.
    Path(PathBuf),
    /// Standard output.
    Stdout,
}

/// How steps reach the network when their `RUN` does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// Bridge and NAT.
    #[default]
    Default,
    /// The network of the host.
    Host,
    /// Loopback only.
    None,
}

/// Everything a build needs to know.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The main context.
    pub context: Context,
    /// The Dockerfile.
    pub dockerfile: DockerfileSource,
    /// `--build-context`, by name.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// `-t`, in order, as written.
    pub tags: Vec<String>,
    /// `--target`.
    pub target: Option<String>,
    /// `--build-arg`, later ones win; values copied from the environment are already resolved.
    pub build_args: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--platform`; the machine's own when empty.
    pub platforms: Vec<Platform>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-cache-filter`: stages that are built anew.
    pub no_cache_filter: Vec<String>,
    /// `--traced-cache`.
    pub traced: TracedCache,
    /// `--cache-from`: what others know, the first to be believed in front.
    pub cache_from: Vec<CacheSource>,
    /// `--cache-to`: where to say what this build knows.
    pub cache_to: Vec<CacheTarget>,
    /// `--pull`: ask the registry for every base, also those in the store.
    pub pull: bool,
    /// `--source-policy-file`: the sources that may be used, and what is used in their place.
    pub policy: Option<SourcePolicy>,
    /// `--network`.
    pub network: NetworkMode,
    /// `--add-host`: name and address.
    pub add_hosts: Vec<(String, String)>,
    /// `--no-stat-cache`: reads every file of the contexts, whatever its times say.
    pub no_stat_cache: bool,
    /// `--allow`: entitlements such as `network.host`, `security.insecure` and `device=NAME`.
    pub allow: Vec<String>,
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// `--ssh`: agent socket by id; a [`KeyAgent`](super::KeyAgent) makes one of files with keys.
    pub ssh: BTreeMap<String, PathBuf>,
    /// `--resource`: limits of each step.
    pub resources: Limits,
    /// `--memory`, `--cpus` and their likes: limits of all steps together.
    pub together: Limits,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// `--shm-size`, bytes.
    pub shm_size: Option<u64>,
    /// `--ulimit`: name, soft and hard limit.
    pub ulimits: Vec<(String, u64, u64)>,
    /// `-o`; empty means the image store.
    pub outputs: Vec<Output>,
    /// `--attest`, `--provenance`, `--sbom`: what is said about the images.
    pub attest: Attestations,
    /// `--squash`: the layers that lie on the base become one.
    pub squash: bool,
    /// `--reproducible`: the time is fixed, by default to 1970, and no file of a new layer is newer.
    pub reproducible: bool,
    /// `--verify`: the image is needed in any case, for [`Engine::verify_build`](crate::Engine::verify_build).
    pub verify: bool,
    /// `-j`: most steps that run at the same time; as many as can when absent.
    pub jobs: Option<usize>,
    /// `--on-error`: what is done about a step that fails.
    pub on_failure: OnFailure,
}

/// What a build made.
#[derive(Debug, Clone)]
pub struct BuildResult {
    /// Digest of the image config, which is the image's id; absent for outputs without an image.
    pub image_id: Option<Digest>,
    /// The ids of the images of all platforms, the same way.
    pub image_ids: Vec<Digest>,
    /// The manifest, when one was written.
    pub manifest: Option<WrittenManifest>,
    /// Canonical names the image was given.
    pub names: Vec<String>,
    /// What the build used from elsewhere, each once.
    pub materials: Vec<Material>,
    /// What is said about what was built, and where that is kept.
    pub said: Vec<Said>,
    /// Number of steps by how they ended.
    pub steps: StepCounts,
    /// The image, also where it is not in the store.
    pub image: Option<ImageRecord>,
    /// The manifest of the cache that was exported last.
    pub cache: Option<WrittenManifest>,
    /// The images of all platforms, for [`Engine::verify_build`](crate::Engine::verify_build): if the
    /// request says that there will be one.
    pub built: Vec<Built>,
}

/// The image for one platform.
#[derive(Debug, Clone)]
pub struct Built {
    /// The image.
    pub image: ImageRecord,
    /// Which of its times are fixed.
    pub fixed: FixedTimes,
}

/// Which times of an image a build fixes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FixedTimes {
    /// Those in the configuration.
    pub created: bool,
    /// Those of files in new layers.
    pub files: bool,
}

/// What leads to an image that left the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenManifest {
    /// Digest of its bytes.
    pub digest: Digest,
    /// Media type.
    pub media_type: String,
    /// Number of bytes.
    pub size: u64,
    /// What the image runs on; absent for an index.
    pub platform: Option<Platform>,
}

/// How many steps ended in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Steps that ran.
    pub run: usize,
    /// Steps whose result was known.
    pub cached: usize,
}
