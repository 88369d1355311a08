//! `RUN`.

use bld_dockerfile::device::DeviceSpec;
use bld_dockerfile::expand::Env;
use bld_dockerfile::{Command, Diagnostic, Run, Spanned};

use super::Lowering;
use super::build::Inputs;
use super::report::did_you_mean;
use super::scope::Scope;
use super::stage::Stage;
use super::step::Step;
use crate::args;
use crate::op::{DeviceOp, ExecOp, MountKind, Network, Op, Script, Security};

impl Lowering<'_> {
    pub(super) fn run(
        &mut self,
        stage: &mut Stage,
        step: &Step,
        run: &Run,
    ) -> Result<(), Diagnostic> {
        let line = command_line(stage, run);
        let args = stage.with_shell(&line.command);
        if args.is_empty() {
            return Err(Diagnostic::error("there is no command to run", run.command_span));
        }
        let mut inputs = Inputs::default();
        let mounts = self.mounts(stage, run, &mut inputs)?;
        let network = self.network(run.network.as_ref())?;
        let security = self.security(run.security.as_ref())?;
        let devices = Self::devices(&run.devices)?;

        let text = &step.instruction.text;
        let mut shown = match line.summary {
            Some(summary) => format!("{text} ({summary})"),
            None => text.clone(),
        };
        if shown.contains('$') {
            let secrets = mounts.iter().filter_map(|mount| match &mount.kind {
                MountKind::Secret { env, .. } => env.clone(),
                _ => None,
            });
            let masked = Masked { secrets: secrets.collect(), scope: &stage.scope };
            shown = self.expander.display(&shown, &masked);
        }
        let history = format!("RUN {}{} # buildkit", stage.scope.history_prefix(), args.join(" "));
        let mut env = stage.scope.process_env();
        if let Some(agent) = mounts.iter().find(|mount| matches!(mount.kind, MountKind::Ssh { .. }))
            && env.get("SSH_AUTH_SOCK").is_none()
        {
            let socket = ("SSH_AUTH_SOCK".to_owned(), agent.target.clone());
            env = env.iter().cloned().chain([socket]).collect();
        }
        let hostname = self.globals.build_args.get(args::HOSTNAME).cloned();
        let op = ExecOp {
            args,
            env,
            cwd: stage.workdir(),
            user: stage.config.config.user.clone(),
            network,
            security,
            mounts,
            scripts: line.script.into_iter().collect(),
            devices,
            hostname: hostname.filter(|name| !name.is_empty()),
            extra_hosts: self.options.extra_hosts.clone(),
            proxy_env: self.globals.proxies.clone(),
        };
        let vertex = self.vertex(stage, step, Op::Exec(Box::new(op)), &shown);
        let root = self.builder.add(vertex, stage.root, &inputs);
        stage.layer(history, root);
        Ok(())
    }

    /// `--network`, or what the whole build uses.
    fn network(&self, flag: Option<&Spanned<String>>) -> Result<Network, Diagnostic> {
        let Some(flag) = flag else { return Ok(self.options.network) };
        match flag.as_str() {
            "default" => Ok(self.options.network),
            "none" => Ok(Network::None),
            "host" if self.options.entitlements.network_host => Ok(Network::Host),
            "host" => Err(not_allowed(flag, "network.host")),
            _ => Err(unknown(flag, "network mode", &["default", "none", "host"])),
        }
    }

    /// `--security`.
    fn security(&self, flag: Option<&Spanned<String>>) -> Result<Security, Diagnostic> {
        let Some(flag) = flag else { return Ok(Security::Sandbox) };
        match flag.as_str() {
            "sandbox" => Ok(Security::Sandbox),
            "insecure" if self.options.entitlements.security_insecure => Ok(Security::Insecure),
            "insecure" => Err(not_allowed(flag, "security.insecure")),
            _ => Err(unknown(flag, "security mode", &["sandbox", "insecure"])),
        }
    }

    /// `--device`. Which devices are allowed is known where they are known.
    fn devices(flags: &[Spanned<String>]) -> Result<Vec<DeviceOp>, Diagnostic> {
        let device = |flag: &Spanned<String>| {
            let spec = DeviceSpec::parse(&flag.value)
                .map_err(|error| Diagnostic::error(error.to_string(), flag.span))?;
            Ok(DeviceOp { name: spec.name, required: spec.required })
        };
        flags.iter().map(device).collect()
    }
}

fn not_allowed(flag: &Spanned<String>, entitlement: &str) -> Diagnostic {
    let message = format!("{:?} needs the entitlement {entitlement}", flag.value);
    Diagnostic::error(message, flag.span)
        .with_help(format!("if you trust this Dockerfile, build with `--allow {entitlement}`"))
}

fn unknown(flag: &Spanned<String>, what: &str, known: &[&str]) -> Diagnostic {
    let near = did_you_mean(&flag.value, known.iter().copied());
    let message = format!("unsupported {what} {:?}{near}", flag.value);
    Diagnostic::error(message, flag.span).with_help(format!("use one of {}", known.join(", ")))
}

/// What is run once here-documents are dealt with.
struct CommandLine {
    command: Command,
    /// A here-document that is a program of its own.
    script: Option<Script>,
    /// The first line of a here-document that is the whole command.
    summary: Option<String>,
}

/// Puts here-documents where the process finds them.
///
/// One that is the whole command is the text for the shell, or, if it begins with `#!`, a file to
/// execute. Those of a longer command are the shell's business, which gets them as they are.
fn command_line(stage: &Stage, run: &Run) -> CommandLine {
    let plain = |command| CommandLine { command, script: None, summary: None };
    let (Command::Shell(text), [first, ..]) = (&run.command, run.heredocs.as_slice()) else {
        return plain(run.command.clone());
    };
    if !is_one_heredoc(text, &first.name) {
        let mut text = text.clone();
        for heredoc in &run.heredocs {
            text.extend(["\n", &heredoc.content, &heredoc.name]);
        }
        return plain(Command::Shell(text));
    }
    let body = first.body().into_owned();
    let mut lines = body.trim().lines();
    let line = lines.next().unwrap_or_default().trim_end();
    let summary = Some(format!("{line}{}", if lines.next().is_some() { "..." } else { "" }));
    if body.starts_with("#!") && stage.config.os != "windows" {
        let path = format!("/dev/pipes/{}", first.name);
        let script = Some(Script { path: path.clone(), mode: 0o755, content: body });
        return CommandLine { command: Command::Shell(path), script, summary };
    }
    CommandLine { command: Command::Shell(body), script: None, summary }
}

/// Whether `text` is the word that introduces a here-document of this name and nothing else.
fn is_one_heredoc(text: &str, name: &str) -> bool {
    let text = text.trim().trim_start_matches(|char: char| char.is_ascii_digit());
    let Some(word) = text.strip_prefix("<<") else { return false };
    let word = word.strip_prefix('-').unwrap_or(word).trim_start();
    word.chars().filter(|char| !matches!(char, '"' | '\'' | '\\')).eq(name.chars())
}

/// An environment in which the variables that get secrets are shown as such.
struct Masked<'a> {
    secrets: Vec<String>,
    scope: &'a Scope,
}

impl Env for Masked<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        if self.secrets.iter().any(|secret| secret == name) {
            return Some("****");
        }
        self.scope.get(name)
    }
}
