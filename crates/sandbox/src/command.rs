//! From words to what execve(2) takes.

use std::ffi::{CStr, CString};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use crate::error::SandboxError;
use crate::init::{self, Role};
use crate::plan::{By, Command, Program, Strings};

/// What to run, with every path it may have.
pub(crate) fn command(
    args: Vec<String>,
    env: Vec<String>,
    by: By,
    role: Role,
) -> Result<Command, SandboxError> {
    let name = args.first().cloned().unwrap_or_default();
    let searched = !name.contains('/');
    let paths = if searched {
        // The last one counts, as for programs that copy the environment into a table.
        let path = env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or("");
        // A relative directory would make the choice depend on the working directory.
        let dirs = path.split(':').filter(|dir| dir.starts_with('/'));
        dirs.map(|dir| format!("{}/{name}", dir.trim_end_matches('/'))).collect()
    } else {
        vec![name]
    };
    let args = c_strings(args)?;
    let programs = c_strings(paths)?.into_iter().map(|path| {
        let second_argv = init::arguments(role, &path, &args);
        Program { path, second_argv }
    });
    let programs = programs.collect();
    Ok(Command {
        programs,
        searched,
        argv: Strings::new(args),
        envp: Strings::new(c_strings(env)?),
        second: init::file()
            .map_err(|e| SandboxError::setup("make the second program", e))?
            .as_raw_fd(),
        by,
    })
}

pub(crate) fn c_string(text: String) -> Result<CString, SandboxError> {
    CString::new(text).map_err(|e| {
        let text = String::from_utf8_lossy(&e.into_vec()).into_owned();
        SandboxError::Invalid(format!("{text:?} has a null character"))
    })
}

fn c_strings(texts: Vec<String>) -> Result<Vec<Arc<CStr>>, SandboxError> {
    texts.into_iter().map(|text| c_string(text).map(Arc::from)).collect()
}
