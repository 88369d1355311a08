//! `--output` and its shorthands.

use std::collections::BTreeMap;

use bld_dockerfile::suggest;
use bld_dockerfile::value::parse_bool;
use bld_engine::build::{Annotation, Destination, ImageOptions, Naming, Output};
use bld_layer::Compression;

use super::{Args, annotations, insecure};
use crate::error::Failure;

/// All outputs of a command line; none means the image store.
pub(super) fn all(args: &Args) -> Result<Vec<Output>, Failure> {
    let mut annotated: Vec<Annotation> = Vec::new();
    for word in &args.annotation {
        let found = annotations::of_flag(word);
        annotated.extend(
            found.map_err(|why| Failure::new(format!("invalid annotation {word:?}: {why}")))?,
        );
    }
    let mut outputs = Vec::new();
    for word in &args.output {
        outputs.push(output(word, &annotated)?);
    }
    let may_delete = args.allow.iter().any(|word| word == "buildx.local.delete");
    if !may_delete && outputs.iter().any(|out| matches!(out, Output::Local { delete: true, .. })) {
        return Err(Failure::new("mode=delete removes files at the destination")
            .with_hint("grant that with --allow=buildx.local.delete"));
    }
    let options = || ImageOptions {
        annotations: annotated.iter().cloned().collect(),
        ..ImageOptions::default()
    };
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
    if args.load || (outputs.is_empty() && !annotated.is_empty()) {
        let (names, options) = (Vec::new(), options());
        outputs.push(Output::Docker { dest: None, tar: true, names, options });
    }
    Ok(outputs)
}

/// The types of outputs.
const TYPES: [&str; 7] = ["cacheonly", "docker", "image", "local", "oci", "registry", "tar"];

/// One `-o`: a directory, `-`, or `type=...` with its keys.
fn output(word: &str, annotated: &[Annotation]) -> Result<Output, Failure> {
    let invalid = |why: String| Failure::new(format!("invalid output {word:?}: {why}"));
    if word == "-" {
        return Ok(Output::Tar { dest: Destination::Stdout, split: None });
    }
    // Only BuildKit's own words make it more than a path.
    if !word.contains(',') && !word.starts_with("type=") && !word.starts_with("dest=") {
        return Ok(Output::Local { dest: word.into(), split: None, delete: false });
    }
    let mut keys = Keys::parse(word).map_err(invalid)?;
    let kind = keys.take("type").ok_or_else(|| invalid("type is required".to_owned()))?;
    if !TYPES.contains(&kind.as_str()) {
        let near = suggest(&kind, TYPES.into_iter());
        let near = near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
        return Err(invalid(format!("unknown type {kind:?}{near}"))
            .with_hint(format!("the types are {}", TYPES.join(", "))));
    }
    let known = Keys::known(&kind);
    let output = keys.output(&kind, annotated).map_err(invalid)?;
    match keys.0.keys().next() {
        Some(key) => {
            let near = suggest(key, known.iter().copied());
            let near = near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
            let failure = invalid(format!("{key} is not supported for type={kind}{near}"));
            Err(match known.as_slice() {
                [] => failure.with_hint(format!("type={kind} has no keys")),
                known => failure.with_hint(format!("the keys are {}", known.join(", "))),
            })
        }
        None => Ok(output),
    }
}

/// The keys of one output that nobody has asked for yet.
struct Keys(BTreeMap<String, String>);

impl Keys {
    fn parse(word: &str) -> Result<Self, String> {
        let mut keys = BTreeMap::new();
        for field in fields(word) {
            let (key, value) =
                field.split_once('=').ok_or_else(|| format!("{field:?} is no key=value"))?;
            let key = key.trim();
            // The names of annotations are what they are.
            let key = match key.split_at_checked("annotation".len()) {
                Some((start, rest)) if start.eq_ignore_ascii_case("annotation") => {
                    format!("annotation{rest}")
                }
                _ => key.to_ascii_lowercase(),
            };
            keys.insert(key, value.trim().to_owned());
        }
        Ok(Self(keys))
    }

