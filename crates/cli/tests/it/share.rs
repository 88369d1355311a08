//! Caches that machines share, and layers that stay where they are until somebody needs them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bld_testkit::{Cmd, Output, Registry, S3Server, TestEnv, http};
use serde_json::Value;

use crate::{BLD, env};

/// Stores that have nothing but their base, in a registry, in common.
pub(crate) struct Farm {
    registry: Registry,
    pub(crate) dockerfile: String,
}

impl Farm {
    /// Twenty steps and three bases, in three stages, on a base with something in it that nothing reads.
    pub(crate) fn new() -> Self {
        let registry = Registry::start().unwrap();
        let base = format!("{}/base:1", registry.host());
        let first = env();
        // No compression makes it small enough to pass unseen.
        first.write("ctx/ballast", noise(8 << 20));
        let built = first.build(&base, "FROM busybox\nCOPY ballast /\n", ["--push"]);
        let _ = built.expect_code(0);
        let mut dockerfile = format!("FROM {base} AS one\nCOPY src /src\n");
        for n in 0..11 {
            writeln!(dockerfile, "RUN cat /src/file >> /one && echo {n} >> /one").unwrap();
        }
        writeln!(dockerfile, "FROM {base} AS two").unwrap();
        for n in 0..6 {
            writeln!(dockerfile, "RUN echo {n} >> /two").unwrap();
        }
        dockerfile.push_str("FROM scratch\nCOPY --from=one /one /one\nCOPY --from=two /two /two\n");
        Self { registry, dockerfile }
    }

    fn build(&self, machine: &TestEnv, arguments: &[&str]) -> Output {
        let arguments = ["--network", "none"].iter().chain(arguments).copied();
        machine.build("app:1", &self.dockerfile, arguments).expect_code(0)
    }
}

/// Bytes that no compressor makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    bytes.take(length).collect()
}

/// A machine with an empty store.
pub(crate) fn machine() -> TestEnv {
    let env = TestEnv::new(BLD);
    env.write("ctx/src/file", "source\n");
    env
}

/// Steps that took work.
pub(crate) fn ran(output: &Output) -> usize {
    let lines: Vec<&str> = output.stderr.lines().collect();
    let step = |number: &str| {
        let title = lines.iter().find(|line| line.starts_with(&format!("{number} [")));
        title.is_some_and(|title| title.contains("] RUN") || title.contains("] COPY"))
    };
    let done = lines.iter().filter_map(|line| {
        let (number, rest) = line.split_once(' ')?;
        rest.starts_with("DONE").then_some(number)
    });
    done.filter(|number| step(number)).count()
}

/// Bytes that the store takes.
fn size(env: &TestEnv) -> u64 {
    let du = Cmd::new("du").args(["-s", "-B1"]).arg(env.root()).ok();
    du.text().split_whitespace().next().unwrap().parse().unwrap()
}

fn app(env: &TestEnv) -> (String, String) {
    let files = env.path("files");
    let output = format!("type=local,dest={}", files.display());
    let _ = env.build("app:1", "FROM app:1\n", ["-o", &output]).expect_code(0);
    let read = |name: &str| fs::read_to_string(files.join(name)).unwrap();
    (read("one"), read("two"))
}

/// The second machine builds with what the first has said: nothing runs, and nothing is fetched that
/// nothing reads. What it has fetched until somebody wants the files is for `read_so_far` to look at.
fn second_machine_runs_nothing(farm: &Farm, to: &str, from: &str, read_so_far: impl FnOnce()) {
    let first = machine();
    assert_eq!(ran(&farm.build(&first, &["--cache-to", to])), 20);
    let second = machine();
    let built = farm.build(&second, &["--cache-from", from]);
    assert_eq!(ran(&built), 0, "{}", built.stderr);
    assert!(size(&second) < 4 << 20, "layers that nothing reads were fetched");
    read_so_far();
    let id = |env: &TestEnv| env.bld(["images", "-q", "--no-trunc", "app:1"]).ok().stdout;
    assert_eq!(id(&first), id(&second));
    assert_eq!(app(&second), app(&first));
    let _ = second.bld(["system", "check"]).ok();
    second.assert_nothing_left();
}

