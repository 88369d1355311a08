//! Reading what a build is made from: the Dockerfile and the rules of its context.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bld_dockerfile::check_frontend;
use bld_dockerfile::value::parse_bool;
use bld_event::{Cancel, Events, VertexId};
use bld_graph::{ContextOp, Entitlements, LowerOptions, Network, NoCache, Remote};
use bld_oci::Platform;

use super::contexts::{Bringer, Files, check_dir};
use super::error::{BuildError, SourceText};
use super::request::{BuildRequest, Context, DockerfileSource, NamedContext, NetworkMode};
use crate::{Engine, EngineError};

/// The build argument that says which frontend to use.
const SYNTAX: &str = "BUILDKIT_SYNTAX";
/// The build argument that keeps the `.git` directory of a context.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";
/// Names looked for at the root of a context, in this order.
const DEFAULT_NAMES: [&str; 3] = ["Dockerfile", "dockerfile", "Containerfile"];

/// Everything a build is made from, read.
pub(super) struct Definition {
    /// The Dockerfile.
    pub(super) source: SourceText,
    /// What reading it is shown as.
    pub(super) vertex: VertexId,
    /// The contexts that are files, by name.
    pub(super) contexts: BTreeMap<String, Files>,
}

impl Definition {
    /// Brings contexts here that lie elsewhere, and reads the Dockerfile and the rules of the
    /// contexts.
    pub(super) fn read(
        engine: &Engine,
        request: &BuildRequest,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<Self, BuildError> {
        let bringer = || -> Result<Bringer<'_>, BuildError> {
            let (remote, store) = (engine.remote(request, cancel)?, engine.store()?);
            Ok(Bringer { remote, store, events })
        };
        let request = &allowed(request)?;
        let mut main = match &request.context {
            Context::Dir(_) | Context::Empty => None,
            Context::Remote(source) => {
                let keep = request.build_args.get(KEEP_GIT_DIR);
                let keep = keep.and_then(|value| parse_bool(value)).unwrap_or(false);
                Some(bringer()?.main(source, keep)?)
            }
            Context::Archive(stream) => {
                let archive = stream
                    .take()
                    .ok_or_else(|| BuildError::Output("the context was read before".to_owned()))?;
                Some(Files::of_archive(archive, "-".to_owned(), engine.store()?)?)
            }
        };
        let task = events.task(format!(
            "[internal] load build definition from {}",
            shown_name(&request.dockerfile)
        ));
        let vertex = task.id();
        let (source, path) = task.finish(match (&request.dockerfile, &mut main) {
            (DockerfileSource::Url(url), _) => bringer()?.dockerfile(url).map(|text| (text, None)),
            (DockerfileSource::Text(bytes), _) => Ok((given(bytes), None)),
            (wanted, Some(files)) => in_context(wanted, files).map(|text| (text, None)),
            (wanted, None) => dockerfile(wanted, &request.context),
        })?;
        let syntax = request.build_args.get(SYNTAX).map(String::as_str);
        if let Err(error) = check_frontend(&source.text, syntax) {
            return Err(BuildError::Dockerfile { source_text: source, diagnostics: vec![error] });
        }
        let mut contexts = BTreeMap::new();
        if let Context::Dir(dir) = &request.context {
            main = Some(Files::of_dir(dir, path.as_deref())?);
        }
        contexts.extend(main.map(|files| (ContextOp::MAIN.to_owned(), files)));
        // The build context cannot be replaced by its name.
        let named = request.named_contexts.iter().filter(|(name, _)| *name != ContextOp::MAIN);
        for (name, named) in named {
            let files = match named {
                NamedContext::Dir(dir) => Files::named(name, dir)?,
                NamedContext::Remote(source) => bringer()?.named(source)?,
                NamedContext::Stage(_)
                | NamedContext::Image(_)
                | NamedContext::OciLayout { .. } => continue,
            };
            contexts.insert(name.clone(), files);
        }
        Ok(Self { source, vertex, contexts })
    }

    /// What to build of it.
    pub(super) fn options(
        &self,
        request: &BuildRequest,
        platform: Option<&Platform>,
    ) -> LowerOptions {
        let allowed = |name: &str| request.allow.iter().any(|entitlement| entitlement == name);
        LowerOptions {
            target: request.target.clone(),
            build_args: request.build_args.clone(),
            labels: request.labels.clone(),
            stage_contexts: stage_contexts(request),
            platform: platform.cloned(),
            multi_platform: request.platforms.len() > 1,
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
                // Who puts the whole build there has allowed it.
                network_host: allowed("network.host") || request.network == NetworkMode::Host,
                security_insecure: allowed("security.insecure"),
            },
            ignore: self
                .contexts
                .get(ContextOp::MAIN)
                .filter(|files| !files.local.is_foreign())
                .map(|files| files.local.patterns().clone()),
            ..LowerOptions::new(Platform::host())
        }
    }
}

