//! What is written besides the image: `--iidfile`, `--metadata-file`, and the id on standard output.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use bld_engine::build::{BuildResult, Output, WrittenManifest};
use bld_oci::Reference;
use serde_json::{Value, json};

use super::Args;
use crate::commands::sign::{private_key, sign};
use crate::error::{Failure, describe};
use crate::progress::Mode;
use crate::session::{Outcome, Session};

/// Refuses what could only fail after the build, and takes an old id away, which could be taken for
/// the one of a build that failed.
pub(super) fn prepare(args: &Args, outputs: &[Output]) -> Result<(), Failure> {
    if let Some(path) = &args.iidfile {
        if outputs.iter().any(|out| matches!(out, Output::Local { .. } | Output::Tar { .. })) {
            return Err(Failure::new(
                "local and tar exporters are incompatible with image ID file",
            ));
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Failure::new(format!("remove {}: {error}", path.display())));
            }
            _ => {}
        }
    }
    if let Some(key) = &args.sign {
        if !outputs.iter().any(|output| matches!(output, Output::Image { push: true, .. })) {
            return Err(Failure::new("--sign signs what is at a registry: add --push"));
        }
        private_key(key)?;
    }
    if args.manifest.is_some() && !outputs.is_empty() && !outputs.iter().any(is_stored) {
        return Err(Failure::new("--manifest lists images of the store: add -o type=image"));
    }
    for path in [&args.iidfile, &args.metadata_file].into_iter().flatten() {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        if let Some(Err(error)) = dir.map(fs::metadata) {
            return Err(Failure::new(format!("invalid output path {}: {error}", path.display())));
        }
    }
    Ok(())
}

fn is_stored(output: &Output) -> bool {
    matches!(output, Output::Image { options, .. } if !options.naming.discard)
        || matches!(output, Output::Docker { dest: None, .. })
}

/// Puts what was built on the list that was asked for.
pub(super) fn list(args: &Args, session: &Session, result: &BuildResult) -> Result<(), Failure> {
    if let Some(list) = &args.manifest {
        let tag = args.tag.first().map(String::as_str);
        session.engine.list_built_images(list, tag, &result.image_ids)?;
    }
    Ok(())
}

/// Signs what was pushed.
pub(super) fn sign_pushed(
    args: &Args,
    outputs: &[Output],
    session: &Session,
    result: &BuildResult,
) -> Result<(), Failure> {
    let Some(key) = &args.sign else { return Ok(()) };
    let key = private_key(key)?;
    // Of several outputs, each has a manifest of its own.
    let digest = result.manifest.as_ref().filter(|_| outputs.len() == 1).map(|made| made.digest);
    let names = outputs.iter().filter_map(|output| match output {
        Output::Image { names, push: true, .. } => Some(names),
        _ => None,
    });
    let mut signed = BTreeSet::new();
    for name in args.tag.iter().chain(names.flatten()) {
        let name = Reference::parse(name).map_err(|error| Failure::new(describe(&error)))?;
        let image = digest.map_or(name.clone(), |digest| name.by_digest(digest)).to_string();
        if !signed.contains(&image) {
            sign(session, &image, &key, &BTreeMap::new())?;
            signed.insert(image);
        }
    }
    Ok(())
}

/// Writes what was asked for besides the image.
pub(super) fn hand_over(
    args: &Args,
    mode: Mode,
    session: &Session,
    result: &BuildResult,
) -> Outcome {
    if let (Some(path), Some(id)) = (&args.iidfile, result.image_id) {
        write(path, &id.to_string())?;
    }
    if let Some(path) = &args.metadata_file {
        write(path, &format!("{:#}\n", metadata(result)))?;
    }
    if mode == Mode::Quiet
        && let Some(id) = result.image_id
    {
        session.say(&id.to_string())?;
    }
    Ok(0)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(format!("write {}: {error}", path.display()));
    fs::write(path, text).map_err(failed)
}

/// The result under buildx's keys.
fn metadata(result: &BuildResult) -> Value {
    let mut metadata = json!({});
    if let Some(id) = result.image_id {
        metadata["containerimage.config.digest"] = json!(id);
        metadata["containerimage.digest"] = json!(id);
    }
    if let Some(manifest) = &result.manifest {
        metadata["containerimage.digest"] = json!(manifest.digest);
        metadata["containerimage.descriptor"] = json!({
            "mediaType": manifest.media_type,
            "digest": manifest.digest,
            "size": manifest.size,
        });
        match &manifest.platform {
            Some(platform) => {
                metadata["containerimage.descriptor"]["platform"] = json!(platform);
            }
            // Of an index, there is no single one.
            None => {
                metadata.as_object_mut().map(|all| all.remove("containerimage.config.digest"));
            }
        }
    }
    if let Some(cache) = &result.cache {
        let WrittenManifest { media_type, digest, size, .. } = cache;
        metadata["cache.manifest"] =
            json!({ "mediaType": media_type, "digest": digest, "size": size });
    }
    if !result.names.is_empty() {
        metadata["image.name"] = json!(result.names.join(","));
    }
    metadata
}