#[test]
fn two_machines_share_a_registry() {
    let farm = Farm::new();
    let proxy = http::Server::before(&farm.registry.host(), |_| http::Reply::Pass);
    let reference = format!("{}/cache:1", proxy.host());
    let to = format!("type=registry,ref={reference},mode=max");
    let data = farm.registry.data().join("blobs/sha256");
    let read_so_far = || {
        let read = proxy.seen("GET", "/blobs/sha256:");
        assert!(!read.is_empty(), "the document of the cache is a blob");
        for request in read {
            let (_, hex) = request.path().rsplit_once(':').unwrap();
            let blob = fs::read(data.join(&hex[..2]).join(hex).join("data")).unwrap();
            assert_eq!(blob[0], b'{', "a layer was fetched: {hex}");
        }
    };
    let from = format!("type=registry,ref={reference}");
    second_machine_runs_nothing(&farm, &to, &from, read_so_far);
}

#[test]
fn two_machines_share_a_directory() {
    let farm = Farm::new();
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("cache");
    let to = format!("type=local,dest={},mode=max", dir.display());
    let from = format!("type=local,src={}", dir.display());
    second_machine_runs_nothing(&farm, &to, &from, || {
        // Where no layer is what it should be, whoever reads none finds nothing wrong.
        let (copy, from) = (place.path().join("copy"), &dir);
        Cmd::new("cp").arg("-r").arg(from).arg(&copy).ok();
        let layers = small_blobs(&copy);
        assert!(layers.len() >= 18, "only {} layers", layers.len());
        for layer in layers {
            fs::write(layer, "no layer").unwrap();
        }
        let from = format!("type=local,src={}", copy.display());
        let built = farm.build(&machine(), &["--cache-from", &from]);
        assert_eq!(ran(&built), 0, "{}", built.stderr);
        assert!(!built.stderr.contains("cannot be had"), "{built}");
    });
    // It is an OCI layout that other tools read, and what a later build has no use for is removed.
    let layout = format!("oci:{}:latest", dir.display());
    let raw = Cmd::new("skopeo").args(["inspect", "--raw", &layout]).ok();
    let manifest: Value = serde_json::from_str(&raw.stdout).unwrap();
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.buildkit.cacheconfig.v0");
    let blobs = || fs::read_dir(dir.join("blobs/sha256")).unwrap().count();
    let before = blobs();
    let own = machine();
    own.write("ctx/src/file", "changed\n");
    farm.build(&own, &["--cache-to", &format!("type=local,dest={}", dir.display())]);
    assert!(blobs() < before, "mode=min has fewer layers");
}

/// A bucket as two machines share it.
struct Bucket {
    server: S3Server,
    words: String,
}

impl Bucket {
    fn new() -> Self {
        let server = S3Server::start().unwrap();
        let words = format!(
            "type=s3,bucket={},region=eu-west-1,endpoint_url={},prefix=team/,name=main;other",
            S3Server::BUCKET,
            server.url()
        );
        Self { server, words }
    }

    /// With keys in the word itself.
    fn with_keys(&self) -> String {
        let (id, secret) = (&self.server.id, &self.server.secret);
        format!("{},access_key_id={id},secret_access_key={secret}", self.words)
    }

    /// A machine whose home has the keys.
    fn machine(&self) -> TestEnv {
        let env = machine();
        let (id, secret) = (&self.server.id, &self.server.secret);
        let text = format!("[default]\naws_access_key_id={id}\naws_secret_access_key={secret}\n");
        fs::create_dir(env.home().join(".aws")).unwrap();
        fs::write(env.home().join(".aws/credentials"), text).unwrap();
        env
    }

