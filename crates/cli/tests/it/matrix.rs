//! Registries of every kind, behind a network that spoils what passes.
//!
//! What passes by itself has to be survived: connections that break, before, within or after an
//! answer; 429, 500 and 503; bodies that end early or have a bit turned over, on the way there, too; and
//! all of it from who gives tokens. None of it happens to one request more than twice, and wrong bytes
//! come only once. What does not pass has to be refused, with one error: a layer whose
//! bytes are wrong each time, or too few each time, and a registry that has no time at all. Which
//! fault hits which request is decided by a fixed seed.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bld_oci::Digest;
use bld_testkit::http::{Reply, Request, Server};
use bld_testkit::{
    Authority, Cmd, Output, Registry, TarEntry, Tarball, TestEnv, TokenServer, write_archives,
};
use serde_json::{Value, json};

use crate::BLD;
use crate::login::HTPASSWD;

const SEED: u64 = 5;
/// Each is pushed and pulled.
const IMAGES: usize = 200;
/// Most of the time is spent waiting for the next attempt.
const AT_ONCE: usize = 30;
/// No pull or push takes longer.
const LIMIT: Duration = Duration::from_mins(1);
const PASSWORD: &str = "s3cret";

/// Kinds of trouble that the proxy makes.
const KINDS: [&str; 10] = [
    "307",
    "429",
    "500",
    "503",
    "Close",
    "CloseAfter",
    "CutAfter",
    "Flip",
    "FlipRequest",
    "Truncate",
];

/// What becomes of the requests about one repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// Trouble that passes.
    Rough,
    /// Every blob has a bit turned over.
    Damaged,
    /// Every blob ends early, as if that was all.
    Short,
    /// There is no time for blobs.
    Busy,
}

impl Weather {
    /// What a pull says of it; `None` when it has to succeed.
    fn complaint(self) -> Option<&'static str> {
        match self {
            Self::Rough => None,
            Self::Damaged => Some("has the wrong content"),
            Self::Short => Some("bytes instead of"),
            Self::Busy => Some("503"),
        }
    }
}

/// What becomes of every request.
#[derive(Default)]
struct Sky {
    repositories: Mutex<HashMap<String, Weather>>,
    /// How often a thing was asked for, whatever the session.
    asked: Mutex<HashMap<String, usize>>,
    /// How often each kind of trouble was made.
    made: Mutex<BTreeMap<String, usize>>,
}

impl Sky {
    fn set(&self, repository: &str, weather: Weather) {
        self.repositories.lock().unwrap().insert(repository.to_owned(), weather);
    }

    /// What becomes of a request to a registry whose blobs are at `elsewhere`, too.
    fn reply(&self, request: &Request, elsewhere: &str) -> Reply {
        let reply = self.decide(request, elsewhere);
        let kind = match &reply {
            Reply::Answer(status, ..) => status.to_string(),
            other => format!("{other:?}").chars().take_while(|c| c.is_alphabetic()).collect(),
        };
        *self.made.lock().unwrap().entry(kind).or_default() += 1;
        reply
    }

    fn decide(&self, request: &Request, elsewhere: &str) -> Reply {
        let path = request.path();
        let (repository, thing) = path.split_once("/blobs/").unwrap_or((path, ""));
        let repository = repository.trim_start_matches("/v2/");
        let weather = self.repositories.lock().unwrap().get(repository).copied();
        let is_blob = request.method == "GET" && !thing.is_empty();
        match weather.unwrap_or(Weather::Rough) {
            Weather::Damaged if is_blob => Reply::Flip(100),
            Weather::Short if is_blob => Reply::Truncate(100),
            Weather::Busy if !thing.is_empty() => {
                Reply::Answer(503, vec![("Retry-After", "0".to_owned())], Vec::new())
            }
            _ => match self.rough(request) {
                Reply::Pass if is_blob && dice(&[thing, "elsewhere"]).is_multiple_of(2) => {
                    let location = format!("{elsewhere}/{thing}?signature=abc");
                    Reply::Answer(307, vec![("Location", location)], Vec::new())
                }
                reply => reply,
            },
        }
    }

