//! Contexts: directories as they are, and what has to be brought to this machine first.

use std::fs;
use std::io::{self, Cursor, ErrorKind, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bld_dockerfile::ignore::Patterns;
use bld_dockerfile::value::redacted;
use bld_event::Events;
use bld_graph::{GitOp, HttpOp, Op, Remote as Source};
use bld_layer::{ApplyOptions, LayerError, View, Whiteouts};
use bld_oci::Platform;
use bld_remote::Remote;
use bld_solve::LocalContext;
use bld_store::{Active, Store};

use super::error::{BuildError, SourceText};
use super::remotes;
use crate::EngineError;
use crate::attest::{self, Material};

/// Name of a download that is a context, as BuildKit has it.
const DOWNLOAD: &str = "context";
/// Longest Dockerfile that is read from a context, bytes.
const DOCKERFILE_LIMIT: u64 = 64 << 20;
/// Bytes by which an archive is told from a Dockerfile.
const HEAD: usize = 1024;

/// A context whose files are on this machine.
#[derive(Debug)]
pub(super) struct Files {
    /// The directory and its rules.
    pub(super) local: Arc<LocalContext>,
    /// When it was made, in seconds since 1970, if that is known: of a checkout its commit, of a
    /// download its `Last-Modified`, of an archive its newest file.
    pub(super) time: Option<i64>,
    /// The Dockerfile, where the context is nothing else.
    pub(super) dockerfile: Option<SourceText>,
    /// What it was brought from, for those who ask what a build used.
    pub(super) material: Option<Material>,
    /// An unpacked archive, which goes when nobody needs it any more.
    _unpacked: Option<Active>,
    /// Whoever brought it, and holds its snapshot as long as it is needed.
    _brought_by: Option<Remote>,
}

impl Files {
    /// The directory `dir` of this machine. The rules are those of `<Dockerfile>.dockerignore`
    /// beside the Dockerfile, else of `.dockerignore` at the root.
    pub(super) fn of_dir(dir: &Path, dockerfile: Option<&Path>) -> Result<Self, BuildError> {
        check_dir(None, dir)?;
        let local = Arc::new(local(dir, dockerfile)?);
        let (time, dockerfile, material) = (None, None, None);
        Ok(Self { local, time, dockerfile, material, _unpacked: None, _brought_by: None })
    }

    /// The directory `dir` of this machine as the context `name`.
    pub(super) fn named(name: &str, dir: &Path) -> Result<Self, BuildError> {
        check_dir(Some(name), dir)?;
        Self::of_dir(dir, None)
    }

    /// The directory `dir`, which was brought here from `origin`. Ignore files in it do not count,
    /// as with BuildKit: they say what is not to be sent, and nothing is.
    fn brought(dir: PathBuf, origin: String, time: Option<i64>) -> Self {
        let local = Arc::new(LocalContext::brought(dir, origin));
        let (dockerfile, material) = (None, None);
        Self { local, time, dockerfile, material, _unpacked: None, _brought_by: None }
    }

    /// What is in a tar archive, plain or compressed, which came from `origin`.
    pub(super) fn of_archive(
        archive: impl Read + Send + 'static,
        origin: String,
        store: &Store,
    ) -> Result<Self, BuildError> {
        let broken = |source| EngineError::Context { origin: origin.clone(), source };
        let mut decoded = bld_layer::decoder(archive)
            .map_err(|source| broken(LayerError::Stream { action: "decompress", source }))?;
        let active = store.prepare(None)?;
        let options = ApplyOptions { whiteouts: Whiteouts::Literal, ..ApplyOptions::default() };
        bld_layer::apply(&mut decoded, active.upper(), &options).map_err(broken)?;
        let dir = active.upper().to_owned();
        let time = newest(&dir);
        Ok(Self { _unpacked: Some(active), ..Self::brought(dir, origin, time) })
    }

    /// Reads the file at `path` of the context; none: there is none.
    pub(super) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, BuildError> {
        let read = View::plain(self.local.root()).read(path, DOCKERFILE_LIMIT);
        let origin = self.local.name();
        Ok(read.map_err(|source| EngineError::Context { origin, source })?)
    }

    /// The file `name` at the root of the context as a Dockerfile.
    fn text(&self, name: &str) -> Result<SourceText, BuildError> {
        let bytes = self.read(Path::new(name))?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(SourceText { name: name.to_owned(), text })
    }
}

/// Brings contexts to this machine.
pub(super) struct Bringer<'a> {
    pub(super) remote: Remote,
    pub(super) store: &'a Store,
    pub(super) events: &'a Events,
}

