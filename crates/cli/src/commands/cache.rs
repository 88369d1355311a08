//! `bld cache`

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bld_engine::caches::{Cache as Found, Compression, WhenBusy};
use clap::Subcommand;

use super::filter::Filters;
use super::inspect;
use super::ps::{ago, created_at};
use crate::documents;
use crate::error::Failure;
use crate::output::list::{Layout, Row};
use crate::output::{file, units};
use crate::session::{Outcome, Session};

const LAYOUT: Layout = Layout {
    headings: &[
        ("ID", "ID"),
        ("Key", "KEY"),
        ("Variant", "VARIANT"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("LastUsedSince", "LAST USED"),
        ("LastUsedAt", "LAST USED AT"),
        ("InUse", "IN USE"),
        ("Mountpoint", "MOUNTPOINT"),
    ],
    columns: &["ID", "Key", "Size", "CreatedSince", "LastUsedSince", "InUse"],
};

/// Manage the directories of RUN --mount=type=cache
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true)]
pub(crate) struct Cache {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Export(ExportArgs),
    Import(ImportArgs),
    Inspect(InspectArgs),
    #[command(alias = "list")]
    Ls(ListArgs),
    #[command(alias = "remove")]
    Rm(RemoveArgs),
}

/// Write a cache mount to a tar archive (streamed to STDOUT by default)
#[derive(Debug, clap::Args)]
struct ExportArgs {
    /// Compress with 'none', 'gzip' or 'zstd' (default: by the name of the file)
    #[arg(long, value_name = "string")]
    compression: Option<String>,
    /// Fail instead of waiting for a build that uses it
    #[arg(long)]
    no_wait: bool,
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<PathBuf>,
    #[arg(value_name = "CACHE")]
    cache: String,
}

/// Make the contents of a tar archive a cache mount
#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// Fail instead of waiting for a build that uses it
    #[arg(long)]
    no_wait: bool,
    #[arg(value_name = "CACHE")]
    cache: String,
    /// Archive, compressed or not, or '-' for STDIN
    #[arg(value_name = "FILE|-")]
    file: Option<PathBuf>,
}

/// Display detailed information on one or more cache mounts
#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    #[arg(required = true, value_name = "CACHE")]
    caches: Vec<String>,
}

/// List cache mounts
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Provide filter values: 'id=TEXT', 'in-use=BOOL', 'until=TIME' of last use
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display keys
    #[arg(short, long)]
    quiet: bool,
}

/// Remove one or more cache mounts
#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// Fail instead of waiting for a build that uses it
    #[arg(long)]
    no_wait: bool,
    #[arg(required = true, value_name = "CACHE")]
    caches: Vec<String>,
}

impl Cache {
    /// Runs the command of the group.
    pub(crate) fn run(self, session: &Session) -> Outcome {
        match self.command {
            Command::Export(args) => export(&args, session),
            Command::Import(args) => import(&args, session),
            Command::Inspect(args) => {
                inspect::show(session, args.format.as_deref(), &args.caches, |word| {
                    let cache = session.engine.find_cache(word)?;
                    let in_use = session.engine.is_cache_in_use(&cache)?;
                    Ok(inspect::Document::of(&documents::cache::document(&cache, in_use)))
                })
            }
            Command::Ls(args) => list(&args, session),
            Command::Rm(args) => session.each(&args.caches, |word| {
                let cache = session.engine.find_cache(word)?;
                let waiting = || tell_waiting(session, &cache.id);
                Ok(session.engine.remove_cache(&cache, &when_busy(args.no_wait, &waiting))?)
            }),
        }
    }
}

fn when_busy(no_wait: bool, waiting: &dyn Fn()) -> WhenBusy<'_> {
    if no_wait { WhenBusy::Fail } else { WhenBusy::Wait(waiting) }
}

fn tell_waiting(session: &Session, id: &str) {
    session.tell(&format!("waiting for a build that uses the cache mount {id}"));
}

