//! An HTTP server for tests: answers by itself, or passes requests on to a registry and spoils what
//! comes back. One request per connection, one thread per connection.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// How many requests with the same method and path came before.
    pub(crate) nth: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.target.contains(part)
    }
}

/// What to do with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Pass it on and its answer back.
    Pass,
    /// Answer without asking anybody.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Pass it on, and close after this much of the answer's body.
    CutAfter(usize),
    /// Pass it on, and turn over one bit of the answer's body.
    Flip(usize),
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
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), Vec::new())
    }

    pub(crate) fn json(status: u16, body: &str) -> Self {
        let kind = ("Content-Type", "application/json".to_owned());
        Self::Answer(status, vec![kind], body.as_bytes().to_vec())
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    upstream: Option<SocketAddr>,
    log: Mutex<Vec<Request>>,
    ended: AtomicBool,
}

/// The server; ends when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// A server that answers by itself.
    pub(crate) fn new(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, Box::new(handler))
    }

    /// A server in front of the registry at `host`.
    pub(crate) fn before(
        host: &str,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(host.parse().unwrap()), Box::new(handler))
    }

    fn start(upstream: Option<SocketAddr>, handler: Box<Handler>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (log, ended) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { handler, upstream, log, ended });
        let server = Self { address, shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if shared.ended.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(connection, &shared));
            }
        });
        server
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Every request so far.
    pub(crate) fn log(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap().clone()
    }

    /// The requests with this method whose target has `part` in it.
    pub(crate) fn seen(&self, method: &str, part: &str) -> Vec<Request> {
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

fn serve(mut connection: TcpStream, shared: &Shared) {
    let Some((request, reply)) = receive(&connection, shared) else { return };
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
            let Some(answer) = forward(&request, upstream, matches!(reply, Reply::WithoutRange))
            else {
                return;
            };
            let body = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
            match reply {
                Reply::CutAfter(length) => answer[..answer.len().min(body + length)].to_vec(),
                Reply::Flip(at) => {
                    let mut answer = answer;
                    answer[body + at] ^= 1;
                    answer
                }
                Reply::CloseAfter => return,
                _ => answer,
            }
        }
        (reply, None) => panic!("{reply:?} needs a registry behind"),
    };
    let _ = connection.write_all(&answer);
    let _ = connection.shutdown(Shutdown::Write);
    // Reading to the end keeps the system from throwing the answer away with the connection.
    let _ = connection.set_read_timeout(Some(Duration::from_secs(5)));
    let _ = connection.read_to_end(&mut Vec::new());
}

/// Reads a request and decides what becomes of it. A request that is to be cut is not read to its
/// end.
fn receive(connection: &TcpStream, shared: &Shared) -> Option<(Request, Reply)> {
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
        let mut log = shared.log.lock().unwrap();
        let same =
            |other: &&Request| other.method == request.method && other.path() == request.path();
        request.nth = log.iter().filter(same).count();
        log.push(request.clone());
    }
    let reply = (shared.handler)(&request);
    if !matches!(reply, Reply::Close) {
        let length = request.header("content-length").and_then(|length| length.parse().ok());
        request.body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut request.body).ok()?;
    }
    Some((request, reply))
}

/// Asks the registry behind; the whole answer.
fn forward(request: &Request, upstream: SocketAddr, without_range: bool) -> Option<Vec<u8>> {
    let mut head =
        format!("{} {} HTTP/1.1\r\nConnection: close\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        let skipped = name.eq_ignore_ascii_case("connection")
            || (without_range && name.eq_ignore_ascii_case("range"));
        if !skipped {
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    let mut registry = TcpStream::connect(upstream).ok()?;
    registry.write_all(&[head.as_bytes(), b"\r\n", &request.body].concat()).ok()?;
    let mut answer = Vec::new();
    registry.read_to_end(&mut answer).ok()?;
    Some(answer)
}