    /// What becomes of an answer of the server of tokens, which has nobody behind it.
    fn disturbed(&self, request: &Request, answer: Reply) -> Reply {
        // What it is asked for is in the query, which is else not looked at.
        let request = Request { target: request.target.replace('?', "/"), ..request.clone() };
        let reply = self.rough(&request);
        let kind = match &reply {
            Reply::Pass | Reply::Answer(..) => String::new(),
            other => format!("{other:?}").chars().take_while(|c| c.is_alphabetic()).collect(),
        };
        let Reply::Answer(status, headers, mut body) = answer else { return answer };
        let (kind, reply) = match reply {
            Reply::Pass => return Reply::Answer(status, headers, body),
            Reply::Answer(status, headers, body) => {
                (status.to_string(), Reply::Answer(status, headers, body))
            }
            Reply::Truncate(at) => {
                body.truncate(at % body.len());
                (kind, Reply::Answer(status, headers, body))
            }
            Reply::Flip(at) => {
                let at = at % body.len();
                body[at] ^= 1;
                (kind, Reply::Answer(status, headers, body))
            }
            _ => (kind, Reply::Close),
        };
        *self.made.lock().unwrap().entry(format!("token {kind}")).or_default() += 1;
        reply
    }

    /// Trouble that passes, or none.
    fn rough(&self, request: &Request) -> Reply {
        // A session has a name of its own each time.
        let thing = request.path().split("/uploads/").next().unwrap_or_default();
        let name = format!("{} {thing}", request.method);
        let nth = {
            let mut asked = self.asked.lock().unwrap();
            let count = asked.entry(name.clone()).or_default();
            *count += 1;
            *count - 1
        };
        if nth > 1 {
            return Reply::Pass;
        }
        let is_first_read = request.method == "GET" && nth == 0;
        let is_first_write = matches!(&*request.method, "PUT" | "PATCH") && nth == 0;
        let nth = nth.to_string();
        let at = usize::try_from(dice(&[&name, &nth, "at"]) % 2000).unwrap();
        let wait = |status, seconds: &str| {
            Reply::Answer(status, vec![("Retry-After", seconds.to_owned())], Vec::new())
        };
        match dice(&[&name, &nth]) % 16 {
            0 => Reply::Close,
            1 => Reply::CloseAfter,
            2 => wait(429, "1"),
            3 => wait(503, "0"),
            4 => Reply::status(500),
            5 => Reply::CutAfter(at),
            6 if is_first_read => Reply::Truncate(at),
            7 if is_first_read => Reply::Flip(at),
            8 if is_first_write => Reply::FlipRequest(at),
            _ => Reply::Pass,
        }
    }
}

/// A number that `words` and the seed decide.
fn dice(words: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (SEED, words).hash(&mut hasher);
    hasher.finish()
}

/// A registry, what stands in front of it, and the other host that has its blobs.
struct Place {
    registry: Registry,
    proxy: Server,
    elsewhere: Server,
}

impl Place {
    fn new(settings: &[(&str, String)], authority: Option<&Authority>, sky: &Arc<Sky>) -> Self {
        let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let registry = Registry::start_with(&settings).unwrap();
        let (data, there) = (registry.data(), Arc::clone(sky));
        let serve = move |request: &Request| match there.rough(request) {
            Reply::Pass => match fs::read(blob(&data, request.path().trim_start_matches('/'))) {
                Ok(bytes) => Reply::Answer(200, Vec::new(), bytes),
                Err(_) => Reply::status(404),
            },
            // There is nobody to pass on from.
            Reply::Answer(status, headers, body) => Reply::Answer(status, headers, body),
            _ => Reply::Close,
        };
        let elsewhere = match authority {
            None => Server::new(serve),
            Some(authority) => Server::new_tls(authority, serve),
        };
        let scheme = if authority.is_some() { "https" } else { "http" };
        let (sky, other) = (Arc::clone(sky), format!("{scheme}://{}", elsewhere.other_name()));
        let pass = move |request: &Request| sky.reply(request, &other);
        let proxy = match authority {
            None => Server::before(&registry.host(), pass),
            Some(authority) => Server::before_tls(&registry.host(), authority, pass),
        };
        Self { registry, proxy, elsewhere }
    }

    /// Checks what the registry has kept as the tag `1` of `repository`; the image's id.
    fn verify(&self, repository: &str) -> String {
        let data = self.registry.data();
        let tag = format!("repositories/{repository}/_manifests/tags/1/current/link");
        let read = |digest: &str| {
            let bytes = fs::read(blob(&data, digest)).unwrap();
            assert_eq!(Digest::of(&bytes).to_string(), digest, "in the registry's storage");
            bytes
        };
        let manifest = read(&fs::read_to_string(data.join(tag)).unwrap());
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            assert_eq!(layer["size"], read(layer["digest"].as_str().unwrap()).len());
        }
        let config = manifest["config"]["digest"].as_str().unwrap();
        read(config);
        config.to_owned()
    }
}

