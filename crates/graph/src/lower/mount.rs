//! `RUN --mount`.

use bld_dockerfile::{self as dockerfile, Diagnostic, MountSpec, Run, Spanned};

use super::Lowering;
use super::build::Inputs;
use super::path;
use super::stage::Stage;
use crate::args;
use crate::op::{MountKind, MountOp, Sharing};

impl Lowering<'_> {
    /// Lowers the mounts of a `RUN`, in order.
    pub(super) fn mounts(
        &mut self,
        stage: &Stage,
        run: &Run,
        inputs: &mut Inputs,
    ) -> Result<Vec<MountOp>, Diagnostic> {
        let mut mounts: Vec<MountOp> = Vec::with_capacity(run.mounts.len());
        for mount in &run.mounts {
            let (expander, report, scope) = (self.expander, &mut self.report, &stage.scope);
            let spec = mount.resolve(|value| {
                let expanded = expander.word(value, scope)?;
                report.undefined(&expanded.unset, scope, mount.text.span);
                Ok(expanded.text)
            });
            let spec = spec.map_err(|error| error.diagnostic(mount))?;
            let agents = mounts.iter().filter(|mount| matches!(mount.kind, MountKind::Ssh { .. }));
            let agents = agents.count();
            mounts.push(self.mount(stage, &mount.text, &spec, agents, inputs)?);
        }
        Ok(mounts)
    }

    fn mount(
        &mut self,
        stage: &Stage,
        text: &Spanned<String>,
        spec: &MountSpec,
        agents: usize,
        inputs: &mut Inputs,
    ) -> Result<MountOp, Diagnostic> {
        let error = |message: &str| Diagnostic::error(message, text.span);
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let (id, source, target) = (given(&spec.id), given(&spec.source), given(&spec.target));
        // Without a target a mount appears at the working directory.
        let mut at = target.clone().unwrap_or_default();
        let kind = match spec.kind {
            dockerfile::MountKind::Bind => {
                let input = self.mount_input(stage, text, given(&spec.from), true, inputs)?;
                let source = path::join("/", source.as_deref().unwrap_or_default());
                MountKind::Bind { input, source, writable: !spec.read_only }
            }
            dockerfile::MountKind::Cache => {
                let input = self.mount_input(stage, text, given(&spec.from), false, inputs)?;
                let source = path::join("/", source.as_deref().unwrap_or_default());
                // A directory that is picked stays what it is.
                let new = Some(spec).filter(|_| source == "/");
                let id = id.unwrap_or_else(|| clean(&at));
                let namespace = self.globals.build_args.get(args::CACHE_NAMESPACE);
                MountKind::Cache {
                    id: match namespace.filter(|namespace| !namespace.is_empty()) {
                        Some(namespace) => format!("{namespace}/{id}"),
                        None => id,
                    },
                    sharing: match spec.sharing {
                        dockerfile::Sharing::Shared => Sharing::Shared,
                        dockerfile::Sharing::Private => Sharing::Private,
                        dockerfile::Sharing::Locked => Sharing::Locked,
                    },
                    input,
                    source,
                    mode: new.and_then(|spec| spec.mode).unwrap_or(0o755),
                    uid: new.and_then(|spec| spec.uid).unwrap_or(0),
                    gid: new.and_then(|spec| spec.gid).unwrap_or(0),
                    read_only: spec.read_only,
                }
            }
            dockerfile::MountKind::Tmpfs => MountKind::Tmpfs { size: spec.size },
            dockerfile::MountKind::Secret => {
                // The parser has seen to it that one of the three is there.
                let named =
                    source.or(id).or_else(|| path::base(target.as_deref()?).map(str::to_owned));
                let id = named.ok_or_else(|| error("secret mount without id, source or target"))?;
                if spec.env.as_deref() == Some("") {
                    return Err(error("the variable of a secret needs a name: `env=NAME`"));
                }
                let env = spec.env.clone();
                let file = target.is_some() || env.is_none();
                at = target
                    .unwrap_or_else(|| format!("/run/secrets/{}", path::base(&id).unwrap_or(&id)));
                MountKind::Secret {
                    file,
                    env,
                    mode: spec.mode.unwrap_or(0o400),
                    uid: spec.uid.unwrap_or(0),
                    gid: spec.gid.unwrap_or(0),
                    required: spec.required,
                    id,
                }
            }
            dockerfile::MountKind::Ssh => {
                if source.is_some() {
                    return Err(error("an ssh mount has no source"));
                }
                at = target.unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{agents}"));
                MountKind::Ssh {
                    id: id.unwrap_or_else(|| "default".to_owned()),
                    mode: spec.mode.unwrap_or(0o600),
                    uid: spec.uid.unwrap_or(0),
                    gid: spec.gid.unwrap_or(0),
                    required: spec.required,
                }
            }
        };
        let target = path::join(&stage.workdir(), &at);
        if target == "/" {
            let error = error(&format!("invalid mount target {at:?}: it is the root directory"));
            return Err(error.with_help("add `target=/path`"));
        }
        Ok(MountOp { target, kind })
    }

    /// The input of a mount: what `from` names, else the build context if it is the default.
    fn mount_input(
        &mut self,
        stage: &Stage,
        text: &Spanned<String>,
        from: Option<String>,
        context: bool,
        inputs: &mut Inputs,
    ) -> Result<Option<usize>, Diagnostic> {
        let tree = match from {
            Some(from) => self.tree(&Spanned::new(from, text.span), stage.index)?,
            None if context => Some(self.context()),
            None => None,
        };
        Ok(tree.map(|tree| inputs.number(tree)))
    }
}

/// A path without empty and `.` components, which may stay relative; `.` if nothing is left.
fn clean(target: &str) -> String {
    let clean = path::join("/", target);
    match clean.strip_prefix('/') {
        Some("") if !target.starts_with('/') => ".".to_owned(),
        Some(relative) if !target.starts_with('/') => relative.to_owned(),
        _ => clean,
    }
}
