//! What a context holds, and what keeps the rest out of it.

use std::path::PathBuf;

use bld_event::{Cancel, Events};
use bld_graph::ContextOp;
use bld_layer::{Node, View, Walk};
use bld_solve::LocalContext;
use serde::Serialize;

use super::BuildRequest;
use super::definition::Definition;
use super::error::BuildError;
use crate::{Engine, EngineError};

/// Every file of a context, those that are kept out included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContextListing {
    /// The directory, or where the context was brought from.
    pub context: String,
    /// The file that the rules are from; none: everything goes in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_file: Option<PathBuf>,
    /// What `COPY` and `ADD` can see, sorted by path: files, links and empty directories.
    pub included: Vec<IncludedFile>,
    /// What is kept out, sorted by path. A directory stands for everything in it where no rule
    /// brings a part of it back.
    pub excluded: Vec<ExcludedFile>,
}

/// A file that goes in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IncludedFile {
    /// From the root of the context; a directory ends in a slash.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// A file or directory that is kept out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExcludedFile {
    /// From the root of the context; a directory ends in a slash.
    pub path: String,
    /// Line of the ignore file, from 1.
    pub line: usize,
    /// The rule that decides.
    pub pattern: String,
}

impl ContextListing {
    /// Bytes of all files that go in.
    pub fn size(&self) -> u64 {
        self.included.iter().map(|file| file.size).sum()
    }

    /// The largest files that go in, the largest first.
    pub fn largest(&self, count: usize) -> Vec<&IncludedFile> {
        let mut files: Vec<_> = self.included.iter().filter(|file| file.size > 0).collect();
        files.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
        files.truncate(count);
        files
    }

    fn of(context: &LocalContext) -> bld_layer::Result<Self> {
        let view = View::plain(context.root());
        let (mut included, mut excluded) = (Vec::new(), Vec::new());
        view.walk("/", &mut |node: &Node| {
            let path = node.path.strip_prefix("/").unwrap_or(&node.path).to_string_lossy();
            let is_dir = node.meta.is_dir();
            let shown = || if is_dir { format!("{path}/") } else { path.clone().into_owned() };
            let out = context.excludes(&path);
            if out && is_dir && context.may_include_below(&path) {
                return Ok(Walk::Into);
            }
            if out {
                let rule = context.excluding_rule(&path);
                excluded.push(ExcludedFile {
                    path: shown(),
                    line: rule.map_or(0, |rule| rule.line),
                    pattern: rule.map(ToString::to_string).unwrap_or_default(),
                });
                return Ok(Walk::Past);
            }
            if !is_dir || view.read_dir(&node.path)?.is_empty() {
                let size = if is_dir { 0 } else { node.meta.size };
                included.push(IncludedFile { path: shown(), size });
            }
            Ok(Walk::Into)
        })?;
        Ok(Self {
            context: context.name(),
            ignore_file: context.ignore_file().map(std::path::Path::to_owned),
            included,
            excluded,
        })
    }
}

impl Engine {
    /// Lists what the context of a build holds and what keeps the rest out. Nothing is built.
    pub fn list_context(&self, request: &BuildRequest) -> Result<ContextListing, BuildError> {
        let definition = Definition::read(self, request, &Events::none(), &Cancel::new())?;
        let Some(files) = definition.contexts.get(ContextOp::MAIN) else {
            return Err(BuildError::Output("this build has no context".to_owned()));
        };
        let listing = ContextListing::of(&files.local);
        let origin = files.local.name();
        Ok(listing.map_err(|source| EngineError::Context { origin, source })?)
    }
}
