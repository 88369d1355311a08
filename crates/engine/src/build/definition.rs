//! Reading what a build is made from: the Dockerfile and the rules of its context.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bld_dockerfile::ignore::Patterns;
use bld_graph::{ContextOp, Entitlements, LowerOptions, Network, NoCache};
use bld_oci::Platform;
use bld_solve::LocalContext;

use super::error::{BuildError, SourceText};
use super::request::{BuildRequest, Context, DockerfileSource, NamedContext, NetworkMode};
use crate::EngineError;

/// Names looked for at the root of a context, in this order.
const DEFAULT_NAMES: [&str; 3] = ["Dockerfile", "dockerfile", "Containerfile"];

/// Everything a build is made from, read.
pub(super) struct Definition {
    /// The Dockerfile.
    pub(super) source: SourceText,
    /// The local contexts by name.
    pub(super) contexts: BTreeMap<String, Arc<LocalContext>>,
}

impl Definition {
    /// Reads the Dockerfile and the rules of the contexts.
    pub(super) fn read(request: &BuildRequest) -> Result<Self, BuildError> {
        let (source, path) = dockerfile(&request.dockerfile, &request.context)?;
        let mut contexts = BTreeMap::new();
        if let Context::Dir(dir) = &request.context {
            contexts.insert(ContextOp::MAIN.to_owned(), context(dir, path.as_deref())?);
        }
        for (name, named) in &request.named_contexts {
            if let NamedContext::Dir(dir) = named {
                contexts.insert(name.clone(), context(dir, None)?);
            }
        }
        Ok(Self { source, contexts })
    }

    /// What to build of it.
    pub(super) fn options(&self, request: &BuildRequest) -> LowerOptions {
        let allowed = |name: &str| request.allow.iter().any(|entitlement| entitlement == name);
        LowerOptions {
            target: request.target.clone(),
            build_args: request.build_args.clone(),
            labels: request.labels.clone(),
            platform: request.platform.clone(),
            no_cache: match (request.no_cache, request.no_cache_filter.is_empty()) {
                (true, _) => NoCache::All,
                (false, true) => NoCache::Off,
                (false, false) => NoCache::Stages(request.no_cache_filter.clone()),
            },
            network: match request.network {
                NetworkMode::Default => Network::Default,
                NetworkMode::Host => Network::Host,
                NetworkMode::None => Network::None,
            },
            extra_hosts: request.add_hosts.clone(),
            entitlements: Entitlements {
                network_host: allowed("network.host"),
                security_insecure: allowed("security.insecure"),
                device: allowed("device"),
            },
            ignore: self.contexts.get(ContextOp::MAIN).map(|context| context.patterns().clone()),
            ..LowerOptions::new(Platform::host())
        }
    }
}

/// The Dockerfile's text.
fn dockerfile(
    source: &DockerfileSource,
    context: &Context,
) -> Result<(SourceText, Option<PathBuf>), BuildError> {
    let path = match (source, context) {
        (DockerfileSource::Text(bytes), _) => {
            return Ok((SourceText { name: "Dockerfile".to_owned(), text: text(bytes) }, None));
        }
        (DockerfileSource::Path(path), _) => path.clone(),
        (DockerfileSource::Default, Context::Dir(dir)) => default_path(dir)?,
        (DockerfileSource::Default, Context::Empty) => {
            return Err(BuildError::NoDockerfile { path: DEFAULT_NAMES[0].into(), similar: None });
        }
    };
    match fs::read(&path) {
        Ok(bytes) => {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            Ok((SourceText { name, text: text(&bytes) }, Some(path)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(not_found(path)),
        Err(source) => Err(EngineError::Io { action: "read", path, source }.into()),
    }
}

/// Bytes that are no UTF-8 become replacement characters; the parser says where they matter.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn default_path(dir: &Path) -> Result<PathBuf, BuildError> {
    check_dir(dir)?;
    let found = DEFAULT_NAMES.iter().map(|name| dir.join(name)).find(|path| path.exists());
    found.ok_or_else(|| not_found(dir.join(DEFAULT_NAMES[0])))
}

fn check_dir(dir: &Path) -> Result<(), BuildError> {
    let reason = match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => "it is not a directory".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(BuildError::Context { path: dir.to_owned(), reason })
}

fn not_found(path: PathBuf) -> BuildError {
    let wanted = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names: Vec<String> = path
        .parent()
        .map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
        .and_then(|parent| fs::read_dir(parent).ok())
        .map(|entries| {
            entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    let similar =
        bld_dockerfile::suggest(&wanted, names.iter().map(String::as_str)).map(str::to_owned);
    BuildError::NoDockerfile { path, similar }
}

/// The local context `dir`. The rules are those of `<Dockerfile>.dockerignore` beside the
/// Dockerfile, else of `.dockerignore` at the root.
fn context(dir: &Path, dockerfile: Option<&Path>) -> Result<Arc<LocalContext>, BuildError> {
    check_dir(dir)?;
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
                return Ok(Arc::new(LocalContext::new(dir.to_owned(), patterns, Some(path))));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(EngineError::Io { action: "read", path, source }.into()),
        }
    }
    Ok(Arc::new(LocalContext::new(dir.to_owned(), Patterns::default(), None)))
}
