//! `RUN`

use super::flags::Takes;
use super::{Lower, command};
use crate::ast::{Command, Mount, Run};
use crate::device::DeviceSpec;
use crate::diagnostic::Diagnostic;
use crate::span::Spanned;
use crate::suggest::suggest;
use crate::syntax::Statement;

const FLAGS: [(&str, Takes); 4] = [
    ("mount", Takes::List),
    ("network", Takes::Value),
    ("security", Takes::Value),
    ("device", Takes::List),
];

const NETWORKS: [&str; 3] = ["default", "none", "host"];
const SECURITIES: [&str; 2] = ["sandbox", "insecure"];

impl Lower<'_> {
    pub(super) fn run(&mut self, statement: &Statement) -> Option<Run> {
        let flags = self.flags(statement, &FLAGS)?;
        let mounts: Vec<Mount> =
            flags.list("mount").into_iter().map(|text| Mount { text }).collect();
        for mount in &mounts {
            if let Err(error) = mount.check() {
                let errors =
                    if error.kind.is_form() { &mut *self.diagnostics } else { &mut *self.deferred };
                errors.push(error.diagnostic(mount));
            }
        }
        let network = flags.value("network");
        self.one_of("network mode", network.as_ref(), &NETWORKS);
        let security = flags.value("security");
        self.one_of("security mode", security.as_ref(), &SECURITIES);
        let devices = flags.list("device");
        for device in devices.iter().filter(|device| !device.value.contains('$')) {
            if let Err(error) = DeviceSpec::parse(&device.value) {
                self.diagnostics.push(Diagnostic::error(error.to_string(), device.span));
            }
        }
        let command = command(&statement.operands)?;
        let empty = match &command {
            Command::Shell(text) => text.is_empty(),
            Command::Exec(words) => words.is_empty(),
        };
        if empty {
            self.missing(statement, "a command");
            return None;
        }
        Some(Run {
            mounts,
            network,
            security,
            devices,
            command,
            command_span: statement.operands_span,
            heredocs: statement.heredocs.clone(),
        })
    }

    fn one_of(&mut self, what: &str, value: Option<&Spanned<String>>, known: &[&'static str]) {
        let Some(value) = value.filter(|value| !known.contains(&value.value.as_str())) else {
            return;
        };
        let help = match suggest(&value.value, known.iter().copied()) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("use one of {}", known.join(", ")),
        };
        self.error(format!("invalid {what} {:?}", value.value), value.span, help);
    }
}
