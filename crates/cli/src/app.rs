//! The commands there are, and which one was meant.

use std::ffi::OsString;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::process::ExitCode;

use bld_engine::containers::monitor;
use clap::{Args as _, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands as c;
use crate::error::Failure;
use crate::rootless;
use crate::session::{Outcome, Session};
use crate::usage;

/// A self-sufficient builder and runtime for containers
#[derive(Debug, Parser)]
#[command(name = "bld", disable_version_flag = true, subcommand_required = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags in front of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Directory of the store (also BLD_ROOT; default "/var/lib/bld" as root, "~/.local/share/bld" otherwise)
    #[arg(long, value_name = "string", env = "BLD_ROOT", hide_env = true)]
    pub(crate) root: Option<PathBuf>,
    /// Location of client config files (also DOCKER_CONFIG; default "~/.docker")
    #[arg(long, value_name = "string", env = "DOCKER_CONFIG", hide_env = true)]
    pub(crate) config: Option<PathBuf>,
    /// Verify certificates of registries, and speak plain HTTP to loopback only
    #[arg(long, global = true, value_name = "bool", num_args = 0..=1, require_equals = true)]
    #[arg(default_value = "true", default_missing_value = "true", hide_default_value = false)]
    #[arg(action = clap::ArgAction::Set)]
    pub(crate) tls_verify: bool,
    /// Print version information and quit
    #[arg(short = 'v', long)]
    version: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Attach(c::attach::Args),
    Build(Box<c::build::Args>),
    #[command(alias = "buildx")]
    Builder(c::groups::Builder),
    Cache(c::cache::Cache),
    Commit(c::commit::Args),
    Completion(c::completion::Args),
    Compose(c::compose::Compose),
    Container(c::groups::Container),
    Cp(c::cp::Args),
    Create(Box<c::create::Args>),
    Diff(c::diff::Args),
    Doctor(c::doctor::Args),
    Du(c::du::Args),
    Events(c::events::Args),
    Exec(c::exec::Args),
    Export(c::export::Args),
    History(c::history::Top),
    Image(c::groups::Image),
    Images(c::images::Args),
    Imagetools(c::imagetools::Imagetools),
    Import(c::import::Args),
    Info(c::info::Args),
    Inspect(c::inspect::Args),
    Kill(c::kill::Args),
    Load(c::load::Args),
    Login(c::login::Args),
    Logout(c::login::LogoutArgs),
    Logs(c::logs::Args),
    Manifest(c::manifest::Manifest),
    Network(c::network::Network),
    Pause(c::pause::Args),
    Port(c::port::Args),
    Prune(c::prune_cache::Args),
    Ps(c::ps::Args),
    Pull(c::pull::Args),
    Push(c::push::Args),
    Rename(c::rename::Args),
    Restart(c::restart::Args),
    Rm(c::rm::Args),
    Rmi(c::rmi::Args),
    Run(Box<c::run::Args>),
    Save(c::save::Args),
    Sbom(c::sbom::Args),
    Sign(c::sign::Args),
    Start(c::start::Args),
    Stats(c::stats::Args),
    Stop(c::stop::Args),
    System(c::groups::System),
    Tag(c::tag::Args),
    Top(c::top::Args),
    Ui(c::ui::Args),
    Unpause(c::pause::UnpauseArgs),
    Update(c::update::Args),
    Verify(c::sign::VerifyArgs),
    Version(c::version::Args),
    Volume(c::volume::Volume),
    Wait(c::wait::Args),
    Why(c::why::Args),
}

