//! `--security-opt`: what is understood, and seccomp profiles as docker writes them.

use std::sync::Arc;

use bld_sandbox::{Action, Capabilities, Compare, Condition, Profile, Rule, Seccomp};
use serde::Deserialize;

use super::model::HostConfig;
use crate::{EngineError, Result};

/// Refuses options that would do nothing: whoever gives them counts on them.
pub(super) fn check(options: &[String]) -> Result<()> {
    for (index, option) in options.iter().enumerate() {
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        let known = match key {
            "no-new-privileges" => matches!(value, "" | "true" | "false"),
            // What these keep away is not there: no such module is asked for anything.
            "apparmor" | "label" => !value.is_empty(),
            "seccomp" => {
                profile(value, Capabilities::docker())?;
                true
            }
            _ => false,
        };
        if !known {
            let number = index + 1;
            let what = format!("invalid --security-opt {number}: {option:?}");
            return Err(EngineError::Invalid { what });
        }
    }
    Ok(())
}

/// The filter that `host` asks for, for a container with these capabilities.
pub(super) fn seccomp(host: &HostConfig, capabilities: Capabilities) -> Result<Seccomp> {
    let value = host.security_opt.iter().rev().find_map(|option| {
        option.split_once(['=', ':']).filter(|(key, _)| *key == "seccomp").map(|(_, value)| value)
    });
    value.map_or(Ok(Seccomp::Default), |value| profile(value, capabilities))
}

fn profile(value: &str, capabilities: Capabilities) -> Result<Seccomp> {
    match value {
        "unconfined" => return Ok(Seccomp::Unconfined),
        "builtin" => return Ok(Seccomp::Default),
        _ => {}
    }
    let invalid = |why: String| EngineError::Invalid {
        what: format!("Decoding seccomp profile failed: {why}"),
    };
    let document: Document =
        serde_json::from_str(value).map_err(|error| invalid(error.to_string()))?;
    let wrong = |(what, word): (&str, String)| invalid(format!("unknown {what} {word:?}"));
    let mut rules = Vec::new();
    for call in document.syscalls {
        if call.includes.fits(capabilities, true) && call.excludes.fits(capabilities, false) {
            rules.push(call.rule().map_err(wrong)?);
        }
    }
    let default = action(&document.default_action, document.default_errno_ret).map_err(wrong)?;
    Ok(Seccomp::Profile(Arc::new(Profile { default, rules })))
}

/// A profile, as <https://docs.docker.com/engine/security/seccomp/> has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    syscalls: Vec<Call>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u16>,
    #[serde(default, deserialize_with = "or_nothing")]
    args: Vec<Argument>,
    #[serde(default)]
    includes: Filter,
    #[serde(default)]
    excludes: Filter,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// When a rule is there, or is not.
#[derive(Default, Deserialize)]
struct Filter {
    #[serde(default, deserialize_with = "or_nothing")]
    caps: Vec<String>,
    #[serde(default, deserialize_with = "or_nothing")]
    arches: Vec<String>,
}

/// `null` stands for an empty list.
fn or_nothing<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> std::result::Result<Vec<T>, D::Error> {
    Option::<Vec<T>>::deserialize(from).map(Option::unwrap_or_default)
}

impl Filter {
    /// Whether a rule is there for a container with these capabilities: when it has all that are named, or, of
    /// those that exclude, none.
    fn fits(&self, capabilities: Capabilities, including: bool) -> bool {
        let own = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let has = |name: &String| {
            Capabilities::parse(name)
                .is_some_and(|one| capabilities.bits() & one.bits() == one.bits())
        };
        let here = self.arches.iter().any(|arch| arch == own);
        if including {
            self.caps.iter().all(has) && (self.arches.is_empty() || here)
        } else {
            !self.caps.iter().any(has) && !here
        }
    }
}

impl Call {
    fn rule(self) -> std::result::Result<Rule, (&'static str, String)> {
        let conditions = self.args.into_iter().map(|argument| {
            let is = match argument.op.as_str() {
                "SCMP_CMP_NE" => Compare::NotEqual,
                "SCMP_CMP_LT" => Compare::Less,
                "SCMP_CMP_LE" => Compare::LessOrEqual,
                "SCMP_CMP_EQ" => Compare::Equal,
                "SCMP_CMP_GE" => Compare::GreaterOrEqual,
                "SCMP_CMP_GT" => Compare::Greater,
                "SCMP_CMP_MASKED_EQ" => Compare::Masked,
                _ => return Err(("operator", argument.op)),
            };
            if argument.index > 5 {
                return Err(("argument", argument.index.to_string()));
            }
            let (value, mask) = match is {
                Compare::Masked => (argument.value_two, argument.value),
                _ => (argument.value, 0),
            };
            Ok(Condition { index: argument.index, is, value, mask })
        });
        Ok(Rule {
            conditions: conditions.collect::<std::result::Result<_, _>>()?,
            action: action(&self.action, self.errno_ret)?,
            names: self.names.into_iter().chain(self.name).collect(),
        })
    }
}

fn action(name: &str, errno: Option<u16>) -> std::result::Result<Action, (&'static str, String)> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(1)),
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        _ => return Err(("action", name.to_owned())),
    })
}
