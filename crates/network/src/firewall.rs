//! Address translation and forwarding, by way of the `nft` program.
//!
//! Everything lives in one table of our own, which is replaced as a whole in one transaction. Accepting a
//! packet there does not help when another table's chain drops it later, so where Docker, ufw or
//! firewalld deny forwarding by default, they are told about the bridge in the way each provides.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::{Command, Output, Stdio},
};

use serde::Deserialize;

use crate::{NetworkError, Overlay, Subnet, Subnet6, nftables::generation};

/// Where `nft` is looked for after PATH, which often lacks the directories for administrators.
const NFT: [&str; 3] = ["nft", "/usr/sbin/nft", "/sbin/nft"];

/// What the names of all our bridges begin with, as a pattern: none of them leads to another.
const OUR_BRIDGES: &str = "bld*";

/// How many rules of ours there are in a chain that denies what it does not know.
const EXCEPTIONS: usize = 3;

/// What a bridge needs of the firewall.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) table: &'a str,
    pub(crate) bridge: &'a str,
    pub(crate) subnet: Subnet,
    pub(crate) subnet6: Option<Subnet6>,
    pub(crate) internal: bool,
    pub(crate) overlay: Option<&'a Overlay>,
}

/// Rules that were put in place, by the firewall's generations around that.
#[derive(Clone, Copy)]
pub(crate) struct Applied {
    pub(crate) before: u32,
    pub(crate) after: u32,
}

impl Rules<'_> {
    /// Puts the rules in place, whatever was there before. Returns the firewall's generations when it
    /// is certain that nobody else changed anything meanwhile.
    pub(crate) fn apply(self) -> Result<Option<Applied>, NetworkError> {
        let chains = chains()?;
        if chains.iter().any(|chain| chain.table == "firewalld") {
            self.trust_in_firewalld()?;
        }
        let mut script = self.table("ip", &self.subnet);
        if let Some(subnet) = self.subnet6 {
            script.push_str(&self.table("ip6", &subnet));
        }
        let concerned = |guard: &&Chain| guard.family != "ip6" || self.subnet6.is_some();
        for guard in guards(&chains, self.table).filter(concerned).filter(|_| !self.internal) {
            let known = rules_in(guard, self.bridge)?;
            if known.len() != EXCEPTIONS {
                script.push_str(&deletions(guard, &known));
                script.push_str(&self.exception(guard));
            }
        }
        transaction(&script)
    }

    /// The rules for one kind of addresses, `ip` or `ip6`.
    fn table(self, family: &str, subnet: &dyn std::fmt::Display) -> String {
        let Self { table, bridge, internal, .. } = self;
        // Containers reach everything but other networks of ours; from outside come only answers and
        // published ports. The host itself reaches the containers without being forwarded.
        let (translation, limits) = if internal {
            (String::new(), format!("iifname \"{bridge}\" drop\n    "))
        } else {
            let translation = format!("{family} saddr {subnet} oifname != \"{bridge}\" masquerade");
            (translation, String::new())
        };
        let ours = OUR_BRIDGES;
        let door = self.overlay.filter(|_| family == "ip").map_or_else(String::new, Overlay::chain);
        format!(
            "table {family} {table} {{}}
delete table {family} {table}
table {family} {table} {{
{door}  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    {translation}
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname \"{bridge}\" oifname \"{bridge}\" accept
    iifname \"{bridge}\" oifname \"{ours}\" drop
    iifname \"{ours}\" oifname \"{bridge}\" drop
    {limits}iifname \"{bridge}\" accept
    oifname \"{bridge}\" ct state established,related accept
    oifname \"{bridge}\" ct status dnat accept
    oifname \"{bridge}\" drop
  }}
}}
"
        )
    }

    fn exception(self, chain: &Chain) -> String {
        let Chain { family, table, name, .. } = chain;
        let (bridge, comment) = (self.bridge, comment(self.bridge));
        let at = format!("insert rule {family} {table} {name}");
        format!(
            "{at} iifname \"{bridge}\" accept comment {comment}\n\
             {at} oifname \"{bridge}\" ct state established,related accept comment {comment}\n\
             {at} oifname \"{bridge}\" ct status dnat accept comment {comment}\n"
        )
    }

    fn trust_in_firewalld(self) -> Result<(), NetworkError> {
        const PROGRAM: &str = "firewall-cmd";
        let interface = format!("--change-interface={}", self.bridge);
        match run(PROGRAM, &["--zone=trusted", &interface], "") {
            // Without its own tool we can't ask it; its rules may still let us through.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(NetworkError::Spawn { program: PROGRAM, source }),
            Ok(output) => checked(PROGRAM, &output).map(drop),
        }
    }
}

/// Takes the rules of a bridge away; fine when there are none. Returns what [`Rules::apply`] does.
pub(crate) fn remove(table: &str, bridge: &str, v6: bool) -> Result<Option<Applied>, NetworkError> {
    let mut script = String::new();
    for family in ["ip", "ip6"].into_iter().take(1 + usize::from(v6)) {
        // Declaring the table first lets the deletion succeed when there was none.
        let _ = writeln!(script, "table {family} {table} {{}}\ndelete table {family} {table}");
    }
    let chains = chains()?;
    for guard in guards(&chains, table) {
        script.push_str(&deletions(guard, &rules_in(guard, bridge)?));
    }
    transaction(&script)
}

