//! `bld cp`

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use bld_engine::containers::CopyOptions;

use crate::error::Failure;
use crate::output::units;
use crate::session::{Outcome, Session};

/// Copy files/folders between a container and the local filesystem
///
/// Use '-' as the source to read a tar archive from stdin and extract it to a directory in a container.
/// Use '-' as the destination to stream a tar archive of a container source to stdout.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Suppress progress output during copy
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "CONTAINER:SRC_PATH|SRC_PATH|-", allow_hyphen_values = true)]
    source: String,
    #[arg(value_name = "CONTAINER:DEST_PATH|DEST_PATH|-", allow_hyphen_values = true)]
    dest: String,
}

/// Where something is.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Container(&'a str, &'a Path),
    Host(&'a Path),
    Stream,
}

impl<'a> Place<'a> {
    /// What is absolute, or begins with a dot, is on the host, whatever it has in it.
    fn parse(word: &'a str) -> Self {
        match word.split_once(':') {
            _ if word == "-" => Self::Stream,
            Some((container, path)) if !word.starts_with(['/', '.']) => {
                Self::Container(container, Path::new(path))
            }
            _ => Self::Host(Path::new(word)),
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let engine = &session.engine;
    let options = CopyOptions { archive: args.archive, follow: args.follow_link };
    if args.source.is_empty() || args.dest.is_empty() {
        return Err(Failure::new("source and destination can not be empty"));
    }
    let bytes = match (Place::parse(&args.source), Place::parse(&args.dest)) {
        (Place::Container(..), Place::Container(..)) => {
            return Err(Failure::new("copying between containers is not supported")
                .with_hint("pipe one into the other: bld cp A:PATH - | bld cp - B:PATH"));
        }
        (Place::Container(container, path), Place::Stream) => {
            if io::stdout().is_terminal() {
                return Err(Failure::new("cowardly refusing to write a tar archive to a terminal")
                    .with_hint("redirect it, or name a path"));
            }
            let mut out = io::stdout().lock();
            engine.copy_out(container, path, args.follow_link, &mut out)?;
            return Ok(0);
        }
        (Place::Stream, Place::Container(container, path)) => {
            engine.copy_in(container, path, &mut io::stdin().lock())?;
            return Ok(0);
        }
        (Place::Container(container, path), Place::Host(dest)) => {
            check_parent(dest)?;
            engine.copy_from_container(container, path, dest, options)?
        }
        (Place::Host(source), Place::Container(container, path)) => {
            engine.copy_to_container(source, container, path, options)?
        }
        _ => return Err(Failure::new("must specify at least one container source")),
    };
    if !args.quiet {
        let size = units::size(bytes, 3);
        session.tell(&format!("Successfully copied {size} to {}", args.dest));
    }
    Ok(0)
}

/// The directory that a path of the host is in has to be there.
fn check_parent(dest: &Path) -> Result<(), Failure> {
    let parent = match dest.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    if parent.is_dir() {
        return Ok(());
    }
    let what = format!("invalid output path: directory {:?} does not exist", parent.display());
    Err(Failure::new(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart_as_docker_does() {
        for (word, place) in [
            ("web:/etc", Place::Container("web", Path::new("/etc"))),
            ("web:etc", Place::Container("web", Path::new("etc"))),
            ("./web:x", Place::Host(Path::new("./web:x"))),
            ("/a:b", Place::Host(Path::new("/a:b"))),
            ("plain", Place::Host(Path::new("plain"))),
            ("-", Place::Stream),
        ] {
            assert_eq!(Place::parse(word), place, "{word}");
        }
    }
}
