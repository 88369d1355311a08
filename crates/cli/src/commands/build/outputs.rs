//! `--output` and its shorthands.

use std::collections::BTreeMap;

use bld_engine::build::{Destination, ImageOptions, Output};
use bld_layer::Compression;

use super::Args;
use crate::error::Failure;

/// All outputs of a command line; none means the image store.
pub(super) fn all(args: &Args) -> Result<Vec<Output>, Failure> {
    let mut annotations = BTreeMap::new();
    for word in &args.annotation {
        let (key, value) = annotation(word)?;
        annotations.insert(key, value);
    }
    let mut outputs = Vec::new();
    for word in &args.output {
        outputs.push(output(word, &annotations)?);
    }
    let options = || ImageOptions { annotations: annotations.clone(), ..ImageOptions::default() };
    if args.push {
        let pushed = outputs.iter_mut().find_map(|output| match output {
            Output::Image { push, .. } => Some(push),
            _ => None,
        });
        match pushed {
            Some(push) => *push = true,
            None => {
                outputs.push(Output::Image { names: Vec::new(), push: true, options: options() });
            }
        }
    }
    if args.load || (outputs.is_empty() && !annotations.is_empty()) {
        outputs.push(Output::Docker { dest: None, names: Vec::new(), options: options() });
    }
    Ok(outputs)
}

/// What has annotations.
const ANNOTATED: [&str; 4] = ["manifest", "manifest-descriptor", "index", "index-descriptor"];

/// `[manifest[,...]:]key=value`; annotations of indexes need an index, which is not written yet.
fn annotation(word: &str) -> Result<(String, String), Failure> {
    let invalid = |why: &str| Failure::new(format!("invalid annotation {word:?}: {why}"));
    let (key, value) = word.split_once('=').ok_or_else(|| invalid("the form is key=value"))?;
    match key.split_once(':') {
        Some(("manifest", key)) => Ok((key.to_owned(), value.to_owned())),
        Some((kinds, _)) => {
            let kinds = kinds.split(',').map(|kind| kind.split('[').next().unwrap_or(kind));
            match kinds.into_iter().find(|kind| !ANNOTATED.contains(kind)) {
                Some(kind) => Err(invalid(&format!("unknown annotation type {kind:?}"))),
                None => Err(invalid("only annotations of the manifest are supported yet")),
            }
        }
        None => Ok((key.to_owned(), value.to_owned())),
    }
}

