//! The two passes of a build: look everything up, then drive what is missing.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use bld_dockerfile::LineIndex;
use bld_event::{Cancel, EventKind, Hit, VertexId};
use bld_graph::{Op, Plan};
use bld_sandbox::{CgroupSpec, SandboxError, cgroup::Cgroup};
use bld_store::SnapshotId;
use tokio::task::JoinSet;

use crate::duration;
use crate::environment::Environment;
use crate::error::{SolveError, StepError, StepFailure};
use crate::evaluate::{self, Known};
use crate::explain::{Previous, Told};
use crate::inspect::Scene;
use crate::schedule::{Outcome, Schedule};
use crate::shared::{self, SolvedStep};
use crate::step::{self, Step, StepInput, Tree, context_of};

/// What a build delivered.
#[derive(Debug, Clone)]
pub struct Solved {
    /// The root filesystem of each plan; none: it is empty.
    pub snapshots: Vec<Option<SnapshotId>>,
    /// Steps that did work.
    pub run: usize,
    /// Steps whose result was known.
    pub cached: usize,
    /// What is known of all steps, if that is [asked for](Environment::describe).
    pub steps: Vec<SolvedStep>,
}

/// Everything the workers of one build share.
pub(crate) struct Build {
    pub(crate) graph: Arc<Graph>,
    /// What is built: the name of the stage, and of the platforms where there are several.
    pub(crate) target: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) trees: Vec<OnceLock<Tree>>,
    /// What was told of the steps that were not known.
    pub(crate) told: Vec<OnceLock<Told>>,
    /// The build before this one, once that is of interest.
    pub(crate) previous: OnceLock<Previous>,
    /// Steps whose result is not of what their definition says, as files changed meanwhile.
    pub(crate) drifted: Vec<AtomicBool>,
    pub(crate) env: Environment,
    /// When it began.
    pub(crate) began: SystemTime,
    /// Canceled with the caller's token, and by the first failure.
    pub(crate) cancel: Cancel,
    /// Somebody has looked into a failure.
    inspected: Mutex<bool>,
    /// What limits all steps together, once one has needed it.
    group: Group,
}

/// The operations of a build.
pub(crate) type Graph = petgraph::graph::DiGraph<bld_graph::Vertex, bld_graph::Input>;

/// What is built.
struct Work {
    graph: Arc<Graph>,
    roots: Vec<Option<usize>>,
    /// The name of the stage, and of the platforms where there are several.
    target: String,
}

impl Work {
    fn of(plans: &[Plan]) -> Self {
        let (graph, roots) = bld_graph::unite(plans);
        let name = plans.first().map(|plan| plan.target.clone()).unwrap_or_default();
        let target = match plans {
            [] | [_] => name,
            several => {
                let platforms: Vec<_> =
                    several.iter().map(|plan| plan.platform.to_string()).collect();
                format!("{name} {}", platforms.join(","))
            }
        };
        let roots =
            roots.into_iter().map(|root| root.map(petgraph::graph::NodeIndex::index)).collect();
        Self { graph: Arc::new(graph), roots, target }
    }
}

/// Builds `plans`, which are of one Dockerfile, for several platforms, in one schedule. `source` is
/// the text their spans point into.
pub fn solve(plans: &[Plan], source: &str, env: Environment) -> Result<Solved, SolveError> {
    let work = Work::of(plans);
    let mut env = env;
    let mut told = Announced::default();
    for _ in 0..ATTEMPTS {
        let (result, back) = attempt(&work, source, env, &mut told);
        match (result, back) {
            // What had been believed in is forgotten by now.
            (Err(SolveError::Step(error)), Some(back))
                if matches!(error.cause, StepFailure::Elsewhere(_))
                    && !back.cancel.is_canceled() =>
            {
                env = back;
            }
            (result, _) => return result,
        }
    }
    Err(SolveError::Runtime(std::io::Error::other("what others have made vanishes all the time")))
}

/// A build starts again at most so often because files that are elsewhere cannot be had.
const ATTEMPTS: usize = 64;

/// What readers of the events were told by earlier attempts.
#[derive(Default)]
struct Announced {
    /// The steps, once they are announced.
    ids: Vec<VertexId>,
    /// Those that are said to be known.
    cached: Vec<bool>,
}

