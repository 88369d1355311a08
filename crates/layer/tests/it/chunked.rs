//! zstd:chunked: the tar as ever, and files that can be had by themselves.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bld_layer::{Compression, Encoder, TarOptions, decoder, positions, write_layer};
use bld_oci::Digest;
use serde_json::Value;

fn encode(tar: &[u8], piece: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), &Compression::ZstdChunked { level: 3 }).unwrap();
    for piece in tar.chunks(piece) {
        encoder.write_all(piece).unwrap();
    }
    encoder.finish().unwrap()
}

fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    decoder(Cursor::new(bytes.to_vec())).unwrap().read_to_end(&mut plain).unwrap();
    plain
}

/// What a reader knows who has only the manifest and fetches parts of the blob.
struct Table {
    entries: Vec<Value>,
    /// Lines of tar-split.
    lines: Vec<Value>,
}

/// The frame at a position of the annotations, decompressed; its digest.
fn at(blob: &[u8], position: &str) -> (Vec<u8>, Digest) {
    let numbers: Vec<usize> = position.split(':').map(|number| number.parse().unwrap()).collect();
    let frame = &blob[numbers[0]..numbers[0] + numbers[1]];
    let head = &blob[numbers[0] - 8..numbers[0]];
    assert_eq!(head[..4], [0x50, 0x2a, 0x4d, 0x18]);
    assert_eq!(u32::from_le_bytes(head[4..].try_into().unwrap()) as usize, numbers[1]);
    let plain = decode(frame);
    assert_eq!(plain.len(), numbers[2]);
    (plain, Digest::of(frame))
}

fn table(blob: &[u8]) -> Option<Table> {
    let said = positions(&mut Cursor::new(blob)).unwrap();
    let key = |name: &str| said.get(&format!("io.github.containers.zstd-chunked.{name}"));
    let position = key("manifest-position")?;
    assert!(position.ends_with(":1"), "{position}");
    let (table, digest) = at(blob, position);
    assert_eq!(key("manifest-checksum").unwrap(), &digest.to_string());
    let table: Value = serde_json::from_slice(&table).unwrap();
    assert_eq!(table["version"], 1);
    let (lines, digest) = at(blob, key("tarsplit-position").unwrap());
    assert_eq!(table["tarSplitDigest"], digest.to_string());
    let lines = String::from_utf8(lines).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Some(Table { entries: table["entries"].as_array().unwrap().clone(), lines })
}

/// The contents of all files, each from its own part of the blob.
fn files(blob: &[u8], table: &Table) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let number = |entry: &Value, key: &str| entry[key].as_u64().unwrap_or(0) as usize;
    let mut ends: Vec<usize> = table.entries.iter().map(|entry| number(entry, "offset")).collect();
    ends.extend(table.entries.iter().map(|entry| number(entry, "endOffset")));
    ends.sort_unstable();
    for entry in &table.entries {
        let (name, kind) = (entry["name"].as_str().unwrap(), entry["type"].as_str().unwrap());
        if !matches!(kind, "reg" | "chunk") || number(entry, "offset") == 0 {
            continue;
        }
        let start = number(entry, "offset");
        let end = *ends.iter().find(|end| **end > start).unwrap();
        let part = decode(&blob[start..end]);
        if entry["chunkDigest"].is_string() {
            assert_eq!(entry["chunkDigest"], Digest::of(&part).to_string(), "{name}");
            assert_eq!(number(entry, "chunkSize"), part.len());
        }
        let file = files.entry(name.to_owned()).or_default();
        assert_eq!(number(entry, "chunkOffset"), file.len(), "{name}");
        file.extend(part);
    }
    for entry in table.entries.iter().filter(|entry| entry["digest"].is_string()) {
        let name = entry["name"].as_str().unwrap();
        assert_eq!(entry["digest"], Digest::of(&files[name]).to_string(), "{name}");
        assert_eq!(number(entry, "size"), files[name].len(), "{name}");
    }
    files
}

/// The tar, put together from the lines and the files.
fn assembled(table: &Table, files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut tar = Vec::new();
    for (position, line) in table.lines.iter().enumerate() {
        assert_eq!(line["position"], position);
        let payload = line["payload"].as_str().map(|text| STANDARD.decode(text).unwrap());
        match line["type"].as_u64() {
            Some(2) => tar.extend(payload.unwrap()),
            Some(1) if line["size"].as_u64().unwrap_or(0) > 0 => {
                assert_eq!(payload.unwrap().len(), 8);
                tar.extend(&files[line["name"].as_str().unwrap()]);
            }
            Some(1) => assert_eq!(payload, None),
            other => panic!("a line of type {other:?}"),
        }
    }
    tar
}

