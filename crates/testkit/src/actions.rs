//! A cache service of GitHub Actions for tests: both of its protocols, and a storage like Azure's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::http::{Reply, Request, Server};

/// What is behind an address of the storage, and lets in whoever has it.
const SIGNATURE: &str = "sig=top-secret-signature";

/// The service, and the storage that it hands out addresses of.
pub struct ActionsCache {
    service: Server,
    storage: Server,
    state: Arc<Mutex<State>>,
}

/// An entry.
#[derive(Debug, Clone)]
struct Entry {
    key: String,
    version: String,
    bytes: Vec<u8>,
    is_done: bool,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    /// Blocks that are in no blob yet, by entry and name.
    blocks: BTreeMap<(usize, String), Vec<u8>>,
    /// How many requests are answered by 503 and 429 from now on, in turns.
    troubled: usize,
    /// Whether the storage breaks off its answers once each.
    is_shaky: bool,
}

impl State {
    /// The newest entry that is done and whose key begins with `key`.
    fn find(&self, key: &str, version: &str) -> Option<usize> {
        self.entries.iter().rposition(|entry| {
            entry.is_done && entry.version == version && entry.key.starts_with(key)
        })
    }

    /// None: there is one already.
    fn reserve(&mut self, key: &str, version: &str) -> Option<usize> {
        if self.entries.iter().any(|entry| entry.key == key && entry.version == version) {
            return None;
        }
        let (key, version) = (key.to_owned(), version.to_owned());
        self.entries.push(Entry { key, version, bytes: Vec::new(), is_done: false });
        Some(self.entries.len() - 1)
    }
}

impl ActionsCache {
    /// Starts an empty one.
    pub fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let own = Arc::clone(&state);
        let storage = Server::reading(move |request| stored(&mut lock(&own), request));
        let own = Arc::clone(&state);
        let blobs = format!("http://{}/blob", storage.other_name());
        let service = Server::reading(move |request| {
            let mut state = lock(&own);
            if request.header("authorization") != Some(&format!("Bearer {}", Self::token())) {
                return Reply::json(401, r#"{"code":"unauthenticated","msg":"who are you?"}"#);
            }
            if state.troubled > 0 {
                state.troubled -= 1;
                let status = if state.troubled.is_multiple_of(2) { 503 } else { 429 };
                return Reply::Answer(status, vec![("Retry-After", "0".to_owned())], Vec::new());
            }
            match request.path().split_once("CacheService/") {
                Some((_, method)) => newer(&mut state, method, request, &blobs),
                None => older(&mut state, request, &blobs),
            }
        });
        Self { service, storage, state }
    }