    fn layers(&self) -> Vec<String> {
        let keys = self.server.keys().into_iter();
        keys.filter(|key| key.starts_with("team/blobs/sha256:")).collect()
    }
}

#[test]
fn two_machines_share_a_bucket() {
    let (farm, bucket) = (Farm::new(), Bucket::new());
    let to = format!("{},mode=max", bucket.with_keys());
    let first = machine();
    assert_eq!(ran(&farm.build(&first, &["--cache-to", &to])), 20);
    // BuildKit's names, and its document with all there is to say of the layers.
    let keys = bucket.server.keys();
    assert!(keys.contains(&"team/manifests/main".to_owned()), "{keys:?}");
    assert_eq!(bucket.layers().len() + 2, keys.len(), "{keys:?}");
    let document = bucket.server.script(
        "print(s3.get_object(Bucket='farm', Key='team/manifests/other')['Body'].read().decode())",
    );
    let document: Value = serde_json::from_str(&document).unwrap();
    let layer = &document["layers"][0];
    assert!(keys.contains(&format!("team/blobs/{}", layer["blob"].as_str().unwrap())));
    assert!(layer["annotations"]["diffID"].as_str().unwrap().starts_with("sha256:"));
    let second = bucket.machine();
    let before = bucket.server.requests().len();
    let built = farm.build(&second, &["--cache-from", &bucket.words]);
    assert_eq!(ran(&built), 0, "{}", built.stderr);
    assert!(size(&second) < 4 << 20, "layers that nothing reads were fetched");
    let requests = bucket.server.requests().split_off(before);
    assert_eq!(requests, ["GET /farm/team/manifests/main", "GET /farm/team/manifests/other"]);
    assert_eq!(app(&second), app(&first));
    let _ = second.bld(["system", "check"]).ok();
    second.assert_nothing_left();
    // Who writes what is there, sends only the documents.
    let before = bucket.server.requests().len();
    farm.build(&first, &["--cache-to", &to]);
    let sent = |request: &String| request.starts_with("PUT");
    let requests = bucket.server.requests().split_off(before);
    assert_eq!(requests.iter().filter(|request| sent(request)).count(), 2, "{requests:?}");
    // What nobody has asked for in long is as new afterwards, though nothing of it is sent.
    let age = "print(min(o['LastModified'] for o in s3.list_objects_v2(Bucket='farm', \
               Prefix='team/blobs')['Contents']))";
    let old = bucket.server.script(age);
    std::thread::sleep(Duration::from_secs(2));
    farm.build(&first, &["--cache-to", &format!("{to},touch_refresh=1s")]);
    assert_ne!(bucket.server.script(age), old);
    let built = farm.build(&bucket.machine(), &["--cache-from", &bucket.words]);
    assert_eq!(ran(&built), 0, "{}", built.stderr);
}

#[test]
fn what_is_lost_or_damaged_in_a_bucket_is_made_again() {
    let (farm, bucket) = (Farm::new(), Bucket::new());
    let first = machine();
    farm.build(&first, &["--cache-to", &format!("{},mode=max", bucket.with_keys())]);
    bucket.server.script(
        "for n, o in enumerate(s3.list_objects_v2(Bucket='farm', Prefix='team/blobs')['Contents']):\n \
         key = o['Key']\n \
         if n % 3 == 0: s3.delete_object(Bucket='farm', Key=key)\n \
         elif n % 3 == 1: s3.put_object(Bucket='farm', Key=key, Body=b'no layer')\n \
         else: s3.put_object(Bucket='farm', Key=key, Body=b'x' * (o['Size'] + 1))",
    );
    let second = bucket.machine();
    let output = format!("type=local,dest={}", second.path("out").display());
    let built = farm.build(&second, &["--cache-from", &bucket.words, "-o", &output]);
    let _ = built.expect_text("cannot be had from s3://farm/team/blobs/");
    let read = |name: &str| fs::read_to_string(second.path("out").join(name)).unwrap();
    assert_eq!((read("one"), read("two")), app(&first));
    let _ = second.bld(["system", "check"]).ok();
    // A document that is none is as good as none.
    bucket.server.script("s3.put_object(Bucket='farm', Key='team/manifests/main', Body=b'{')");
    let third = bucket.machine();
    let built = farm.build(&third, &["--cache-from", &bucket.words]);
    assert_eq!(ran(&built), 20, "{}", built.stderr);
    let _ = built.expect_text("malformed");
}