/// One `-o`: a directory, `-`, or `type=...` with its keys.
fn output(word: &str, annotations: &BTreeMap<String, String>) -> Result<Output, Failure> {
    let invalid = |why: String| Failure::new(format!("invalid output {word:?}: {why}"));
    if word == "-" {
        return Ok(Output::Tar { dest: Destination::Stdout });
    }
    // Only BuildKit's own words make it more than a path.
    if !word.contains(',') && !word.starts_with("type=") && !word.starts_with("dest=") {
        return Ok(Output::Local { dest: word.into() });
    }
    let mut keys = BTreeMap::new();
    for field in fields(word) {
        let (key, value) =
            field.split_once('=').ok_or_else(|| invalid(format!("{field:?} is no key=value")))?;
        keys.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    let kind = keys.remove("type").ok_or_else(|| invalid("type is required".to_owned()))?;
    let dest = keys.remove("dest").map(|dest| match dest.as_str() {
        "-" => Destination::Stdout,
        path => Destination::Path(path.into()),
    });
    let names = keys.remove("name").map(|names| names.split(',').map(str::to_owned).collect());
    let names: Vec<String> = names.unwrap_or_default();
    let flag = |keys: &mut BTreeMap<String, String>, key: &str| match keys.remove(key).as_deref() {
        None => Ok(None),
        Some("true" | "1" | "") => Ok(Some(true)),
        Some("false" | "0") => Ok(Some(false)),
        Some(other) => Err(invalid(format!("invalid value for {key}: {other}"))),
    };
    let mut options = ImageOptions { annotations: annotations.clone(), ..ImageOptions::default() };
    if matches!(kind.as_str(), "image" | "registry" | "oci" | "docker") {
        options.force_compression = flag(&mut keys, "force-compression")?.unwrap_or(false);
        options.oci_mediatypes = flag(&mut keys, "oci-mediatypes")?;
        let level = keys.remove("compression-level");
        let chosen = keys.remove("compression");
        options.compression = compression(chosen.as_deref(), level.as_deref()).map_err(invalid)?;
        let extra: Vec<String> =
            keys.keys().filter(|key| key.starts_with("annotation.")).cloned().collect();
        for key in extra {
            if let (Some(name), Some(value)) = (key.strip_prefix("annotation."), keys.get(&key)) {
                options.annotations.insert(name.to_owned(), value.clone());
            }
            keys.remove(&key);
        }
        // Wishes about what happens anyway, or makes no difference in this store.
        for key in ["unpack", "store", "context", "dangling-name-prefix", "name-canonical"] {
            keys.remove(key);
        }
    }
    let output = match kind.as_str() {
        "local" => match dest {
            Some(Destination::Path(dest)) => Output::Local { dest },
            _ => return Err(invalid("dest is required for local output".to_owned())),
        },
        "tar" => Output::Tar { dest: dest.unwrap_or(Destination::Stdout) },
        "oci" => {
            let tar = flag(&mut keys, "tar")?.unwrap_or(true);
            Output::Oci { dest: dest.unwrap_or(Destination::Stdout), tar, names, options }
        }
        "docker" => {
            if flag(&mut keys, "tar")? == Some(false) {
                return Err(invalid("docker archives are tars".to_owned()));
            }
            Output::Docker { dest, names, options }
        }
        "image" => {
            let push = flag(&mut keys, "push")?.unwrap_or(false);
            Output::Image { names, push, options }
        }
        "registry" => {
            keys.remove("push");
            Output::Image { names, push: true, options }
        }
        "cacheonly" => Output::CacheOnly,
        other => return Err(invalid(format!("unknown type {other:?}"))),
    };
    match keys.keys().next() {
        Some(key) => Err(invalid(format!("{key} is not supported for type={kind}"))),
        None => Ok(output),
    }
}

/// The fields of a line of CSV; quotes keep commas.
pub(super) fn fields(word: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for c in word.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

fn compression(kind: Option<&str>, level: Option<&str>) -> Result<Compression, String> {
    let level = |most: i32| match level {
        None => Ok(None),
        Some(text) => match text.parse::<i32>() {
            Ok(level) if (0..=most).contains(&level) => Ok(Some(level)),
            _ => Err(format!("compression-level {text:?} is not a number up to {most}")),
        },
    };
    match kind {
        None | Some("gzip") => Ok(match level(9)? {
            Some(level) => Compression::Gzip { level: level.unsigned_abs() },
            None => Compression::default(),
        }),
        Some("zstd") => Ok(Compression::Zstd { level: level(22)?.unwrap_or(3) }),
        Some("uncompressed") => Ok(Compression::None),
        Some(other) => Err(format!("compression {other:?} is not supported")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(word: &str) -> String {
        match output(word, &BTreeMap::new()) {
            Ok(output) => format!("{output:?}"),
            Err(failure) => failure.text().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn outputs_in_all_their_forms() {
        assert_eq!(shown("out"), "Local { dest: \"out\" }");
        assert_eq!(shown("-"), "Tar { dest: Stdout }");
        assert_eq!(shown("type=local,dest=out"), "Local { dest: \"out\" }");
        assert_eq!(shown("type=cacheonly"), "CacheOnly");
        assert!(shown("type=oci,dest=x,tar=false,compression=zstd").contains("tar: false"));
        assert!(shown("type=oci,dest=x,compression=zstd").contains("Zstd { level: 3 }"));
        assert!(
            shown("type=image,\"name=a,b\",push=true")
                .contains("names: [\"a\", \"b\"], push: true")
        );
        assert!(shown("type=registry").contains("push: true"));
        assert!(shown("type=docker").starts_with("Docker { dest: None"));
    }

    #[test]
    fn mistakes_in_outputs_are_named() {
        for (word, part) in [
            ("type=local", "dest is required"),
            ("type=nosuch", "unknown type"),
            ("dest=x", "type is required"),
            ("type=tar,nosuch=1", "nosuch is not supported"),
            ("type=oci,compression=lzma", "compression \"lzma\""),
            ("type=oci,compression-level=50", "not a number up to 9"),
        ] {
            assert!(shown(word).contains(part), "{word}: {}", shown(word));
        }
    }
}