/// Builds once. The environment comes back unless somebody still has it.
fn attempt(
    work: &Work,
    source: &str,
    env: Environment,
    announced: &mut Announced,
) -> (Result<Solved, SolveError>, Option<Environment>) {
    let began = SystemTime::now();
    let steps = step::steps(&work.graph, &env, &announced.ids).map_err(|(index, cause)| {
        let vertex = &work.graph[petgraph::graph::NodeIndex::new(index)];
        SolveError::Step(Box::new(StepError {
            name: vertex.name.clone(),
            span: vertex.span,
            cause,
            full: false,
            log: None,
            left: None,
            before: None,
        }))
    });
    let steps = match steps {
        Ok(steps) => steps,
        Err(error) => return (Err(error), None),
    };
    let (cancel, _linked) = env.cancel.child();
    let trees = steps.iter().map(|_| OnceLock::new()).collect();
    let told = steps.iter().map(|_| OnceLock::new()).collect();
    let drifted = steps.iter().map(|_| AtomicBool::new(false)).collect();
    let build = Build {
        graph: Arc::clone(&work.graph),
        target: work.target.clone(),
        steps,
        trees,
        told,
        previous: OnceLock::new(),
        drifted,
        env,
        began,
        cancel,
        inspected: Mutex::default(),
        group: Group::default(),
    };
    if announced.ids.is_empty() {
        build.announce(source);
        announced.ids = build.steps.iter().map(|step| step.id).collect();
        announced.cached = vec![false; build.steps.len()];
    }
    let build = Arc::new(build);
    let result = run(&build, &work.roots, &mut announced.cached);
    (result, Arc::into_inner(build).map(Build::into_environment))
}

fn run(
    build: &Arc<Build>,
    roots: &[Option<usize>],
    told: &mut [bool],
) -> Result<Solved, SolveError> {
    let known = build.look_up(roots, told)?;
    let missing = build.missing(roots, told);
    let _ = build.previous.set(Previous::replace(build));
    // Where everything above an image is known, it was kept when that was made.
    if !missing.is_empty() || roots.iter().flatten().any(|&root| build.op(root).is_source()) {
        build.keep_images()?;
    }
    let unknown = missing.iter().filter(|&&step| !build.op(step).is_source()).count();
    let run = if missing.is_empty() { 0 } else { drive(build, &missing)? };
    let snapshot = |root: &Option<usize>| {
        root.and_then(|root| build.trees[root].get()).and_then(Tree::snapshot)
    };
    let snapshots = roots.iter().map(snapshot).collect();
    let steps = if build.env.describe { build.describe()? } else { Vec::new() };
    Ok(Solved { snapshots, run, cached: known + unknown - run, steps })
}

impl Build {
    /// What is known of all steps.
    fn describe(&self) -> Result<Vec<SolvedStep>, SolveError> {
        self.describe_steps().map_err(|cause| {
            SolveError::Step(Box::new(StepError {
                name: "describing the results".to_owned(),
                span: bld_dockerfile::Span::default(),
                cause,
                full: false,
                log: None,
                left: None,
                before: None,
            }))
        })
    }

    fn into_environment(self) -> Environment {
        self.env
    }

    pub(crate) fn op(&self, step: usize) -> &Op {
        &self.vertex(step).op
    }

    pub(crate) fn vertex(&self, step: usize) -> &bld_graph::Vertex {
        &self.graph[petgraph::graph::NodeIndex::new(step)]
    }

    /// What the step that delivers `input` is called, for messages.
    pub(crate) fn input_name(&self, input: &StepInput) -> String {
        match self.op(input.step) {
            Op::Context(context) => format!("files of the context {:?}", context.name),
            _ => self.vertex(input.step).name.clone(),
        }
    }

    /// Lets somebody look at a failure: at the first one, for that ends the build.
    pub(crate) fn inspect(&self, scene: &Scene<'_>) {
        let Some(inspect) = &self.env.inspect else { return };
        let mut inspected = self.inspected.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.cancel.is_canceled() && !std::mem::replace(&mut *inspected, true) {
            inspect.inspect(scene);
        }
    }

    pub(crate) fn emit(&self, step: usize, kind: EventKind) {
        self.env.events.emit(self.steps[step].id, kind);
    }

    /// The control group that those of all steps are in; none where nothing limits them together.
    pub(crate) fn group(&self) -> Result<Option<Cgroup>, SandboxError> {
        let limits = &self.env.limits;
        if limits.together == bld_sandbox::Limits::default() {
            return Ok(None);
        }
        let mut group = self.group.0.lock().unwrap_or_else(PoisonError::into_inner);
        if group.is_none() {
            *group = Some(Cgroup::create(&CgroupSpec {
                name: format!(
                    "{CGROUP_PREFIX}all-{}",
                    self.steps.first().map_or(0, |s| s.id.get())
                ),
                parent: limits.cgroup_parent.clone(),
                limits: limits.together.clone(),
                ..CgroupSpec::default()
            })?);
        }
        Ok(group.clone())
    }