/// `request` with the contexts that its policy puts in place of others.
///
/// # Errors
/// When the policy denies one.
fn allowed(request: &BuildRequest) -> Result<Cow<'_, BuildRequest>, BuildError> {
    let Some(policy) = &request.policy else { return Ok(Cow::Borrowed(request)) };
    let mut request = request.clone();
    let remote = |source: &mut Remote| match source {
        Remote::Git(op) => policy.git(op),
        Remote::Http(op) => policy.http(op),
    };
    match &mut request.context {
        Context::Dir(_) | Context::Archive(_) => policy.fixed("local://context")?,
        Context::Remote(source) => remote(source)?,
        Context::Empty => {}
    }
    match &mut request.dockerfile {
        DockerfileSource::Url(op) => policy.http(op)?,
        _ if matches!(request.context, Context::Remote(_)) => {}
        _ => policy.fixed("local://dockerfile")?,
    }
    for (name, context) in &mut request.named_contexts {
        match context {
            NamedContext::Dir(_) => policy.fixed(&format!("local://{name}"))?,
            NamedContext::Remote(source) => remote(source)?,
            // Images are asked about when they are looked up.
            NamedContext::Stage(_) | NamedContext::Image(_) | NamedContext::OciLayout { .. } => {}
        }
    }
    Ok(Cow::Owned(request))
}

/// The names that mean stages.
fn stage_contexts(request: &BuildRequest) -> BTreeMap<String, String> {
    let contexts = request.named_contexts.iter();
    let stages = contexts.filter_map(|(name, context)| match context {
        NamedContext::Stage(stage) => Some((name.clone(), stage.clone())),
        _ => None,
    });
    stages.collect()
}

/// A Dockerfile of its own.
fn given(bytes: &[u8]) -> SourceText {
    SourceText { name: "Dockerfile".to_owned(), text: text(bytes) }
}

/// The Dockerfile of a context that was brought here.
fn in_context(wanted: &DockerfileSource, files: &mut Files) -> Result<SourceText, BuildError> {
    if let Some(source) = files.dockerfile.take() {
        return Ok(source);
    }
    let names: Vec<PathBuf> = match wanted {
        DockerfileSource::Path(path) => std::iter::once(path.clone()).chain(lower(path)).collect(),
        _ => DEFAULT_NAMES.iter().map(PathBuf::from).collect(),
    };
    for name in &names {
        if let Some(bytes) = files.read(name)? {
            let name = name.file_name().unwrap_or(name.as_os_str()).to_string_lossy();
            return Ok(SourceText { name: name.into_owned(), text: text(&bytes) });
        }
    }
    let origin = match files.local.name() {
        name if name == "-" => "the archive on standard input".to_owned(),
        name => name,
    };
    Err(BuildError::NoDockerfile {
        path: names.into_iter().next().unwrap_or_default(),
        context: Some(origin),
        similar: None,
    })
}

/// The text of a Dockerfile of this machine, and where it lies.
fn dockerfile(
    source: &DockerfileSource,
    context: &Context,
) -> Result<(SourceText, Option<PathBuf>), BuildError> {
    let path = match (source, context) {
        (DockerfileSource::Path(path), _) if path.exists() => path.clone(),
        (DockerfileSource::Path(path), _) => {
            lower(path).filter(|path| path.exists()).unwrap_or_else(|| path.clone())
        }
        (_, Context::Dir(dir)) => default_path(dir)?,
        _ => {
            return Err(BuildError::NoDockerfile {
                path: DEFAULT_NAMES[0].into(),
                context: None,
                similar: None,
            });
        }
    };
    match fs::read(&path) {
        Ok(bytes) => {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            Ok((SourceText { name, text: text(&bytes) }, Some(path)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(not_found(path)),
        Err(error) if error.kind() == ErrorKind::IsADirectory => {
            Err(BuildError::DockerfileIsDirectory(path))
        }
        Err(source) => Err(EngineError::Io { action: "read", path, source }.into()),
    }
}

/// The lower-case name that is as good where `path` says `Dockerfile`.
fn lower(path: &Path) -> Option<PathBuf> {
    path.ends_with(DEFAULT_NAMES[0]).then(|| path.with_file_name(DEFAULT_NAMES[1]))
}

/// How progress calls the Dockerfile.
fn shown_name(source: &DockerfileSource) -> Cow<'_, str> {
    match source {
        DockerfileSource::Path(path) => {
            path.file_name().unwrap_or(path.as_os_str()).to_string_lossy()
        }
        _ => Cow::Borrowed(DEFAULT_NAMES[0]),
    }
}

/// Bytes that are no UTF-8 become replacement characters; the parser says where they matter.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn default_path(dir: &Path) -> Result<PathBuf, BuildError> {
    check_dir(None, dir)?;
    let found = DEFAULT_NAMES.iter().map(|name| dir.join(name)).find(|path| path.exists());
    found.ok_or_else(|| not_found(dir.join(DEFAULT_NAMES[0])))
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
    BuildError::NoDockerfile { path, context: None, similar }
}