#[test]
fn a_large_layer_goes_to_a_bucket_in_parts() {
    let bucket = Bucket::new();
    let noise = noise(20 << 20);
    let (first, second) = (bucket.machine(), bucket.machine());
    for machine in [&first, &second] {
        machine.write("ctx/noise", &noise);
    }
    let dockerfile = "FROM scratch\nCOPY noise /\n";
    let to = ["--cache-to", &bucket.words];
    let _ = first.build("noise:1", dockerfile, to).expect_code(0);
    let parts = bucket.server.requests();
    assert!(parts.iter().filter(|request| request.contains("partNumber=")).count() >= 3);
    let output = format!("type=local,dest={}", second.path("out").display());
    let from = ["--cache-from", &bucket.words, "-o", &output];
    let built = second.build("noise:1", dockerfile, from).expect_code(0);
    assert_eq!(ran(&built), 0, "{}", built.stderr);
    assert!(fs::read(second.path("out/noise")).unwrap() == noise);
}

#[test]
fn keys_of_a_bucket_are_told_to_nobody() {
    let (farm, bucket) = (Farm::new(), Bucket::new());
    let own = machine();
    let secret = "geheim/geheim+geheim";
    let words = format!(
        "{},access_key_id={},secret_access_key={secret},session_token=tokengeheim",
        bucket.words, bucket.server.id
    );
    let build = |word: &str| {
        let arguments = ["--network", "none", "--cache-from", word, "--cache-to", word];
        own.build("app:1", &farm.dockerfile, arguments)
    };
    let refused = build(&words).expect_code(1).expect_text("s3://farm/team/");
    let wrong = build(&format!("{words},nosuch=1")).expect_code(1).expect_text("nosuch");
    let right = build(&bucket.with_keys()).expect_code(0);
    for (output, secret) in [(refused, secret), (wrong, secret), (right, &bucket.server.secret)] {
        assert!(!output.stderr.contains(secret) && !output.stdout.contains(secret), "{output:?}");
        assert!(!output.stderr.contains("tokengeheim"), "{}", output.stderr);
    }
    for secret in [secret, "tokengeheim", &bucket.server.secret] {
        let found = Cmd::new("grep").args(["-rlaF", secret]).arg(own.root()).run();
        assert_eq!(found.stdout, "");
    }
    // Without any, that is said at once.
    let around = [("AWS_EC2_METADATA_DISABLED", "true")];
    let build = own.bld(["build", "--cache-to", &bucket.words, "-f", "-", "ctx"]);
    let build = around.into_iter().fold(build, |build, (name, value)| build.env(name, value));
    let none = build.stdin(farm.dockerfile.clone()).run().expect_code(1);
    let _ = none.expect_text("there are no credentials: set AWS_ACCESS_KEY_ID");
}

/// Builds a step that adds a line to a cache mount; all lines that it saw, and what was told.
fn with_cache_mount(env: &TestEnv, line: &str, caches: &[&str]) -> (String, Output) {
    env.load_busybox();
    let dockerfile = format!(
        "FROM busybox\nRUN --mount=type=cache,id=tools,target=/c,uid=7,mode=0700 \
         echo {line} >> /c/log && cp /c/log /log && stat -c %u:%a /c > /owner\n"
    );
    let output = format!("type=local,dest={}", env.path("out").display());
    let arguments = ["--network", "none", "-o", &output].into_iter().chain(caches.iter().copied());
    let built = env.build("app:1", &dockerfile, arguments).expect_code(0);
    let read = |name: &str| fs::read_to_string(env.path("out").join(name)).unwrap();
    assert_eq!(read("owner"), "7:700\n");
    (read("log"), built)
}