    /// The names of the keys that `kind` has, for people.
    fn known(kind: &str) -> Vec<&'static str> {
        const IMAGE: [&str; 8] = [
            "name",
            "compression",
            "compression-level",
            "force-compression",
            "oci-mediatypes",
            "rewrite-timestamp",
            "source-date-epoch",
            "annotation.KEY",
        ];
        const STORE: [&str; 9] = [
            "push",
            "registry.insecure",
            "push-by-digest",
            "name-canonical",
            "dangling-name-prefix",
            "danging-name-empty-only",
            "store",
            "unpack",
            "compatibility-version",
        ];
        match kind {
            "local" => vec!["dest", "platform-split", "mode"],
            "tar" => vec!["dest", "platform-split"],
            "oci" => ["dest", "tar"].into_iter().chain(IMAGE).collect(),
            "docker" => ["dest", "tar", "context"].into_iter().chain(IMAGE).collect(),
            "image" | "registry" => IMAGE.into_iter().chain(STORE).collect(),
            _ => Vec::new(),
        }
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, String> {
        let Some(text) = self.take(key) else { return Ok(None) };
        // A key alone is a wish.
        let value = if text.is_empty() { Some(true) } else { parse_bool(&text) };
        value.map(Some).ok_or_else(|| format!("invalid value for {key}: {text} is no boolean"))
    }

    fn number(&mut self, key: &str) -> Result<Option<i64>, String> {
        let Some(text) = self.take(key).filter(|text| !text.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("invalid value for {key}: {text} is no number"))
    }

    fn output(&mut self, kind: &str, annotated: &[Annotation]) -> Result<Output, String> {
        let dest = match kind {
            "image" | "registry" | "cacheonly" => None,
            _ => self.take("dest").map(|dest| match dest.as_str() {
                "-" => Destination::Stdout,
                path => Destination::Path(path.into()),
            }),
        };
        Ok(match kind {
            "local" => {
                let Some(Destination::Path(dest)) = dest else {
                    return Err("dest is required for local output".to_owned());
                };
                let delete = match self.take("mode").as_deref() {
                    None | Some("copy") => false,
                    Some("delete") => true,
                    Some(other) => {
                        return Err(format!("mode {other:?} is neither copy nor delete"));
                    }
                };
                Output::Local { dest, split: self.flag("platform-split")?, delete }
            }
            "tar" => {
                let dest = dest.unwrap_or(Destination::Stdout);
                Output::Tar { dest, split: self.flag("platform-split")? }
            }
            "oci" => {
                let tar = self.flag("tar")?.unwrap_or(true);
                let dest = dest.unwrap_or(Destination::Stdout);
                Output::Oci { dest, tar, names: self.names(), options: self.options(annotated)? }
            }
            "docker" => {
                // Contexts of docker: there is one engine here.
                self.take("context");
                let tar = self.flag("tar")?.unwrap_or(true);
                if !tar && dest.is_none() {
                    return Err("tar=false needs a dest".to_owned());
                }
                Output::Docker { dest, tar, names: self.names(), options: self.options(annotated)? }
            }
            "image" | "registry" => {
                let push = self.flag("push")?.unwrap_or(false) || kind == "registry";
                let mut options = self.options(annotated)?;
                options.naming = self.naming()?;
                self.flag(insecure::KEY)?;
                // It is unpacked in any case.
                self.flag("unpack")?;
                if self.number("compatibility-version")?.is_some_and(|version| version < 30) {
                    options.oci_mediatypes.get_or_insert(false);
                }
                Output::Image { names: self.names(), push, options }
            }
            _ => Output::CacheOnly,
        })
    }

    fn names(&mut self) -> Vec<String> {
        let names = self.take("name").unwrap_or_default();
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    }

    fn naming(&mut self) -> Result<Naming, String> {
        Ok(Naming {
            by_digest: self.flag("push-by-digest")?.unwrap_or(false),
            canonical: self.flag("name-canonical")?.unwrap_or(false),
            dangling: self.take("dangling-name-prefix").filter(|prefix| !prefix.is_empty()),
            // So it is spelled in BuildKit.
            dangling_if_unnamed: self.flag("danging-name-empty-only")?.unwrap_or(false),
            discard: !self.flag("store")?.unwrap_or(true),
        })
    }

