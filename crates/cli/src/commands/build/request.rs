//! From flags to a request.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use bld_dockerfile::suggest;
use bld_engine::build::{BuildRequest, NetworkMode, OnFailure, SourcePolicy};
use bld_oci::Platform;

use super::{Args, attest, caches, contexts, limits, outputs, secrets};
use crate::commands::options::parse_host;
use crate::error::{Failure, describe};

/// The request that `args` make.
pub(super) fn build(args: &Args) -> Result<BuildRequest, Failure> {
    let (context, dockerfile) = contexts::main(&args.context, args.file.as_deref())?;
    let build_args = build_args(args)?;
    // Older than `--cache-to`, and still written down in many places.
    let is_inline = build_args.get("BUILDKIT_INLINE_CACHE").is_some_and(|value| value == "1");
    Ok(BuildRequest {
        context,
        dockerfile,
        named_contexts: args
            .build_context
            .iter()
            .map(|word| contexts::named(word))
            .collect::<Result<_, _>>()?,
        tags: args.tag.clone(),
        target: args.target.clone().filter(|target| !target.is_empty()),
        build_args,
        labels: args.label.iter().map(|word| pair(word)).collect::<Result<_, _>>()?,
        platforms: platforms(&args.platform)?,
        no_cache: args.no_cache,
        no_cache_filter: args.no_cache_filter.clone(),
        traced: args.traced_cache.into(),
        pull: args.pull,
        no_stat_cache: args.no_stat_cache,
        policy: policy(args)?,
        network: network(&args.network)?,
        add_hosts: hosts(&args.add_host)?,
        allow: secrets::allowed(&args.allow)?,
        secrets: secrets::secrets(&args.secret)?,
        ssh: secrets::ssh(&args.ssh)?.agents,
        resources: limits::of_each(&args.resource)?,
        together: limits::together(args.cpus, args.memory.as_deref(), &args.classic)?,
        cgroup_parent: args.cgroup_parent.clone().filter(|parent| !parent.is_empty()),
        shm_size: args.shm_size,
        ulimits: args.ulimit.clone(),
        outputs: outputs::all(args)?,
        attest: attest::asked(args)?,
        squash: args.squash,
        reproducible: args.reproducible,
        verify: args.verify,
        cache_from: caches::sources(&args.cache_from)?,
        cache_to: caches::targets(&args.cache_to, is_inline)?,
        jobs: args.jobs,
        on_failure: OnFailure::default(),
    })
}

/// One line for each flag that is accepted and changes nothing.
pub(super) fn without_effect(args: &Args) -> Vec<String> {
    let classic = &args.classic;
    let notes = [
        (args.builder.is_some(), "--builder", "there is one builder"),
        (
            !args.policy.is_empty(),
            "--policy",
            "policies in Rego are not evaluated; give rules in JSON with --source-policy-file",
        ),
        (classic.compress, "--compress", "the context is not sent anywhere"),
        (classic.disable_content_trust, "--disable-content-trust", "images are not verified"),
        (
            classic.isolation.as_deref().is_some_and(|kind| kind != "default"),
            "--isolation",
            "it is for Windows",
        ),
        (
            args.allow.iter().any(|word| word.starts_with("fs")),
            "--allow fs",
            "what is read and written is what the command line names",
        ),
        (!classic.security_opt.is_empty(), "--security-opt", "use RUN --security"),
        // `--rm` and `--force-rm` ask for what always happens.
    ];
    let given = notes.into_iter().filter(|(given, ..)| *given);
    let caches = super::gha::note(args.cache_from.iter().chain(&args.cache_to));
    given.map(|(_, flag, why)| format!("note: {flag} has no effect: {why}")).chain(caches).collect()
}

/// Operating systems and architectures that images are published for.
const SYSTEMS: [&str; 4] = ["darwin", "freebsd", "linux", "windows"];
const ARCHITECTURES: [&str; 14] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
    "ppc64le", "riscv64", "s390x", "wasm",
];