/// Checks the blob of a tar by all that is said in it; its entries.
fn check(tar: &[u8]) -> Vec<Value> {
    let blob = encode(tar, 10_007);
    assert!(decode(&blob) == tar, "it holds another tar");
    assert!(encode(tar, 4096) == blob && encode(tar, tar.len()) == blob, "writes show");
    let table = table(&blob).unwrap();
    let files = files(&blob, &table);
    assert!(assembled(&table, &files) == tar, "the lines lead to another tar");
    table.entries
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A directory with files of all kinds.
fn fill(dir: &Path) {
    fs::create_dir_all(dir.join("d/e")).unwrap();
    fs::write(dir.join("empty"), "").unwrap();
    fs::write(dir.join("d/small"), "small\n").unwrap();
    fs::write(dir.join("d/block"), vec![b'x'; 512]).unwrap();
    fs::write(dir.join("large"), noise(2_500_000)).unwrap();
    fs::write(dir.join("exact"), noise(2 << 20)).unwrap();
    fs::write(dir.join("ümlaut"), "text\n").unwrap();
    fs::write(dir.join("n".repeat(200)), "long\n").unwrap();
    symlink("../nowhere", dir.join("d/link")).unwrap();
    fs::hard_link(dir.join("d/small"), dir.join("d/twin")).unwrap();
    let run = |line: &str| {
        assert!(Command::new("sh").args(["-c", line]).current_dir(dir).status().unwrap().success());
    };
    run("mkfifo p; mknod n c 1 3; chown 3000000:7 empty; chmod 4755 d/block; touch -d @1.5 large");
    run("setfattr -n user.one -v 1 d/small 2>/dev/null || true");
}

#[test]
fn files_are_found_and_the_tar_is_what_it_was() {
    let place = tempfile::tempdir().unwrap();
    fill(place.path());
    let mut tar = Vec::new();
    write_layer(place.path(), &mut tar, &TarOptions::default()).unwrap();
    let entries = check(&tar);
    let find = |name: &str| entries.iter().find(|entry| entry["name"] == name).unwrap();
    assert_eq!(find("large")["modtime"], "1970-01-01T00:00:01Z");
    assert_eq!(find("large")["chunkSize"], 1 << 20);
    assert_eq!(entries.iter().filter(|entry| entry["type"] == "chunk").count(), 2 + 1);
    assert_eq!(find("empty")["uid"], 3_000_000);
    assert_eq!(find("empty").get("digest"), None);
    assert_eq!(find("d/link")["linkName"], "../nowhere");
    assert_eq!(find("d/")["type"], "dir");
    assert_eq!(find("d/block")["mode"], 0o4755);
    assert_eq!((&find("n")["type"], &find("n")["devMinor"]), (&"char".into(), &3.into()));
    assert_eq!(find(&"n".repeat(200))["size"], 5);
    let twins = entries.iter().filter(|entry| entry["type"] == "hardlink");
    assert_eq!(twins.count(), 1);
}

#[test]
fn tars_of_others_are_understood_or_left_as_they_are() {
    let place = tempfile::tempdir().unwrap();
    fill(place.path());
    let tar = |arguments: &[&str]| {
        let mut command = Command::new("tar");
        command.arg("-c").args(arguments).current_dir(place.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    for arguments in [
        &["--format=gnu", "."][..],
        &["--format=ustar", "d", "large", "exact"],
        &["--format=posix", "."],
        &["--format=gnu", "-b", "1", "."],
    ] {
        let entries = check(&tar(arguments));
        assert!(entries.len() > 7);
    }
    // What has no words in the table: there is none, and all else is as it should be.
    let twice = tar(&["d/small", "d/small"]);
    let sparse = {
        fs::write(place.path().join("holes"), "").unwrap();
        let line = "truncate -s 1M holes; echo x >>holes";
        let made = Command::new("sh").args(["-c", line]).current_dir(place.path()).status();
        assert!(made.unwrap().success());
        tar(&["--format=gnu", "--sparse", "holes"])
    };
    fs::create_dir(place.path().join("odd")).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"odd/latin\xe4");
    fs::write(place.path().join(odd), "odd").unwrap();
    let bytes = tar(&["odd"]);
    fs::remove_dir_all(place.path().join("odd")).unwrap();
    let whole = tar(&["."]);
    let cut = &whole[..whole.len() - 20_000];
    let garbage = [&whole[..], b"more"].concat();
    for tar in [&twice, &sparse, &bytes, cut, &garbage, b"no tar at all", b""] {
        let blob = encode(tar, 1000);
        assert!(decode(&blob) == tar);
        assert!(table(&blob).is_none());
    }
}

#[test]
fn the_bytes_are_the_same_everywhere() {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, contents) in [("a", noise(1_500_000)), ("b", b"b".repeat(70_000)), ("c", Vec::new())]
    {
        let mut header = tar::Header::new_ustar();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &contents[..]).unwrap();
    }
    let blob = encode(&tar.into_inner().unwrap(), 999);
    // If an update changes this, the revision in `Compression::key` has to go up.
    let digest = "177d326abe316f28fb471ac122ca21ba159db23d9bff353c62da0249db0657b4";
    assert_eq!(Digest::of(&blob).hex(), digest);
}

#[test]
fn a_footer_that_lies_leads_nowhere() {
    let mut blob = b"no frame".to_vec();
    blob.extend([0x50, 0x2a, 0x4d, 0x18, 64, 0, 0, 0]);
    for word in [u64::MAX - 3, 10, 10, 1, 0, 0, 0] {
        blob.extend(word.to_le_bytes());
    }
    blob.extend(b"GNUlInUx");
    assert!(positions(&mut Cursor::new(&blob)).unwrap().is_empty());
    assert!(positions(&mut Cursor::new(&blob[..20])).unwrap().is_empty());
    assert!(positions(&mut Cursor::new(b"")).unwrap().is_empty());
}