impl Command {
    /// Gets the rights for what has to do with containers.
    fn prepare(&self, session: &Session) -> Result<(), Failure> {
        if let Self::Completion(_) | Self::Login(_) | Self::Logout(_) | Self::Version(_) = self {
            return Ok(());
        }
        let standing = rootless::settle(&session.engine.config().run_dir);
        if let Self::Doctor(_) = self { Ok(()) } else { standing.check() }
    }
}

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    // The commonest way of being started by ourselves needs none of the parsing.
    if let [_, root, dir, command, id] = args.as_slice()
        && root == "--root"
        && monitor::is_command(command)
    {
        return hold(PathBuf::from(dir), id);
    }
    let alone = named(&args).and_then(one).map(|root| parse(root, &args));
    let (root, parsed) = match alone {
        // Help and suggestions are about all commands.
        Some((_, Err(_))) | None => parse(command(), &args),
        Some(parsed) => parsed,
    };
    match parsed {
        Ok(cli) => {
            let session = Session::new(&cli.global);
            let code = finish(
                cli.command.prepare(&session).and_then(|()| dispatch(cli.command, &session)),
            );
            if code != ExitCode::SUCCESS {
                session.drop_damaged();
            }
            code
        }
        Err(_) if wants_version(&args) => finish(c::version::short().map(|()| 0)),
        Err(error) => {
            let answer = usage::answer(&root, args.get(1..).unwrap_or_default(), &error);
            let text = answer.text.as_bytes();
            // Nobody reads it: there is nobody to tell that to.
            let _unread = if answer.asked {
                io::stdout().write_all(text)
            } else {
                io::stderr().write_all(text)
            };
            ExitCode::from(answer.code)
        }
    }
}

/// Reads the command line by what is declared in `root`, which is given back: errors refer to it.
fn parse(mut root: clap::Command, args: &[OsString]) -> Parsed {
    let parsed = root
        .try_get_matches_from_mut(args)
        .and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    // Thousands of small pieces, which the end of the process frees faster than we can.
    (ManuallyDrop::new(root), parsed)
}

type Parsed = (ManuallyDrop<clap::Command>, Result<Cli, clap::Error>);

/// Gives a command its arguments.
type Declare = fn(clap::Command) -> clap::Command;

/// The commands that scripts run by the thousand.
const OFTEN: [(&str, Declare); 15] = [
    ("build", c::build::Args::augment_args),
    ("create", c::create::Args::augment_args),
    ("exec", c::exec::Args::augment_args),
    ("images", c::images::Args::augment_args),
    ("inspect", c::inspect::Args::augment_args),
    ("logs", c::logs::Args::augment_args),
    ("ps", c::ps::Args::augment_args),
    ("pull", c::pull::Args::augment_args),
    ("push", c::push::Args::augment_args),
    ("rm", c::rm::Args::augment_args),
    ("rmi", c::rmi::Args::augment_args),
    ("run", c::run::Args::augment_args),
    ("start", c::start::Args::augment_args),
    ("stop", c::stop::Args::augment_args),
    ("tag", c::tag::Args::augment_args),
];

/// The command line with the command `name` alone: declaring all of them takes longer than most of
/// them do.
fn one(name: &str) -> Option<clap::Command> {
    let (name, declare) = OFTEN.into_iter().find(|(often, _)| *often == name)?;
    let root = Global::augment_args(clap::Command::new("bld"))
        .subcommand_required(true)
        .disable_version_flag(true)
        .subcommand(declare(clap::Command::new(name)));
    Some(usage::prepare(root))
}

/// The command that `args` name, as far as that is seen without knowing them.
fn named(args: &[OsString]) -> Option<&str> {
    let mut words = args.iter().skip(1);
    loop {
        match words.next()?.to_str()? {
            "--root" | "--config" => _ = words.next()?,
            word if word.starts_with("--root=") || word.starts_with("--config=") => {}
            word => return Some(word),
        }
    }
}

/// The whole command line, with docker's looks.
pub(crate) fn command() -> clap::Command {
    usage::prepare(Cli::command())
}

/// `bld --version` has no command, which clap would otherwise ask for.
fn wants_version(args: &[OsString]) -> bool {
    args.get(1).is_some_and(|arg| arg == "-v" || arg == "--version")
}

fn finish(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print("Error: ");
            ExitCode::from(failure.code)
        }
    }
}

