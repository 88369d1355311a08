//! `--cache-from` and `--cache-to`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use bld_engine::share::{
    AccessKeys, Bucket, CacheForm, CacheOptions, CacheSource, CacheTarget, ExportMode, LocalTarget,
    S3Cache, S3Target,
};
use bld_layer::Compression;
use bld_oci::Digest;

use super::outputs::{compression, fields};
use super::{gha, insecure};
use crate::error::Failure;
use crate::output::units::parse_duration;

/// Keys whose values are nobody's business.
const SECRETS: [&str; 4] = ["secret_access_key", "session_token", "token", "ghtoken"];

/// After how long a blob in a bucket counts as forgotten, unless somebody says so.
const REFRESH: Duration = Duration::from_hours(24);

/// Blobs that are sent to a bucket at the same time.
const PARALLELISM: usize = 4;

/// What one flag says.
pub(super) struct Words<'a> {
    flag: &'static str,
    word: &'a str,
    kind: String,
    keys: BTreeMap<String, String>,
}

/// All caches to read.
pub(super) fn sources(words: &[String]) -> Result<Vec<CacheSource>, Failure> {
    words.iter().filter(|word| gha::is_active(word)).map(|word| source(word)).collect()
}

/// All caches to write. `inline` asks for one in the image, as the older spelling does.
pub(super) fn targets(words: &[String], inline: bool) -> Result<Vec<CacheTarget>, Failure> {
    let words = words.iter().filter(|word| gha::is_active(word));
    let mut targets = words.map(|word| target(word)).collect::<Result<Vec<_>, _>>()?;
    if inline && !targets.contains(&CacheTarget::Inline) {
        targets.push(CacheTarget::Inline);
    }
    Ok(targets)
}

impl<'a> Words<'a> {
    fn parse(flag: &'static str, word: &'a str) -> Result<Self, Failure> {
        let mut words = Self { flag, word, kind: "registry".to_owned(), keys: BTreeMap::new() };
        // A reference alone stands for itself.
        if !word.contains('=') && !word.contains(',') {
            words.keys.insert("ref".to_owned(), word.to_owned());
            return Ok(words);
        }
        for field in fields(word) {
            let Some((key, value)) = field.split_once('=') else {
                return Err(words.invalid(&format!("{field:?} is no key=value")));
            };
            words.keys.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
        match words.keys.remove("type") {
            Some(kind) => words.kind = kind,
            None => return Err(words.invalid("type is required")),
        }
        Ok(words)
    }

    pub(super) fn invalid(&self, why: &str) -> Failure {
        Failure::new(format!("invalid {} {:?}: {why}", self.flag, without_secrets(self.word)))
    }

    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        self.keys.remove(key).filter(|value| !value.is_empty())
    }

