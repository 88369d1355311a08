//! `bld stats`

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::thread;
use std::time::Duration;

use bld_engine::EngineError;
use bld_engine::containers::{Container, ContainerFilter, Usage};

use crate::error::Failure;
use crate::output::list::{Layout, Row};
use crate::output::units;
use crate::session::{Outcome, Session};

const LAYOUT: Layout = Layout {
    headings: &[
        ("ID", "CONTAINER ID"),
        ("Container", "CONTAINER"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    columns: &["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"],
};

/// How far two looks are apart.
const MOMENT: Duration = Duration::from_secs(1);

/// Clears the terminal and goes to its top.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Display a live stream of container(s) resource usage statistics
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let clears = !args.no_stream && io::stdout().is_terminal();
    let mut before = look(args, session)?;
    loop {
        thread::sleep(MOMENT);
        let now = look(args, session)?;
        let earlier: HashMap<_, _> =
            before.iter().map(|(container, usage)| (container.id.as_str(), *usage)).collect();
        let rows: Vec<Row> = now
            .iter()
            .map(|(container, usage)| {
                let before = earlier.get(container.id.as_str()).copied().flatten();
                row(container, *usage, before, args.no_trunc)
            })
            .collect();
        let text = LAYOUT.render(args.format.as_deref(), &rows)?;
        session.print(&if clears { format!("{CLEAR}{text}") } else { text })?;
        if args.no_stream {
            return Ok(0);
        }
        before = now;
    }
}

/// The containers that are wanted, with what those that run use.
fn look(args: &Args, session: &Session) -> Result<Vec<(Container, Option<Usage>)>, Failure> {
    let engine = &session.engine;
    let containers = if args.containers.is_empty() {
        engine.containers(&ContainerFilter { all: args.all, ..ContainerFilter::default() })?
    } else {
        let found = args.containers.iter().map(|name| engine.find_container(name));
        found.collect::<Result<_, _>>()?
    };
    let mut seen = Vec::new();
    for container in containers {
        let usage = match engine.container_usage(&container) {
            Ok(usage) => Some(usage),
            Err(EngineError::NotRunning { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        seen.push((container, usage));
    }
    Ok(seen)
}

fn row(container: &Container, usage: Option<Usage>, before: Option<Usage>, whole: bool) -> Row {
    let pair = |one: String, other: String| format!("{one} / {other}");
    let decimal = |bytes| units::size(bytes, 3);
    let fields = match usage {
        Some(usage) => [
            format!("{:.2}%", before.map_or(0.0, |before| usage.cpu_percent(&before))),
            pair(units::binary_size(usage.memory), units::binary_size(usage.memory_limit)),
            format!("{:.2}%", usage.memory_percent()),
            pair(decimal(usage.received), decimal(usage.sent)),
            pair(decimal(usage.read), decimal(usage.written)),
            usage.pids.to_string(),
        ],
        // What docker shows of one that does not run.
        None => ["0.00%", "0B / 0B", "0.00%", "0B / 0B", "0B / 0B", "0"].map(str::to_owned),
    };
    let [cpu, memory, memory_percent, network, block, pids] = fields;
    let id = if whole { container.id.clone() } else { container.short_id() };
    Row::new([
        ("ID", id.clone()),
        ("Container", id),
        ("Name", container.name.clone()),
        ("CPUPerc", cpu),
        ("MemUsage", memory),
        ("MemPerc", memory_percent),
        ("NetIO", network),
        ("BlockIO", block),
        ("PIDs", pids),
    ])
}
