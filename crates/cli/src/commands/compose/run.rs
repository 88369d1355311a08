//! `compose exec` and `run`.

use std::io::{self, IsTerminal as _};

use bld_engine::containers::RemoveOptions;

use super::Place;
use super::project::{self, members};
use super::service::{self, Which, parsed};
use super::{build, up};
use crate::commands;
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Execute a command in a running container
#[derive(Debug, clap::Args)]
pub(super) struct ExecArgs {
    /// Detached mode: Run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Set environment variables
    #[arg(short, long, value_name = "stringArray")]
    env: Vec<String>,
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "int")]
    index: Option<u32>,
    /// Disable pseudo-TTY allocation. By default a TTY is allocated where there is a terminal
    #[arg(short = 'T', long = "no-tty", visible_alias = "no-TTY")]
    no_tty: bool,
    /// Give extended privileges to the process
    #[arg(long)]
    privileged: bool,
    /// Run the command as this user
    #[arg(short, long, value_name = "string")]
    user: Option<String>,
    /// Path to workdir directory for this command
    #[arg(short, long, value_name = "string")]
    workdir: Option<String>,
    /// Everything from the service on is the command's, whatever it looks like.
    #[arg(required = true, value_names = ["SERVICE", "COMMAND", "ARG"], num_args = 2.., trailing_var_arg = true)]
    words: Vec<String>,
}

/// Run a one-off command on a service
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Build image before starting container
    #[arg(long)]
    build: bool,
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    /// Override the entrypoint of the image
    #[arg(long, value_name = "string")]
    entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "stringArray")]
    env: Vec<String>,
    /// Assign a name to the container
    #[arg(long, value_name = "string")]
    name: Option<String>,
    /// Don't start linked services
    #[arg(long)]
    no_deps: bool,
    /// Disable pseudo-TTY allocation. By default a TTY is allocated where there is a terminal
    #[arg(short = 'T', long = "no-tty", visible_alias = "no-TTY")]
    no_tty: bool,
    /// Publish a container's port(s) to the host
    #[arg(short, long, value_name = "stringArray")]
    publish: Vec<String>,
    /// Automatically remove the container when it exits
    #[arg(long)]
    rm: bool,
    /// Run command with all service's ports enabled and mapped to the host
    #[arg(short = 'P', long)]
    service_ports: bool,
    /// Run as specified username or uid
    #[arg(short, long, value_name = "string")]
    user: Option<String>,
    /// Bind mount a volume
    #[arg(short, long, value_name = "stringArray")]
    volume: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string")]
    workdir: Option<String>,
    /// Everything from the service on is the command's, whatever it looks like.
    #[arg(required = true, value_names = ["SERVICE", "COMMAND", "ARG"], num_args = 1.., trailing_var_arg = true)]
    words: Vec<String>,
}

pub(super) fn exec(args: &ExecArgs, place: &Place, session: &Session) -> Outcome {
    let (name, command) = args.words.split_first().ok_or_else(|| Failure::new("no service"))?;
    let project = project::name(place, session)?;
    let present = members(session, &project, std::slice::from_ref(name))?;
    let member = present.iter().find(|member| {
        !member.one_off
            && member.container.state.is_running()
            && args.index.is_none_or(|index| index == member.number)
    });
    let missing = || Failure::new(format!("service {name:?} is not running"));
    let container = &member.ok_or_else(missing)?.container;
    let mut words: Vec<String> = Vec::new();
    let tty =
        !args.no_tty && !args.detach && io::stdin().is_terminal() && io::stdout().is_terminal();
    for (given, flag) in [
        (args.detach, "--detach"),
        (!args.detach, "--interactive"),
        (tty, "--tty"),
        (args.privileged, "--privileged"),
    ] {
        words.extend(given.then(|| flag.to_owned()));
    }
    words.extend(args.env.iter().map(|env| format!("--env={env}")));
    words.extend(args.user.iter().map(|user| format!("--user={user}")));
    words.extend(args.workdir.iter().map(|dir| format!("--workdir={dir}")));
    words.push(container.id.clone());
    words.extend(command.iter().cloned());
    commands::exec::run(&parsed(words)?, session)
}

pub(super) fn run(args: &RunArgs, place: &Place, session: &Session) -> Outcome {
    let (name, command) = args.words.split_first().ok_or_else(|| Failure::new("no service"))?;
    let project = project::read(place, std::slice::from_ref(name), session)?;
    let order = up::order(&project, std::slice::from_ref(name), args.no_deps)?;
    up::prepare(session, &project, &order)?;
    let service = &project.services[name];
    let image = service::image(&project, name, service);
    if service.build.is_some() && (args.build || session.engine.find_image(&image).is_err()) {
        let code = build::build(session, &project, name, service, &[])?;
        if code != 0 {
            return Ok(code);
        }
    }
    up::start_dependencies(session, &project, &order, name)?;
    let tty =
        !args.no_tty && !args.detach && io::stdin().is_terminal() && io::stdout().is_terminal();
    let mut flags: Vec<String> = Vec::new();
    let lists = [("env", &args.env), ("publish", &args.publish), ("volume", &args.volume)];
    for (flag, values) in lists {
        flags.extend(values.iter().map(|value| format!("--{flag}={value}")));
    }
    let texts =
        [("entrypoint", &args.entrypoint), ("user", &args.user), ("workdir", &args.workdir)];
    for (flag, value) in texts {
        flags.extend(value.iter().map(|value| format!("--{flag}={value}")));
    }
    flags.extend((!args.detach && !service.stdin_open).then(|| "--interactive".to_owned()));
    flags.extend((tty && !service.tty).then(|| "--tty".to_owned()));
    let made_up = || -> Result<String, Failure> {
        let mut bytes = [0; 8];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(io::Error::from)?;
        let (own, between) = (project.own_name(name), project.separator());
        Ok(format!("{own}{between}run{between}{:016x}", u64::from_ne_bytes(bytes)))
    };
    let which = Which {
        number: 1,
        one_off: Some(match &args.name {
            Some(name) => name.clone(),
            None => made_up()?,
        }),
        flags,
        command: (!command.is_empty()).then(|| command.to_vec()),
        kept: std::collections::BTreeMap::new(),
        without_ports: !args.service_ports,
    };
    let container = service::make(session, &project, name, &which)?;
    if args.detach {
        session.engine.start_container(&container.id)?;
        session.say(&container.id)?;
        return Ok(0);
    }
    let streams = commands::run::Streams { stdin: true, stdout: true, stderr: true };
    let keys = bld_engine::containers::DetachKeys::default();
    let ended = commands::run::foreground(session, &container, streams, true, keys);
    let left = session.engine.find_container(&container.id);
    if args.rm && left.is_ok_and(|left| !left.state.is_running()) {
        let options = RemoveOptions { force: true, volumes: true };
        session.engine.remove_container(&container.id, options)?;
    }
    ended
}
