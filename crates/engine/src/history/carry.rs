//! Builds of other machines: journals as files, to be looked at elsewhere.
//!
//! An exported build is one line that says which, `{"build": ...}`, and then its journal as it is. Several
//! may follow one another.

use std::fs::File;
use std::io::{BufRead, Write};
use std::time::SystemTime;

use bld_store::Journal;
use serde::{Deserialize, Serialize};

use super::read::BuildRecord;
use super::{Line, Status};
use crate::error::IoContext as _;
use crate::{Engine, EngineError, Result};

/// What an exported build begins with.
#[derive(Serialize, Deserialize)]
struct Head {
    build: Named,
}

#[derive(Serialize, Deserialize)]
struct Named {
    reference: String,
    #[serde(with = "crate::time")]
    began: SystemTime,
}

impl Engine {
    /// Writes a build that is over.
    ///
    /// # Errors
    /// It runs, was removed meanwhile, or `out` cannot be written.
    pub fn export_build(&self, build: &BuildRecord, out: &mut dyn Write) -> Result<()> {
        if build.status == Status::Running {
            let what =
                format!("build {} is running: only what is over is exported", build.reference);
            return Err(EngineError::Invalid { what });
        }
        let store = self.store()?;
        let missing = || EngineError::NoSuchBuild { name: build.reference.clone() };
        let mut journal = store.open_journal(build.journal())?.ok_or_else(missing)?.file;
        let named = Named { reference: build.reference.clone(), began: build.began };
        let written = serde_json::to_writer(&mut *out, &Head { build: named })
            .map_err(std::io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| std::io::copy(&mut journal, out));
        written.map(drop).at("write", "the exported build")
    }

    /// Takes in builds that were exported; their references, and whether each is new here.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for what is no exported build. Those before it are kept.
    pub fn import_builds(&self, input: &mut dyn BufRead) -> Result<Vec<(String, bool)>> {
        let store = self.store()?;
        let mut known: Vec<String> =
            store.journals()?.into_iter().map(|journal| journal.reference).collect();
        let mut imported: Vec<(String, bool)> = Vec::new();
        let mut current: Option<Import> = None;
        let (mut text, mut number) = (String::new(), 0_u64);
        let outcome = loop {
            text.clear();
            number += 1;
            match input.read_line(&mut text).at("read", "the exported builds") {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
            let wrong = |what: &str| EngineError::Invalid { what: format!("line {number} {what}") };
            if let Ok(Head { build }) = serde_json::from_str(&text) {
                let Some(journal) = Journal::named(build.began, build.reference) else {
                    break Err(wrong("names a build as bld does not"));
                };
                if let Some(before) = current.take() {
                    imported.push(before.finish());
                }
                let is_new = !known.contains(&journal.reference);
                known.push(journal.reference.clone());
                let file = match is_new.then(|| store.begin_journal(&journal)).transpose() {
                    Ok(file) => file,
                    Err(error) => break Err(error.into()),
                };
                current = Some(Import { journal, file, lines: 0 });
                continue;
            }
            let Some(import) = &mut current else {
                break Err(wrong("is not the beginning of an exported build"));
            };
            let fits = match serde_json::from_str(&text) {
                Ok(Line::Begin(_)) => import.lines == 0,
                Ok(Line::Event(_) | Line::Said(_) | Line::End(_)) => import.lines > 0,
                Err(_) => false,
            };
            if !fits {
                break Err(wrong("is not of a build"));
            }
            import.lines += 1;
            if let Some(file) = &mut import.file
                && let Err(error) = file.write_all(text.as_bytes())
            {
                break Err(error).at("write", store.journal_path(&import.journal));
            }
        };
        match (outcome, current) {
            (Ok(()), Some(last)) => imported.push(last.finish()),
            (Ok(()), None) => {}
            (Err(error), broken) => {
                if let Some(Import { journal, file: Some(file), .. }) = broken {
                    // Half a journal would tell of a build that was killed.
                    drop(file);
                    store.remove_journal(&journal)?;
                }
                return Err(error);
            }
        }
        Ok(imported)
    }
}

/// A build that is being read.
struct Import {
    journal: Journal,
    /// None if it is here already.
    file: Option<File>,
    lines: u64,
}

impl Import {
    fn finish(self) -> (String, bool) {
        (self.journal.reference, self.file.is_some())
    }
}