    fn need(&mut self, key: &str) -> Result<String, Failure> {
        let missing = format!("{key} is required for type={}", self.kind);
        self.take(key).ok_or_else(|| self.invalid(&missing))
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, Failure> {
        match self.keys.remove(key).as_deref() {
            None => Ok(None),
            Some("true" | "1" | "") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(self.invalid(&format!("invalid value for {key}: {other}"))),
        }
    }

    /// What the kind does not know.
    fn end<T>(self, value: T) -> Result<T, Failure> {
        match self.keys.keys().next() {
            Some(key) => {
                Err(self.invalid(&format!("{key} is not supported for type={}", self.kind)))
            }
            None => Ok(value),
        }
    }
}

/// `word` as it may be shown.
fn without_secrets(word: &str) -> String {
    let shown = fields(word).into_iter().map(|field| match field.split_once('=') {
        Some((key, _)) if SECRETS.contains(&key.trim().to_ascii_lowercase().as_str()) => {
            format!("{key}=***")
        }
        _ => field,
    });
    shown.collect::<Vec<_>>().join(",")
}

fn source(word: &str) -> Result<CacheSource, Failure> {
    let mut words = Words::parse("--cache-from", word)?;
    if words.flag("mounts")? == Some(false) {
        return Err(words.invalid("cache mounts come only where there are none: there is no need"));
    }
    let source = match words.kind.as_str() {
        "registry" => {
            words.flag(insecure::KEY)?;
            CacheSource::Registry { reference: words.need("ref")? }
        }
        "local" => {
            let dir = words.need("src")?.into();
            let digest = words.take("digest").map(|digest| digest.parse::<Digest>()).transpose();
            let digest = digest.map_err(|error| words.invalid(&error.to_string()))?;
            let tag = words.take("tag").unwrap_or_else(|| "latest".to_owned());
            CacheSource::Local { dir, tag, digest }
        }
        "s3" => CacheSource::S3(bucket(&mut words)?),
        "gha" => CacheSource::Gha(gha::cache(&mut words)?),
        other => return Err(words.invalid(&unknown(other))),
    };
    words.end(source)
}

fn target(word: &str) -> Result<CacheTarget, Failure> {
    let mut words = Words::parse("--cache-to", word)?;
    let target = match words.kind.as_str() {
        "inline" => {
            let mode = words.take("mode");
            if mode.is_some_and(|mode| mode != "min") {
                return Err(words.invalid("an image has room for mode=min only"));
            }
            CacheTarget::Inline
        }
        "registry" => {
            words.flag(insecure::KEY)?;
            let reference = words.need("ref")?;
            CacheTarget::Registry { reference, options: options(&mut words)? }
        }
        "local" => {
            let dir = words.need("dest")?.into();
            let tag = words.take("tag").unwrap_or_else(|| "latest".to_owned());
            // BuildKit's way to get rid of what is of no use is to throw all away first.
            words.take("reset");
            let prune = words.flag("prune")?.unwrap_or(true);
            let local = LocalTarget { dir, tag, prune };
            CacheTarget::Local { local, options: options(&mut words)? }
        }
        "s3" => {
            let cache = bucket(&mut words)?;
            let refresh = match words.take("touch_refresh") {
                None => REFRESH,
                Some(text) => parse_duration(&text).map_err(|why| words.invalid(&why))?,
            };
            let parallelism = match words.take("upload_parallelism") {
                None => PARALLELISM,
                Some(text) => text
                    .parse::<NonZeroUsize>()
                    .map(NonZeroUsize::get)
                    .map_err(|_| words.invalid("upload_parallelism must be a positive integer"))?,
            };
            let s3 = S3Target { cache, refresh, parallelism };
            CacheTarget::S3 { s3, options: options(&mut words)? }
        }
        "gha" => {
            let gha = gha::cache(&mut words)?;
            CacheTarget::Gha { gha, options: options(&mut words)? }
        }
        other => return Err(words.invalid(&unknown(other))),
    };
    words.end(target)
}

/// What BuildKit calls a bucket and the objects in it.
fn bucket(words: &mut Words<'_>) -> Result<S3Cache, Failure> {
    let from_environment = || std::env::var("AWS_BUCKET").ok().filter(|name| !name.is_empty());
    let Some(name) = words.take("bucket").or_else(from_environment) else {
        return Err(words.invalid("bucket (or AWS_BUCKET) is required for type=s3"));
    };
    let bucket = Bucket {
        name,
        region: words.take("region"),
        endpoint: words.take("endpoint_url"),
        path_style: words.flag("use_path_style")?.unwrap_or(false),
    };
    let token = words.take("session_token");
    let keys = match (words.take("access_key_id"), words.take("secret_access_key")) {
        (Some(id), Some(secret)) => Some(AccessKeys { id, secret, token }),
        (None, None) if token.is_none() => None,
        _ => {
            let why = "access_key_id and secret_access_key go together";
            return Err(words.invalid(why));
        }
    };
    let prefix = words.take("prefix").unwrap_or_default();
    let mut below = |key, usual: &str| {
        // An empty one is one, too.
        let own = words.keys.remove(key).unwrap_or_else(|| usual.to_owned());
        format!("{prefix}{own}")
    };
    let (manifests, blobs) =
        (below("manifests_prefix", "manifests/"), below("blobs_prefix", "blobs/"));
    let names = words.take("name").unwrap_or_else(|| "buildkit".to_owned());
    let names = names.split(';').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Ok(S3Cache { bucket, keys, manifests, blobs, names })
}

fn unknown(kind: &str) -> String {
    format!("unknown type {kind:?}: the types are registry, local, inline, s3 and gha")
}

fn options(words: &mut Words<'_>) -> Result<CacheOptions, Failure> {
    let mode = match words.take("mode").as_deref() {
        None | Some("min") => ExportMode::Min,
        Some("max") => ExportMode::Max,
        Some(other) => return Err(words.invalid(&format!("unknown mode {other:?}"))),
    };
    let oci = words.flag("oci-mediatypes")?.unwrap_or(true);
    let image = words.flag("image-manifest")?.unwrap_or(oci);
    if image && !oci {
        return Err(words.invalid("image-manifest=true needs oci-mediatypes=true"));
    }
    let (kind, level) = (words.take("compression"), words.take("compression-level"));
    let compression: Compression =
        compression(kind.as_deref(), level.as_deref()).map_err(|why| words.invalid(&why))?;
    if compression != compression.faithful() {
        return Err(words.invalid("compression=estargz makes other layers: use zstd:chunked"));
    }
    Ok(CacheOptions {
        mode,
        form: CacheForm { image, oci },
        compression,
        force_compression: words.flag("force-compression")?.unwrap_or(false),
        ignore_error: words.flag("ignore-error")?.unwrap_or(false),
        mounts: words.flag("mounts")?.unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(word: &str) -> String {
        match source(word) {
            Ok(source) => format!("{source:?}"),
            Err(failure) => failure.text().unwrap_or_default().to_owned(),
        }
    }

    fn to(word: &str) -> String {
        match target(word) {
            Ok(target) => format!("{target:?}"),
            Err(failure) => failure.text().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn caches_in_all_their_forms() {
        assert_eq!(from("user/app:cache"), "Registry { reference: \"user/app:cache\" }");
        assert_eq!(from("type=registry,ref=a/b"), "Registry { reference: \"a/b\" }");
        assert!(from("type=local,src=d").contains("tag: \"latest\", digest: None"));
        assert!(to("user/app:cache").contains("mode: Min"));
        assert!(to("type=registry,ref=a,mode=max").contains("mode: Max"));
        assert!(to("type=registry,ref=a").contains("Form { image: true, oci: true }"));
        let docker = to("type=registry,ref=a,oci-mediatypes=false");
        assert!(docker.contains("Form { image: false, oci: false }"), "{docker}");
        assert!(to("type=local,dest=d,compression=zstd,ignore-error=true").contains("Zstd"));
        assert_eq!(to("type=inline"), "Inline");
        let s3 = from("type=s3,bucket=b,prefix=team/,name=main;x,use_path_style=true");
        for part in [
            "manifests: \"team/manifests/\", blobs: \"team/blobs/\", names: [\"main\", \"x\"]",
            "region: None, endpoint: None, path_style: true",
        ] {
            assert!(s3.contains(part), "{s3}");
        }
        let s3 =
            to("type=s3,bucket=b,blobs_prefix=,touch_refresh=2h,upload_parallelism=2,mode=max");
        for part in
            ["blobs: \"\", names: [\"buildkit\"]", "refresh: 7200s, parallelism: 2", "mode: Max"]
        {
            assert!(s3.contains(part), "{s3}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (word, part) in [
            ("type=registry", "ref is required for type=registry"),
            ("type=local,src=d,nosuch=1", "nosuch is not supported for type=local"),
            ("type=nosuch", "unknown type \"nosuch\""),
            ("ref=a", "type is required"),
            ("type=local,src=d,digest=x", "invalid --cache-from"),
        ] {
            assert!(from(word).contains(part), "{word}: {}", from(word));
        }
        for (word, part) in [
            ("type=local", "dest is required"),
            ("type=inline,mode=max", "mode=min only"),
            ("type=s3,bucket=b,upload_parallelism=0", "a positive integer"),
            (
                "type=gha,url=http://r.example,token=geheim,timeout=x",
                "token=***,timeout=x\": invalid duration",
            ),
            (
                "type=s3,bucket=b,secret_access_key=geheim",
                "secret_access_key=***\": access_key_id and secret_access_key go together",
            ),
            ("type=registry,ref=a,mode=all", "unknown mode \"all\""),
            (
                "type=registry,ref=a,image-manifest=true,oci-mediatypes=false",
                "needs oci-mediatypes",
            ),
        ] {
            assert!(to(word).contains(part), "{word}: {}", to(word));
        }
    }
}
