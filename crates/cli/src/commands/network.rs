//! `bld network`

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use bld_engine::EngineError;
use bld_engine::containers::{Attachment, Subnet, SubnetParseError};
use bld_engine::networks::{Network as Found, NetworkRequest};
use clap::Subcommand;

use super::filter::Filters;
use super::{inspect, prune};
use crate::documents;
use crate::error::Failure;
use crate::output::list::{Layout, Row};
use crate::session::{Outcome, Session};

const LAYOUT: Layout = Layout {
    headings: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    columns: &["ID", "Name", "Driver", "Scope"],
};

/// Manage networks
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true)]
pub(crate) struct Network {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Connect(ConnectArgs),
    Create(CreateArgs),
    Disconnect(DisconnectArgs),
    Inspect(InspectArgs),
    #[command(alias = "list")]
    Ls(ListArgs),
    Prune(PruneArgs),
    #[command(alias = "remove")]
    Rm(RemoveArgs),
}

/// Connect a container to a network
#[derive(Debug, clap::Args)]
struct ConnectArgs {
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "list")]
    alias: Vec<String>,
    /// IPv4 address (e.g., "172.30.100.104")
    #[arg(long, value_name = "ip")]
    ip: Option<Ipv4Addr>,
    network: String,
    container: String,
}

/// Create a network
#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Enable manual container attachment
    #[arg(long)]
    attachable: bool,
    /// Driver to manage the Network (there is one: bridge)
    #[arg(short, long, value_name = "string", default_value = "bridge", hide_default_value = true)]
    driver: String,
    /// IPv4 Gateway for the subnet
    #[arg(long, value_name = "ip")]
    gateway: Option<Ipv4Addr>,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Enable IPv6 on the network (not supported yet)
    #[arg(long)]
    ipv6: bool,
    /// Allocate container ip from a sub-range
    #[arg(long, value_name = "subnet")]
    ip_range: Option<Subnet>,
    /// Set metadata on a network
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "map")]
    opt: Vec<String>,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_name = "subnet")]
    subnet: Option<String>,
    #[arg(value_name = "NETWORK")]
    name: String,
}

/// Disconnect a container from a network
#[derive(Debug, clap::Args)]
struct DisconnectArgs {
    /// Force the container to disconnect from a network
    #[arg(short, long)]
    force: bool,
    network: String,
    container: String,
}

/// Display detailed information on one or more networks
#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

/// List networks
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Provide filter values (e.g. "driver=bridge")
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,
    /// Only display network IDs
    #[arg(short, long)]
    quiet: bool,
}

/// Remove all unused networks
#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// Remove one or more networks
#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

impl Network {
    /// Runs the command of the group.
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let engine = &session.engine;
        match self.command {
            Command::Connect(args) => {
                let wish = Attachment { aliases: args.alias, ip: args.ip, ..Attachment::default() };
                engine.connect_network(&args.network, &args.container, wish)?;
                Ok(0)
            }
            Command::Create(args) => create(&args, session),
            Command::Disconnect(args) => {
                engine.disconnect_network(&args.network, &args.container, args.force)?;
                Ok(0)
            }
            Command::Inspect(args) => {
                inspect::show(session, args.format.as_deref(), &args.names, |name| {
                    Ok(document(session, name)?)
                })
            }
            Command::Ls(args) => list(&args, session),
            Command::Prune(args) => prune(&args, session),
            Command::Rm(args) => {
                session.each(&args.names, |name| match engine.remove_network(name) {
                    Err(EngineError::NoSuchNetwork { .. }) if args.force => Ok(()),
                    removed => Ok(removed.map(drop)?),
                })
            }
        }
    }
}

/// A network as it is shown.
pub(super) fn document(session: &Session, name: &str) -> Result<inspect::Document, EngineError> {
    let network = session.engine.network_set_up(name)?;
    let users = session.engine.network_users(&network.name)?;
    Ok(inspect::Document::of(&documents::network::document(&network, &users)))
}

