//! An HTTP server for tests: answers by itself, or passes requests on to a registry and spoils what
//! comes back. One request per connection, one thread per connection.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::tls::{Authority, TlsEnds};

/// A request as it was received.
#[derive(Debug, Clone)]
pub struct Request {
    /// In capitals.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names and values, in the order they came in.
    pub headers: Vec<(String, String)>,
    /// Empty until the handler has decided what becomes of the request, unless the server is
    /// [reading](Server::reading); never in the log.
    pub body: Vec<u8>,
    /// How many requests with the same method and path came before.
    pub nth: usize,
}

impl Request {
    /// The value of the header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Whether it has this method, and `part` in its target.
    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.target.contains(part)
    }
}

/// What to do with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Pass it on and its answer back.
    Pass,
    /// Answer without asking anybody.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Pass it on, and close after this much of the answer's body.
    CutAfter(usize),
    /// Pass it on, and end the answer after this much of its body, as if that was all.
    Truncate(usize),
    /// Pass it on, and turn over one bit of this byte of the answer's body, if there is one.
    Flip(usize),
    /// Turn over one bit of this byte of the request's body, if there is one, and pass it on.
    FlipRequest(usize),
    /// Close the connection without an answer; nobody is asked.
    Close,
    /// Pass it on, and close the connection without an answer.
    CloseAfter,
    /// Say nothing for so long, then close.
    Stall(Duration),
    /// Pass it on as if it had had no `Range`.
    WithoutRange,
}

impl Reply {
    /// An empty answer.
    pub fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), Vec::new())
    }

    /// An answer in JSON.
    pub fn json(status: u16, body: &str) -> Self {
        let kind = ("Content-Type", "application/json".to_owned());
        Self::Answer(status, vec![kind], body.as_bytes().to_vec())
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    upstream: Option<SocketAddr>,
    tls: Option<TlsEnds>,
    /// Whether the handler gets to see bodies.
    whole: bool,
    log: Mutex<Vec<Request>>,
    ended: AtomicBool,
}

/// The server; ends when dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// A server that answers by itself.
    pub fn new(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, None, Box::new(handler))
    }

    /// The same over HTTPS, with a certificate that `authority` has signed.
    pub fn new_tls(
        authority: &Authority,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(None, Some(authority.ends()), Box::new(handler))
    }

    /// A server that answers by itself, whose handler has the whole request.
    pub fn reading(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, None, true, Box::new(handler))
    }

    /// A server in front of the registry at `host`.
    pub fn before(host: &str, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Some(address(host)), None, Box::new(handler))
    }

    /// The same where both speak HTTPS, with certificates that `authority` has signed.
    pub fn before_tls(
        host: &str,
        authority: &Authority,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(address(host)), Some(authority.ends()), Box::new(handler))
    }

    fn start(upstream: Option<SocketAddr>, tls: Option<TlsEnds>, handler: Box<Handler>) -> Self {
        Self::start_with(upstream, tls, false, handler)
    }

    fn start_with(
        upstream: Option<SocketAddr>,
        tls: Option<TlsEnds>,
        whole: bool,
        handler: Box<Handler>,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen on loopback");
        let address = listener.local_addr().expect("a listener has an address");
        let (log, ended) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { handler, upstream, tls, whole, log, ended });
        let server = Self { address, shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if shared.ended.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || accept(&connection, &shared));
            }
        });
        server
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `localhost:PORT`: the same server, another host.
    pub fn other_name(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// Every request so far.
    pub fn log(&self) -> Vec<Request> {
        log(&self.shared).clone()
    }

    /// The requests with this method whose target has `part` in it.
    pub fn seen(&self, method: &str, part: &str) -> Vec<Request> {
        self.log().into_iter().filter(|request| request.is(method, part)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the listener up.
        drop(TcpStream::connect(self.address));
    }
}

fn address(host: &str) -> SocketAddr {
    host.parse().expect("a registry is named by address and port")
}

fn log(shared: &Shared) -> MutexGuard<'_, Vec<Request>> {
    shared.log.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(connection: &TcpStream, shared: &Shared) {
    match &shared.tls {
        None => serve(connection, shared),
        Some(ends) => serve(ends.accept(connection), shared),
    }
    let _ = connection.shutdown(Shutdown::Write);
    // Reading to the end keeps the system from throwing the answer away with the connection.
    let _ = connection.set_read_timeout(Some(Duration::from_secs(5)));
    let mut connection = connection;
    let _ = connection.read_to_end(&mut Vec::new());
}

fn serve(mut connection: impl Read + Write, shared: &Shared) {
    let Some((request, reply)) = receive(&mut connection, shared) else { return };
    let answer = match (&reply, shared.upstream) {
        (Reply::Answer(status, headers, body), _) => {
            let mut head = format!("HTTP/1.1 {status} Test\r\nConnection: close\r\n");
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
                let _ = write!(head, "Content-Length: {}\r\n", body.len());
            }
            for (name, value) in headers {
                let _ = write!(head, "{name}: {value}\r\n");
            }
            let body = if request.method == "HEAD" { Vec::new() } else { body.clone() };
            [head.as_bytes(), b"\r\n", &body].concat()
        }
        (Reply::Close, _) => return,
        (Reply::Stall(time), _) => return std::thread::sleep(*time),
        (reply, Some(upstream)) => {
            let without_range = matches!(reply, Reply::WithoutRange);
            let mut request = request.clone();
            if let Reply::FlipRequest(at) = reply
                && let Some(byte) = request.body.get_mut(*at)
            {
                *byte ^= 1;
            }
            let Some(answer) = forward(&request, upstream, shared.tls.as_ref(), without_range)
            else {
                return;
            };
            let Some(answer) = spoilt(reply, answer) else { return };
            answer
        }
        (reply, None) => panic!("{reply:?} needs a registry behind"),
    };
    let _ = connection.write_all(&answer);
    let _ = connection.flush();
}