    /// The token of a job that may write the caches of a branch, and read those of `main`, too.
    pub fn token() -> String {
        let scopes = json!([{ "Scope": "refs/heads/main", "Permission": 1 },
                            { "Scope": "refs/heads/topic", "Permission": 3 }]);
        let ends = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // The same for the life of a test.
        let ends = (ends / 100_000 + 2) * 100_000;
        let claims = json!({ "ac": scopes.to_string(), "exp": ends, "nbf": 0 });
        format!("e30.{}.geheim", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/", self.service.host())
    }

    /// The keys of all entries that are done.
    pub fn keys(&self) -> Vec<String> {
        let state = lock(&self.state);
        state.entries.iter().filter(|entry| entry.is_done).map(|entry| entry.key.clone()).collect()
    }

    /// The contents of the entry `key`.
    pub fn entry(&self, key: &str) -> Option<Vec<u8>> {
        let state = lock(&self.state);
        state.entries.iter().find(|entry| entry.key == key).map(|entry| entry.bytes.clone())
    }

    /// Removes the entries whose keys begin with `prefix`.
    pub fn remove(&self, prefix: &str) {
        for entry in &mut lock(&self.state).entries {
            if entry.key.starts_with(prefix) {
                "gone".clone_into(&mut entry.version);
            }
        }
    }

    /// Makes the entry `key` one that somebody has begun with and does not end.
    pub fn begin(&self, key: &str, like: &str) {
        let mut state = lock(&self.state);
        let version = state.entries.iter().find(|entry| entry.key == like);
        let version = version.map(|entry| entry.version.clone()).unwrap_or_default();
        state.reserve(key, &version);
    }

    /// Has the next `count` requests answered by trouble that passes.
    pub fn trouble(&self, count: usize) {
        lock(&self.state).troubled = count;
    }

    /// Has the storage break off the first answer for each blob.
    pub fn shake(&self) {
        lock(&self.state).is_shaky = true;
    }

    /// All requests to the service.
    pub fn asked(&self) -> Vec<Request> {
        self.service.log()
    }

    /// All requests to the storage.
    pub fn stored(&self) -> Vec<Request> {
        self.storage.log()
    }

    /// What is secret in addresses of the storage.
    pub const SIGNATURE: &str = SIGNATURE;
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap_or_default()
}

/// The protocol of `ACTIONS_RESULTS_URL`.
fn newer(state: &mut State, method: &str, request: &Request, blobs: &str) -> Reply {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let (key, version) = (text(&body, "key"), text(&body, "version"));
    let address = |number: usize| format!("{blobs}/{number}?{SIGNATURE}");
    let answer = match method {
        "GetCacheEntryDownloadURL" => match state.find(key, version) {
            None => json!({ "ok": false }),
            Some(number) => json!({
                "ok": true,
                "signed_download_url": address(number),
                "matched_key": state.entries[number].key,
            }),
        },
        "CreateCacheEntry" => match state.reserve(key, version) {
            None => {
                let said = r#"{"code":"already_exists","msg":"cache entry exists"}"#;
                return Reply::json(409, said);
            }
            Some(number) => json!({ "ok": true, "signed_upload_url": address(number) }),
        },
        "FinalizeCacheEntryUpload" => {
            let entries = state.entries.iter_mut();
            let entry = entries.rev().find(|entry| entry.key == key && entry.version == version);
            let size = body["size_bytes"].as_u64();
            let fits = entry.filter(|entry| Some(entry.bytes.len() as u64) == size);
            json!({ "ok": fits.map(|entry| entry.is_done = true).is_some(), "entry_id": "7" })
        }
        _ => return Reply::status(404),
    };
    Reply::json(200, &answer.to_string())
}

/// The protocol of `ACTIONS_CACHE_URL`.
fn older(state: &mut State, request: &Request, blobs: &str) -> Reply {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = request.path().trim_start_matches("/_apis/artifactcache/");
    let number = path.split_once('/').and_then(|(_, number)| number.parse::<usize>().ok());
    match (request.method.as_str(), number) {
        ("GET", None) if path == "cache" => {
            let value = |name: &str| {
                let query = request.target.split_once('?').map_or("", |(_, query)| query);
                let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                let found = pairs.find(|(key, _)| *key == name).map(|(_, value)| value);
                found.unwrap_or_default().replace("%3A", ":").replace("%23", "#")
            };
            match state.find(&value("keys"), &value("version")) {
                None => Reply::status(204),
                Some(number) => {
                    let key = &state.entries[number].key;
                    let place = format!("{blobs}/{number}?{SIGNATURE}");
                    let found = json!({ "cacheKey": key, "archiveLocation": place });
                    Reply::json(200, &found.to_string())
                }
            }
        }
        ("POST", None) => match state.reserve(text(&body, "key"), text(&body, "version")) {
            Some(number) => Reply::json(201, &json!({ "cacheId": number + 1 }).to_string()),
            None => Reply::json(
                409,
                r#"{"message":"Cache already exists.","typeKey":"ArtifactCacheItemAlreadyExistsException"}"#,
            ),
        },
        ("PATCH", Some(number)) => {
            let range = request.header("content-range").unwrap_or_default();
            let start = range.trim_start_matches("bytes ").split('-').next().unwrap_or_default();
            let (start, bytes) = (start.parse().unwrap_or(0), &request.body);
            let all = &mut state.entries[number - 1].bytes;
            let end = start + bytes.len();
            all.resize(all.len().max(end), 0);
            all[start..end].copy_from_slice(bytes);
            Reply::status(204)
        }
        ("POST", Some(number)) => {
            let entry = &mut state.entries[number - 1];
            entry.is_done = body["size"].as_u64() == Some(entry.bytes.len() as u64);
            Reply::status(if entry.is_done { 204 } else { 400 })
        }
        _ => Reply::status(404),
    }
}

/// Azure's part.
fn stored(state: &mut State, request: &Request) -> Reply {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let number = path.trim_start_matches("/blob/").parse::<usize>().ok();
    let (Some(number), true) = (number, query.contains(SIGNATURE)) else {
        return Reply::status(403);
    };
    if number >= state.entries.len() {
        return Reply::status(404);
    }
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.replace("%3D", "="))
    };
    match (request.method.as_str(), parameter("comp").as_deref()) {
        ("GET", None) => {
            let bytes = state.entries[number].bytes.clone();
            let from = request.header("range").and_then(|range| {
                range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().ok()
            });
            match from {
                Some(from) => Reply::Answer(206, Vec::new(), bytes[from..].to_vec()),
                // Less than what is announced.
                None if state.is_shaky && request.nth == 0 && bytes.len() > 20 => {
                    let length = ("Content-Length", bytes.len().to_string());
                    Reply::Answer(200, vec![length], bytes[..20].to_vec())
                }
                None => Reply::Answer(200, Vec::new(), bytes),
            }
        }
        ("PUT", None) if request.header("x-ms-blob-type") == Some("BlockBlob") => {
            state.entries[number].bytes.clone_from(&request.body);
            Reply::status(201)
        }
        ("PUT", Some("block")) => {
            let Some(id) = parameter("blockid").filter(|id| STANDARD.decode(id).is_ok()) else {
                return Reply::status(400);
            };
            state.blocks.insert((number, id), request.body.clone());
            Reply::status(201)
        }
        ("PUT", Some("blocklist")) => {
            let list = String::from_utf8_lossy(&request.body).into_owned();
            let mut all = Vec::new();
            for id in list.split("<Latest>").skip(1).filter_map(|rest| rest.split('<').next()) {
                match state.blocks.get(&(number, id.to_owned())) {
                    Some(block) => all.extend_from_slice(block),
                    None => return Reply::status(400),
                }
            }
            state.entries[number].bytes = all;
            Reply::status(201)
        }
        _ => Reply::status(400),
    }
}
