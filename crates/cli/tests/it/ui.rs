//! `bld ui`: what the server answers, and whom.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use bld_testkit::TestEnv;
use serde_json::{Value, json};

use crate::env;

/// A server that ends with the test.
struct Server {
    child: Child,
    address: String,
    token: String,
    told: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let is_it = |line: &&str| line.to_lowercase().starts_with(&format!("{name}: "));
        Some(self.head.lines().find(is_it)?.split_once(": ")?.1)
    }
}

impl Server {
    fn start(env: &TestEnv, arguments: &[&str]) -> Self {
        let place = env.path("ui");
        std::fs::create_dir_all(&place).unwrap();
        let child = env.bld(["ui"]).args(arguments).spawn(&place);
        let told = until("the server tells its address", || {
            let told = std::fs::read_to_string(place.join("stdout")).unwrap_or_default();
            told.ends_with('\n').then_some(told)
        });
        let (address, token) =
            told.trim_end().strip_prefix("http://").unwrap().split_once("/?token=").unwrap();
        let (address, token) = (address.to_owned(), token.to_owned());
        Self { child, address, token, told }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// Sends a request as it is written; an answer that ends with the connection.
    fn send(&self, verb: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut stream = self.connect();
        let header = |(name, value): &(&str, &str)| format!("{name}: {value}\r\n");
        let headers: String = headers.iter().map(header).collect::<Vec<_>>().concat();
        let request = format!("{verb} {path} HTTP/1.0\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn ask(&self, verb: &str, path: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        self.send(verb, path, &[("Host", &self.address), ("Authorization", &bearer)])
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// The events of an address, as they come: name, id and document.
    fn events(&self, path: &str, last: Option<usize>) -> impl Iterator<Item = (String, Value)> {
        let mut stream = self.connect();
        let last = last.map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"));
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{last}\r\n",
            self.address, self.token
        )
        .unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let mut name = String::new();
        std::iter::from_fn(move || {
            loop {
                let line = lines.next()?;
                if let Some(event) = line.strip_prefix("event: ") {
                    event.clone_into(&mut name);
                } else if let Some(data) = line.strip_prefix("data: ") {
                    return Some((name.clone(), serde_json::from_str(data).unwrap()));
                }
            }
        })
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What is told of steps, without times and names.
fn kind(event: &Value) -> String {
    match &event["kind"] {
        Value::String(word) => word.clone(),
        Value::Object(kind) => kind.keys().next().unwrap().clone(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_build_is_followed_from_another_terminal() {
    let env = env();
    let server = Server::start(&env, &[]);
    let mut changes = server.events("/api/v1/events", None);
    let hostile = "<b onload=x>\u{1b}[31m";
    env.write(
        "src/Dockerfile",
        format!(
            "FROM busybox AS base\nRUN echo '{hostile}' && sleep 1\nFROM base\nCOPY Dockerfile /d\n"
        ),
    );
    let mut build = env.bld(["build", "-t", "ui:1", "src"]).spawn(&env.path("ui"));
    until("a change is told", || (changes.next()?.0 == "builds").then_some(()));
    let list = until("the build is in the list", || {
        let list = server.get("/api/v1/builds");
        (list[0]["status"] == "running").then_some(list)
    });
    let reference = list[0]["ref"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/builds/{reference}/events");
    let all: Vec<_> = server.events(&path, None).collect();
    assert!(build.wait().unwrap().success());

    // It ended with the record, and everything came in order before.
    let (last, events) = all.split_last().unwrap();
    assert_eq!((last.0.as_str(), &last.1["status"]), ("end", &json!("completed")));
    assert!(events.iter().all(|(name, _)| name == "event"));
    let kinds: Vec<String> = events.iter().map(|(_, event)| kind(event)).collect();
    for wanted in ["planned", "started", "dockerfile", "missed", "log", "done"] {
        assert!(kinds.iter().any(|kind| kind == wanted), "{wanted} of {kinds:?}");
    }
    let log = events.iter().find(|(_, event)| kind(event) == "log").unwrap();
    let step = log.1["id"].as_u64().unwrap();
    // What was heard is not told again.
    let rest: Vec<_> = server.events(&path, Some(3)).collect();
    assert_eq!(rest, all[4..]);

    // Logs are what was written, and text to browsers.
    let answer = server.ask("GET", &format!("/api/v1/builds/{reference}/logs/{step}"));
    assert_eq!(answer.body, format!("{hostile}\n"));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let rest = server.ask("GET", &format!("/api/v1/builds/{reference}/logs/{step}?offset=3"));
    assert_eq!(rest.body, format!("{}\n", &hostile[3..]));
    assert_eq!(server.ask("GET", &format!("/api/v1/builds/{reference}/logs/999")).status, 404);

    let one = server.get(&format!("/api/v1/builds/{reference}"));
    assert!(one["source"].as_str().unwrap().starts_with("FROM busybox AS base\n"));
    assert_eq!(one["steps"], json!({ "total": 3, "completed": 3, "cached": 1 }));
    assert_eq!(one["trigger"]["command"], json!(["bld", "build", "-t", "ui:1", "src"]));
    for filter in ["UI:1", "build+-t", "src"] {
        let path = format!("/api/v1/builds?filter={filter}");
        assert_eq!(server.get(&path).as_array().unwrap().len(), 1, "{filter}");
    }
    assert_eq!(server.get("/api/v1/builds?filter=other"), json!([]));
    let gone = server.ask("DELETE", &format!("/api/v1/builds/{reference}"));
    assert_eq!(gone.status, 204);
    assert_eq!(server.get("/api/v1/builds"), json!([]));
}

#[test]
fn images_are_taken_apart_and_compared() {
    let env = env();
    for (tag, text) in [("a", "one\ntwo\n"), ("b", "one\nTWO\n")] {
        env.write("src/etc/motd", text);
        env.write("src/etc/<img src=x>", "odd name");
        env.write("src/etc/\u{1b}[31m/\n", "odder names");
        env.write("src/Dockerfile", "FROM busybox\nCOPY etc /etc\nRUN rm /etc/passwd\n");
        env.bld(["build", "-q", "-t", &format!("ui:{tag}"), "src"]).ok();
    }
    let server = Server::start(&env, &[]);
    let list = server.get("/api/v1/images");
    let tag = |row: &Value| row["tags"][0].as_str().unwrap().to_owned();
    let mut tags: Vec<String> = list.as_array().unwrap().iter().map(tag).collect();
    // The two are of the same second.
    tags.sort();
    assert_eq!(tags, ["busybox:latest", "ui:a", "ui:b"]);
    let image = server.get("/api/v1/images/ui:a");
    let layers = image["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 3);
    assert_eq!(layers[1]["added"]["files"], 3);
    assert_eq!(layers[2]["removed"]["files"], 1);
    assert!(image["wasted"].as_u64().unwrap() > 0);
    let names = |path: &str| {
        let entries = server.get(&format!("/api/v1/images/ui:a/layers/{path}"));
        let entry =
            |entry: &Value| format!("{} {}", entry["change"], entry["name"]).replace('"', "");
        entries.as_array().unwrap().iter().map(entry).collect::<Vec<_>>()
    };
    assert_eq!(names("1/files"), ["same etc"]);
    let etc = ["added <img src=x>", r"added \\x1b[31m", "added motd"];
    assert_eq!(names("1/files?path=/etc"), etc);
    // What moves a cursor is told in letters, and found by them.
    assert_eq!(names(r"1/files?path=/etc/%5Cx1b[31m"), [r"added \\x0a"]);
    assert_eq!(names("2/files?path=/etc"), ["removed passwd"]);
    assert_eq!(server.ask("GET", "/api/v1/images/ui:a/layers/9/files").status, 404);

    let diff = server.get("/api/v1/diff?from=ui:a&to=ui:b");
    let told = env.bld(["diff", "--no-text", "--format", "json", "ui:a", "ui:b"]).run();
    let told: Value = serde_json::from_str(&told.expect_code(1).stdout).unwrap();
    assert_eq!(diff, told);
    let changed: Vec<&Value> =
        diff["Files"].as_array().unwrap().iter().map(|f| &f["Path"]).collect();
    assert!(changed.contains(&&json!("/etc/motd")), "{changed:?}");
    let file = server.get("/api/v1/diff?from=ui:a&to=ui:b&path=/etc/motd");
    assert_eq!(file["Files"].as_array().unwrap().len(), 1);
    assert_eq!(file["Files"][0]["Text"]["Kind"], "unified");
    assert!(file["Files"][0]["Text"]["Diff"].as_str().unwrap().contains("-two\n+TWO\n"));

    assert_eq!(server.ask("GET", "/api/v1/images/none:such").code(), "not_found");
    assert_eq!(server.ask("DELETE", "/api/v1/images/ui:b").status, 200);
    assert_eq!(server.ask("GET", "/api/v1/images/ui:b").status, 404);
}

#[test]
fn containers_live_and_speak_to_the_page() {
    let env = env();
    env.bld(["volume", "create", "data"]).ok();
    let script = "while :; do echo tick; sleep 0.2; done";
    env.bld([
        "run",
        "-d",
        "--stop-timeout",
        "1",
        "--name",
        "talker",
        "-v",
        "data:/data",
        "busybox",
        "sh",
        "-c",
        script,
    ])
    .ok();
    let server = Server::start(&env, &[]);
    let row = || server.get("/api/v1/containers")[0].clone();
    assert_eq!((&row()["name"], &row()["status"]), (&json!("talker"), &json!("running")));
    let (name, line) = server.events("/api/v1/containers/talker/logs", None).next().unwrap();
    assert_eq!((name.as_str(), &line["text"]), ("line", &json!("tick\n")));
    let (name, stats) = server.events("/api/v1/containers/talker/stats", None).next().unwrap();
    assert_eq!(name, "stats");
    assert!(stats["memoryBytes"].as_u64().unwrap() > 0 && stats["pids"].as_u64().unwrap() > 0);
    assert_eq!(server.get("/api/v1/volumes")[0]["usedBy"], json!(["talker"]));
    let networks = server.get("/api/v1/networks");
    let bridge = networks.as_array().unwrap().iter().find(|one| one["name"] == "bridge").unwrap();
    assert_eq!(bridge["usedBy"], json!(["talker"]));

    // What is in use stays.
    assert_eq!(server.ask("DELETE", "/api/v1/volumes/data").code(), "conflict");
    assert_eq!(server.ask("DELETE", "/api/v1/containers/talker").code(), "conflict");
    for (verb, status) in [("kill", "exited"), ("start", "running"), ("restart", "running")] {
        assert_eq!(server.ask("POST", &format!("/api/v1/containers/talker/{verb}")).status, 204);
        until(verb, || (row()["status"] == status).then_some(()));
    }
    assert_eq!(server.ask("DELETE", "/api/v1/containers/talker?force=true").status, 204);
    assert_eq!(server.get("/api/v1/containers"), json!([]));
    assert_eq!(server.ask("DELETE", "/api/v1/volumes/data").status, 204);
}

/// Bytes as a client sends them in a frame of a WebSocket (RFC 6455), with a mask of zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// The next frame: opcode and payload.
fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            usize::from(u16::from_be_bytes(length))
        }
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).unwrap();
    (head[0] & 0xf, payload)
}

fn upgrade(server: &Server, path: &str, more: &str) -> (TcpStream, String) {
    let mut stream = server.connect();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Authorization: Bearer {}\r\n{more}\r\n",
        server.address, server.token
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap() == 0 {
            break;
        }
        head.push(byte[0]);
    }
    (stream, String::from_utf8(head).unwrap())
}

#[test]
fn a_terminal_leads_into_a_container() {
    let env = env();
    env.bld(["run", "-d", "--name", "inside", "busybox", "sleep", "1000"]).ok();
    let server = Server::start(&env, &[]);
    let path = "/api/v1/containers/inside/exec?cmd=sh";
    let (mut stream, head) = upgrade(&server, path, "");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(&frame(1, br#"{"resize":{"rows":17,"cols":33}}"#)).unwrap();
    let mut shown = String::new();
    let mut typed = false;
    let end = loop {
        // Asked once the shell is there, and the size has arrived before what is typed.
        if !typed && shown.contains("# ") {
            stream.write_all(&frame(2, b"stty size; echo $((6*7)); exit 3\r")).unwrap();
            typed = true;
        }
        match read_frame(&mut stream) {
            (2, bytes) => shown += &String::from_utf8_lossy(&bytes),
            (1, text) => break String::from_utf8(text).unwrap(),
            (other, _) => panic!("frame of type {other} after {shown}"),
        }
    };
    assert!(shown.contains("17 33") && shown.contains("42"), "{shown}");
    assert_eq!(end, r#"{"exit":3}"#);

    // A page that goes away takes its process along.
    let (mut stream, _) = upgrade(&server, "/api/v1/containers/inside/exec?cmd=sleep+77", "");
    let top = || env.bld(["top", "inside"]).ok().stdout;
    until("it runs", || top().contains("sleep 77").then_some(()));
    stream.write_all(&frame(8, &[])).unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    until("it ends", || (!top().contains("sleep 77")).then_some(()));

    let foreign = "Origin: http://evil.example\r\n";
    let (_, head) = upgrade(&server, path, foreign);
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let reader = Server::start(&env, &["--read-only"]);
    let (_, head) = upgrade(&reader, path, "");
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
}

#[test]
fn events_come_through_sockets_too() {
    let env = env();
    env.write("src/Dockerfile", "FROM busybox\nRUN echo told\n");
    env.bld(["build", "-q", "src"]).ok();
    let server = Server::start(&env, &[]);
    let all: Vec<_> = server.events("/api/v1/builds/^0/events", None).collect();
    let heard = |path: &str| {
        let (mut stream, head) = upgrade(&server, path, "");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let mut heard = Vec::new();
        loop {
            match read_frame(&mut stream) {
                (1, text) => {
                    let events: Vec<Value> = serde_json::from_slice(&text).unwrap();
                    let told = |one: Value| {
                        (one["event"].as_str().unwrap().to_owned(), one["data"].clone())
                    };
                    heard.extend(events.into_iter().map(told));
                }
                (8, _) => return heard,
                (other, _) => panic!("frame of type {other}"),
            }
        }
    };
    assert_eq!(heard("/api/v1/builds/%5E0/events"), all);
    assert_eq!(heard("/api/v1/builds/%5E0/events?after=2"), all[3..]);
    let foreign = "Origin: http://evil.example\r\n";
    let (_, head) = upgrade(&server, "/api/v1/events", foreign);
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
}

#[test]
fn listeners_that_go_leave_no_threads() {
    let env = env();
    env.bld(["run", "-d", "--name", "silent", "busybox", "sleep", "1000"]).ok();
    let server = Server::start(&env, &[]);
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap();
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            // It may just have ended.
            std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default()
        };
        tasks.map(name).filter(|name| name == "logs\n").count()
    };
    let open = |_| {
        let mut stream = server.connect();
        let (address, token) = (&server.address, &server.token);
        write!(
            stream,
            "GET /api/v1/containers/silent/logs HTTP/1.1\r\nHost: {address}\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        )
        .unwrap();
        stream
    };
    let streams: Vec<TcpStream> = (0..20).map(open).collect();
    until("all are listened to", || (threads() == 20).then_some(()));
    drop(streams);
    until("nobody listens", || (threads() == 0).then_some(()));
}

#[test]
fn only_who_has_the_token_gets_an_answer() {
    let env = env();
    let server = Server::start(&env, &[]);
    let port = server.address.rsplit_once(':').unwrap().1;
    let bearer = format!("Bearer {}", server.token);
    let host = ("Host", server.address.as_str());
    let known = ("Authorization", bearer.as_str());
    let api = "/api/v1/builds";

    // The address admits once and for all; the cookie is for our eyes only.
    let opened = server.send("GET", &format!("/builds?token={}&a=b", server.token), &[host]);
    assert_eq!((opened.status, opened.header("location")), (303, Some("/builds?a=b")));
    let cookie = opened.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(&server.token));
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(server.send("GET", api, &[host, ("Cookie", &format!("x=y; {pair}"))]).status, 200);

    for (headers, path, code) in [
        (vec![host], api, "no_token"),
        (vec![host, ("Authorization", "Bearer 0000")], api, "no_token"),
        (vec![host, ("Cookie", "bld-ui-1=0000")], api, "no_token"),
        (vec![host], "/api/v1/builds?token=0000", "no_token"),
        (vec![("Host", "evil.example"), known], api, "wrong_host"),
        (vec![("Host", &*format!("evil.example:{port}")), known], api, "wrong_host"),
        (vec![("Host", "127.0.0.1:1"), known], api, "wrong_host"),
        (vec![known], api, "wrong_host"),
        (vec![host, known, ("Origin", "http://evil.example")], api, "wrong_origin"),
        (vec![host, known, ("Origin", "null")], api, "wrong_origin"),
        (vec![host, known, ("Origin", &*format!("http://localhost:{port}"))], api, "wrong_origin"),
    ] {
        let answer = server.send("GET", path, &headers);
        assert_eq!(answer.code(), code, "{headers:?}");
        assert!(matches!(answer.status, 401 | 403));
    }
    let crossed = [host, known, ("Sec-Fetch-Site", "cross-site")];
    let prune = server.send("POST", "/api/v1/disk/prune", &crossed);
    assert_eq!(prune.code(), "wrong_origin");
    // Not even the page, nor with the token of the address by another name.
    assert_eq!(server.send("GET", "/", &[host]).status, 401);
    let stolen = format!("/?token={}", server.token);
    assert_eq!(server.send("GET", &stolen, &[("Host", "evil.example")]).status, 403);
    let (away, local) =
        (format!("//evil.example/?token={}", server.token), format!("localhost:{port}"));
    let opened = server.send("GET", &away, &[("Host", &local)]);
    assert_ne!(opened.header("location"), Some("//evil.example/"), "{}", opened.head);

    for path in ["/", "/api", api, "/api/v1/none", "/assets/none.js"] {
        let answer = server.ask("GET", path);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{path}");
        assert!(answer.header("access-control-allow-origin").is_none(), "{path}");
    }
    // Names of files are names in lists; nothing of this machine is read by them.
    for path in [
        "/../../../../etc/passwd",
        "/assets/../../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/api/v1/builds/..%2F..%2F..%2Fetc%2Fpasswd",
        "/api/v1/builds/..%2F..%2Fdb.sqlite/logs/1",
        "/api/v1/images/..%2F..%2Fetc%2Fpasswd",
        "/api/v1/images/busybox/layers/0/files?path=/../../../../etc",
        "/api/v1/containers/..%2F..%2Fetc",
        "/api/v1/volumes/..%2F..",
    ] {
        let answer = server.ask("GET", path);
        assert!(!answer.body.contains("root:x:0"), "{path}");
        assert!(answer.status >= 400 || answer.body == "[]" || !path.contains("/api/"), "{path}");
    }
    // The token is where it was printed, and nowhere else.
    assert_eq!(std::fs::read_to_string(env.path("ui/stdout")).unwrap(), server.told);
    assert_eq!(std::fs::read_to_string(env.path("ui/stderr")).unwrap(), "");
    assert!(!contains(&env.root(), &server.token));
}

/// Whether any file below `dir` has `text` in it.
fn contains(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        let meta = path.symlink_metadata().unwrap();
        if meta.is_dir() {
            return contains(&path, text);
        }
        let bytes =
            if meta.is_file() { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
        String::from_utf8_lossy(&bytes).contains(text)
    })
}

#[test]
fn a_reader_changes_nothing() {
    let env = env();
    env.bld(["volume", "create", "kept"]).ok();
    let server = Server::start(&env, &["--read-only"]);
    assert_eq!(server.get("/api/v1")["readOnly"], true);
    for (verb, path) in changes(&server.get("/api/v1/openapi.json")) {
        let path = path.replace("{name}", "kept").replace("{id}", "busybox");
        assert_eq!(server.ask(&verb, &path).code(), "read_only", "{verb} {path}");
    }
    assert_eq!(server.get("/api/v1/volumes")[0]["name"], "kept");
    assert_eq!(server.get("/api/v1/images")[0]["tags"], json!(["busybox:latest"]));
}

/// Everything the API has that is no question.
fn changes(openapi: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, verbs) in openapi["paths"].as_object().unwrap() {
        for verb in verbs.as_object().unwrap().keys().filter(|verb| *verb != "get") {
            found.push((verb.to_uppercase(), path.clone()));
        }
    }
    assert!(found.len() >= 10);
    found
}

#[test]
fn the_disk_is_shown_and_pruned() {
    let env = env();
    env.write("src/Dockerfile", "FROM busybox\nRUN head -c 3000000 /dev/urandom > /big\n");
    env.bld(["build", "-q", "-t", "ui:1", "src"]).ok();
    env.bld(["rmi", "ui:1"]).ok();
    let server = Server::start(&env, &[]);
    let disk = server.get("/api/v1/disk");
    assert!(disk["reclaimable"].as_u64().unwrap() > 3_000_000, "{disk}");
    let plan = server.get("/api/v1/disk/plan");
    assert!(plan["total"].as_u64().unwrap() > 3_000_000, "{plan}");
    // A plan is no deed.
    assert_eq!(server.get("/api/v1/disk/plan"), plan);
    // What was used a moment ago, and less than may stay, does not go.
    for wish in ["unusedSeconds=3600", "keepBytes=1000000000"] {
        assert_eq!(server.get(&format!("/api/v1/disk/plan?{wish}"))["total"], 0, "{wish}");
    }
    assert_eq!(server.get("/api/v1/disk/plan?unusedSeconds=0&keepBytes=1&all=false"), plan);
    assert_eq!(server.ask("GET", "/api/v1/disk/plan?until=1h").status, 400);
    let pruned = server.ask("POST", "/api/v1/disk/prune");
    assert_eq!(pruned.json(), plan);
    assert_eq!(server.get("/api/v1/disk/plan")["total"], 0);
}

#[test]
fn the_description_covers_every_address() {
    let env = env();
    let server = Server::start(&env, &[]);
    let openapi = server.get("/api/v1/openapi.json");
    for (path, verbs) in openapi["paths"].as_object().unwrap() {
        for (verb, about) in verbs.as_object().unwrap() {
            assert!(!about["summary"].as_str().unwrap_or_default().is_empty(), "{verb} {path}");
            if path.ends_with("/events") && !path.contains('{') {
                continue;
            }
            let place = path.replace(['{', '}'], "");
            let answer = server.ask(&verb.to_uppercase(), &place);
            let unknown = ["no such address", "no such way to ask that"];
            assert!(!unknown.iter().any(|text| answer.body.contains(text)), "{verb} {path}");
        }
    }
    let listing = server.ask("GET", "/api");
    assert!(listing.body.contains("/api/v1/containers/{id}/exec"));
    // Where something is wrong, there is one way to say so.
    assert_eq!(server.ask("GET", "/api/v1/none").code(), "not_found");
    assert_eq!(server.ask("GET", "/api/none").code(), "not_found");
}
