//! Instructions without variables, which say what a container of the image runs.

use std::time::Duration;

use bld_dockerfile::{Command, Healthcheck, Onbuild, Spanned};

use super::go;
use super::stage::Stage;

impl Stage {
    /// `CMD`
    pub(super) fn cmd(&mut self, command: &Command) {
        let args = self.with_shell(command);
        let text = format!("CMD {}", go::quoted_list(&args));
        self.config.config.cmd = Some(args).filter(|args| !args.is_empty());
        self.cmd_set = true;
        self.note(text);
    }

    /// `ENTRYPOINT`. A `CMD` that was meant for another entry point makes no sense with this one,
    /// so it goes unless this stage has set it itself.
    pub(super) fn entrypoint(&mut self, command: &Command) {
        let args = self.with_shell(command);
        let text = format!("ENTRYPOINT {}", go::quoted_list(&args));
        self.config.config.entrypoint = Some(args).filter(|args| !args.is_empty());
        if !self.cmd_set {
            self.config.config.cmd = None;
        }
        self.note(text);
    }

    /// `SHELL`
    pub(super) fn set_shell(&mut self, words: &[String]) {
        self.config.config.shell = Some(words.to_vec());
        self.note(format!("SHELL {}", go::list(words)));
    }

    /// `HEALTHCHECK`
    pub(super) fn healthcheck(&mut self, check: &Healthcheck) {
        let test = match &check.test {
            None => vec!["NONE".to_owned()],
            Some(Command::Shell(text)) => vec!["CMD-SHELL".to_owned(), text.clone()],
            Some(Command::Exec(args)) => {
                std::iter::once("CMD".to_owned()).chain(args.iter().cloned()).collect()
            }
        };
        let times = [check.interval, check.timeout, check.start_period, check.start_interval]
            .map(Option::unwrap_or_default);
        let [interval, timeout, start_period, start_interval] = times.map(go::duration);
        let retries = check.retries.unwrap_or_default();
        let text = format!(
            "HEALTHCHECK {{Test:{} Interval:{interval} Timeout:{timeout} \
             StartPeriod:{start_period} StartInterval:{start_interval} Retries:{retries}}}",
            go::list(&test)
        );
        let [interval, timeout, start_period, start_interval] = times.map(nanoseconds);
        self.config.config.healthcheck = Some(bld_oci::Healthcheck {
            test,
            interval,
            timeout,
            start_period,
            start_interval,
            retries: Some(i64::from(retries)).filter(|retries| *retries != 0),
        });
        self.note(text);
    }

    /// `MAINTAINER`
    pub(super) fn maintainer(&mut self, name: &Spanned<String>) {
        self.config.author = Some(name.value.clone());
        self.note(format!("MAINTAINER {}", name.value));
    }

    /// `ONBUILD`, which leaves no entry in the history.
    pub(super) fn onbuild(&mut self, trigger: &Onbuild) {
        self.config.config.on_build.push(trigger.text.clone());
    }

    /// A command as an argument vector: the shell form gets the shell of the stage.
    pub(super) fn with_shell(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(args) => args.clone(),
            Command::Shell(text) => {
                let mut args = self.shell();
                args.push(text.clone());
                args
            }
        }
    }
}

/// Nanoseconds as the configuration has them; none for no time at all.
fn nanoseconds(time: Duration) -> Option<i64> {
    i64::try_from(time.as_nanos()).ok().filter(|nanos| *nanos != 0)
}