/// Holds the container `id`: see [`monitor`].
fn hold(root: PathBuf, id: &OsString) -> ExitCode {
    let session =
        Session::new(&Global { root: Some(root), config: None, tls_verify: true, version: false });
    let _ours = rootless::settle(&session.engine.config().run_dir);
    match monitor::monitor(&session.engine, &id.to_string_lossy(), &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Failure::from(error).print("");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command, session: &Session) -> Outcome {
    match command {
        Command::Attach(args) => c::attach::run(&args, session),
        Command::Build(args) => c::build::run(&args, session),
        Command::Builder(group) => group.run(session),
        Command::Cache(group) => group.run(session),
        Command::Commit(args) => c::commit::run(args, session),
        Command::Completion(args) => c::completion::run(&args, session),
        Command::Compose(group) => group.run(session),
        Command::Container(group) => group.run(session),
        Command::Cp(args) => c::cp::run(&args, session),
        Command::Create(args) => c::create::run(&args, session),
        Command::Diff(args) => c::diff::run(&args, session),
        Command::Doctor(args) => c::doctor::run(&args, session),
        Command::Du(args) => c::du::run(&args, session),
        Command::Events(args) => c::events::run(&args, session),
        Command::Exec(args) => c::exec::run(&args, session),
        Command::Export(args) => c::export::run(&args, session),
        Command::History(args) => args.run(session),
        Command::Image(group) => group.run(session),
        Command::Images(args) => c::images::run(&args, session),
        Command::Imagetools(group) => group.run(session),
        Command::Import(args) => c::import::run(args, session),
        Command::Info(args) => c::info::run(&args, session),
        Command::Inspect(args) => c::inspect::run(&args, session),
        Command::Kill(args) => c::kill::run(&args, session),
        Command::Load(args) => c::load::run(&args, session),
        Command::Login(args) => c::login::run(args, session),
        Command::Logout(args) => c::login::logout(&args, session),
        Command::Logs(args) => c::logs::run(&args, session),
        Command::Manifest(group) => group.run(session),
        Command::Network(group) => group.run(session),
        Command::Pause(args) => c::pause::run(&args, session),
        Command::Port(args) => c::port::run(&args, session),
        Command::Prune(args) => c::prune_cache::run(&args, session),
        Command::Ps(args) => c::ps::run(&args, session),
        Command::Pull(args) => c::pull::run(&args, session),
        Command::Push(args) => c::push::run(&args, session),
        Command::Rename(args) => c::rename::run(&args, session),
        Command::Restart(args) => c::restart::run(&args, session),
        Command::Rm(args) => c::rm::run(&args, session),
        Command::Rmi(args) => c::rmi::run(&args, session),
        Command::Run(args) => c::run::run(&args, session),
        Command::Save(args) => c::save::run(&args, session),
        Command::Sbom(args) => c::sbom::run(&args, session),
        Command::Sign(args) => c::sign::run(&args, session),
        Command::Start(args) => c::start::run(&args, session),
        Command::Stats(args) => c::stats::run(&args, session),
        Command::Stop(args) => c::stop::run(&args, session),
        Command::System(group) => group.run(session),
        Command::Tag(args) => c::tag::run(&args, session),
        Command::Top(args) => c::top::run(&args, session),
        Command::Ui(args) => c::ui::run(&args, session),
        Command::Unpause(args) => c::pause::unpause(&args, session),
        Command::Update(args) => c::update::run(&args, session),
        Command::Verify(args) => c::sign::verify(&args, session),
        Command::Version(args) => c::version::run(&args, session),
        Command::Volume(group) => group.run(session),
        Command::Wait(args) => c::wait::run(&args, session),
        Command::Why(args) => c::why::run(&args, session),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        super::command().debug_assert();
    }

    #[test]
    fn a_command_is_declared_the_same_way_alone_and_among_all() {
        let all = super::command();
        let arguments = |command: &clap::Command| {
            command.get_arguments().map(|arg| format!("{arg:?}")).collect::<Vec<_>>()
        };
        for (name, _) in super::OFTEN {
            let root = super::one(name).unwrap();
            let ids = |root: &clap::Command| -> Vec<_> {
                root.get_arguments().map(|arg| arg.get_id().clone()).collect()
            };
            assert_eq!(ids(&root), ids(&all), "{name}");
            let [alone, among] = [&root, &all].map(|root| root.find_subcommand(name).unwrap());
            assert_eq!(arguments(alone), arguments(among), "{name}");
            assert_eq!(alone.get_about(), among.get_about(), "{name}");
        }
    }

    #[test]
    fn the_command_is_found_behind_global_flags() {
        let named = |line: &str| {
            let args: Vec<_> = line.split(' ').map(Into::into).collect();
            super::named(&args).map(ToOwned::to_owned)
        };
        assert_eq!(named("bld run -d --root x").as_deref(), Some("run"));
        assert_eq!(named("bld --root run --config=x build").as_deref(), Some("build"));
        assert_eq!(named("bld --root"), None);
        assert_eq!(named("bld --help").as_deref(), Some("--help"));
    }
}
