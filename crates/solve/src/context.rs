//! Directories of this machine that `COPY`, `ADD` and bind mounts read: the build context and named
//! contexts, those that were brought here included.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bld_dockerfile::ignore::{Patterns, Rule};
use bld_layer::{FileStamp, Known};
use bld_store::{SnapshotId, StatCache, StatEntry, StatKey, StoreError};

use crate::environment::Environment;

/// A directory and the rules that keep files of it out.
#[derive(Debug, Clone)]
pub struct LocalContext {
    root: PathBuf,
    ignore: Arc<Patterns>,
    ignore_file: Option<PathBuf>,
    /// Where it was brought here from.
    origin: Option<String>,
}

impl LocalContext {
    /// The files below `root` that `ignore` lets through. `ignore_file` is where the rules come
    /// from, for messages.
    pub fn new(root: PathBuf, ignore: Patterns, ignore_file: Option<PathBuf>) -> Self {
        Self { root, ignore: Arc::new(ignore), ignore_file, origin: None }
    }

    /// The files below `root`, which were brought here from `origin`.
    pub fn brought(root: PathBuf, origin: String) -> Self {
        Self { root, ignore: Arc::default(), ignore_file: None, origin: Some(origin) }
    }

    /// Whether it lay elsewhere, so that nothing in it may lead out of it.
    pub fn is_foreign(&self) -> bool {
        self.origin.is_some()
    }

    /// What it is called in messages and what earlier builds of it are found by: the directory, or
    /// where it was brought from.
    pub fn name(&self) -> String {
        self.origin.clone().unwrap_or_else(|| self.root.display().to_string())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that holds the ignore rules, if there is one.
    pub fn ignore_file(&self) -> Option<&Path> {
        self.ignore_file.as_deref()
    }

    /// The ignore rules.
    pub fn patterns(&self) -> &Patterns {
        &self.ignore
    }

    /// Whether every file of the directory is part of the context.
    pub fn is_unfiltered(&self) -> bool {
        self.ignore.is_empty()
    }

    /// Whether `path`, relative to the root, is kept out.
    pub fn excludes(&self, path: &str) -> bool {
        self.ignore.matches(path)
    }

    /// Whether something below the excluded directory `path` may still be let through.
    pub fn may_include_below(&self, path: &str) -> bool {
        self.ignore.may_contain_exception_below(path)
    }

    /// The rule that keeps `path` out.
    pub fn excluding_rule(&self, path: &str) -> Option<&Rule> {
        self.ignore.matching_rule(path).filter(|rule| !rule.negated)
    }
}

/// What is in files, remembered from build to build.
pub(crate) struct Remembered(Option<StatCache>);

impl Remembered {
    /// What is known of the files of `context`, if it stays where it is and its files can be known by
    /// their times.
    pub(crate) fn open(env: &Environment, context: &LocalContext) -> Self {
        let stays = env.stat_cache && !context.is_foreign();
        Self(stays.then(|| env.store.stat_cache(&context.root().to_string_lossy())))
    }

    /// What is known of the files in the layer of a snapshot.
    pub(crate) fn of_layer(env: &Environment, snapshot: SnapshotId) -> Self {
        Self(Some(env.store.layer_files(snapshot)))
    }

    /// Keeps what was learned for the next build.
    pub(crate) fn save(self) -> Result<(), StoreError> {
        self.0.map_or(Ok(()), StatCache::save)
    }
}

fn key(stamp: &FileStamp) -> StatKey {
    let FileStamp { dev, ino, size, mtime_ns, ctime_ns } = *stamp;
    StatKey { dev, ino, size, mtime_ns, ctime_ns }
}

impl bld_layer::StatCache for Remembered {
    fn get(&self, stamp: &FileStamp) -> Option<Known> {
        let StatEntry { contents, plain } = self.0.as_ref()?.get(&key(stamp))?;
        Some(Known { contents, plain })
    }

    fn put(&self, stamp: FileStamp, Known { contents, plain }: Known) {
        if let Some(cache) = &self.0 {
            cache.insert(key(&stamp), StatEntry { contents, plain });
        }
    }
}
