//! What the caller of [`lower`](crate::lower()) asks for.

use std::collections::BTreeMap;

use bld_dockerfile::ignore::Patterns;
use bld_oci::Platform;

use crate::op::Network;

/// What to build of a Dockerfile, and how.
#[derive(Debug, Clone)]
pub struct LowerOptions {
    /// Stage to build, by name or number; none: the last.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`, which win over `LABEL`.
    pub labels: BTreeMap<String, String>,
    /// Names that mean an earlier stage of the file (`--build-context NAME=target:STAGE`), whatever
    /// image or stage they mean otherwise.
    pub stage_contexts: BTreeMap<String, String>,
    /// The platform to build for; none: the one to build on, and the image says it is for whatever
    /// its base is for.
    pub platform: Option<Platform>,
    /// The platform to build on.
    pub build_platform: Platform,
    /// One of several platforms is being built: step names say which.
    pub multi_platform: bool,
    /// Which steps to do again even if their results are known.
    pub no_cache: NoCache,
    /// The network of a `RUN` without `--network`.
    pub network: Network,
    /// `--add-host`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// What the user allowed beyond the sandbox.
    pub entitlements: Entitlements,
    /// The rules of `.dockerignore`, to warn of copies they make impossible.
    pub ignore: Option<Patterns>,
}

/// Which steps to do again even if their results are known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NoCache {
    /// None.
    #[default]
    Off,
    /// All.
    All,
    /// Those of these stages, by name or number.
    Stages(Vec<String>),
}

/// What a build may do beyond the sandbox (`--allow`). Devices are another matter: which there are
/// is not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entitlements {
    /// `network.host`
    pub network_host: bool,
    /// `security.insecure`
    pub security_insecure: bool,
}

impl LowerOptions {
    /// Builds the last stage on and for `platform`, with nothing special.
    pub fn new(platform: Platform) -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            stage_contexts: BTreeMap::new(),
            platform: None,
            build_platform: platform,
            multi_platform: false,
            no_cache: NoCache::Off,
            network: Network::Default,
            extra_hosts: Vec::new(),
            entitlements: Entitlements::default(),
            ignore: None,
        }
    }

    /// The platform to build for.
    pub fn target_platform(&self) -> &Platform {
        self.platform.as_ref().unwrap_or(&self.build_platform)
    }
}
