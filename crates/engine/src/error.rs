//! What can go wrong in the engine, told apart by what a user can do about it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use bld_layer::LayerError;
use bld_layer::copy::CopyError;
use bld_network::NetworkError;
use bld_oci::{Digest, PlatformError, ReferenceError};
use bld_registry::RegistryError;
use bld_registry::auth::CredentialError;
use bld_sandbox::cgroup::CgroupError;
use bld_sandbox::{SandboxError, UserError};
use bld_store::StoreError;

use crate::images::remove::Conflict;
use crate::imagetools::{CombineError, ListError};
use crate::sign::{KeyError, SignatureError};

/// Result of an engine operation.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// Why an engine operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No image has this name or id.
    #[error("no such image: {name}")]
    NoSuchImage {
        /// As given.
        name: String,
    },
    /// Who is no root can't be root over containers of his own either.
    #[error("become root of a user namespace, as you are not root")]
    Rootless {
        /// The kernel's reason.
        source: io::Error,
    },
    /// The name of an image is malformed.
    #[error("invalid reference format: {reference:?}")]
    Reference {
        /// As given.
        reference: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// A platform is malformed.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// A tag cannot be made from a reference that names a digest.
    #[error("refusing to create a tag with a digest reference: {reference}")]
    TagWithDigest {
        /// As given.
        reference: String,
    },
    /// No image has this name, so there is nothing to push.
    #[error("an image does not exist locally with the tag: {name}")]
    NothingToPush {
        /// The repository, as given.
        name: String,
    },
    /// The image cannot be removed as things are.
    #[error(transparent)]
    ImageInUse(#[from] Conflict),
    /// A name without a registry is at none of those that may be meant.
    #[error("pull {name}: {}", refused.join("; "))]
    Nowhere {
        /// The name.
        name: String,
        /// What each of them said.
        refused: Vec<String>,
    },
    /// A layer exists neither unpacked nor as a blob.
    #[error("layer {diff_id} of image {image} is not in the store")]
    MissingLayer {
        /// The layer.
        diff_id: Digest,
        /// The image that needs it.
        image: Digest,
    },
    /// A layer's bytes are not those its image was made of.
    #[error("layer {blob} unpacks to {found}, but its image names {expected}")]
    LayerMismatch {
        /// The compressed blob.
        blob: Digest,
        /// What the image's configuration says.
        expected: Digest,
        /// What the blob holds.
        found: Digest,
    },
    /// A layer could not be unpacked.
    #[error("unpack layer {digest}")]
    Layer {
        /// The compressed blob.
        digest: Digest,
        /// The cause.
        source: LayerError,
    },
    /// A file of an image or a container could not be read or written.
    #[error("read {} in the image", path.display())]
    Tree {
        /// The file, as seen from inside.
        path: PathBuf,
        /// The cause.
        source: LayerError,
    },
    /// A context that came as an archive, or a file in a context, could not be read.
    #[error("read the context {origin}")]
    Context {
        /// Where it came from.
        origin: String,
        /// The cause.
        source: LayerError,
    },
    /// The configuration of an image does not decode.
    #[error("the configuration of image {image} is malformed")]
    Config {
        /// The image.
        image: Digest,
        /// The cause.
        source: serde_json::Error,
    },
    /// A file that should hold images does not.
    #[error("load the archive: {problem}")]
    Archive {
        /// What is wrong with it.
        problem: String,
    },
    /// Images at registries cannot be made into a new one.
    #[error(transparent)]
    Combine(#[from] CombineError),
    /// A list of manifests cannot be changed or pushed.
    #[error(transparent)]
    List(#[from] ListError),
    /// A file could not be downloaded.
    #[error("download {url}: {problem}")]
    Download {
        /// From where.
        url: String,
        /// Why not.
        problem: String,
    },
    /// An image cannot have the form that was asked for.
    #[error("convert the image: {problem}")]
    Conversion {
        /// Why not.
        problem: String,
    },
    /// An image could not be written.
    #[error(transparent)]
    Export(#[from] bld_export::ExportError),
    /// Several images' ids begin so.
    #[error("image id {prefix} is ambiguous: several ids begin so")]
    AmbiguousImage {
        /// As given.
        prefix: String,
    },
    /// The registry has no image for the platform that was asked for.
    #[error("image {reference} is for {found}, not for {wanted}")]
    WrongPlatform {
        /// The image.
        reference: String,
        /// What it is for.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// The caller asked to stop, or the runtime went down.
    #[error("the operation was canceled")]
    Canceled,
    /// No container has this name or id.
    #[error("no such container: {name}")]
    NoSuchContainer {
        /// As given.
        name: String,
    },
    /// Several containers' ids begin so.
    #[error("multiple containers found with provided prefix: {prefix}")]
    AmbiguousContainer {
        /// As given.
        prefix: String,
    },
    /// A container's document does not decode.
    #[error("the record of container {id} is malformed")]
    ContainerDocument {
        /// The container.
        id: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// A container cannot be called so.
    #[error("invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    ContainerName {
        /// As given.
        name: String,
    },
    /// Another container is called so.
    #[error(
        "the container name \"/{name}\" is already in use by container \"{id}\"; you have to remove \
         (or rename) that container to be able to reuse that name"
    )]
    NameInUse {
        /// The name.
        name: String,
        /// The container that has it.
        id: String,
    },
    /// Neither the image nor the user says what to run.
    #[error("no command specified")]
    NoCommand,
    /// A wish makes no sense. The text is docker's where docker has one.
    #[error("{what}")]
    Invalid {
        /// What is wrong.
        what: String,
    },
    /// A mount has no absolute target.
    #[error("invalid mount target {target:?}: it must be an absolute path")]
    MountTarget {
        /// As given.
        target: String,
    },
    /// A bind mount's source is missing.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {}", path.display())]
    BindSource {
        /// As given.
        path: PathBuf,
    },
    /// The container runs.
    #[error("container {container} is already running")]
    AlreadyRunning {
        /// Its name.
        container: String,
    },
    /// The container does not run.
    #[error("container {container} is not running")]
    NotRunning {
        /// Its id.
        container: String,
    },
    /// The container has no control group: an ordinary user was handed none.
    #[error("container {container} has no control group, which this needs: see `bld doctor`")]
    NoGroup {
        /// Its id.
        container: String,
    },
    /// The container is paused.
    #[error("container {container} is already paused")]
    AlreadyPaused {
        /// Its id.
        container: String,
    },
    /// The container is paused, so nothing can be started in it.
    #[error("container {container} is paused, unpause the container before exec")]
    Paused {
        /// Its id.
        container: String,
    },
    /// The container is not paused.
    #[error("container {container} is not paused")]
    NotPaused {
        /// Its id.
        container: String,
    },
    /// A running container is not removed without force.
    #[error(
        "cannot remove container \"/{container}\": container is {state}: stop the container before \
         removing or force remove"
    )]
    RemoveRunning {
        /// Its name.
        container: String,
        /// `running`, `paused` or `restarting`.
        state: &'static str,
    },
    /// The container waits for its next start.
    #[error("container {container} is restarting, wait until the container is running")]
    Restarting {
        /// Its id.
        container: String,
    },
    /// The container does not run, or is paused.
    #[error("You cannot attach to a {state}")]
    NotAttachable {
        /// What it is and what to do, to be read on.
        state: &'static str,
    },
    /// There is no such network.
    #[error("network {name} not found")]
    NoSuchNetwork {
        /// As given.
        name: String,
    },
    /// Several networks have ids that begin so.
    #[error("network {prefix} is ambiguous: several ids begin with it")]
    AmbiguousNetwork {
        /// As given.
        prefix: String,
    },
    /// A network can't have this name.
    #[error("invalid network name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    NetworkName {
        /// As given.
        name: String,
    },
    /// The name is that of a network that is always there.
    #[error("operation is not permitted on predefined {name} network")]
    PredefinedNetwork {
        /// The name.
        name: String,
    },
    /// A network that is always there is not removed.
    #[error("{name} is a pre-defined network and cannot be removed")]
    RemovePredefinedNetwork {
        /// The name.
        name: String,
    },
    /// There is a network of that name.
    #[error("network with name {name} already exists")]
    NetworkExists {
        /// The name.
        name: String,
    },
    /// Another network has some of the addresses.
    #[error(
        "subnet {subnet} overlaps with that of another network: Pool overlaps with other one on this address space"
    )]
    NetworkOverlap {
        /// The wanted subnet.
        subnet: String,
    },
    /// Containers that run are on the network.
    #[error(
        "error while removing network: network {name} id {id} has active endpoints (name:\"{container}\")"
    )]
    NetworkInUse {
        /// The network.
        name: String,
        /// Its id.
        id: String,
        /// The name of one of them.
        container: String,
    },
    /// The container can't be on that network besides what it is on.
    #[error("container {container} cannot be connected to another network: it is in {mode} mode")]
    NotConnectable {
        /// Its name.
        container: String,
        /// The network that stands alone.
        mode: String,
    },
    /// The container is on the network already.
    #[error("endpoint with name {container} already exists in network {network}")]
    AlreadyConnected {
        /// Its name.
        container: String,
        /// The network.
        network: String,
    },
    /// The container is not on the network.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// Its id.
        container: String,
        /// The network.
        network: String,
    },
    /// The container whose network, processes or shared memory are to be shared does not run.
    #[error("cannot join {what} of a non running container: {container}")]
    JoinStopped {
        /// `network`, `PID` or `IPC`.
        what: &'static str,
        /// Its id.
        container: String,
    },
    /// The OCI runtime of a container failed.
    #[error("OCI runtime {program:?} failed: {message}")]
    Runtime {
        /// The runtime.
        program: PathBuf,
        /// What it said.
        message: String,
    },
    /// What is wished for can only be had of our own runtime.
    #[error("{what} is not possible with another runtime: leave out --runtime")]
    RuntimeLacks {
        /// What.
        what: &'static str,
    },
    /// The container whose shared memory is to be shared keeps it to itself.
    #[error(
        "container {container}: non-shareable IPC (hint: use IpcMode:shareable for the donor \
         container)"
    )]
    NotShareable {
        /// Its id.
        container: String,
    },
    /// The container that is linked to does not run on the same network.
    #[error(
        "Cannot link to a non running container, or one on other networks: /{container} AS {alias}"
    )]
    LinkStopped {
        /// Its name.
        container: String,
        /// What it was to be called.
        alias: String,
    },
    /// A port of the host could not be led to the container.
    #[error("driver failed programming external connectivity on endpoint {container}")]
    Publish {
        /// Its name.
        container: String,
        /// The cause.
        source: NetworkError,
    },
    /// A file of a container is missing.
    #[error("Could not find the file {} in container {container}", path.display())]
    NoSuchFile {
        /// As given.
        path: PathBuf,
        /// The container's name.
        container: String,
    },
    /// Files could not be copied into a container or out of it.
    #[error("copy files of container {container}")]
    Copy {
        /// Its name.
        container: String,
        /// The cause.
        source: LayerError,
    },
    /// The container's output is not kept.
    #[error("configured logging driver of container {container} does not support reading")]
    NoLog {
        /// Its name.
        container: String,
    },
    /// The container's program could not be started, or its end not be learned.
    #[error("failed to create task for container")]
    Start {
        /// The cause.
        source: SandboxError,
    },
    /// A detached container's program could not be started.
    #[error("{error}")]
    StartReported {
        /// Why, with all causes.
        error: String,
        /// The exit code for it.
        code: i32,
    },
    /// A monitor ended without a word.
    #[error("the monitor {} ended early ({status}); see {}", program.display(), log.display())]
    MonitorLost {
        /// What was run.
        program: OsString,
        /// How it ended.
        status: String,
        /// Where it may have said more.
        log: PathBuf,
    },
    /// The engine was opened without a command that runs monitors.
    #[error("containers cannot be detached: the engine was opened without a monitor command")]
    NotDetachable,
    /// The sandbox gave no terminal.
    #[error("the container was started without a terminal")]
    NoTerminal,
    /// The user a container is to run as does not exist in it.
    #[error(transparent)]
    User(#[from] UserError),
    /// A control group could not be used.
    #[error("change the state of the container")]
    Cgroup {
        /// The cause.
        source: CgroupError,
    },
    /// An instruction of `commit --change` is wrong.
    #[error("invalid change: {what}")]
    Change {
        /// What is wrong.
        what: String,
    },
    /// No step has this id, or not any more.
    #[error("no such step: {id}")]
    NoSuchStep {
        /// As given.
        id: String,
    },
    /// No build is remembered by this name.
    #[error("no such build: {}", if name.is_empty() { "there is none yet" } else { name })]
    NoSuchBuild {
        /// As given.
        name: String,
    },
    /// Several builds' references begin so.
    #[error("several builds begin with {prefix:?}")]
    AmbiguousBuild {
        /// As given.
        prefix: String,
    },
    /// Several steps' ids begin so.
    #[error("step id {prefix} is ambiguous: several ids begin so")]
    AmbiguousStep {
        /// As given.
        prefix: String,
    },
    /// What was noted of a step does not decode.
    #[error("the record of step {id} is malformed")]
    StepDocument {
        /// The step.
        id: Digest,
        /// The cause.
        source: serde_json::Error,
    },
    /// There is no shell in the file system of a step.
    #[error("there is no shell in the image of this step (looked for {tried})")]
    NoShell {
        /// The programs that were looked for.
        tried: String,
    },
    /// An SSH key cannot be used.
    #[error("cannot use the SSH key {}: {reason}", path.display())]
    SshKey {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A program that SSH keys need is not there.
    #[error(
        "{program} not found: SSH keys from files need it; install OpenSSH's client (package openssh-client, openssh-clients or openssh)"
    )]
    NoOpenSsh {
        /// The program.
        program: &'static str,
    },
    /// No volume has this name.
    #[error("get {name}: no such volume")]
    NoSuchVolume {
        /// As given.
        name: String,
    },
    /// A volume cannot be called so.
    #[error(
        "{name:?} includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute \
         path"
    )]
    VolumeName {
        /// As given.
        name: String,
    },
    /// Containers use the volume.
    #[error("remove {name}: volume is in use - [{}]", users.join(", "))]
    VolumeInUse {
        /// Its name.
        name: String,
        /// Ids of the containers.
        users: Vec<String>,
    },
    /// No cache mount has this id or key.
    #[error("no such cache mount: {name}")]
    NoSuchCache {
        /// As given.
        name: String,
    },
    /// Several cache mounts have this id, or keys that begin so.
    #[error("{name} stands for several cache mounts: {}", keys.join(", "))]
    AmbiguousCache {
        /// As given.
        name: String,
        /// By which they can be told apart.
        keys: Vec<String>,
    },
    /// A step of a build uses the cache mount.
    #[error("a build uses the cache mount {id}")]
    CacheInUse {
        /// Its id.
        id: String,
    },
    /// A cache mount could not be written to an archive, or the other way round.
    #[error("{action} the cache mount {id}")]
    Cache {
        /// Its id.
        id: String,
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: LayerError,
    },
    /// A new volume could not be given the image's files.
    #[error("copy the image's files to volume {name}")]
    FillVolume {
        /// Its name.
        name: String,
        /// The cause.
        source: CopyError,
    },
    /// The network could not be set up.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A registry, or the way to it, failed.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// There is no home directory, so there is no place for credentials.
    #[error("no place to keep credentials: set HOME or DOCKER_CONFIG, or give --config DIR")]
    NoLoginFile,
    /// Credentials could not be read.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// A layer is in none of the places where it was seen.
    #[error("layer {diff_id} cannot be had from {}: {reason}", places.join(" or "))]
    LayerGone {
        /// The layer.
        diff_id: Digest,
        /// The places.
        places: Vec<String>,
        /// What went wrong in the last one.
        reason: String,
    },
    /// A shared cache could not be read or written.
    #[error(transparent)]
    SharedCache(#[from] bld_cache::CacheError),
    /// The operating system refused.
    #[error("{action} {}", path.display())]
    Io {
        /// Verb: `read`, `create`, ...
        action: &'static str,
        /// The file concerned.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An image does not count as signed.
    #[error(transparent)]
    Signature(SignatureError),
    /// Nothing can be signed with a key.
    #[error("sign the image")]
    Key(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RegistryError> for EngineError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl EngineError {
    /// The exit code that docker gives for a container that fails so: 127 when its program was not
    /// found, 126 when it cannot be run, else 125.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Start { source } => source.exit_code().into(),
            Self::StartReported { code, .. } => *code,
            Self::Runtime { message, .. } => runtime_code(message),
            _ => 125,
        }
    }
}

/// The exit code that docker makes of what a runtime said.
fn runtime_code(message: &str) -> i32 {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&[
        "executable file not found",
        "No such file or directory",
        "no such file or directory",
    ]) {
        127
    } else if says(&[
        "permission denied",
        "Permission denied",
        "is a directory",
        "open executable: Operation not permitted",
    ]) {
        126
    } else {
        125
    }
}

/// An error with all its causes in one line, for those who only take text.
pub(crate) fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors repeat their cause.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Names the file in a bare I/O result.
pub(crate) trait IoContext<T> {
    /// Says what was being done to which file.
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| EngineError::Io {
            action,
            path: path.as_ref().to_owned(),
            source: source.into(),
        })
    }
}