/// Cache mounts go to two places, one after the other, and come back where a step needs them.
fn cache_mounts_travel(places: [(&str, &str); 2], machine: impl Fn() -> TestEnv) {
    let [(to, from), (on, back)] = places;
    let (to, on) = (format!("{to},mounts=true"), format!("{on},mounts=true"));
    assert_eq!(with_cache_mount(&machine(), "a", &["--cache-to", &to]).0, "a\n");
    let second = machine();
    let caches = ["--cache-from", from, "--cache-to", &on];
    let (lines, built) = with_cache_mount(&second, "a", &caches);
    assert_eq!((lines.as_str(), ran(&built)), ("a\n", 0), "{}", built.stderr);
    let mounts = fs::read_dir(second.root().join("cachemounts")).unwrap().count();
    assert_eq!(mounts, 0, "nothing has run, so nothing was needed");
    let third = machine();
    let caches = ["--cache-from", &format!("{back},mounts=true")];
    assert_eq!(with_cache_mount(&third, "b", &caches).0, "a\nb\n");
    // What is here stays.
    assert_eq!(with_cache_mount(&third, "c", &caches).0, "a\nb\nc\n");
    third.assert_nothing_left();
}

#[test]
fn cache_mounts_travel_by_way_of_a_directory() {
    let place = tempfile::tempdir().unwrap();
    let word = |key: &str, name| format!("type=local,{key}={}", place.path().join(name).display());
    let [to, from, on, back] = [("dest", "1"), ("src", "1"), ("dest", "2"), ("src", "2")]
        .map(|(key, name)| word(key, name));
    cache_mounts_travel([(&to, &from), (&on, &back)], machine);
    // One that is damaged is as good as none.
    let blobs = fs::read_dir(place.path().join("2/blobs/sha256")).unwrap();
    let archives = blobs.map(|blob| blob.unwrap().path());
    for archive in archives.filter(|blob| fs::read(blob).unwrap().starts_with(b"\x28\xb5\x2f\xfd"))
    {
        fs::write(archive, "no archive").unwrap();
    }
    let (lines, built) = with_cache_mount(&machine(), "d", &["--cache-from", &back]);
    assert_eq!(lines, "d\n");
    let _ = built.expect_text("the cache mount tools begins empty");
}

#[test]
fn cache_mounts_travel_by_way_of_a_registry() {
    let registry = Registry::start().unwrap();
    let word = |name| format!("type=registry,ref={}/{name}", registry.host());
    let (one, two) = (word("one:1"), word("two:1"));
    cache_mounts_travel([(&one, &one), (&two, &two)], machine);
}

#[test]
fn cache_mounts_travel_by_way_of_a_bucket() {
    let bucket = Bucket::new();
    let other = bucket.words.replace("team/", "other/");
    cache_mounts_travel([(&bucket.words, &bucket.words), (&other, &other)], || bucket.machine());
}

#[test]
fn an_image_says_what_made_it() {
    let farm = Farm::new();
    let first = machine();
    let name = format!("{}/app:1", farm.registry.host());
    let dockerfile = &farm.dockerfile;
    let inline = ["--network", "none", "--cache-to", "type=inline", "--push"];
    let _ = first.build(&name, dockerfile, inline).expect_code(0);
    let second = machine();
    let built = farm.build(&second, &["--cache-from", &name]);
    assert_eq!(ran(&built), 0, "{}", built.stderr);
}

#[test]
fn a_file_that_changed_takes_only_what_depends_on_it() {
    let farm = Farm::new();
    let reference = format!("{}/cache:1", farm.registry.host());
    let to = format!("type=registry,ref={reference},mode=max");
    farm.build(&machine(), &["--cache-to", &to]);
    let second = machine();
    second.write("ctx/src/file", "other\n");
    let built = farm.build(&second, &["--cache-from", &reference]);
    // COPY src and the eleven after it, and the last two; not those of stage two.
    assert_eq!(ran(&built), 1 + 11 + 2, "{}", built.stderr);
}