/// A line for each platform that nobody has an image for, and whose name is nearly that of another.
pub(super) fn unlikely_platforms(args: &Args) -> Vec<String> {
    let near = |text: &str, known: &[&'static str]| suggest(text, known.iter().copied());
    let note = |word: &String| {
        let platform = Platform::parse(word).ok()?;
        let (system, architecture) =
            (near(&platform.os, &SYSTEMS), near(&platform.architecture, &ARCHITECTURES));
        (system.is_some() || architecture.is_some()).then(|| {
            let system = system.unwrap_or(&platform.os);
            let architecture = architecture.unwrap_or(&platform.architecture);
            format!("note: {word} is no platform (did you mean {system}/{architecture}?)")
        })
    };
    args.platform.iter().filter_map(note).collect()
}

fn build_args(args: &Args) -> Result<BTreeMap<String, String>, Failure> {
    let mut values = BTreeMap::new();
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        values.insert("SOURCE_DATE_EPOCH".to_owned(), epoch);
    }
    for word in &args.build_arg {
        let (name, value) = pair(word)?;
        // Without a value, that of our environment; what is not there is as if it was not given.
        let value = if word.contains('=') { Some(value) } else { std::env::var(&name).ok() };
        match value {
            Some(value) => values.insert(name, value),
            None => values.remove(&name),
        };
    }
    Ok(values)
}

/// `HOST:IP[,IP]`, several of them separated by commas.
fn hosts(words: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let mut hosts: Vec<(String, String)> = Vec::new();
    for word in words {
        for (number, part) in word.split(',').enumerate() {
            let bare = part.strip_prefix('[').and_then(|part| part.strip_suffix(']'));
            // Without brackets, an address of version 6 may as well be a host and its address.
            let address = bare.or_else(|| part.parse::<Ipv4Addr>().is_ok().then_some(part));
            let host = match (address, hosts.last()) {
                (Some(address), Some((name, _))) if number > 0 => {
                    parse_host(&format!("{name}={address}"))?
                }
                _ => parse_host(part)?,
            };
            hosts.push(host);
        }
    }
    Ok(hosts)
}

fn pair(word: &str) -> Result<(String, String), Failure> {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    if key.is_empty() {
        return Err(Failure::new(format!("invalid key-value pair {word:?}: empty key")));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Each once, in order; none where only the machine's own is asked for by saying nothing of it.
fn platforms(words: &[String]) -> Result<Vec<Platform>, Failure> {
    if let [word] = words
        && word == "local"
    {
        return Ok(Vec::new());
    }
    let mut platforms = Vec::with_capacity(words.len());
    for word in words {
        let platform = match word.trim() {
            "local" => Platform::host(),
            word => Platform::parse(word).map_err(|error| Failure::new(describe(&error)))?,
        };
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

/// The variable by which buildx is given a policy.
const POLICY_VARIABLE: &str = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY";

/// The policy for sources that is asked for.
fn policy(args: &Args) -> Result<Option<SourcePolicy>, Failure> {
    let variable = || std::env::var_os(POLICY_VARIABLE).filter(|path| !path.is_empty());
    let path = args.source_policy_file.clone().or_else(|| variable().map(PathBuf::from));
    let Some(path) = path else { return Ok(None) };
    let name = path.display().to_string();
    let json = std::fs::read(&path).map_err(|error| {
        Failure::new(format!("failed to read the source policy {name}: {error}"))
    })?;
    let policy = SourcePolicy::parse(&name, &json);
    policy.map(Some).map_err(|error| Failure::new(error.to_string()))
}

fn network(word: &str) -> Result<NetworkMode, Failure> {
    match word {
        "" | "default" | "bridge" => Ok(NetworkMode::Default),
        "host" => Ok(NetworkMode::Host),
        "none" => Ok(NetworkMode::None),
        other => Err(Failure::new(format!("network mode {other:?} not supported by buildkit"))
            .with_hint("the modes are default, host and none")),
    }
}