impl Bringer<'_> {
    /// The main context. `keep_git_dir` is what the build argument says.
    pub(super) fn main(&self, source: &Source, keep_git_dir: bool) -> Result<Files, BuildError> {
        let files = match source {
            Source::Git(op) => {
                let keep_git_dir = op.keep_git_dir || keep_git_dir;
                self.checkout(GitOp { keep_git_dir, ..op.clone() })?
            }
            Source::Http(op) => self.archive_or_dockerfile(op)?,
        };
        Ok(self.held(files))
    }

    /// A named context.
    pub(super) fn named(&self, source: &Source) -> Result<Files, BuildError> {
        let files = match source {
            Source::Git(op) => self.checkout(op.clone())?,
            // A download stays what it is, also when it is an archive.
            Source::Http(op) => {
                let (dir, time, material) = self.download(op, DOWNLOAD)?;
                Files { material, ..Files::brought(dir, redacted(&op.url), time) }
            }
        };
        Ok(self.held(files))
    }

    /// `files`, of which nothing is collected while they are there.
    fn held(&self, files: Files) -> Files {
        Files { _brought_by: Some(self.remote.clone()), ..files }
    }

    /// The text of a Dockerfile that lies elsewhere.
    pub(super) fn dockerfile(&self, op: &HttpOp) -> Result<SourceText, BuildError> {
        let (dir, time, _) = self.download(op, &op.filename)?;
        Files::brought(dir, redacted(&op.url), time).text(&op.filename)
    }

    fn checkout(&self, mut op: GitOp) -> Result<Files, BuildError> {
        let origin = redacted(&op.remote);
        let task = self.events.task(format!("[internal] load git source {origin}"));
        let brought = self.remote.resolve_git(&mut op).and_then(|()| self.remote.checkout(&op));
        let checkout = task
            .finish(brought)
            .map_err(|error| BuildError::Remote { help: remotes::help(&error), error })?;
        let dir = self.store.layer(checkout.snapshot);
        let material = attest::material_of(&Op::Git(op), &Platform::host());
        Ok(Files { material, ..Files::brought(dir, origin, Some(checkout.time)) })
    }

    /// A directory with the file that `source` leads to, called `name`, its time, and what it is.
    fn download(
        &self,
        source: &HttpOp,
        name: &str,
    ) -> Result<(PathBuf, Option<i64>, Option<Material>), BuildError> {
        let mut op = HttpOp { filename: name.to_owned(), ..source.clone() };
        let shown = redacted(&op.url);
        let task = self.events.task(format!("[internal] load remote build context {shown}"));
        let progress =
            |done, total| task.progress(shown.as_str(), done, total, Some(done) == total);
        let brought = self
            .remote
            .resolve_http(&mut op, &progress)
            .and_then(|()| self.remote.download(&op, &progress));
        let snapshot = task
            .finish(brought)
            .map_err(|error| BuildError::Remote { help: remotes::help(&error), error })?;
        let dir = self.store.layer(snapshot);
        let modified = fs::metadata(dir.join(name)).map_or(0, |metadata| metadata.mtime());
        let material = attest::material_of(&Op::Http(op), &Platform::host());
        Ok((dir, Some(modified).filter(|modified| *modified != 0), material))
    }

    fn archive_or_dockerfile(&self, source: &HttpOp) -> Result<Files, BuildError> {
        let (dir, modified, material) = self.download(source, DOWNLOAD)?;
        let path = dir.join(DOWNLOAD);
        let io = |source| EngineError::Io { action: "read", path: path.clone(), source };
        let origin = redacted(&source.url);
        let file = fs::File::open(&path).map_err(io)?;
        Ok(match Incoming::look(file).map_err(io)? {
            Incoming::Archive(archive) => {
                let files = Files::of_archive(archive, origin, self.store)?;
                Files { time: modified.or(files.time), material, ..files }
            }
            Incoming::Text(_) => {
                let files = Files::brought(dir, origin, modified);
                Files { dockerfile: Some(files.text(DOWNLOAD)?), material, ..files }
            }
        })
    }
}

/// Modification time of the newest regular file below `dir`, in seconds since 1970.
fn newest(dir: &Path) -> Option<i64> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    let times = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        match () {
            () if metadata.is_dir() => newest(&entry.path()),
            () if metadata.is_file() => Some(metadata.mtime()),
            () => None,
        }
    });
    times.max()
}

/// Bytes that are a context: an archive or a Dockerfile.
#[derive(Debug)]
pub enum Incoming<R> {
    /// A tar archive, plain or compressed.
    Archive(io::Chain<Cursor<Vec<u8>>, R>),
    /// Anything else, which is taken for a Dockerfile.
    Text(io::Chain<Cursor<Vec<u8>>, R>),
}

impl<R: Read> Incoming<R> {
    /// Finds out what `reader` gives.
    ///
    /// # Errors
    /// When its beginning can't be read.
    pub fn look(mut reader: R) -> io::Result<Self> {
        let mut head = Vec::with_capacity(HEAD);
        reader.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
        let is_archive = bld_layer::detect(&head).is_some() || bld_layer::is_tar(&head);
        let whole = Cursor::new(head).chain(reader);
        Ok(if is_archive { Self::Archive(whole) } else { Self::Text(whole) })
    }
}

/// The local context `dir`.
fn local(dir: &Path, dockerfile: Option<&Path>) -> Result<LocalContext, BuildError> {
    let beside = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in beside.into_iter().chain([dir.join(".dockerignore")]) {
        match fs::read_to_string(&path) {
            Ok(text) => {
                let patterns = Patterns::parse(&text).map_err(|error| BuildError::IgnoreFile {
                    path: path.clone(),
                    line: error.line,
                    reason: error.to_string(),
                })?;
                return Ok(LocalContext::new(dir.to_owned(), patterns, Some(path)));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(EngineError::Io { action: "read", path, source }.into()),
        }
    }
    Ok(LocalContext::new(dir.to_owned(), Patterns::default(), None))
}

/// # Errors
/// When `dir`, the context `name`, is no directory.
pub(super) fn check_dir(name: Option<&str>, dir: &Path) -> Result<(), BuildError> {
    let reason = match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => "it is not a directory".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(BuildError::Context { name: name.map(str::to_owned), path: dir.to_owned(), reason })
}
