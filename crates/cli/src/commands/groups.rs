//! The management groups: `container`, `image`, `builder`, `system`. Most of what is in them is
//! also a command of its own.

use clap::Subcommand;

use super as c;
use crate::session::{Outcome, Session};

/// Manage containers
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true)]
pub(crate) struct Container {
    #[command(subcommand)]
    command: ContainerCommand,
}

#[derive(Debug, Subcommand)]
enum ContainerCommand {
    Attach(c::attach::Args),
    Commit(c::commit::Args),
    Cp(c::cp::Args),
    Create(Box<c::create::Args>),
    Diff(c::diff::ContainerArgs),
    Exec(c::exec::Args),
    Export(c::export::Args),
    Inspect(c::inspect::ContainerArgs),
    Kill(c::kill::Args),
    Logs(c::logs::Args),
    #[command(aliases = ["list", "ps"])]
    Ls(c::ps::Args),
    Pause(c::pause::Args),
    Port(c::port::Args),
    Prune(c::prune::ContainerArgs),
    Rename(c::rename::Args),
    Restart(c::restart::Args),
    #[command(alias = "remove")]
    Rm(c::rm::Args),
    Run(Box<c::run::Args>),
    Start(c::start::Args),
    Stats(c::stats::Args),
    Stop(c::stop::Args),
    Top(c::top::Args),
    Unpause(c::pause::UnpauseArgs),
    Update(c::update::Args),
    Wait(c::wait::Args),
}

impl Container {
    /// Runs the command of the group.
    pub(crate) fn run(self, session: &Session) -> Outcome {
        match self.command {
            ContainerCommand::Attach(args) => c::attach::run(&args, session),
            ContainerCommand::Commit(args) => c::commit::run(args, session),
            ContainerCommand::Cp(args) => c::cp::run(&args, session),
            ContainerCommand::Create(args) => c::create::run(&args, session),
            ContainerCommand::Diff(args) => c::diff::container(&args, session),
            ContainerCommand::Exec(args) => c::exec::run(&args, session),
            ContainerCommand::Export(args) => c::export::run(&args, session),
            ContainerCommand::Inspect(args) => c::inspect::containers(&args, session),
            ContainerCommand::Kill(args) => c::kill::run(&args, session),
            ContainerCommand::Logs(args) => c::logs::run(&args, session),
            ContainerCommand::Ls(args) => c::ps::run(&args, session),
            ContainerCommand::Pause(args) => c::pause::run(&args, session),
            ContainerCommand::Port(args) => c::port::run(&args, session),
            ContainerCommand::Prune(args) => c::prune::containers(&args, session),
            ContainerCommand::Rename(args) => c::rename::run(&args, session),
            ContainerCommand::Restart(args) => c::restart::run(&args, session),
            ContainerCommand::Rm(args) => c::rm::run(&args, session),
            ContainerCommand::Run(args) => c::run::run(&args, session),
            ContainerCommand::Start(args) => c::start::run(&args, session),
            ContainerCommand::Stats(args) => c::stats::run(&args, session),
            ContainerCommand::Stop(args) => c::stop::run(&args, session),
            ContainerCommand::Top(args) => c::top::run(&args, session),
            ContainerCommand::Unpause(args) => c::pause::unpause(&args, session),
            ContainerCommand::Update(args) => c::update::run(&args, session),
            ContainerCommand::Wait(args) => c::wait::run(&args, session),
        }
    }
}

/// Manage images
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true)]
pub(crate) struct Image {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    Attestations(c::attestations::Args),
    Build(Box<c::build::Args>),
    Convert(c::convert::Args),
    Diff(c::diff::ImageArgs),
    History(c::history::Args),
    Import(c::import::Args),
    Inspect(c::inspect::ImageArgs),
    Load(c::load::Args),
    #[command(alias = "list")]
    Ls(c::images::Args),
    Prune(c::prune::ImageArgs),
    Pull(c::pull::Args),
    Push(c::push::Args),
    #[command(alias = "remove")]
    Rm(c::rmi::Args),
    Save(c::save::Args),
    Tag(c::tag::Args),
}

impl Image {
    /// Runs the command of the group.
    pub(crate) fn run(self, session: &Session) -> Outcome {
        match self.command {
            ImageCommand::Attestations(args) => c::attestations::run(&args, session),
            ImageCommand::Build(args) => c::build::run(&args, session),
            ImageCommand::Convert(args) => c::convert::run(&args, session),
            ImageCommand::Diff(args) => c::diff::images(&args, session),
            ImageCommand::History(args) => c::history::run(&args, session),
            ImageCommand::Import(args) => c::import::run(args, session),
            ImageCommand::Inspect(args) => c::inspect::images(&args, session),
            ImageCommand::Load(args) => c::load::run(&args, session),
            ImageCommand::Ls(args) => c::images::run(&args, session),
            ImageCommand::Prune(args) => c::prune::images(&args, session),
            ImageCommand::Pull(args) => c::pull::run(&args, session),
            ImageCommand::Push(args) => c::push::run(&args, session),
            ImageCommand::Rm(args) => c::rmi::run(&args, session),
            ImageCommand::Save(args) => c::save::run(&args, session),
            ImageCommand::Tag(args) => c::tag::run(&args, session),
        }
    }
}

/// Manage builds
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true)]
pub(crate) struct Builder {
    #[command(subcommand)]
    command: BuilderCommand,
}

#[derive(Debug, Subcommand)]
enum BuilderCommand {
    Build(Box<c::build::Args>),
    Du(c::du::Args),
    History(c::history::Builds),
    Imagetools(c::imagetools::Imagetools),
    Prune(c::prune_cache::Args),
}

impl Builder {
    /// Runs the command of the group.
    pub(crate) fn run(self, session: &Session) -> Outcome {
        match self.command {
            BuilderCommand::Build(args) => c::build::run(&args, session),
            BuilderCommand::Du(args) => c::du::run(&args, session),
            BuilderCommand::History(group) => group.run(session),
            BuilderCommand::Imagetools(group) => group.run(session),
            BuilderCommand::Prune(args) => c::prune_cache::run(&args, session),
        }
    }
}

/// Manage the store
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true)]
pub(crate) struct System {
    #[command(subcommand)]
    command: SystemCommand,
}

#[derive(Debug, Subcommand)]
enum SystemCommand {
    Check(c::prune::CheckArgs),
    Df(c::df::Args),
    Events(c::events::Args),
    Info(c::info::Args),
    Prune(c::prune_system::Args),
}

impl System {
    /// Runs the command of the group.
    pub(crate) fn run(self, session: &Session) -> Outcome {
        match self.command {
            SystemCommand::Check(args) => c::prune::check(&args, session),
            SystemCommand::Df(args) => c::df::run(&args, session),
            SystemCommand::Events(args) => c::events::run(&args, session),
            SystemCommand::Info(args) => c::info::run(&args, session),
            SystemCommand::Prune(args) => c::prune_system::run(&args, session),
        }
    }
}