    /// Tells the readers of the event stream which steps there are.
    fn announce(&self, source: &str) {
        let lines = LineIndex::new(source);
        for (index, step) in self.steps.iter().enumerate() {
            let vertex = self.vertex(index);
            if matches!(vertex.op, Op::Context(_)) {
                continue;
            }
            let span = vertex.span;
            let lines = (span.end > span.start).then(|| {
                let last = span.end.saturating_sub(1).max(span.start);
                (lines.line_col(span.start).0 as u32, lines.line_col(last).0 as u32)
            });
            self.emit(
                index,
                EventKind::Planned(bld_event::Vertex {
                    id: step.id,
                    name: vertex.name.clone(),
                    stage: vertex.stage.clone(),
                    inputs: step.inputs.iter().map(|input| self.steps[input.step].id).collect(),
                    lines,
                    internal: false,
                    result: step.definition.map(|definition| definition.hex()),
                }),
            );
        }
    }

    /// Finds what is known by definition; gives the number of steps found. `told` says of which steps
    /// the readers know that.
    fn look_up(&self, roots: &[Option<usize>], told: &mut [bool]) -> Result<usize, SolveError> {
        let mut found = 0;
        // Steps whose results are of former results of their inputs.
        let mut former = vec![false; self.steps.len()];
        for (index, step) in self.steps.iter().enumerate() {
            let mut hit = Hit::Definition;
            let tree = match self.op(index) {
                Op::Context(context) => match context_of(&self.env, &context.name) {
                    Ok(context) => Some(Tree::Context(Arc::clone(context))),
                    Err(_) => None,
                },
                Op::Image(image) => {
                    let chain = bld_oci::chain_id(&image.diff_ids);
                    let id = match chain {
                        Some(chain) => self.env.store.snapshot_of_chain(&chain)?,
                        None => None,
                    };
                    match id {
                        // One that is elsewhere is brought where somebody works on it.
                        Some(id)
                            if self.env.lease.hold(id)?
                                && (roots.contains(&Some(index))
                                    || self.env.store.is_here(id)?) =>
                        {
                            Some(Tree::Snapshot(id))
                        }
                        _ => None,
                    }
                }
                _ if step.inputs.iter().any(|input| former[input.step]) => {
                    former[index] = true;
                    None
                }
                _ => match evaluate::by_definition(self, step)? {
                    Known::Result(snapshot) => Some(Tree::Snapshot(snapshot)),
                    Known::Former => {
                        former[index] = true;
                        None
                    }
                    Known::Nothing => {
                        shared::by_definition(self, index)?.map(|(snapshot, from)| {
                            hit = Hit::Imported { from, same: Vec::new() };
                            Tree::Snapshot(snapshot)
                        })
                    }
                },
            };
            if let Some(tree) = tree {
                step.inputs.iter().for_each(StepInput::forget_files);
                let is_context = matches!(tree, Tree::Context(_));
                let _ = self.trees[index].set(tree);
                if !is_context {
                    if !std::mem::replace(&mut told[index], true) {
                        self.emit(index, EventKind::Cached(hit));
                    }
                    found += usize::from(!self.op(index).is_source());
                }
            }
        }
        Ok(found)
    }

    /// Remembers the images that are there as steps.
    fn keep_images(&self) -> Result<(), SolveError> {
        for index in 0..self.steps.len() {
            if let (Op::Image(_), Some(Tree::Snapshot(id))) =
                (self.op(index), self.trees[index].get())
            {
                self.keep_source(index, *id)?;
            }
        }
        Ok(())
    }

    /// The steps that have to be worked on for `roots`: unknown, and wanted by an unknown one. In
    /// order, inputs first. Unknown steps that nobody wants count as cached.
    fn missing(&self, roots: &[Option<usize>], told: &mut [bool]) -> Vec<usize> {
        let mut wanted = vec![false; self.steps.len()];
        for root in roots.iter().flatten() {
            wanted[*root] = true;
        }
        let mut missing = Vec::new();
        for index in (0..self.steps.len()).rev() {
            if self.trees[index].get().is_some() {
                continue;
            }
            if wanted[index] {
                missing.push(index);
                for input in &self.steps[index].inputs {
                    wanted[input.step] = true;
                }
            } else if !std::mem::replace(&mut told[index], true) {
                self.emit(index, EventKind::Cached(Hit::Unneeded));
            }
        }
        missing.reverse();
        missing
    }
}

