//! `image inspect`

use bld_engine::images::ImageDetails;
use bld_oci::{ContainerConfig, Healthcheck, Reference};
use serde::Serialize;
use serde_json::{Value, json};

/// An image in docker's form.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Document {
    id: String,
    repo_tags: Vec<String>,
    repo_digests: Vec<String>,
    parent: &'static str,
    comment: String,
    created: String,
    docker_version: &'static str,
    author: String,
    config: Config,
    architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    os: String,
    size: u64,
    graph_driver: Value,
    #[serde(rename = "RootFS")]
    root_fs: Value,
    metadata: Value,
}

/// What a container of the image is started with.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Config {
    user: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    exposed_ports: Value,
    env: Vec<String>,
    cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<Healthcheck>,
    volumes: Value,
    working_dir: String,
    entrypoint: Option<Vec<String>>,
    on_build: Option<Vec<String>>,
    labels: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shell: Option<Vec<String>>,
}

impl Config {
    /// The configuration in docker's form.
    pub(crate) fn of(config: &ContainerConfig) -> Self {
        Self {
            user: config.user.clone(),
            exposed_ports: if config.exposed_ports.is_empty() {
                Value::Null
            } else {
                super::go_set(&config.exposed_ports)
            },
            env: config.env.clone(),
            cmd: config.cmd.clone(),
            healthcheck: config.healthcheck.clone(),
            volumes: super::go_set(&config.volumes),
            working_dir: config.working_dir.clone(),
            entrypoint: config.entrypoint.clone(),
            on_build: Some(config.on_build.clone()).filter(|triggers| !triggers.is_empty()),
            labels: super::labels(&config.labels),
            stop_signal: config.stop_signal.clone(),
            shell: config.shell.clone(),
        }
    }
}

/// The document of an image.
pub(crate) fn document(image: &ImageDetails) -> Document {
    let dirs: Vec<String> = image.layer_dirs.iter().map(|dir| dir.display().to_string()).collect();
    let digest = |repo: &str, digest: &bld_oci::Digest| {
        let name =
            Reference::parse(repo).map_or_else(|_| repo.to_owned(), |repo| repo.familiar_name());
        format!("{name}@{digest}")
    };
    let last = image.config.history.last();
    Document {
        id: image.record.id.to_string(),
        repo_tags: image.tags.iter().map(Reference::familiar).collect(),
        repo_digests: image
            .repo_digests
            .iter()
            .map(|known| digest(&known.repo, &known.digest))
            .collect(),
        parent: "",
        comment: last.and_then(|entry| entry.comment.clone()).unwrap_or_default(),
        created: image.config.created.clone().unwrap_or_else(|| super::time(image.record.created)),
        docker_version: "",
        author: image.config.author.clone().unwrap_or_default(),
        config: Config::of(&image.config.config),
        architecture: image.config.architecture.clone(),
        variant: image.config.variant.clone(),
        os: image.config.os.clone(),
        size: image.record.size,
        graph_driver: match dirs.split_last() {
            None => json!({"Name": "overlay2", "Data": {}}),
            Some((upper, lower)) => {
                // As in overlayfs itself, the topmost comes first.
                let lower: Vec<_> = lower.iter().rev().cloned().collect();
                json!({"Name": "overlay2", "Data": {"LowerDir": lower.join(":"), "UpperDir": upper}})
            }
        },
        root_fs: json!({"Type": "layers", "Layers": image.record.layers}),
        metadata: json!({"LastTagTime": super::maybe_time(image.last_tagged)}),
    }
}
