//! The graph of one build for one platform.

use std::collections::HashMap;

use bld_dockerfile::{Diagnostic, Span};
use bld_oci::{Digest, History, ImageConfig, Platform, Reference, json};
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;
use serde::Serialize;

use crate::op::{Environment, Op};

/// What to do to build one image, and what the image says of itself.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The operations. An edge leads from the vertex that delivers to the one that consumes. The
    /// indices are in an order in which every vertex comes behind its inputs.
    pub graph: DiGraph<Vertex, Input>,
    /// The vertex that gives the root filesystem of the image; none: it is empty.
    pub root: Option<NodeIndex>,
    /// The configuration, complete but for what only the layers tell: `rootfs` holds the diff ids
    /// of the base image, to be appended to; `created` is set only for a fixed `epoch`.
    pub config: ImageConfig,
    /// What this build adds to the history of the base image, oldest first. The entries are also
    /// in `config`, at its end.
    pub history: Vec<HistoryStep>,
    /// The platform the image is for.
    pub platform: Platform,
    /// Name of the target stage as written, or `stage-N`.
    pub target: String,
    /// The image the target stage is based on in the end, through any stages between.
    pub base: Option<Base>,
    /// The fixed time of `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub epoch: Option<i64>,
    /// What is worth a look but stops nothing, in source order.
    pub warnings: Vec<Diagnostic>,
}

/// One operation and where it comes from.
#[derive(Debug, Clone)]
pub struct Vertex {
    /// What to do.
    pub op: Op,
    /// What the user sees, e.g. `[build 2/5] RUN make`.
    pub name: String,
    /// Name of the stage as written, or `stage-N`; empty for what belongs to no stage.
    pub stage: String,
    /// The instruction in the Dockerfile; empty for what no instruction asked for.
    pub span: Span,
    /// Do it again even if the result is known.
    pub no_cache: bool,
    /// The platform it happens on.
    pub platform: Platform,
    /// How a process runs that looks into the result.
    pub surroundings: Surroundings,
}

/// How a `RUN` right behind a vertex would run. It is for people who look into the result, and no
/// part of the key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// The environment, declared build arguments included.
    pub env: Environment,
    /// How many variables at the end of the environment are there for build arguments only.
    pub arguments: usize,
    /// Working directory; empty means `/`.
    pub cwd: String,
    /// As written in `USER`; empty: root.
    pub user: String,
    /// As written in `SHELL`; none: nobody has said.
    pub shell: Option<Vec<String>>,
}

impl Surroundings {
    /// The program that is the shell, which most of the time understands to be started without
    /// arguments.
    pub fn shell(&self) -> &str {
        self.shell.as_deref().and_then(<[String]>::first).map_or("/bin/sh", String::as_str)
    }
}

/// What the consumer takes an input as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// The filesystem to work on top of.
    Root,
    /// The tree that the operation calls input number *n*.
    From(usize),
}

/// One entry of the history of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryStep {
    /// The entry; `empty_layer` unless there is a vertex.
    pub entry: History,
    /// The vertex whose changes are the layer of the entry.
    pub vertex: Option<NodeIndex>,
}

/// The image a build is based on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The name it was asked for by.
    pub reference: Reference,
    /// What the name led to in the registry: an index or a manifest.
    pub digest: Option<Digest>,
}

/// The inputs of a vertex: the root first, then the others by number.
pub fn inputs(graph: &DiGraph<Vertex, Input>, vertex: NodeIndex) -> Vec<(Input, NodeIndex)> {
    let edges = graph.edges_directed(vertex, Direction::Incoming);
    let mut inputs: Vec<_> = edges.map(|edge| (*edge.weight(), edge.source())).collect();
    inputs.sort_unstable();
    inputs
}

/// The operations of several plans of one Dockerfile in one graph, in an order as in
/// [`Plan::graph`], and the root of each plan. What plans have in common is there once.
pub fn unite(plans: &[Plan]) -> (DiGraph<Vertex, Input>, Vec<Option<NodeIndex>>) {
    let [first, others @ ..] = plans else { return Default::default() };
    let (mut graph, mut roots) = (first.graph.clone(), vec![first.root]);
    if others.is_empty() {
        return (graph, roots);
    }
    let identity = |vertex: &Vertex, inputs: Vec<_>| (vertex.name.clone(), vertex.key(), inputs);
    let mut known: HashMap<_, NodeIndex> = graph
        .node_indices()
        .map(|node| (identity(&graph[node], inputs(&graph, node)), node))
        .collect();
    for plan in others {
        let mut places: Vec<NodeIndex> = Vec::with_capacity(plan.graph.node_count());
        for node in plan.graph.node_indices() {
            let vertex = &plan.graph[node];
            let inputs: Vec<_> = plan
                .inputs(node)
                .into_iter()
                .map(|(input, from)| (input, places[from.index()]))
                .collect();
            let place = *known.entry(identity(vertex, inputs.clone())).or_insert_with(|| {
                let place = graph.add_node(vertex.clone());
                for (input, from) in inputs {
                    graph.add_edge(from, place, input);
                }
                place
            });
            places.push(place);
        }
        roots.push(plan.root.map(|root| places[root.index()]));
    }
    (graph, roots)
}

impl Plan {
    /// The inputs of a vertex: the root first, then the others by number.
    pub fn inputs(&self, vertex: NodeIndex) -> Vec<(Input, NodeIndex)> {
        inputs(&self.graph, vertex)
    }

    /// Which vertex a vertex takes `input` from.
    pub fn input(&self, vertex: NodeIndex, input: Input) -> Option<NodeIndex> {
        self.inputs(vertex).into_iter().find(|(kind, _)| *kind == input).map(|(_, from)| from)
    }
}

impl Vertex {
    /// The canonical form of the operation and its platform: what may decide about reuse, and
    /// nothing else. Inputs are not in it.
    pub fn key(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Key<'a> {
            platform: &'a Platform,
            #[serde(flatten)]
            op: &'a Op,
        }
        // Cannot fail: an operation has string keys only, and none of its `Serialize` fails.
        json::to_canonical(&Key { platform: &self.platform, op: &self.op }).unwrap_or_default()
    }

    /// Digest of [`Vertex::key`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.key())
    }
}
