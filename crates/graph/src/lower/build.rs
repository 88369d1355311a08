//! The graph while it grows.

use std::collections::HashMap;

use bld_dockerfile::Span;
use bld_oci::Platform;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::op::Op;
use crate::plan::{Input, Surroundings, Vertex};

/// Adds vertices behind their inputs.
#[derive(Debug, Default)]
pub(super) struct Builder {
    pub(super) graph: DiGraph<Vertex, Input>,
    /// Sources by what is in their key: the same source is one vertex, whoever asks for it.
    sources: HashMap<String, NodeIndex>,
}

impl Builder {
    /// Adds an operation that works on top of `root` and takes `inputs` by number.
    pub(super) fn add(
        &mut self,
        vertex: Vertex,
        root: Option<NodeIndex>,
        inputs: &Inputs,
    ) -> NodeIndex {
        let index = self.graph.add_node(vertex);
        if let Some(root) = root {
            self.graph.add_edge(root, index, Input::Root);
        }
        for (number, &input) in inputs.0.iter().enumerate() {
            self.graph.add_edge(input, index, Input::From(number));
        }
        index
    }

    /// Adds a source, or finds it if it is there.
    pub(super) fn source(&mut self, vertex: Vertex) -> NodeIndex {
        let key = match &vertex.op {
            // What identifies these is not known yet.
            op @ (Op::Http(_) | Op::Git(_)) => format!("{op:?}"),
            // Not the key itself, which takes longer: all sources are written the same way here.
            op => serde_json::to_string(&(&vertex.platform, op)).unwrap_or_default(),
        };
        if let Some(&index) = self.sources.get(&key) {
            return index;
        }
        let index = self.graph.add_node(vertex);
        self.sources.insert(key, index);
        index
    }
}

/// The numbered inputs of one operation.
#[derive(Debug, Default)]
pub(super) struct Inputs(Vec<NodeIndex>);

impl Inputs {
    /// The number of `input`, which gets one if it has none.
    pub(super) fn number(&mut self, input: NodeIndex) -> usize {
        self.0.iter().position(|known| *known == input).unwrap_or_else(|| {
            self.0.push(input);
            self.0.len() - 1
        })
    }
}

/// A vertex that belongs to no stage.
pub(super) fn outside(op: Op, name: String, platform: &Platform) -> Vertex {
    Vertex {
        op,
        name,
        stage: String::new(),
        span: Span::default(),
        no_cache: false,
        platform: platform.clone(),
        surroundings: Surroundings::default(),
    }
}
