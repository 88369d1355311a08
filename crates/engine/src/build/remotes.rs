//! Sources that lie elsewhere: what they lead to before a build, and how they get into the store
//! while it runs.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::thread;

use bld_dockerfile::value::redacted;
use bld_dockerfile::{Diagnostic, Span};
use bld_event::{Cancel, EventKind, Events, Progress, VertexId};
use bld_graph::{GitOp, HttpOp, Op, Plan};
use bld_remote::{Access, Remote, RemoteError};
use bld_solve::Sources;
use bld_store::SnapshotId;

use super::policy::SourcePolicy;
use super::request::BuildRequest;
use crate::error::in_one_line;
use crate::{Engine, Result};

impl Engine {
    /// Reaches others with what `request` gives for that.
    pub(super) fn remote(&self, request: &BuildRequest, cancel: &Cancel) -> Result<Remote> {
        let secrets = &request.secrets;
        let access = Access {
            secrets: secrets
                .iter()
                .map(|(id, secret)| (id.clone(), secret.value.clone()))
                .collect(),
            ssh_agent: request.ssh.get(DEFAULT_AGENT).cloned().or(self.config().ssh_agent.clone()),
            known_hosts: self.config().known_hosts.clone(),
            environment: self.config().git_environment.clone(),
        };
        Ok(Remote::new(self.store()?.clone(), access, cancel.clone()))
    }
}

/// Id of the SSH agent that is meant when none is named.
const DEFAULT_AGENT: &str = "default";

/// How many remote sources are asked about at once.
const AT_ONCE: usize = 16;

/// Fills in what the remote sources of `plan` lead to now, many at once. What cannot be found is
/// told where the Dockerfile names it, and so is what `policy` denies.
pub(super) fn resolve(
    plan: &mut Plan,
    remote: &Remote,
    policy: Option<&SourcePolicy>,
    events: &Events,
) -> Result<(), Vec<Diagnostic>> {
    let mut sources: Vec<_> = plan
        .graph
        .node_weights_mut()
        .filter(|vertex| matches!(vertex.op, Op::Http(_) | Op::Git(_)))
        .collect();
    if let Some(policy) = policy {
        let denied = sources.iter_mut().filter_map(|vertex| {
            let error = policy.op(&mut vertex.op).err()?;
            let diagnostic = Diagnostic::error(error.to_string(), vertex.span);
            Some(match error.help() {
                Some(help) => diagnostic.with_help(help),
                None => diagnostic,
            })
        });
        let mut denied: Vec<_> = denied.collect();
        if !denied.is_empty() {
            denied.sort_by_key(|diagnostic| diagnostic.span);
            return Err(denied);
        }
    }
    let workers = sources.len().min(AT_ONCE);
    let (left, failed) = (Mutex::new(sources.into_iter()), Mutex::new(Vec::new()));
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(vertex) = next() {
                    let resolved = match &mut vertex.op {
                        Op::Http(op) => resolve_http(op, remote, events),
                        Op::Git(op) => resolve_git(op, remote, events),
                        _ => Ok(()),
                    };
                    if let Err(error) = resolved {
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.push(told(&error, vertex.span));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|diagnostic| diagnostic.span);
    if failed.is_empty() { Ok(()) } else { Err(failed) }
}

fn resolve_http(op: &mut HttpOp, remote: &Remote, events: &Events) -> Result<(), RemoteError> {
    // Nothing is asked then, so there is nothing to show.
    if op.checksum.is_some() {
        return remote.resolve_http(op, &|_, _| {});
    }
    let shown = redacted(&op.url);
    let task = events.task(format!("[internal] load metadata for {shown}"));
    let progress = |done, total| task.progress(shown.as_str(), done, total, Some(done) == total);
    let resolved = remote.resolve_http(op, &progress);
    task.finish(resolved)
}

fn resolve_git(op: &mut GitOp, remote: &Remote, events: &Events) -> Result<(), RemoteError> {
    let task = events.task(format!("[internal] load metadata for {}", redacted(&op.remote)));
    task.finish(remote.resolve_git(op))
}

fn told(error: &RemoteError, span: Span) -> Diagnostic {
    let diagnostic = Diagnostic::error(in_one_line(error), span);
    match help(error) {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    }
}

/// What to do about it.
pub(super) fn help(error: &RemoteError) -> Option<&'static str> {
    match error {
        RemoteError::Status { status, .. }
            if ["401", "403"].iter().any(|s| status.starts_with(s)) =>
        {
            Some("give a token with `--secret id=HTTP_AUTH_TOKEN_<host>,env=NAME`")
        }
        RemoteError::Git { message, .. } if message.contains("could not read Username") => Some(
            "if the repository is private, give a token with `--secret id=GIT_AUTH_TOKEN,env=NAME`",
        ),
        RemoteError::Git { message, .. } if message.contains("Permission denied") => Some(
            "give an agent that has the key with `--ssh default`, or a key file with `--ssh default=PATH`",
        ),
        RemoteError::NoGit { .. } => Some("install it, e.g. with `apt-get install git`"),
        RemoteError::Checksum { .. } => {
            Some("if the file was changed on purpose, put its new digest into --checksum")
        }
        _ => None,
    }
}

/// Brings what a build needs while it runs.
pub(super) struct BuildSources {
    pub(super) remote: Remote,
    pub(super) events: Events,
}

impl Sources for BuildSources {
    fn fetch(
        &self,
        source: &Op,
        vertex: VertexId,
    ) -> Result<SnapshotId, Box<dyn Error + Send + Sync>> {
        Ok(match source {
            Op::Http(op) if op.content.is_some() => {
                let shown = redacted(&op.url);
                let progress = |current, total| {
                    let done = Some(current) == total;
                    let progress = Progress { item: shown.clone(), current, total, done };
                    self.events.emit(vertex, EventKind::Progress(progress));
                };
                self.remote.download(op, &progress)?
            }
            Op::Git(op) if op.commit.is_some() => self.remote.checkout(op)?.snapshot,
            other => return Err(format!("{} was not resolved", other.kind()).into()),
        })
    }
}
