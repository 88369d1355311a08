//! One stage while it is lowered, and what is known of it afterwards.

use std::rc::Rc;

use bld_dockerfile::expand::Env as _;
use bld_oci::{History, ImageConfig, Platform};
use petgraph::graph::NodeIndex;

use super::go;
use super::path;
use super::scope::Scope;
use crate::plan::{Base, HistoryStep, Surroundings};

/// The state that instructions change.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    /// Its place in the file.
    pub(super) index: usize,
    /// Name or `stage-N`.
    pub(super) label: String,
    /// The platform it runs on.
    pub(super) platform: Platform,
    /// The filesystem so far.
    pub(super) root: Option<NodeIndex>,
    /// The configuration so far, but for the environment and the history.
    pub(super) config: ImageConfig,
    /// The variables so far.
    pub(super) scope: Scope,
    /// The stage it starts from, whose history comes before its own.
    pub(super) parent: Option<usize>,
    /// The image at the bottom, and its history.
    pub(super) base: Option<Base>,
    pub(super) base_history: Rc<Vec<History>>,
    /// That image says which shell to use.
    pub(super) base_shell: bool,
    /// A named context stands in for it, and its own instructions don't count.
    pub(super) replaced: bool,
    /// The fixed time of new entries of the history, in seconds since 1970.
    pub(super) epoch: Option<i64>,
    /// What this stage adds to the history.
    pub(super) history: Vec<HistoryStep>,
    /// How far the step names have counted.
    pub(super) counter: Counter,
    /// Its steps are to be done again.
    pub(super) no_cache: bool,
    /// It or a stage below it has a `WORKDIR`.
    pub(super) workdir_set: bool,
    /// This stage has a `CMD` of its own.
    pub(super) cmd_set: bool,
}

/// Counts the steps of a stage for their names.
#[derive(Debug, Clone, Default)]
pub(super) struct Counter {
    /// The stage and a blank, or nothing.
    pub(super) prefix: String,
    /// How many steps have a name.
    pub(super) done: usize,
    /// How many there will be.
    pub(super) total: usize,
}

impl Counter {
    /// The name of the next step, e.g. `[build  2/10] RUN make`; `platform` comes before the stage.
    /// Of a stage without steps it is `text` itself.
    pub(super) fn next(&mut self, platform: &str, text: &str) -> String {
        if self.total == 0 {
            return text.to_owned();
        }
        self.done += 1;
        let width = self.total.ilog10() as usize + 1;
        format!("[{platform}{}{:width$}/{}] {text}", self.prefix, self.done, self.total)
    }
}

impl Stage {
    /// A stage that starts from nothing.
    pub(super) fn new(index: usize, label: String, platform: Platform) -> Self {
        Self {
            index,
            label,
            config: ImageConfig::for_platform(&platform),
            platform,
            root: None,
            scope: Scope::default(),
            parent: None,
            base: None,
            base_history: Rc::default(),
            base_shell: false,
            replaced: false,
            epoch: None,
            history: Vec::new(),
            counter: Counter::default(),
            no_cache: false,
            workdir_set: false,
            cmd_set: false,
        }
    }

    /// A stage that starts from another one: it inherits the filesystem, the configuration and the
    /// arguments, but no triggers.
    pub(super) fn child(&self, index: usize, label: String) -> Self {
        let mut config = self.config.clone();
        config.config.on_build = Vec::new();
        Self {
            index,
            label,
            platform: self.platform.clone(),
            root: self.root,
            config,
            scope: self.scope.clone(),
            parent: Some(self.index),
            base: self.base.clone(),
            base_history: Rc::clone(&self.base_history),
            base_shell: self.base_shell,
            replaced: false,
            epoch: None,
            history: Vec::new(),
            counter: Counter::default(),
            no_cache: false,
            workdir_set: self.workdir_set,
            cmd_set: false,
        }
    }

    /// The working directory, absolute and clean.
    pub(super) fn workdir(&self) -> String {
        path::join("/", &self.config.config.working_dir)
    }

    /// How a process runs in this place.
    pub(super) fn surroundings(&mut self) -> Surroundings {
        let config = &self.config.config;
        let env = self.scope.process_env();
        Surroundings {
            arguments: self.scope.count_arguments(&env),
            env,
            cwd: path::join("/", &config.working_dir),
            user: config.user.clone(),
            shell: config.shell.clone(),
        }
    }

    /// The shell of shell-form instructions.
    pub(super) fn shell(&self) -> Vec<String> {
        let default: &[&str] = match self.config.os.as_str() {
            "windows" => &["cmd", "/S", "/C"],
            _ => &["/bin/sh", "-c"],
        };
        let words = || default.iter().map(|word| (*word).to_owned()).collect();
        self.config.config.shell.clone().filter(|shell| !shell.is_empty()).unwrap_or_else(words)
    }

    /// Makes sure there is a `PATH`, except on Windows, whose own default is better.
    pub(super) fn default_path(&mut self) {
        const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        if self.scope.get("PATH").is_none() && self.platform.os != "windows" {
            self.scope.set_env("PATH", PATH.to_owned());
        }
    }

    /// Adds an entry without a layer to the history.
    pub(super) fn note(&mut self, created_by: String) {
        self.record(created_by, None);
    }

    /// Goes on from `root`, whose changes are the layer of a new entry of the history.
    pub(super) fn layer(&mut self, created_by: String, root: NodeIndex) {
        self.root = Some(root);
        self.record(created_by, Some(root));
    }

    fn record(&mut self, created_by: String, vertex: Option<NodeIndex>) {
        let entry = History {
            created: self.epoch.map(go::rfc3339),
            created_by: Some(created_by),
            author: None,
            comment: Some("buildkit.dockerfile.v0".to_owned()),
            empty_layer: vertex.is_none(),
        };
        self.history.push(HistoryStep { entry, vertex });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_in_columns() {
        let mut counter = Counter { prefix: "build ".to_owned(), done: 0, total: 10 };
        assert_eq!(counter.next("", "FROM x"), "[build  1/10] FROM x");
        counter.done = 9;
        assert_eq!(counter.next("linux/arm64 ", "RUN y"), "[linux/arm64 build 10/10] RUN y");
        assert_eq!(Counter::default().next("", "FROM x"), "FROM x");
    }
}
