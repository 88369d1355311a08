//! How an image was made: provenance as SLSA defines it, with what BuildKit puts into it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bld_dockerfile::value::redacted;
use bld_graph::{Op, Plan};
use bld_oci::{Digest, Platform, Reference};
use serde_json::{Map, Value, json};

use super::Claim;
use crate::build::{BuildRequest, Context, DockerfileSource, NamedContext};

/// Something that a build used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    /// Where it is from, without a login.
    pub uri: String,
    /// The algorithm and the digits of its digest; none: an image that is only in the store.
    pub digest: Option<(&'static str, String)>,
}

/// How much provenance says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProvenanceMode {
    /// What was used and when, not the values of arguments and labels.
    #[default]
    Min,
    /// Also the arguments, labels, and the names of secrets.
    Max,
}

/// The version of SLSA's predicate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProvenanceVersion {
    /// 0.2
    V02,
    /// 1
    #[default]
    V1,
}

/// What provenance is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProvenanceOptions {
    /// How much it says.
    pub mode: ProvenanceMode,
    /// In which version.
    pub version: ProvenanceVersion,
    /// A URI for who builds.
    pub builder_id: String,
    /// Whoever builds says that it comes out the same each time.
    pub reproducible: bool,
    /// It is about images only: directories do not get it.
    pub inline_only: bool,
}

/// Frontend of builds, as BuildKit calls it.
const FRONTEND: &str = "dockerfile.v0";
/// What is written in place of a secret's value.
const HIDDEN: &str = "*****";

impl ProvenanceOptions {
    /// What there is to say about a build that used `materials`, and began and ended at these times.
    pub(crate) fn claim(
        &self,
        request: &BuildRequest,
        materials: &[Material],
        (begun, ended): (SystemTime, SystemTime),
    ) -> Claim {
        let (begun, ended) = (time(begun), time(ended));
        let process = std::process::id();
        let invocation = &Digest::of(format!("{process} {begun} {ended}").as_bytes()).hex()[..32];
        let is_max = self.mode == ProvenanceMode::Max;
        let arguments = arguments(request, is_max);
        let complete = is_max || request.build_args.is_empty() && request.labels.is_empty();
        // Files of this machine have no name that others could find them by.
        let known = matches!(request.context, Context::Remote(_) | Context::Empty)
            && !request.named_contexts.values().any(|c| matches!(c, NamedContext::Dir(_)))
            && materials.iter().all(|material| material.digest.is_some());
        let materials: Vec<Value> = materials.iter().map(material).collect();
        let mut parameters = json!({ "frontend": FRONTEND, "args": arguments });
        let locals = locals(request);
        if !locals.is_empty() {
            parameters["locals"] = json!(locals);
        }
        if is_max {
            let ids = |ids: Vec<&String>| -> Vec<Value> {
                ids.into_iter().map(|id| json!({ "id": id })).collect()
            };
            if !request.secrets.is_empty() {
                parameters["secrets"] = json!(ids(request.secrets.keys().collect()));
            }
            if !request.ssh.is_empty() {
                parameters["ssh"] = json!(ids(request.ssh.keys().collect()));
            }
        }
        let source = config_source(request);
        match self.version {
            ProvenanceVersion::V1 => Claim {
                predicate_type: "https://slsa.dev/provenance/v1".to_owned(),
                predicate: json!({
                    "buildDefinition": {
                        "buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
                        "externalParameters": { "configSource": source, "request": parameters },
                        "internalParameters": { "builderPlatform": Platform::host().to_string() },
                        "resolvedDependencies": materials,
                    },
                    "runDetails": {
                        "builder": { "id": self.builder_id },
                        "metadata": {
                            "invocationID": invocation,
                            "startedOn": begun,
                            "finishedOn": ended,
                            "buildkit_completeness": {
                                "request": complete, "resolvedDependencies": known,
                            },
                            "buildkit_reproducible": self.reproducible,
                        },
                    },
                }),
            },
            ProvenanceVersion::V02 => {
                let mut source = source;
                if let Some(path) = source.remove("path") {
                    source.insert("entryPoint".to_owned(), path);
                }
                Claim {
                    predicate_type: "https://slsa.dev/provenance/v0.2".to_owned(),
                    predicate: json!({
                        "buildType": "https://mobyproject.org/buildkit@v1",
                        "builder": { "id": self.builder_id },
                        "invocation": {
                            "configSource": source,
                            "parameters": parameters,
                            "environment": { "platform": Platform::host().to_string() },
                        },
                        "materials": materials,
                        "metadata": {
                            "buildInvocationID": invocation,
                            "buildStartedOn": begun,
                            "buildFinishedOn": ended,
                            "completeness": {
                                "parameters": complete, "environment": true, "materials": known,
                            },
                            "reproducible": self.reproducible,
                        },
                    }),
                }
            }
        }
    }
}

fn time(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S%.fZ").to_string()
}

fn material(material: &Material) -> Value {
    match &material.digest {
        Some((algorithm, digits)) => {
            json!({ "uri": material.uri, "digest": { *algorithm: digits } })
        }
        None => json!({ "uri": material.uri }),
    }
}

