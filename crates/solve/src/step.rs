//! One vertex of the plan with what the solver knows of it before anything runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bld_event::VertexId;
use bld_graph::{ContextOp, Input, Op, Vertex};
use bld_layer::copy::Item;
use bld_oci::Digest;
use bld_store::SnapshotId;
use petgraph::graph::NodeIndex;

use crate::context::{LocalContext, Remembered};
use crate::environment::Environment;
use crate::error::StepFailure;
use crate::solver::{Build, Graph};
use crate::{key, select};

/// What a vertex delivers to those that consume it.
#[derive(Debug, Clone)]
pub(crate) enum Tree {
    /// A filesystem in the store.
    Snapshot(SnapshotId),
    /// A directory of this machine.
    Context(Arc<LocalContext>),
}

impl Tree {
    /// The snapshot, if the tree is one.
    pub(crate) fn snapshot(&self) -> Option<SnapshotId> {
        match self {
            Self::Snapshot(id) => Some(*id),
            Self::Context(_) => None,
        }
    }
}

/// What a step takes of a context, source by source, as it was read.
pub(crate) type Files = Arc<Vec<Vec<Item>>>;

/// One input of a step.
#[derive(Debug)]
pub(crate) struct StepInput {
    /// What the step takes it as.
    pub(crate) input: Input,
    /// The step that delivers it.
    pub(crate) step: usize,
    /// What stands for it in the definition key: the definition of the step that delivers it, or
    /// the digest of what this step selects of a local context.
    pub(crate) definition: Digest,
    /// The files behind that digest, source by source, for whoever copies them.
    files: Mutex<Option<Files>>,
}

impl StepInput {
    /// The files that the definition stands for.
    pub(crate) fn files(&self) -> Option<Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives up the files, which take memory: nobody will copy them.
    pub(crate) fn forget_files(&self) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Name of the input in keys and records.
    pub(crate) fn role(input: Input) -> String {
        match input {
            Input::Root => "root".to_owned(),
            Input::From(n) => format!("from:{n}"),
        }
    }
}

/// A vertex and its keys.
#[derive(Debug)]
pub(crate) struct Step {
    /// The vertex in the event stream.
    pub(crate) id: VertexId,
    /// Digest of the operation alone.
    pub(crate) op: Digest,
    /// The definition key; none for a local context, which only its content defines.
    pub(crate) definition: Option<Digest>,
    /// The inputs: the root first, then by number.
    pub(crate) inputs: Vec<StepInput>,
    /// The step or something it depends on is to be done again: definitions say nothing then.
    pub(crate) forced: bool,
    /// Which context, stage and kind of operation it is, to find its earlier selves. It is for
    /// explanations only.
    pub(crate) scope: String,
    /// Which step of its scope it is, from 1.
    pub(crate) place: usize,
}

/// Works out keys of all steps. Selections of local contexts are hashed here; so a missing source
/// is found before anything runs. `ids` are what the steps are called in the event stream, if they
/// have been announced.
pub(crate) fn steps(
    graph: &Graph,
    env: &Environment,
    ids: &[VertexId],
) -> Result<Vec<Step>, (usize, StepFailure)> {
    let mut steps: Vec<Step> = Vec::with_capacity(graph.node_count());
    let mut places: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let main = env.contexts.get(ContextOp::MAIN);
    let project = main.map(|context| context.name()).unwrap_or_default();
    let mut remembered = BTreeMap::new();
    for node in graph.node_indices() {
        let vertex = &graph[node];
        let mut step = step(graph, node, vertex, &steps, env, &mut remembered)
            .map_err(|cause| (node.index(), cause))?;
        if let Some(id) = ids.get(node.index()) {
            step.id = *id;
        }
        let (stage, kind) = (vertex.stage.as_str(), vertex.op.kind());
        let place = places.entry((stage, kind)).or_default();
        *place += 1;
        steps.push(Step { scope: format!("{project}:{stage}/{kind}"), place: *place, ..step });
    }
    for (_, remembered) in remembered {
        // A cache that could not be written costs the next build time and nothing else.
        let _ = remembered.save();
    }
    Ok(steps)
}

fn step(
    graph: &Graph,
    node: NodeIndex,
    vertex: &Vertex,
    earlier: &[Step],
    env: &Environment,
    remembered: &mut BTreeMap<String, Remembered>,
) -> Result<Step, StepFailure> {
    if let Op::Exec(exec) = &vertex.op {
        // A device that cannot be had is no reason to begin.
        env.devices.edits(&exec.devices)?;
    }
    let op = key::operation(&vertex.key());
    let mut inputs = Vec::new();
    let mut forced = vertex.no_cache;
    for (input, from) in bld_graph::inputs(graph, node) {
        let provider = &earlier[from.index()];
        forced |= provider.forced;
        let mut files = None;
        let definition = match (&graph[from].op, provider.definition) {
            (Op::Context(context), _) => {
                let name = &context.name;
                let context = context_of(env, name)?;
                let remembered = remembered
                    .entry(name.clone())
                    .or_insert_with(|| Remembered::open(env, context));
                let (digest, items) = select::context_files(vertex, input, context, remembered)?;
                files = matches!(vertex.op, Op::Copy(_)).then(|| Arc::new(items));
                digest
            }
            (_, Some(definition)) => definition,
            (other, None) => {
                return Err(StepFailure::Unsupported(format!(
                    "files from {} are not supported yet",
                    other.kind()
                )));
            }
        };
        let files = Mutex::new(files);
        inputs.push(StepInput { input, step: from.index(), definition, files });
    }
    let definition = match vertex.op {
        Op::Context(_) => None,
        _ => Some(key::combine(
            &op,
            inputs.iter().map(|input| (StepInput::role(input.input), input.definition)),
        )),
    };
    Ok(Step {
        id: VertexId::next(),
        op,
        definition,
        inputs,
        forced,
        scope: String::new(),
        place: 0,
    })
}

/// Whether what step `index` selects of local contexts is no longer what its key was made of.
///
/// A key names content that was hashed before the files were read for the second time; a record
/// under it must not hold anything else.
pub(crate) fn contexts_changed(build: &Build, index: usize) -> Result<bool, StepFailure> {
    for input in &build.steps[index].inputs {
        if let Some(Tree::Context(context)) = build.trees[input.step].get() {
            let remembered = Remembered::open(&build.env, context);
            let (now, _) =
                select::context_files(build.vertex(index), input.input, context, &remembered)?;
            if now != input.definition {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The local context called `name`.
pub(crate) fn context_of<'a>(
    env: &'a Environment,
    name: &str,
) -> Result<&'a Arc<LocalContext>, StepFailure> {
    env.contexts.get(name).ok_or_else(|| {
        StepFailure::Unsupported(format!("this build has no files: context {name:?} was not given"))
    })
}