impl Build {
    /// Of the steps in `missing` that say the same about the same, all but the first, and that one.
    /// It is worked on for all of them.
    fn twins(&self, missing: &[usize]) -> HashMap<usize, usize> {
        let mut first = HashMap::new();
        let mut twins = HashMap::new();
        for &index in missing {
            let step = &self.steps[index];
            let key = (step.definition, step.forced, self.vertex(index).no_cache);
            if step.definition.is_some() {
                let twin = *first.entry(key).or_insert(index);
                twins.extend((twin != index).then_some((index, twin)));
            }
        }
        twins
    }
}

/// A build's group of control groups ends with it.
#[derive(Debug, Default)]
struct Group(Mutex<Option<Cgroup>>);

impl Drop for Group {
    fn drop(&mut self) {
        let group = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // What is stuck there is found by the next sweep.
        let _ = group.map(|group| group.remove());
    }
}

/// Works on `missing` until all is done or something fails; gives the number of steps that took
/// work.
fn drive(build: &Arc<Build>, missing: &[usize]) -> Result<usize, SolveError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(MAX_WORKERS)
        .thread_name("bld-step")
        .build()
        .map_err(SolveError::Runtime)?;
    // What killed builds left; it is in nobody's way, so that it stays if it must.
    let _ = bld_sandbox::cgroup::sweep(CGROUP_PREFIX, build.env.limits.cgroup_parent.as_deref());
    runtime.block_on(drive_steps(build, missing))
}

/// What the names of control groups of steps begin with.
pub(crate) const CGROUP_PREFIX: &str = "build-";

/// Threads for steps; each runs one step from lookup to commit, and mostly waits for its container.
const MAX_WORKERS: usize = 256;

async fn drive_steps(build: &Arc<Build>, missing: &[usize]) -> Result<usize, SolveError> {
    let position = |step: usize| missing.binary_search(&step).ok();
    let twins = build.twins(missing);
    let inputs: Vec<Vec<usize>> = missing
        .iter()
        .map(|step| match twins.get(step) {
            Some(&twin) => position(twin).into_iter().collect(),
            None => build.steps[*step].inputs.iter().filter_map(|i| position(i.step)).collect(),
        })
        .collect();
    let jobs = build.env.limits.jobs.filter(|&jobs| jobs > 0).unwrap_or(MAX_WORKERS);
    // Where all can run at once there is no order to decide.
    let expected = if jobs < missing.len() {
        duration::expected(build, missing)?
    } else {
        vec![1; missing.len()]
    };
    let mut schedule = Schedule::new(&inputs, &expected, jobs);
    let mut run = 0;
    let mut workers = JoinSet::new();
    let mut failure: Option<SolveError> = None;
    let mut next = schedule.begin();
    loop {
        for position in next.canceled {
            build.emit(missing[position], EventKind::Canceled);
        }
        for position in next.start {
            let (build, step) = (Arc::clone(build), missing[position]);
            let twin = twins.get(&step).copied();
            workers.spawn(async move {
                let work =
                    tokio::task::spawn_blocking(move || evaluate::evaluate(&build, step, twin));
                (position, work.await)
            });
        }
        let Some(joined) = workers.join_next().await else { break };
        let (position, worked) = joined.map_err(|error| SolveError::Runtime(error.into()))?;
        let step = missing[position];
        let outcome = match worked {
            Ok(Ok(worked)) => {
                run += usize::from(worked && !build.op(step).is_source());
                Outcome::Done
            }
            Ok(Err(error)) if matches!(error.cause, StepFailure::Canceled) => {
                build.emit(step, EventKind::Canceled);
                Outcome::Canceled
            }
            Ok(Err(error)) => {
                build.emit(step, EventKind::Failed { error: error.cause.to_string() });
                failure.get_or_insert(SolveError::Step(error));
                Outcome::Failed
            }
            Err(panic) => {
                build.emit(step, EventKind::Failed { error: panic.to_string() });
                failure.get_or_insert(SolveError::Runtime(std::io::Error::other(panic)));
                Outcome::Failed
            }
        };
        if outcome != Outcome::Done {
            build.cancel.cancel();
        }
        next = schedule.end(position, outcome);
    }
    debug_assert!(schedule.is_over());
    match failure {
        Some(failure) => Err(failure),
        None if build.cancel.is_canceled() => Err(SolveError::Canceled),
        None => Ok(run),
    }
}
