//! `bld history export` and `import`: builds as files.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;

use bld_engine::history::{BuildRecord, Status};
use clap::ValueEnum;

use super::{inspect, trace};
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Export build records
///
/// What happened in builds, step by step with their logs, as a file for "bld history import" on another
/// machine. The last build if none is named. Nothing of an image is in it.
///
/// "--format trace" writes when each step ran, in the trace event format: for Perfetto, chrome://tracing and
/// other viewers.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ExportArgs {
    /// Export all build records
    #[arg(long)]
    all: bool,
    /// Output file path ("-" for standard output)
    #[arg(short, long, value_name = "string", default_value = "-")]
    output: PathBuf,
    /// What to write
    #[arg(long, value_name = "string", default_value = "record")]
    format: Format,
    #[arg(value_name = "REF", conflicts_with = "all")]
    references: Vec<String>,
}

/// What is written of builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Everything, for "bld history import"
    Record,
    /// When each step ran, for viewers of traces
    Trace,
}

/// Import build records
///
/// Builds that were exported on another machine are shown like those that ran here. What is here already
/// stays as it is.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ImportArgs {
    /// Import from a file path ("-" for standard input)
    #[arg(short, long, value_name = "stringArray", default_value = "-")]
    file: Vec<PathBuf>,
}

pub(crate) fn export(args: &ExportArgs, session: &Session) -> Outcome {
    let builds: Vec<BuildRecord> = if args.all {
        let all = session.engine.builds()?;
        all.into_iter().filter(|build| build.status != Status::Running).collect()
    } else if args.references.is_empty() {
        vec![session.engine.find_build("")?]
    } else {
        let find = |name: &String| session.engine.find_build(name);
        args.references.iter().map(find).collect::<Result<_, _>>()?
    };
    let mut out: Box<dyn Write> = if args.output.as_os_str() != "-" {
        let file = File::create(&args.output);
        let failed = |error| Failure::new(format!("create {}: {error}", args.output.display()));
        Box::new(BufWriter::new(file.map_err(failed)?))
    } else if io::stdout().is_terminal() {
        let what = "refusing to write build records to a terminal: use -o FILE, or redirect";
        return Err(Failure::new(what));
    } else {
        Box::new(BufWriter::new(io::stdout().lock()))
    };
    let mut write = || -> Outcome {
        match args.format {
            Format::Record => {
                for build in &builds {
                    session.engine.export_build(build, &mut *out)?;
                }
            }
            Format::Trace => {
                let with_steps =
                    |build: &BuildRecord| Ok((build.clone(), inspect::steps(session, build)?));
                let all = builds.iter().map(with_steps).collect::<Result<Vec<_>, Failure>>()?;
                writeln!(out, "{}", trace::document(&all))?;
            }
        }
        out.flush()?;
        Ok(0)
    };
    let written = write();
    if written.is_err() && args.output.as_os_str() != "-" {
        // Half a file is worse than none, and what was there before is gone.
        let _ = fs::remove_file(&args.output);
    }
    written
}

pub(crate) fn import(args: &ImportArgs, session: &Session) -> Outcome {
    for path in &args.file {
        let mut input: Box<dyn BufRead> = if path.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            let file = File::open(path);
            let failed = |error| Failure::new(format!("open {}: {error}", path.display()));
            Box::new(BufReader::new(file.map_err(failed)?))
        };
        for (reference, is_new) in session.engine.import_builds(&mut *input)? {
            session.say(&reference)?;
            if !is_new {
                session.tell(&format!("note: build {reference} was here already"));
            }
        }
    }
    Ok(0)
}