/// `KEY=VALUE`, each.
fn pairs(words: &[String]) -> BTreeMap<String, String> {
    words
        .iter()
        .map(|word| word.split_once('=').unwrap_or((word, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn create(args: &CreateArgs, session: &Session) -> Outcome {
    if args.driver != "bridge" {
        return Err(Failure::new(format!("plugin {:?} not found", args.driver))
            .with_hint("the driver is bridge"));
    }
    if args.ipv6 {
        return Err(Failure::new("IPv6 on networks is not supported yet")
            .with_hint("published ports are reached by IPv6 all the same"));
    }
    let subnet = args.subnet.as_deref().map(str::parse::<Subnet>).transpose();
    let subnet = subnet.map_err(|error: SubnetParseError| Failure::new(error.to_string()))?;
    let network = session.engine.create_network(&NetworkRequest {
        name: args.name.clone(),
        subnet,
        gateway: args.gateway,
        ip_range: args.ip_range,
        internal: args.internal,
        attachable: args.attachable,
        labels: pairs(&args.label),
        options: pairs(&args.opt),
    })?;
    session.say(&network.id)?;
    Ok(0)
}

fn list(args: &ListArgs, session: &Session) -> Outcome {
    const KNOWN: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];
    let filters = Filters::parse(&args.filter, &KNOWN)?;
    let any = |key: &str, fits: &dyn Fn(&str) -> bool| {
        let values = filters.all(key);
        values.is_empty() || values.iter().any(|value| fits(value))
    };
    let labels = filters.labels("label");
    for kind in filters.all("type") {
        if !matches!(kind.as_str(), "custom" | "builtin") {
            return Err(Failure::new(format!("invalid filter: 'type'='{kind}'")));
        }
    }
    let dangling = filters.flag("dangling")?;
    let mut networks = session.engine.networks()?;
    networks.retain(|network| {
        let kind = if network.is_predefined() { "builtin" } else { "custom" };
        any("driver", &|driver| driver == network.driver.name())
            && any("id", &|id| network.id.starts_with(id))
            && any("name", &|name| network.name.contains(name))
            && any("scope", &|scope| scope == "local")
            && any("type", &|wanted| wanted == kind)
            && has_labels(network, &labels)
    });
    if let Some(dangling) = dangling {
        let mut kept = Vec::new();
        for network in networks {
            let unused = session.engine.network_users(&network.name)?.is_empty();
            if (unused && !network.is_predefined()) == dangling {
                kept.push(network);
            }
        }
        networks = kept;
    }
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    if args.quiet && args.format.is_none() {
        let ids = networks.iter().map(|network| id(network, args.no_trunc) + "\n");
        session.print(&ids.collect::<String>())?;
        return Ok(0);
    }
    let rows: Vec<Row> = networks.iter().map(|network| row(network, args.no_trunc)).collect();
    session.print(&LAYOUT.render(args.format.as_deref(), &rows)?)?;
    Ok(0)
}

fn has_labels(network: &Found, wanted: &[(String, Option<String>)]) -> bool {
    wanted.iter().all(|(key, value)| {
        let own = network.labels.get(key);
        own.is_some_and(|own| value.as_ref().is_none_or(|value| value == own))
    })
}

fn id(network: &Found, whole: bool) -> String {
    if whole { network.id.clone() } else { network.short_id() }
}

fn row(network: &Found, whole: bool) -> Row {
    Row::new([
        ("ID", id(network, whole)),
        ("Name", network.name.clone()),
        ("Driver", network.driver.name().to_owned()),
        ("Scope", "local".to_owned()),
        ("IPv4", "true".to_owned()),
        ("IPv6", "false".to_owned()),
        ("Internal", network.internal.to_string()),
        ("CreatedAt", super::ps::created_at(network.created)),
    ])
    .with_labels(&network.labels)
}

fn prune(args: &PruneArgs, session: &Session) -> Outcome {
    let filters = Filters::parse(&args.filter, &["until", "label", "label!"])?;
    let warning = "This will remove all custom networks not used by at least one container.";
    if prune::confirmed(session, args.force, warning)? {
        session.print(&take(&filters, session)?.text)?;
    }
    Ok(0)
}

/// Removes the networks that no container is on.
pub(super) fn take(filters: &Filters, session: &Session) -> Result<prune::Taken, Failure> {
    let (with, without) = (filters.labels("label"), filters.labels("label!"));
    let until = filters.time("until")?;
    let removed = session.engine.prune_networks(&|network| {
        until.is_none_or(|until| network.created < until)
            && has_labels(network, &with)
            && !without.iter().any(|one| has_labels(network, std::slice::from_ref(one)))
    })?;
    Ok(prune::Taken::new("Deleted Networks", &removed, 0))
}