/// Where a registry keeps a blob.
fn blob(data: &Path, digest: &str) -> std::path::PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    data.join(format!("blobs/sha256/{}/{hex}/data", hex.get(..2).unwrap_or_default()))
}

/// A store of its own within `env`.
fn bld(env: &TestEnv, store: &str, arguments: &[&str]) -> Cmd {
    env.bld(arguments).env("BLD_ROOT", env.path(store)).timeout(LIMIT)
}

/// The ids of all images of a store, whose blobs are what they are called.
fn images(env: &TestEnv, store: &str) -> String {
    let mut dirs = vec![env.path(store).join("blobs")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let found = Digest::of(&fs::read(&path).unwrap()).hex();
            assert!(path.ends_with(&found), "{} is {found}", path.display());
        }
    }
    bld(env, store, &["images", "-q", "--no-trunc"]).ok().text().to_owned()
}

/// One error and nothing else that looks like one.
fn refused(output: Output, complaint: &str) {
    let output = output.expect_code(1).expect_text(complaint);
    let errors = output.stderr.lines().filter(|line| line.to_lowercase().starts_with("error"));
    assert_eq!(errors.count(), 1, "{output}");
}

/// The store that all images are pushed from.
const FROM: &str = "from";

/// Where the image number `n` goes: to all places in turns, and those of one kind of weather, too.
fn place(places: &[Place], n: usize) -> &Place {
    &places[(n + n / 20) % places.len()]
}

/// The name of the image number `n`.
fn name(places: &[Place], n: usize) -> String {
    format!("{}/team/app{n}:1", place(places, n).proxy.host())
}

/// Makes all images: one layer each, which no compression makes smaller.
fn load(env: &TestEnv, places: &[Place]) {
    let noise = |n: usize| -> Vec<u8> {
        let words = (0..20_000_u32).map(|i| dice(&[&n.to_string(), &i.to_string()]));
        let mut layer = Tarball::new();
        let noise: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        layer.add(TarEntry::file(b"noise", &noise)).unwrap();
        layer.finish().unwrap()
    };
    let images: Vec<_> = (0..IMAGES).map(|n| (name(places, n), noise(n))).collect();
    let images: Vec<_> =
        images.iter().map(|(name, layer)| (name.as_str(), layer.as_slice())).collect();
    let archive = env.path("all.tar");
    write_archives(&archive, &images, &["none"]).unwrap();
    bld(env, FROM, &["load", "-qi", archive.to_str().unwrap()]).ok();
}

/// How many pushes and pulls have ended as they should.
#[derive(Default)]
struct Ended {
    pushes: AtomicUsize,
    pulls: AtomicUsize,
    refused: AtomicUsize,
}

/// Pushes and pulls the image number `n`.
fn round_trip(env: &TestEnv, places: &[Place], sky: &Sky, ended: &Ended, n: usize) {
    let count = |what: &AtomicUsize| what.fetch_add(1, Ordering::Relaxed);
    let (repository, name) = (format!("team/app{n}"), name(places, n));
    if n % 20 == 19 {
        sky.set(&repository, Weather::Busy);
        refused(bld(env, FROM, &["push", &name]).run(), "503");
        count(&ended.refused);
    }
    sky.set(&repository, Weather::Rough);
    bld(env, FROM, &["push", &name]).ok();
    let id = place(places, n).verify(&repository);
    count(&ended.pushes);

    let weather = match n % 20 {
        17 => Weather::Damaged,
        18 => Weather::Short,
        19 => Weather::Busy,
        _ => Weather::Rough,
    };
    sky.set(&repository, weather);
    let to = format!("{n}-to");
    let pulled = bld(env, &to, &["pull", &name]).run();
    match weather.complaint() {
        None => {
            let _ = pulled.expect_code(0);
            assert_eq!(images(env, &to), id);
            count(&ended.pulls);
        }
        Some(complaint) => {
            refused(pulled, complaint);
            assert_eq!(images(env, &to), "");
            count(&ended.refused);
        }
    }
    fs::remove_dir_all(env.path(to)).unwrap();
}

