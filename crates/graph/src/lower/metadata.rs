//! Instructions with variables that change the configuration of the image, and `WORKDIR`.

use bld_dockerfile::lint::warn;
use bld_dockerfile::value::{PortError, PortRange, is_signal};
use bld_dockerfile::{ArgPair, Diagnostic, KeyValue, Spanned};

use super::Lowering;
use super::build::Inputs;
use super::stage::Stage;
use super::step::Step;
use super::{go, path};
use crate::args;
use crate::op::{MkdirOp, Op};

type Outcome = Result<(), Diagnostic>;

impl Lowering<'_> {
    pub(super) fn arg(&mut self, stage: &mut Stage, pairs: &[ArgPair]) -> Outcome {
        let mut text = "ARG".to_owned();
        for ArgPair { name, value } in pairs {
            // In this order: the default may well fail to expand when a value was given.
            let value = match (self.globals.build_args.get(&name.value), value) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.expand(&stage.scope, default)?),
                (None, None) => self.globals.vars.get(&name.value).cloned(),
            };
            text.extend([" ", &name.value]);
            if let Some(value) = &value {
                text.extend(["=", value]);
            }
            let visible = !args::INVISIBLE.contains(&name.value.as_str());
            stage.scope.declare(&name.value, value, visible);
        }
        stage.note(text);
        Ok(())
    }

    /// Expands all pairs in the environment before the instruction: none sees another.
    fn pairs(
        &mut self,
        stage: &Stage,
        pairs: &[KeyValue],
    ) -> Result<Vec<(String, String)>, Diagnostic> {
        let expand = |pair: &KeyValue| {
            let key = self.expand(&stage.scope, &pair.key)?;
            Ok((key, self.expand(&stage.scope, &pair.value)?))
        };
        pairs.iter().map(expand).collect()
    }

    pub(super) fn env(&mut self, stage: &mut Stage, pairs: &[KeyValue]) -> Outcome {
        let expanded = self.pairs(stage, pairs)?;
        let text = listed("ENV", &expanded);
        for (pair, (name, value)) in pairs.iter().zip(expanded) {
            if name.is_empty() {
                return Err(Diagnostic::error("ENV names can not be blank", pair.key.span));
            }
            stage.scope.set_env(&name, value);
        }
        stage.note(text);
        Ok(())
    }

    pub(super) fn label(&mut self, stage: &mut Stage, pairs: &[KeyValue]) -> Outcome {
        let pairs = self.pairs(stage, pairs)?;
        let text = listed("LABEL", &pairs);
        stage.config.config.labels.extend(pairs);
        stage.note(text);
        Ok(())
    }

    pub(super) fn user(&mut self, stage: &mut Stage, user: &Spanned<String>) -> Outcome {
        let user = self.expand(&stage.scope, user)?;
        let text = format!("USER {user}");
        stage.config.config.user = user;
        stage.note(text);
        Ok(())
    }

    pub(super) fn expose(&mut self, stage: &mut Stage, words: &[Spanned<String>]) -> Outcome {
        let mut words: Vec<_> = words.iter().collect();
        words.sort_by_key(|word| word.as_str()); // as written: so the history has them
        let mut ports = Vec::new();
        for word in words {
            let expanded = self.expander.words(&word.value, &stage.scope);
            for text in expanded.map_err(|error| error.diagnostic(word))? {
                let range: PortRange = text
                    .parse()
                    .map_err(|error: PortError| Diagnostic::error(error.to_string(), word.span))?;
                ports.extend(range.entries());
            }
        }
        let text = format!("EXPOSE {}", go::list(&ports));
        stage.config.config.exposed_ports.extend(ports);
        stage.note(text);
        Ok(())
    }

    pub(super) fn volume(&mut self, stage: &mut Stage, words: &[Spanned<String>]) -> Outcome {
        let mut paths = Vec::new();
        for word in words {
            let path = self.expand(&stage.scope, word)?;
            if path.is_empty() {
                return Err(Diagnostic::error("VOLUME can not be an empty string", word.span));
            }
            paths.push(path);
        }
        let text = format!("VOLUME {}", go::list(&paths));
        stage.config.config.volumes.extend(paths);
        stage.note(text);
        Ok(())
    }

    pub(super) fn stopsignal(&mut self, stage: &mut Stage, word: &Spanned<String>) -> Outcome {
        let text = self.expand(&stage.scope, word)?;
        if !is_signal(&text) {
            return Err(Diagnostic::error(format!("invalid signal: {text:?}"), word.span)
                .with_help(
                    "write a name such as SIGTERM or SIGRTMIN+3, or a number from 1 to 64",
                ));
        }
        stage.config.config.stop_signal = Some(text.clone());
        stage.note(format!("STOPSIGNAL {text}"));
        Ok(())
    }

    pub(super) fn workdir(
        &mut self,
        stage: &mut Stage,
        step: &Step,
        word: &Spanned<String>,
    ) -> Outcome {
        let wanted = self.expand(&stage.scope, word)?;
        // Once it is absolute, all others are relative to what the file says.
        if !std::mem::replace(&mut stage.workdir_set, true) && !wanted.starts_with('/') {
            self.report.push(warn::workdir_relative_path(&wanted, word.span));
        }
        // An absolute path is stored as it was written, final slash and all.
        let path = path::join(&stage.workdir(), &wanted);
        let stored = if wanted.starts_with('/') { wanted } else { path.clone() };
        let text = format!("WORKDIR {stored}");
        stage.config.config.working_dir = stored;
        if path == "/" {
            stage.note(text);
            return Ok(());
        }
        let shown = self.shown(stage, step);
        let user = stage.config.config.user.clone();
        let op = Op::Mkdir(MkdirOp { path, user, mtime: stage.epoch });
        let vertex = self.vertex(stage, step, op, &shown);
        let root = self.builder.add(vertex, stage.root, &Inputs::default());
        stage.layer(text, root);
        Ok(())
    }

    /// An instruction as it is shown: with its variables expanded, if they can be.
    pub(super) fn shown(&self, stage: &Stage, step: &Step) -> String {
        let text = &step.instruction.text;
        let expanded = self.expander.word(text, &stage.scope);
        expanded.map_or_else(|_| text.clone(), |expanded| expanded.text)
    }
}

fn listed(keyword: &str, pairs: &[(String, String)]) -> String {
    let mut text = keyword.to_owned();
    for (name, value) in pairs {
        text.extend([" ", name, "=", value]);
    }
    text
}
