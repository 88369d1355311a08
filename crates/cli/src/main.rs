//! `bld`: the command line of the engine, with docker's words.
//!
//! Nothing here decides anything: a command turns words into a request of [`bld_engine`], shows the
//! events while the engine works, and prints what came of it. Standard output carries results and
//! nothing else; everything for people (progress, warnings, errors) goes to standard error.
//!
//! - [`app`]: the commands there are, and which one was meant;
//! - [`usage`]: help and usage errors as docker words them;
//! - [`commands`]: one file for each command;
//! - [`progress`], [`diagnostics`]: the event stream and the mistakes in a Dockerfile, shown;
//! - [`template`], [`output`]: `--format`, tables, sizes and times;
//! - [`config`]: the file `bld.toml`;
//! - [`rootless`]: how an ordinary user gets the rights for it;
//! - [`error`]: the one place where failures become messages and exit codes.

mod app;
mod commands;
mod config;
mod diagnostics;
mod documents;
mod error;
mod output;
mod progress;
mod rootless;
mod session;
mod signals;
mod template;
mod terminal;
mod usage;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::run()
}
