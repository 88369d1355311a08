//! `bld port`

use crate::error::Failure;
use crate::output::ports;
use crate::session::{Outcome, Session};

/// List port mappings or a specific mapping for the container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Of one port only
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    port: Option<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let container = session.engine.find_container(&args.container)?;
    let Some(port) = &args.port else {
        for (name, published) in ports::by_port(&container) {
            for one in published {
                let host = ports::address(one.host.ip(), one.host.port());
                session.say(&format!("{name} -> {host}"))?;
            }
        }
        return Ok(0);
    };
    let name = if port.contains('/') { port.to_lowercase() } else { format!("{port}/tcp") };
    let published = ports::by_port(&container).remove(&name).unwrap_or_default();
    if published.is_empty() {
        let container = &args.container;
        return Err(Failure::new(format!("no public port '{port}' published for {container}")));
    }
    for one in published {
        session.say(&ports::address(one.host.ip(), one.host.port()))?;
    }
    Ok(0)
}
