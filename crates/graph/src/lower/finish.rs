//! From the target stage to the plan.

use bld_dockerfile::Diagnostic;
use bld_oci::{ImageConfig, Platform};
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use super::Lowering;
use super::go;
use crate::plan::{HistoryStep, Input, Plan, Vertex};

impl Lowering<'_> {
    /// The plan of the target stage, or everything that is wrong.
    pub(super) fn finish(mut self, target: Option<usize>) -> Result<Plan, Vec<Diagnostic>> {
        self.check();
        self.report.refuse_warnings();
        let stage = target.and_then(|target| self.stages[target].clone());
        let Some(stage) = stage.filter(|_| !self.report.failed()) else {
            return Err(self.report.into_sorted());
        };
        let history = self.history_of(stage.index);
        let mut config = stage.config;
        config.config.env = stage.scope.image_env();
        config.config.labels.extend(self.options.labels.clone());
        let entries = history.iter().map(|step| step.entry.clone());
        config.history = stage.base_history.iter().cloned().chain(entries).collect();
        config.created = self.globals.epoch.map(go::rfc3339);
        set_platform(&mut config, self.options.platform.as_ref());
        let mut plan = Plan {
            graph: self.builder.graph,
            root: stage.root,
            platform: config.platform(),
            config,
            history,
            target: stage.label,
            base: stage.base,
            epoch: self.globals.epoch,
            warnings: self.report.into_sorted(),
        };
        prune(&mut plan);
        Ok(plan)
    }

    /// What a stage and the stages below it add to the history of the image at the bottom.
    fn history_of(&self, index: usize) -> Vec<HistoryStep> {
        let mut chain = Vec::new();
        let mut next = self.stages[index].as_ref();
        while let Some(stage) = next {
            chain.push(stage);
            next = stage.parent.and_then(|parent| self.stages[parent].as_ref());
        }
        chain.iter().rev().flat_map(|stage| stage.history.iter().cloned()).collect()
    }
}

/// Says what the image is for: the platform that was asked for, else what its base says.
fn set_platform(config: &mut ImageConfig, wanted: Option<&Platform>) {
    if let Some(wanted) = wanted {
        let same = config.os == wanted.os && config.architecture == wanted.architecture;
        config.os.clone_from(&wanted.os);
        config.architecture.clone_from(&wanted.architecture);
        if wanted.variant.is_some() || !same {
            config.variant.clone_from(&wanted.variant);
        }
        if wanted.os_version.is_some() || !same {
            config.os_version.clone_from(&wanted.os_version);
        }
    }
    let Platform { os, architecture, variant, os_version } = config.platform();
    (config.os, config.architecture) = (os, architecture);
    (config.variant, config.os_version) = (variant, os_version);
}

/// Removes what the root doesn't need: stages that turned out to be named in vain.
fn prune(plan: &mut Plan) {
    let mut needed = vec![false; plan.graph.node_count()];
    let mut open: Vec<NodeIndex> = plan.root.into_iter().collect();
    while let Some(vertex) = open.pop() {
        if !std::mem::replace(&mut needed[vertex.index()], true) {
            open.extend(plan.graph.neighbors_directed(vertex, Direction::Incoming));
        }
    }
    if needed.iter().all(|needed| *needed) {
        return;
    }
    // Rebuilt, because removing would swap the last vertices into the gaps and lose the order.
    let old = std::mem::take(&mut plan.graph);
    let mut renumbered = vec![None; needed.len()];
    let mut graph: DiGraph<Vertex, Input> = DiGraph::new();
    let (vertices, edges) = old.into_nodes_edges();
    for (number, vertex) in vertices.into_iter().enumerate() {
        if needed[number] {
            renumbered[number] = Some(graph.add_node(vertex.weight));
        }
    }
    let new = |old: NodeIndex| renumbered[old.index()];
    for edge in edges {
        if let (Some(from), Some(to)) = (new(edge.source()), new(edge.target())) {
            graph.add_edge(from, to, edge.weight);
        }
    }
    plan.root = plan.root.and_then(new);
    for step in &mut plan.history {
        step.vertex = step.vertex.and_then(new);
    }
    plan.graph = graph;
}