/// Changes the firewall at one stroke.
fn transaction(script: &str) -> Result<Option<Applied>, NetworkError> {
    let before = generation();
    nft(&["-f", "-"], script)?;
    // One transaction is one generation; any more were somebody else's.
    Ok(match (before, generation()) {
        (Ok(before), Ok(after)) if after == before.wrapping_add(1) => {
            Some(Applied { before, after })
        }
        _ => None,
    })
}

/// Takes rules out of somebody else's chain.
fn deletions(chain: &Chain, handles: &[u64]) -> String {
    let Chain { family, table, name, .. } = chain;
    let line = |handle| format!("delete rule {family} {table} {name} handle {handle}\n");
    handles.iter().map(line).collect()
}

fn comment(bridge: &str) -> String {
    format!("\"bld:{bridge}\"")
}

/// The handles of a bridge's rules in somebody else's chain.
fn rules_in(chain: &Chain, bridge: &str) -> Result<Vec<u64>, NetworkError> {
    let text = nft(&["-a", "list", "chain", &chain.family, &chain.table, &chain.name], "")?;
    let comment = comment(bridge);
    Ok(text
        .lines()
        .filter(|line| line.contains(&comment))
        .filter_map(|line| line.rsplit_once("# handle ")?.1.trim().parse().ok())
        .collect())
}

/// A chain as `nft -j list chains` tells of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Chain {
    family: String,
    table: String,
    name: String,
    hook: String,
    policy: String,
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    chain: Option<Chain>,
}

fn chains() -> Result<Vec<Chain>, NetworkError> {
    let text = nft(&["-j", "list", "chains"], "")?;
    let listing: Listing = serde_json::from_str(&text)
        .map_err(|error| NetworkError::Firewall { program: "nft", message: error.to_string() })?;
    Ok(listing.nftables.into_iter().filter_map(|object| object.chain).collect())
}

/// The chains of others that would drop what the bridge forwards, or the place their owner set aside
/// for exceptions.
fn guards<'a>(chains: &'a [Chain], own_table: &'a str) -> impl Iterator<Item = &'a Chain> {
    const FOR_EXCEPTIONS: &str = "DOCKER-USER";
    chains
        .iter()
        .filter(move |chain| {
            chain.hook == "forward"
                && chain.policy == "drop"
                && matches!(chain.family.as_str(), "ip" | "ip6" | "inet")
                && chain.table != own_table
                && chain.table != "firewalld"
        })
        .map(|denying| {
            chains
                .iter()
                .find(|chain| {
                    chain.name == FOR_EXCEPTIONS
                        && chain.table == denying.table
                        && chain.family == denying.family
                })
                .unwrap_or(denying)
        })
}

pub(crate) fn nft(arguments: &[&str], input: &str) -> Result<String, NetworkError> {
    for program in NFT {
        match run(program, arguments, input) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(NetworkError::Spawn { program: "nft", source }),
            Ok(output) => return checked("nft", &output),
        }
    }
    Err(NetworkError::NftMissing)
}

fn run(program: &str, arguments: &[&str], input: &str) -> io::Result<Output> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input.as_bytes()) {
            // It gave up early; why is in its output.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written?,
        }
    }
    child.wait_with_output()
}

fn checked(program: &'static str, output: &Output) -> Result<String, NetworkError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NetworkError::Firewall { program, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(table: &str, name: &str, hook: &str, policy: &str) -> Chain {
        Chain {
            family: "ip".to_owned(),
            table: table.to_owned(),
            name: name.to_owned(),
            hook: hook.to_owned(),
            policy: policy.to_owned(),
        }
    }

    fn names(chains: &[Chain]) -> Vec<&str> {
        guards(chains, "bld").map(|chain| chain.name.as_str()).collect()
    }

    #[test]
    fn only_chains_that_drop_what_is_forwarded_are_guards() {
        let chains = [
            chain("filter", "INPUT", "input", "drop"),
            chain("filter", "OUTPUT", "output", "accept"),
            chain("bld", "forward", "forward", "drop"),
            chain("firewalld", "filter_FORWARD", "forward", "drop"),
            chain("open", "forward", "forward", "accept"),
        ];
        assert!(names(&chains).is_empty());
        assert_eq!(names(&[chain("filter", "FORWARD", "forward", "drop")]), ["FORWARD"]);
    }

    #[test]
    fn dockers_place_for_exceptions_is_used_where_it_is() {
        let chains = [
            chain("filter", "FORWARD", "forward", "drop"),
            chain("filter", "DOCKER-USER", "", ""),
            chain("mine", "fwd", "forward", "drop"),
        ];
        assert_eq!(names(&chains), ["DOCKER-USER", "fwd"]);
    }
}