#[test]
fn what_is_lost_or_damaged_is_made_again() {
    let farm = Farm::new();
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("cache");
    let to = format!("type=local,dest={},mode=max", dir.display());
    let first = machine();
    farm.build(&first, &["--cache-to", &to]);
    for (number, blob) in small_blobs(&dir).into_iter().enumerate() {
        match number % 2 {
            0 => fs::write(blob, "no layer").unwrap(),
            _ => fs::remove_file(blob).unwrap(),
        }
    }
    let second = machine();
    let from = format!("type=local,src={}", dir.display());
    let output = format!("type=local,dest={}", second.path("out").display());
    farm.build(&second, &["--cache-from", &from, "-o", &output]);
    let read = |name: &str| fs::read_to_string(second.path("out").join(name)).unwrap();
    assert_eq!((read("one"), read("two")), app(&first));
    let _ = second.bld(["system", "check"]).ok();
}

/// What the network does to blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Fine,
    /// The first answer breaks off.
    Shaky,
    Gone,
    Silent,
}

#[test]
fn a_network_that_fails_costs_a_step_and_no_build() {
    let farm = Farm::new();
    let network = Arc::new(Mutex::new(Network::Fine));
    let now = Arc::clone(&network);
    let proxy =
        http::Server::before(&farm.registry.host(), move |request| match *now.lock().unwrap() {
            _ if !request.is("GET", "/blobs/") => http::Reply::Pass,
            Network::Fine => http::Reply::Pass,
            Network::Shaky if request.nth > 0 => http::Reply::Pass,
            Network::Shaky => http::Reply::CutAfter(10),
            Network::Gone => http::Reply::Close,
            Network::Silent => http::Reply::Stall(Duration::from_secs(50)),
        });
    let reference = format!("{}/cache:1", proxy.host());
    let to = format!("type=registry,ref={reference},mode=max");
    let first = machine();
    farm.build(&first, &["--cache-to", &to]);
    // The document of the cache is a blob, too, and is there each time.
    let read = |machine: &TestEnv, set: Network| {
        *network.lock().unwrap() = Network::Fine;
        farm.build(machine, &["--cache-from", &reference]);
        *network.lock().unwrap() = set;
        let output = format!("type=local,dest={}", machine.path("out").display());
        farm.build(machine, &["-o", &output])
    };
    let out = |machine: &TestEnv| {
        let read = |name: &str| fs::read_to_string(machine.path("out").join(name)).unwrap();
        (read("one"), read("two"))
    };
    let second = machine();
    let built = read(&second, Network::Shaky);
    assert_eq!((ran(&built), out(&second)), (0, app(&first)), "{built}");
    let third = machine();
    let built = read(&third, Network::Gone);
    assert!(ran(&built) > 0, "{built}");
    let warned = format!("cannot be had from {}/cache", proxy.host());
    let built = built.expect_text(&warned).expect_text("what needs it is made again");
    assert_eq!(out(&third), app(&first), "{built}");
    let _ = third.bld(["system", "check"]).ok();

    let fourth = machine();
    *network.lock().unwrap() = Network::Fine;
    farm.build(&fourth, &["--cache-from", &reference]);
    *network.lock().unwrap() = Network::Silent;
    let before = proxy.seen("GET", "/blobs/").len();
    fourth.write("ctx/Dockerfile", &farm.dockerfile);
    let arguments = ["build", "--network=none", "-o", "out", "ctx"];
    let mut build = fourth.bld(arguments).spawn(&fourth.path(""));
    while proxy.seen("GET", "/blobs/").len() == before {
        std::thread::sleep(Duration::from_millis(10));
    }
    let asked = Instant::now();
    Cmd::new("kill").args(["-INT", &build.id().to_string()]).ok();
    assert_eq!(build.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(5));
    // Nothing is forgotten of what would have come.
    *network.lock().unwrap() = Network::Fine;
    let output = format!("type=local,dest={}", fourth.path("out").display());
    let built = farm.build(&fourth, &["-o", &output]);
    assert_eq!((ran(&built), out(&fourth)), (0, app(&first)), "{built}");
    fourth.assert_nothing_left();
}

