//! What is known before the first `FROM`: platforms, build arguments and global defaults.

use std::collections::BTreeMap;

use bld_dockerfile::expand::Expander;
use bld_dockerfile::{ArgPair, Diagnostic, Dockerfile};

use super::report::Report;
use super::scope::Ordered;
use crate::args;
use crate::options::LowerOptions;

/// The global arguments.
#[derive(Debug)]
pub(super) struct Globals {
    /// What a `FROM` can see, and what a bare `ARG` of a stage takes its value from.
    pub(super) vars: Ordered<String>,
    /// What was given with `--build-arg`.
    pub(super) build_args: BTreeMap<String, String>,
    /// The fixed time of the build.
    pub(super) epoch: Option<i64>,
    /// The proxy variables of every `RUN`, in both spellings.
    pub(super) proxies: Vec<(String, String)>,
}

impl Globals {
    pub(super) fn new(
        file: &Dockerfile,
        options: &LowerOptions,
        expander: Expander,
        report: &mut Report,
    ) -> Self {
        let mut vars = platform_args(file, options);
        for pair in file.global_args() {
            let value = global_value(pair, &vars, &options.build_args, expander);
            if let Some(Some(value)) = report.take(value) {
                vars.set(&pair.name.value, value);
            }
        }
        Self {
            vars,
            build_args: options.build_args.clone(),
            epoch: None,
            proxies: proxies(&options.build_args),
        }
    }
}

/// The value of a global `ARG`; none: it is declared only. The default isn't expanded when a build
/// argument is given, so that `${x:?}` does not fire.
fn global_value(
    pair: &ArgPair,
    vars: &Ordered<String>,
    build_args: &BTreeMap<String, String>,
    expander: Expander,
) -> Result<Option<String>, Diagnostic> {
    if let Some(given) = build_args.get(&pair.name.value) {
        return Ok(Some(given.clone()));
    }
    let Some(default) = &pair.value else { return Ok(None) };
    let expanded =
        expander.word(&default.value, vars).map_err(|error| error.diagnostic(default))?;
    Ok(Some(expanded.text))
}

/// The arguments that describe the platforms and the target. Build arguments override them.
fn platform_args(file: &Dockerfile, options: &LowerOptions) -> Ordered<String> {
    let mut vars = Ordered::default();
    for (prefix, platform) in
        [("BUILD", &options.build_platform), ("TARGET", options.target_platform())]
    {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        for (name, value) in [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("OSVERSION", text(&platform.os_version)),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", text(&platform.variant)),
        ] {
            vars.set(&format!("{prefix}{name}"), value);
        }
    }
    let last = || file.stages.last().and_then(|stage| stage.from.name.as_ref());
    let target = options.target.clone().or_else(|| last().map(|name| name.value.to_lowercase()));
    vars.set("TARGETSTAGE", target.unwrap_or_else(|| "default".to_owned()));

    let names: Vec<String> = vars.names().map(str::to_owned).collect();
    for name in names {
        if let Some(given) = options.build_args.get(&name) {
            vars.set(&name, given.clone());
        }
    }
    vars
}

/// The proxies among the build arguments, whatever case they are written in.
fn proxies(build_args: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut proxies = Vec::new();
    for name in args::PROXIES {
        // Sorted, so of two spellings the lower case one counts.
        let given = build_args.iter().rfind(|(key, _)| key.eq_ignore_ascii_case(name));
        if let Some((_, value)) = given.filter(|(_, value)| !value.is_empty()) {
            proxies.push(((*name).to_owned(), value.clone()));
            proxies.push((name.to_ascii_lowercase(), value.clone()));
        }
    }
    proxies
}