/// An answer as `reply` wants it to arrive, if at all.
fn spoilt(reply: &Reply, mut answer: Vec<u8>) -> Option<Vec<u8>> {
    let body = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
    match reply {
        Reply::CutAfter(length) => answer.truncate(body + length),
        Reply::Truncate(length) => {
            answer.truncate(body + length);
            let kept = answer.len() - body;
            let head = String::from_utf8_lossy(&answer[..body]).into_owned();
            let lines = head.split_inclusive("\r\n").map(|line| {
                let is_length = line.to_ascii_lowercase().starts_with("content-length:");
                if is_length { format!("Content-Length: {kept}\r\n") } else { line.to_owned() }
            });
            let head: String = lines.collect();
            answer.splice(..body, head.into_bytes());
        }
        Reply::Flip(at) => {
            if let Some(byte) = answer.get_mut(body + at) {
                *byte ^= 1;
            }
        }
        Reply::CloseAfter => return None,
        _ => {}
    }
    Some(answer)
}

/// Reads a request and decides what becomes of it. A request that is to be cut is not read to its
/// end.
fn receive(connection: impl Read, shared: &Shared) -> Option<(Request, Reply)> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request { method, target, headers, body: Vec::new(), nth: 0 };
    {
        let mut log = log(shared);
        let same =
            |other: &&Request| other.method == request.method && other.path() == request.path();
        request.nth = log.iter().filter(same).count();
        log.push(request.clone());
    }
    let length = request.header("content-length").and_then(|length| length.parse().ok());
    let mut read = |request: &mut Request| {
        request.body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut request.body).ok()
    };
    if shared.whole {
        read(&mut request)?;
        let reply = (shared.handler)(&request);
        return Some((request, reply));
    }
    let reply = (shared.handler)(&request);
    if !matches!(reply, Reply::Close) {
        read(&mut request)?;
    }
    Some((request, reply))
}

/// Asks the registry behind; the whole answer.
fn forward(
    request: &Request,
    upstream: SocketAddr,
    tls: Option<&TlsEnds>,
    without_range: bool,
) -> Option<Vec<u8>> {
    let mut head =
        format!("{} {} HTTP/1.1\r\nConnection: close\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        let skipped = name.eq_ignore_ascii_case("connection")
            || (without_range && name.eq_ignore_ascii_case("range"));
        if !skipped {
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    let request = [head.as_bytes(), b"\r\n", &request.body].concat();
    let registry = TcpStream::connect(upstream).ok()?;
    match tls {
        None => exchange(registry, &request),
        Some(ends) => exchange(ends.connect(registry), &request),
    }
}

fn exchange(mut registry: impl Read + Write, request: &[u8]) -> Option<Vec<u8>> {
    registry.write_all(request).ok()?;
    registry.flush().ok()?;
    let mut answer = Vec::new();
    registry.read_to_end(&mut answer).ok()?;
    Some(answer)
}
