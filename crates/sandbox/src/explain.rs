//! What a failure of the child means to the caller, in Docker's words where there are any.

use std::io;

use crate::child::{Failure, Step};
use crate::error::SandboxError;
use crate::plan::{Entry, Plan};

/// What a failure of the child means.
pub(crate) fn explain(failure: Failure, plan: &Plan) -> SandboxError {
    let Failure { step, index, errno } = failure;
    let index = index as usize;
    let source = io::Error::from(errno);
    let command = &plan.command;
    let program = || command.argv.first();
    let not_executable = |reason: &str| SandboxError::NotExecutable {
        program: program(),
        reason: reason.to_owned(),
    };
    match step {
        Step::ProgramMissing => {
            let reason = if command.searched {
                "executable file not found in $PATH".to_owned()
            } else {
                format!("stat {}: no such file or directory", program())
            };
            SandboxError::NotFound { program: program(), reason }
        }
        Step::InterpreterMissing => SandboxError::NotFound {
            program: program(),
            reason: "no such file or directory: its interpreter is missing".to_owned(),
        },
        Step::ProgramIsDirectory => not_executable("is a directory"),
        Step::ProgramNotPermitted => not_executable("permission denied"),
        Step::Exec => match errno.raw_os_error() {
            libc::ENOEXEC => not_executable("exec format error"),
            libc::E2BIG => not_executable("argument list too long"),
            libc::ETXTBSY => not_executable("text file busy"),
            _ => not_executable(&source.to_string()),
        },
        Step::Cwd | Step::CwdOutside => {
            SandboxError::Cwd { path: plan.cwd.to_string_lossy().into_owned(), source }
        }
        Step::Mount => match &plan.entry {
            Entry::Build(build) if index < build.mounts.attachments.len() => {
                let attachment = &build.mounts.attachments[index];
                SandboxError::Mount {
                    what: attachment.what.to_owned(),
                    target: attachment.target.clone(),
                    detail: String::new(),
                    source,
                }
            }
            _ => SandboxError::setup(step.describe(), errno),
        },
        Step::Sysctl | Step::Rlimit => {
            let name = match (&plan.entry, step) {
                (Entry::Build(build), Step::Sysctl) => {
                    build.sysctls.get(index).map(|(path, _)| path.to_string_lossy().into_owned())
                }
                _ => plan.rlimits.get(index).map(|limit| format!("{:?}", limit.resource)),
            };
            SandboxError::setup(format!("{} {}", step.describe(), name.unwrap_or_default()), errno)
        }
        _ => SandboxError::setup(step.describe(), errno),
    }
}