fn export(args: &ExportArgs, session: &Session) -> Outcome {
    let path = args.output.as_deref().filter(|path| *path != Path::new("-"));
    let compression = compression(args.compression.as_deref(), path)?;
    if path.is_none() && io::stdout().is_terminal() {
        return Err(Failure::new("refusing to write an archive to a terminal")
            .with_hint("use -o FILE, or redirect the output"));
    }
    let cache = session.engine.find_cache(&args.cache)?;
    let waiting = || tell_waiting(session, &cache.id);
    let busy = when_busy(args.no_wait, &waiting);
    match path {
        Some(path) => file::write(path, |out| {
            Ok(session.engine.export_cache(&cache, out, &compression, &busy)?)
        })?,
        None => {
            let mut out = BufWriter::with_capacity(file::BUFFER, io::stdout().lock());
            session.engine.export_cache(&cache, &mut out, &compression, &busy)?;
            out.flush()?;
        }
    }
    Ok(0)
}

/// How to compress: as it was asked for, or as the name of the file says.
fn compression(kind: Option<&str>, path: Option<&Path>) -> Result<Compression, Failure> {
    let extension = path.and_then(Path::extension).and_then(|extension| extension.to_str());
    match kind.or(extension) {
        Some("zstd" | "zst" | "tzst") => Ok(Compression::Zstd { level: 3 }),
        Some("gzip" | "gz" | "tgz") => Ok(Compression::default()),
        Some(other) if kind.is_some() && other != "none" => {
            Err(Failure::new(format!("compression {other:?} is not supported"))
                .with_hint("the kinds are none, gzip and zstd"))
        }
        _ => Ok(Compression::None),
    }
}

fn import(args: &ImportArgs, session: &Session) -> Outcome {
    let waiting = || tell_waiting(session, &args.cache);
    let busy = when_busy(args.no_wait, &waiting);
    let cache = match args.file.as_deref().filter(|path| *path != Path::new("-")) {
        Some(path) => {
            let file = File::open(path)
                .map_err(|error| Failure::new(format!("open {}: {error}", path.display())))?;
            session.engine.import_cache(&args.cache, file, &busy)?
        }
        None if io::stdin().is_terminal() => {
            return Err(Failure::new("requested import from stdin, but stdin is empty"));
        }
        None => session.engine.import_cache(&args.cache, io::stdin(), &busy)?,
    };
    session.say(&cache.id)?;
    Ok(0)
}

/// As much of a key as is shown.
const SHOWN: usize = 12;

fn list(args: &ListArgs, session: &Session) -> Outcome {
    let filters = Filters::parse(&args.filter, &["id", "in-use", "until"])?;
    let (ids, in_use) = (filters.all("id"), filters.flag("in-use")?);
    let until = filters.time("until")?;
    let mut caches = Vec::new();
    for cache in session.engine.caches()? {
        let is_used = session.engine.is_cache_in_use(&cache)?;
        if (ids.is_empty() || ids.iter().any(|id| cache.id.contains(id.as_str())))
            && in_use.is_none_or(|wanted| wanted == is_used)
            && until.is_none_or(|until| cache.used < until)
        {
            caches.push((cache, is_used));
        }
    }
    let key =
        |cache: &Found| cache.key[..if args.no_trunc { cache.key.len() } else { SHOWN }].to_owned();
    if args.quiet && args.format.is_none() {
        session.print(&caches.iter().map(|(cache, _)| key(cache) + "\n").collect::<String>())?;
        return Ok(0);
    }
    let rows: Vec<Row> =
        caches.iter().map(|(cache, is_used)| row(cache, key(cache), *is_used)).collect();
    session.print(&LAYOUT.render(args.format.as_deref(), &rows)?)?;
    Ok(0)
}

fn row(cache: &Found, key: String, is_used: bool) -> Row {
    let now = SystemTime::now();
    Row::new([
        ("ID", cache.id.clone()),
        ("Key", key),
        ("Variant", cache.variant.clone()),
        ("Size", units::size(cache.size(), 3)),
        ("CreatedSince", ago(cache.created, now)),
        ("CreatedAt", created_at(cache.created)),
        ("LastUsedSince", ago(cache.used, now)),
        ("LastUsedAt", created_at(cache.used)),
        ("InUse", is_used.to_string()),
        ("Mountpoint", cache.dir.display().to_string()),
    ])
}
