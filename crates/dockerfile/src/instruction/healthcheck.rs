//! `HEALTHCHECK`

use std::time::Duration;

use super::flags::{Flags, Takes};
use super::{Lower, command};
use crate::ast::{Command, Healthcheck};
use crate::syntax::{Operands, Statement};
use crate::value::parse_duration;

const FLAGS: [(&str, Takes); 5] = [
    ("interval", Takes::Value),
    ("timeout", Takes::Value),
    ("start-period", Takes::Value),
    ("start-interval", Takes::Value),
    ("retries", Takes::Value),
];

/// The engine checks no oftener than this.
const SHORTEST: Duration = Duration::from_millis(1);

impl Lower<'_> {
    pub(super) fn healthcheck(&mut self, statement: &Statement) -> Option<Healthcheck> {
        let flags = self.flags(statement, &FLAGS)?;
        let Operands::Test(kind, operands) = &statement.operands else { return None };
        if kind.value.is_empty() {
            self.missing(statement, "at least one argument");
            return None;
        }
        let command = command(operands)?;
        let empty = match &command {
            Command::Shell(text) => text.is_empty(),
            Command::Exec(words) => words.is_empty(),
        };
        let test = match (kind.value.to_ascii_uppercase().as_str(), empty) {
            ("NONE", true) => None,
            ("CMD", false) => Some(command),
            ("NONE", false) => {
                self.error(
                    "HEALTHCHECK NONE takes no arguments",
                    statement.operands_span,
                    "remove what follows NONE",
                );
                return None;
            }
            ("CMD", true) => {
                self.error(
                    "missing command after HEALTHCHECK CMD",
                    kind.span,
                    "write `HEALTHCHECK CMD command`",
                );
                return None;
            }
            _ => {
                self.error(
                    format!("unknown type {:?} in HEALTHCHECK", kind.value),
                    kind.span,
                    format!("did you mean `HEALTHCHECK CMD {}`?", statement_text(statement)),
                );
                return None;
            }
        };
        let interval = self.interval(&flags, "interval")?;
        let timeout = self.interval(&flags, "timeout")?;
        let start_period = self.interval(&flags, "start-period")?;
        let start_interval = self.interval(&flags, "start-interval")?;
        let retries = self.retries(&flags)?;
        if test.is_none() {
            // There is nothing to time: flags must be right, and are dropped.
            return Some(Healthcheck::default());
        }
        Some(Healthcheck { test, interval, timeout, start_period, start_interval, retries })
    }

    /// A duration; the outer none is an error.
    #[expect(clippy::option_option, reason = "not given, and given but wrong, are two things")]
    fn interval(&mut self, flags: &Flags<'_>, name: &str) -> Option<Option<Duration>> {
        let Some(value) = flags.value(name).filter(|value| !value.value.is_empty()) else {
            return Some(None);
        };
        let help = "use numbers with units, such as 30s or 1m30s";
        match parse_duration(&value.value) {
            Ok(duration) if duration.is_zero() || duration >= SHORTEST => Some(Some(duration)),
            Ok(_) => {
                self.error(format!("--{name} cannot be less than 1ms"), value.span, help);
                None
            }
            Err(error) => {
                self.error(format!("{error} on flag --{name}"), value.span, help);
                None
            }
        }
    }

    #[expect(clippy::option_option, reason = "not given, and given but wrong, are two things")]
    fn retries(&mut self, flags: &Flags<'_>) -> Option<Option<u32>> {
        let Some(value) = flags.value("retries").filter(|value| !value.value.is_empty()) else {
            return Some(None);
        };
        if let Ok(retries) = value.value.parse::<i32>()
            && let Ok(retries) = u32::try_from(retries)
        {
            return Some(Some(retries));
        }
        self.error(
            format!("invalid value {:?} on flag --retries", value.value),
            value.span,
            "use a whole number, 0 for the default",
        );
        None
    }
}

/// What was written behind the flags.
fn statement_text(statement: &Statement) -> &str {
    let length = statement.operands_span.len().min(statement.text.len());
    let start = statement.text.len() - length;
    statement.text.get(start..).unwrap_or(&statement.text)
}
