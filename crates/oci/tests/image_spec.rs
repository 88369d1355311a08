//! The valid and invalid documents that the image specification is published with.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bld_oci::{ImageConfig, MemoryImage, document, validate};
use serde::Deserialize;

/// A path below the documents of the image specification, which lie beside the workspace. `None` on a
/// machine that does not have them, which `cargo xtask test` says and CI refuses.
fn corpus(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !root.exists() {
        #[expect(clippy::print_stderr, reason = "a test that tests less says so")]
        {
            eprintln!("not tested against {path}: no corpus at {}", root.display());
        }
        return None;
    }
    Some(root.join("oci/image-spec").join(path))
}

#[derive(Deserialize)]
struct Fixture {
    kind: String,
    n: u32,
    why: String,
    expect_fail: bool,
    json: String,
}

#[expect(clippy::unnecessary_wraps, reason = "the signature is given by `Decode`")]
fn plain(_: &str, reader: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    Ok(reader)
}

/// Runs the document through whatever reads its kind; the error is for people.
fn read(kind: &str, json: &str) -> Result<(), String> {
    let bytes = json.as_bytes();
    match kind {
        "config" => {
            let config = ImageConfig::parse(bytes).map_err(|error| error.to_string())?;
            let image = MemoryImage::new(config, Vec::new()).map_err(|error| error.to_string())?;
            validate(&image, &plain).map_err(|problems| format!("{problems:?}"))
        }
        "descriptor" => document::parse_descriptor(bytes).map(drop).map_err(|e| e.to_string()),
        "manifest" => document::parse_manifest(bytes).map(drop).map_err(|e| e.to_string()),
        "imageindex" => document::parse_index(bytes).map(drop).map_err(|e| e.to_string()),
        // Old documents of three kinds; none of them may be mistaken for another.
        "backwards_compatibility" if json.contains("\"manifests\"") => read("imageindex", json),
        "backwards_compatibility" if json.contains("\"layers\": [") => read("manifest", json),
        "backwards_compatibility" => {
            ImageConfig::parse(bytes).map(drop).map_err(|error| error.to_string())
        }
        other => panic!("fixture of unknown kind {other}"),
    }
}

#[test]
fn fixtures_are_read_or_refused_as_the_specification_says() {
    let Some(fixtures) = corpus("schema_fixtures.json") else { return };
    let text = fs::read_to_string(fixtures).unwrap();
    let fixtures: Vec<Fixture> = serde_json::from_str(&text).unwrap();
    assert!(fixtures.len() >= 35, "only {} fixtures", fixtures.len());
    let wrong: Vec<_> = fixtures
        .iter()
        .filter_map(|Fixture { kind, n, why, expect_fail, json }| {
            let result = read(kind, json);
            (result.is_err() != *expect_fail).then(|| format!("{kind} {n} ({why}): {result:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn examples_are_read() {
    let Some(examples) = corpus("examples") else { return };
    for (file, kind) in [
        ("image-index-00.json", "imageindex"),
        ("image-index-01.json", "imageindex"),
        ("manifest-00.json", "manifest"),
        ("manifest-01.json", "descriptor"),
        ("manifest-04.json", "manifest"),
        ("descriptor-02.json", "descriptor"),
    ] {
        let json = fs::read_to_string(examples.join(file)).unwrap();
        read(kind, &json).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

#[test]
fn an_old_docker_config_comes_back_whole() {
    let Some(fixtures) = corpus("schema_fixtures.json") else { return };
    let text = fs::read_to_string(fixtures).unwrap();
    let fixtures: Vec<Fixture> = serde_json::from_str(&text).unwrap();
    let old = fixtures.iter().rfind(|fixture| fixture.kind == "backwards_compatibility").unwrap();
    let config = ImageConfig::parse(old.json.as_bytes()).unwrap();
    assert_eq!(config.config.entrypoint.as_deref(), Some(&["docker-entrypoint.sh".to_owned()][..]));
    // Fields of Docker's own, on both levels.
    assert_eq!(config.extra["docker_version"], "1.12.1");
    assert_eq!(config.config.extra["Hostname"], "09713501c176");
    let written = ImageConfig::parse(&config.to_bytes()).unwrap();
    assert_eq!(written.extra, config.extra);
    assert_eq!(written.config.extra, config.config.extra);
    assert_eq!(written.history, config.history);
}