/// The arguments of the frontend, as BuildKit names them. None holds the value of a secret.
fn arguments(request: &BuildRequest, is_max: bool) -> BTreeMap<String, String> {
    let mut arguments = BTreeMap::new();
    if let Some(target) = &request.target {
        arguments.insert("target".to_owned(), target.clone());
    }
    if request.no_cache {
        arguments.insert("no-cache".to_owned(), String::new());
    }
    for (name, context) in &request.named_contexts {
        let value = match context {
            NamedContext::Dir(_) => format!("local:{name}"),
            NamedContext::Remote(source) => redacted(remote(source)),
            NamedContext::Stage(stage) => format!("target:{stage}"),
            NamedContext::Image(image) => format!("docker-image://{image}"),
            NamedContext::OciLayout { .. } => format!("oci-layout://{name}"),
        };
        arguments.insert(format!("context:{name}"), value);
    }
    if is_max {
        let values = request.build_args.iter().map(|(name, value)| ("build-arg", name, value));
        let labels = request.labels.iter().map(|(name, value)| ("label", name, value));
        for (kind, name, value) in values.chain(labels) {
            arguments.insert(format!("{kind}:{name}"), hidden(value, request));
        }
    }
    arguments
}

/// `value`, unless it holds a secret of the build.
fn hidden(value: &str, request: &BuildRequest) -> String {
    let holds = |secret: &[u8]| {
        let secret = secret.trim_ascii();
        !secret.is_empty() && value.as_bytes().windows(secret.len()).any(|part| part == secret)
    };
    let is_secret = request.secrets.values().any(|secret| holds(&secret.value));
    if is_secret { HIDDEN.to_owned() } else { value.to_owned() }
}

fn remote(source: &bld_graph::Remote) -> &str {
    match source {
        bld_graph::Remote::Git(op) => &op.remote,
        bld_graph::Remote::Http(op) => &op.url,
    }
}

/// The contexts that are directories of this machine.
fn locals(request: &BuildRequest) -> Vec<Value> {
    let main = matches!(request.context, Context::Dir(_) | Context::Archive(_));
    let named = request.named_contexts.iter();
    let named = named.filter(|(_, context)| matches!(context, NamedContext::Dir(_)));
    let names = main.then_some(["context", "dockerfile"]).into_iter().flatten();
    names.chain(named.map(|(name, _)| name.as_str())).map(|name| json!({ "name": name })).collect()
}

/// Where the Dockerfile is.
fn config_source(request: &BuildRequest) -> Map<String, Value> {
    let mut source = Map::new();
    if let Context::Remote(remote_context) = &request.context {
        source.insert("uri".to_owned(), json!(redacted(remote(remote_context))));
    }
    let name = match &request.dockerfile {
        // Directories of this machine are nobody's business.
        DockerfileSource::Path(path) => {
            path.file_name().map(|name| name.to_string_lossy().into_owned())
        }
        DockerfileSource::Url(op) => Some(redacted(&op.url)),
        DockerfileSource::Default | DockerfileSource::Text(_) => None,
    };
    source.insert("path".to_owned(), json!(name.unwrap_or_else(|| "Dockerfile".to_owned())));
    source
}

/// What the steps of `plan` use, once it is resolved.
pub(crate) fn materials(plan: &Plan) -> Vec<Material> {
    let used = plan.graph.node_weights();
    let used = used.filter_map(|vertex| material_of(&vertex.op, &vertex.platform));
    let mut used: Vec<_> = used.collect();
    used.sort();
    used.dedup();
    used
}

/// What a source is, once it is resolved; none: it is no source outside.
pub(crate) fn material_of(source: &Op, platform: &Platform) -> Option<Material> {
    let (uri, digest) = match source {
        Op::Image(op) => {
            (image_url(&op.reference, platform), op.manifest.map(|digest| ("sha256", digest.hex())))
        }
        Op::Http(op) => (redacted(&op.url), op.content.map(|digest| ("sha256", digest.hex()))),
        Op::Git(op) => {
            let reference = op.reference.as_ref().map(|name| format!("#{name}"));
            let algorithm = |commit: &String| if commit.len() == 64 { "sha256" } else { "sha1" };
            (
                redacted(&op.remote) + &reference.unwrap_or_default(),
                op.commit.clone().map(|commit| (algorithm(&commit), commit)),
            )
        }
        _ => return None,
    };
    Some(Material { uri, digest })
}

/// `pkg:docker/NAME@TAG?platform=PLATFORM`
pub(super) fn image_url(reference: &Reference, platform: &Platform) -> String {
    let name = reference.familiar_name();
    let version = match (reference.tag(), reference.digest()) {
        (Some(tag), _) => tag.to_owned(),
        (None, Some(digest)) => digest.to_string(),
        (None, None) => "latest".to_owned(),
    };
    let platform = platform.to_string().replace('/', "%2F");
    format!("pkg:docker/{}@{version}?platform={platform}", name.replace(':', "%3A"))
}
