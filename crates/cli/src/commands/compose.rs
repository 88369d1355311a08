//! `bld compose`: what a Compose file says is to run together.
//!
//! A service is said in the words of `bld create` and `bld build`, so that a Compose file means what
//! the same flags mean. What belongs to a project is known by its labels; nothing else is kept.

mod build;
mod control;
mod down;
mod files;
mod list;
mod logs;
mod project;
mod run;
mod service;
mod up;
mod watch;

use std::path::PathBuf;

use clap::Subcommand;

use crate::session::{Outcome, Session};

/// Define and run multi-container applications
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true)]
pub(crate) struct Compose {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Which project is meant.
#[derive(Debug, Clone, clap::Args)]
struct Place {
    /// Run compose in backward compatibility mode
    #[arg(long)]
    compatibility: bool,
    /// Specify an alternate environment file
    #[arg(long, value_name = "stringArray")]
    env_file: Vec<PathBuf>,
    /// Compose configuration files
    #[arg(short, long, value_name = "stringArray")]
    file: Vec<PathBuf>,
    /// Specify a profile to enable
    #[arg(long, value_name = "stringArray")]
    profile: Vec<String>,
    /// Specify an alternate working directory
    #[arg(long, value_name = "string")]
    project_directory: Option<PathBuf>,
    /// Project name
    #[arg(short, long, value_name = "string")]
    project_name: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(build::Args),
    Config(list::ConfigArgs),
    Cp(control::CpArgs),
    Down(down::DownArgs),
    Events(control::EventsArgs),
    Exec(run::ExecArgs),
    Images(list::ImagesArgs),
    Kill(down::KillArgs),
    Logs(logs::Args),
    Pause(control::PauseArgs),
    Port(list::PortArgs),
    Ps(list::PsArgs),
    Pull(build::PullArgs),
    Push(build::PushArgs),
    Restart(down::RestartArgs),
    Rm(down::RmArgs),
    Run(run::RunArgs),
    Start(up::StartArgs),
    Stop(down::StopArgs),
    Top(list::TopArgs),
    Unpause(control::UnpauseArgs),
    Up(up::Args),
    Wait(control::WaitArgs),
    Watch(watch::Args),
}

impl Compose {
    /// Runs the command of the group.
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let place = &self.place;
        match self.command {
            Command::Build(args) => build::run(&args, place, session),
            Command::Config(args) => list::config(&args, place, session),
            Command::Cp(args) => control::cp(&args, place, session),
            Command::Down(args) => down::run(&args, place, session),
            Command::Events(args) => control::events(&args, place, session),
            Command::Exec(args) => run::exec(&args, place, session),
            Command::Images(args) => list::images(&args, place, session),
            Command::Kill(args) => down::kill(&args, place, session),
            Command::Logs(args) => logs::run(&args, place, session),
            Command::Pause(args) => control::pause(&args, place, session),
            Command::Port(args) => list::port(&args, place, session),
            Command::Ps(args) => list::ps(&args, place, session),
            Command::Pull(args) => build::pull(&args, place, session),
            Command::Push(args) => build::push(&args, place, session),
            Command::Restart(args) => down::restart(&args, place, session),
            Command::Rm(args) => down::rm(&args, place, session),
            Command::Run(args) => run::run(&args, place, session),
            Command::Start(args) => up::start(&args, place, session),
            Command::Stop(args) => down::stop(&args, place, session),
            Command::Top(args) => list::top(&args, place, session),
            Command::Unpause(args) => control::unpause(&args, place, session),
            Command::Up(args) => up::run(&args, place, session),
            Command::Wait(args) => control::wait(&args, place, session),
            Command::Watch(args) => watch::run(&args, place, session),
        }
    }
}