#[test]
fn nothing_is_wrong_hangs_or_leaks_whatever_the_network_does() {
    let env = TestEnv::new(BLD);
    let sky = Arc::new(Sky::default());
    let authority = Authority::new();
    let htpasswd = env.write("htpasswd", HTPASSWD).display().to_string();
    let basic = [
        ("REGISTRY_AUTH", "htpasswd".to_owned()),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "test".to_owned()),
        ("REGISTRY_AUTH_HTPASSWD_PATH", htpasswd),
    ];
    let there = Arc::clone(&sky);
    let disturb = move |request: &Request, answer| there.disturbed(request, answer);
    let tokens = TokenServer::start_with("me", PASSWORD, disturb);
    let both = [&authority.registry()[..], &basic].concat();
    let places = [
        Place::new(&[], None, &sky),
        Place::new(&authority.registry(), Some(&authority), &sky),
        Place::new(&basic, None, &sky),
        Place::new(&tokens.registry(), None, &sky),
        Place::new(&both, Some(&authority), &sky),
    ];
    let hosts: Vec<_> = places.iter().map(|place| place.proxy.host()).collect();
    for host in [&hosts[1], &hosts[4]] {
        authority.install(&env.home().join(".config/containers/certs.d"), host, false);
    }
    let secret = STANDARD.encode(format!("me:{PASSWORD}"));
    let auths: HashMap<_, _> =
        hosts[2..].iter().map(|host| (host, json!({ "auth": secret }))).collect();
    let known = json!({ "auths": auths });
    fs::create_dir_all(env.home().join(".docker")).unwrap();
    fs::write(env.home().join(".docker/config.json"), known.to_string()).unwrap();

    load(&env, &places);
    let (next, ended) = (AtomicUsize::new(0), Ended::default());
    let work = || {
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                n if n < IMAGES => round_trip(&env, &places, &sky, &ended, n),
                _ => break,
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });

    let counts = [ended.pushes, ended.pulls, ended.refused].map(AtomicUsize::into_inner);
    assert_eq!(counts, [200, 170, 30 + 10], "pushes, pulls, and those that cannot succeed");
    let made = sky.made.lock().unwrap();
    for kind in KINDS {
        assert!(made.get(kind).is_some_and(|&count| count > 10), "{kind} in {made:?}");
    }
    let of_tokens = ["429", "500", "503", "Close", "CutAfter", "Flip", "Truncate"];
    let disturbed = of_tokens.iter().map(|kind| format!("token {kind}"));
    let disturbed = disturbed.filter(|kind| made.contains_key(kind)).count();
    assert!(disturbed >= 5, "{made:?}");
    // The proxy has seen the credentials where they belong, so they would be seen elsewhere.
    for place in &places[2..] {
        let seen = place.proxy.log();
        assert!(seen.iter().any(|request| request.header("authorization").is_some()));
    }
    assert!(!tokens.log().is_empty());
    for place in &places {
        let seen = place.elsewhere.log();
        assert!(seen.len() > 5, "{} blobs came from elsewhere", seen.len());
        for request in seen {
            assert_eq!(request.header("authorization"), None, "{request:?}");
            let all = format!("{request:?}");
            assert!(!all.contains(PASSWORD) && !all.contains(&secret), "{all}");
            assert!(!all.contains("eyJ"), "a token: {all}");
        }
    }
    env.assert_nothing_left();
}

#[test]
fn a_token_gives_no_more_rights_than_its_owner_has() {
    let env = crate::env();
    let tokens = TokenServer::start("me", PASSWORD);
    let settings = tokens.registry();
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let registry = Registry::start_with(&settings).unwrap();
    let host = registry.host();
    let login = |password: &str| {
        env.bld(["login", "-u", "me", "--password-stdin", &host]).stdin(password).run()
    };
    let _ = login("other").expect_code(1).expect_text("incorrect username or password");
    let _ = login(PASSWORD).expect_code(0);
    for (repository, code) in [("app:1", 0), ("readonly/app:1", 1)] {
        let name = format!("{host}/{repository}");
        env.bld(["tag", "busybox", &name]).ok();
        let pushed = env.bld(["push", &name]).run().expect_code(code);
        assert_eq!(pushed.stderr.contains("denied"), code == 1, "{pushed}");
    }
    env.bld(["pull", &format!("{host}/app:1")]).ok();
}
