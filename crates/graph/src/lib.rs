//! From a Dockerfile to a graph of operations.
//!
//! [`lower()`] takes the tree of a Dockerfile, asks a [`Resolver`] for the base images and gives a
//! [`Plan`]: a directed acyclic graph of [`Op`]s, the configuration of the image they lead to, and
//! its history. Whoever executes a plan needs to know nothing of Dockerfiles.
//!
//! The one decision everything here follows from: **an operation says what happens to a filesystem
//! and nothing else.** `ENV`, `LABEL`, `CMD` and their like change the image configuration and make
//! no vertex; what of them a later `RUN` can see is written into that `RUN`. So the canonical form
//! of an operation ([`Vertex::key`]) is exactly what may decide whether its result is known already,
//! and there is no second list of "what enters a cache key" that could drift from it.
//!
//! Invariants:
//! - no I/O happens here except through the [`Resolver`];
//! - a plan holds what its target needs and nothing else, and every vertex is reachable from the root;
//! - words are expanded, paths absolute, modes valid: an operation holds no variable;
//! - spans, comments, secret values and times (but a fixed one) are no part of an operation's key;
//! - the same input gives the same plan, vertex for vertex.
//!
//! Modules: [`op`] what an operation is; [`plan`] the graph; [`options`] what the caller asks;
//! [`resolve`] what the caller must be able to answer; [`mod@outline`] what a file offers;
//! [`render`] plans as text, Graphviz and JSON.

mod args;
mod lower;
pub mod op;
pub mod options;
pub mod outline;
pub mod plan;
pub mod render;
pub mod resolve;

pub use lower::{Remote, check, check_text, lower, outline};
pub use op::{
    ContextOp, CopyOp, CopySource, DeviceOp, Environment, ExecOp, GitOp, HttpOp, ImageOp, MkdirOp,
    MountKind, MountOp, Network, Op, Script, Security, Sharing,
};
pub use options::{Entitlements, LowerOptions, NoCache};
pub use outline::{Outline, OutlineArg, OutlineMount, Target, targets};
pub use plan::{Base, HistoryStep, Input, Plan, Surroundings, Vertex, inputs, unite};
pub use resolve::{ImageRequest, NamedContext, ResolveError, ResolvedImage, Resolver};