    /// How images are written.
    fn options(&mut self, annotated: &[Annotation]) -> Result<ImageOptions, String> {
        let (kind, level) = (self.take("compression"), self.take("compression-level"));
        let mut options = ImageOptions {
            compression: compression(kind.as_deref(), level.as_deref())?,
            force_compression: self.flag("force-compression")?.unwrap_or(false),
            oci_mediatypes: self.flag("oci-mediatypes")?,
            annotations: annotated.iter().cloned().collect(),
            epoch: self.number("source-date-epoch")?,
            rewrite_timestamp: self.flag("rewrite-timestamp")?.unwrap_or(false),
            naming: Naming::default(),
        };
        let mut own = Vec::new();
        for (key, value) in &self.0 {
            if let Some(annotation) = annotations::of_key(key, value) {
                options.annotations.push(annotation.map_err(|why| format!("{key}: {why}"))?);
                own.push(key.clone());
            }
        }
        for key in own {
            self.take(&key);
        }
        Ok(options)
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

/// The compression `kind` at a level.
pub(in crate::commands) fn compression(
    kind: Option<&str>,
    level: Option<&str>,
) -> Result<Compression, String> {
    let level = |most: i32| match level {
        None => Ok(None),
        Some(text) => match text.parse::<i32>() {
            Ok(level) if (0..=most).contains(&level) => Ok(Some(level)),
            _ => Err(format!("compression-level {text:?} is not a number up to {most}")),
        },
    };
    match kind {
        None | Some("" | "gzip") => Ok(match level(9)? {
            Some(level) => Compression::Gzip { level: level.unsigned_abs() },
            None => Compression::default(),
        }),
        Some("zstd") => Ok(Compression::Zstd { level: level(22)?.unwrap_or(3) }),
        Some("zstd:chunked") => Ok(Compression::ZstdChunked { level: level(22)?.unwrap_or(3) }),
        Some("uncompressed") => Ok(Compression::None),
        Some("estargz") => {
            let level = level(9)?.map_or(5, i32::unsigned_abs);
            Ok(Compression::Estargz { level })
        }
        Some(other) => Err(format!(
            "compression {other:?} is not supported: use gzip, zstd, zstd:chunked, estargz or uncompressed"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(word: &str) -> String {
        match output(word, &[]) {
            Ok(output) => format!("{output:?}"),
            Err(failure) => failure.text().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn outputs_in_all_their_forms() {
        let local = "Local { dest: \"out\", split: None, delete: false }";
        assert_eq!(shown("out"), local);
        assert_eq!(shown("-"), "Tar { dest: Stdout, split: None }");
        assert_eq!(shown("type=local,dest=out"), local);
        assert_eq!(
            shown("type=local,dest=out,platform-split=false,mode=delete"),
            "Local { dest: \"out\", split: Some(false), delete: true }"
        );
        assert_eq!(shown("type=cacheonly"), "CacheOnly");
        assert!(shown("type=oci,dest=x,tar=false,compression=zstd").contains("tar: false"));
        assert!(shown("type=oci,dest=x,compression=zstd").contains("Zstd { level: 3 }"));
        assert!(
            shown("type=image,\"name=a,b\",push=true")
                .contains("names: [\"a\", \"b\"], push: true")
        );
        assert!(shown("type=registry").contains("push: true"));
        assert!(shown("type=docker").starts_with("Docker { dest: None"));
        assert!(shown("type=docker,tar=false,dest=d").contains("tar: false"));
        let all = "type=image,push-by-digest=true,name-canonical=true,store=false,unpack=true,\
                   rewrite-timestamp=true,source-date-epoch=7,force-compression=1,\
                   annotation.Key=Value,annotation-manifest-descriptor[linux/arm64].k=v";
        for part in [
            "by_digest: true",
            "canonical: true",
            "discard: true",
            "rewrite_timestamp: true",
            "epoch: Some(7)",
            "force_compression: true",
            "key: \"Key\", value: \"Value\"",
            "scope: ManifestDescriptor",
        ] {
            assert!(shown(all).contains(part), "{part} not in {}", shown(all));
        }
        assert!(
            shown("type=image,compatibility-version=20").contains("oci_mediatypes: Some(false)")
        );
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
            ("type=locall,dest=x", "unknown type \"locall\" (did you mean local?)"),
            ("type=image,dest=x", "dest is not supported for type=image"),
            ("type=image,pish=true", "pish is not supported for type=image (did you mean push?)"),
            ("type=oci,tar=perhaps", "invalid value for tar: perhaps is no boolean"),
            ("type=local,dest=x,mode=move", "mode \"move\" is neither copy nor delete"),
            ("type=image,source-date-epoch=now", "now is no number"),
            ("type=image,annotation-indx.a=b", "unknown annotation type \"indx\""),
            ("type=docker,tar=false", "tar=false needs a dest"),
        ] {
            assert!(shown(word).contains(part), "{word}: {}", shown(word));
        }
    }
}
