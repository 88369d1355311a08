//! Tests of the crate from outside, most of them against the shared corpus.

mod behaviour;
mod common;
mod diagnostics;
mod expansion;
mod ignore;
mod lint;
mod mounts;
mod parser;
mod properties;
mod shell;
