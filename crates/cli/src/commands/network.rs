//! `bld network`

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bld_engine::EngineError;
use bld_engine::containers::{Attachment, Subnet, Subnet6, SubnetParseError};
use bld_engine::networks::{Driver, Network as Found, NetworkRequest};
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
    /// IPv6 address (e.g., "2001:db8::33")
    #[arg(long, value_name = "ip")]
    ip6: Option<Ipv6Addr>,
    network: String,
    container: String,
}

/// Create a network
#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Enable manual container attachment
    #[arg(long)]
    attachable: bool,
    /// Auxiliary IPv4 addresses that are not given out (NAME=IP)
    #[arg(long, value_name = "map")]
    aux_address: Vec<String>,
    /// Driver to manage the Network (bridge or overlay)
    #[arg(short, long, value_name = "string", default_value = "bridge", hide_default_value = true)]
    driver: String,
    /// IPv4 or IPv6 Gateway for the master subnet
    #[arg(long, value_name = "ip")]
    gateway: Vec<IpAddr>,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Enable IPv6 networking
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
    subnet: Vec<String>,
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
                let ConnectArgs { alias: aliases, ip, ip6, .. } = args;
                let wish = Attachment { aliases, ip, ip6, ..Attachment::default() };
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

/// A network of either kind.
#[derive(Debug, Clone, Copy)]
enum AnySubnet {
    V4(Subnet),
    V6(Subnet6),
}

impl std::str::FromStr for AnySubnet {
    type Err = SubnetParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::V4).or_else(|_| text.parse().map(Self::V6))
    }
}

/// `NAME=ADDRESS`, each.
fn auxiliary(words: &[String]) -> Result<BTreeMap<String, Ipv4Addr>, Failure> {
    let pair = |word: &String| {
        let invalid = || Failure::new(format!("invalid aux-address: {word}"));
        let (name, address) = word.split_once('=').ok_or_else(invalid)?;
        Ok((name.to_owned(), address.parse().map_err(|_| invalid())?))
    };
    words.iter().map(pair).collect()
}

/// The only one, if there is any.
fn one<T>(mut all: impl Iterator<Item = T>) -> Result<Option<T>, Failure> {
    let first = all.next();
    match all.next() {
        None => Ok(first),
        Some(_) => Err(Failure::new("a network has one subnet of each kind, with one gateway")),
    }
}

fn create(args: &CreateArgs, session: &Session) -> Outcome {
    let Some(driver) = Driver::from_name(&args.driver) else {
        return Err(Failure::new(format!("plugin {:?} not found", args.driver))
            .with_hint("the drivers are bridge and overlay"));
    };
    let subnets = args.subnet.iter().map(|text| text.parse::<AnySubnet>());
    let subnets: Result<Vec<_>, _> = subnets.collect();
    let subnets = subnets.map_err(|error| Failure::new(error.to_string()))?;
    let subnet = one(subnets.iter().filter_map(|subnet| match subnet {
        AnySubnet::V4(subnet) => Some(*subnet),
        AnySubnet::V6(_) => None,
    }))?;
    let subnet6 = one(subnets.iter().filter_map(|subnet| match subnet {
        AnySubnet::V4(_) => None,
        AnySubnet::V6(subnet) => Some(*subnet),
    }))?;
    let gateway = one(args.gateway.iter().filter_map(|ip| match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    }))?;
    let gateway6 = one(args.gateway.iter().filter_map(|ip| match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => Some(*ip),
    }))?;
    let network = session.engine.create_network(&NetworkRequest {
        name: args.name.clone(),
        driver,
        subnet,
        gateway,
        ip_range: args.ip_range,
        auxiliary: auxiliary(&args.aux_address)?,
        ipv6: args.ipv6,
        subnet6,
        gateway6,
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
        ("IPv6", network.v6.is_some().to_string()),
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