/// Layers of steps.
fn small_blobs(layout: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let mut blobs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    blobs.retain(|blob| fs::read(blob).unwrap().starts_with(&[0x1f, 0x8b]));
    blobs.retain(|blob| fs::metadata(blob).unwrap().len() < 4096);
    blobs.sort();
    blobs
}

#[test]
fn a_cache_that_cannot_be_had_fails_no_build_unless_it_is_to_be_written() {
    let farm = Farm::new();
    let own = machine();
    let nowhere = "type=registry,ref=127.0.0.1:1/cache";
    let built = farm.build(&own, &["--cache-from", nowhere]);
    let _ =
        built.expect_text("importing cache manifest from 127.0.0.1:1/cache").expect_text("ERROR");
    let to = |word: &str| own.build("app:1", &farm.dockerfile, ["--cache-to", word]);
    let _ = to(nowhere).expect_code(1).expect_text("127.0.0.1:1");
    let _ = to(&format!("{nowhere},ignore-error=true")).expect_code(0);
    for (word, part) in [
        ("type=nowhere,ref=x", "unknown type \"nowhere\""),
        ("type=registry", "ref is required"),
        ("type=local", "dest is required"),
        ("type=registry,ref=x,mode=some", "unknown mode"),
        ("type=registry,ref=x,compress=zstd", "compress is not supported"),
    ] {
        let _ = to(word).expect_code(1).expect_text(part);
    }
}

#[test]
fn what_was_never_here_is_pushed_by_those_who_have_it() {
    let farm = Farm::new();
    let reference = format!("{}/cache:1", farm.registry.host());
    let to = format!("type=registry,ref={reference},mode=max");
    farm.build(&machine(), &["--cache-to", &to]);
    let second = machine();
    let name = format!("{}/pushed:1", farm.registry.host());
    let arguments = ["--network", "none", "--cache-from", &reference, "--push"];
    let _ = second.build(&name, &farm.dockerfile, arguments).expect_code(0);
    assert!(size(&second) < 4 << 20);
    let layers = Cmd::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--format", "{{len .Layers}}"])
        .arg(format!("docker://{name}"))
        .ok();
    assert_eq!(layers.text(), "2");
    let third = machine();
    let run = ["run", "--rm", "--network", "none", &name, "/one"];
    let _ = third.bld(run).run().expect_text("permission denied");
}

#[test]
fn keys_of_a_bucket_do_not_follow_a_redirect() {
    let elsewhere = http::Server::new(|_| http::Reply::status(404));
    let there = format!("http://{}/away", elsewhere.other_name());
    let bucket = http::Server::new(move |_| {
        http::Reply::Answer(307, vec![("Location", there.clone())], Vec::new())
    });
    let env = env();
    let source = format!(
        "--cache-from=type=s3,bucket=b,region=x,name=n,endpoint_url=http://{},use_path_style=true,\
         access_key_id=id,secret_access_key=key,session_token=the-token",
        bucket.host()
    );
    let _ = env.build("t:1", "FROM busybox\n", [source.as_str()]).expect_code(0);
    let [asked] = &bucket.seen("GET", "")[..1] else { panic!("the bucket was not asked") };
    assert_eq!(asked.header("x-amz-security-token"), Some("the-token"));
    let followed = elsewhere.log();
    assert!(!followed.is_empty(), "the redirect was not followed");
    for name in ["authorization", "x-amz-security-token"] {
        assert!(followed.iter().all(|request| request.header(name).is_none()), "{name}");
    }
}
