//! A certificate authority, and connections whose ends trust it.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use tempfile::TempDir;

use crate::Cmd;

/// A certificate authority that was made just now, with a certificate for servers on loopback and
/// one for clients.
pub struct Authority {
    directory: TempDir,
}

impl Authority {
    /// Makes one.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("bld-authority-").tempdir();
        let authority = Self { directory: directory.expect("make a temporary directory") };
        let subject = ["-subj", "/CN=bld test authority"];
        authority.request("ca.crt", "ca.key", &subject);
        let server = ["-subj", "/CN=localhost", "-addext", SERVER_NAMES];
        authority.signed("server.crt", "server.key", &server);
        authority.signed("client.cert", "client.key", &["-subj", "/CN=me"]);
        authority
    }

    fn request(&self, certificate: &str, key: &str, more: &[&str]) {
        Cmd::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "30", "-newkey", "ec"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-keyout", key, "-out", certificate])
            .args(more)
            .cwd(self.directory.path())
            .ok();
    }

    fn signed(&self, certificate: &str, key: &str, more: &[&str]) {
        let ours = ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE"];
        self.request(certificate, key, &[&ours, more].concat());
    }

    /// Its own certificate, `ca.crt`.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// A server's certificate for `localhost` and `127.0.0.1`, and its key.
    pub fn server(&self) -> (PathBuf, PathBuf) {
        (self.directory.path().join("server.crt"), self.directory.path().join("server.key"))
    }

    /// The settings that make a registry use the server's certificate.
    pub fn registry(&self) -> [(&'static str, String); 2] {
        let (certificate, key) = self.server();
        [
            ("REGISTRY_HTTP_TLS_CERTIFICATE", certificate.display().to_string()),
            ("REGISTRY_HTTP_TLS_KEY", key.display().to_string()),
        ]
    }

    /// Puts its own certificate, and those for a client if `with_client`, where they count for the
    /// registry `host`: into a directory of that name in `certs`.
    pub fn install(&self, certs: &Path, host: &str, with_client: bool) {
        let directory = certs.join(host);
        fs::create_dir_all(&directory).expect("make a directory");
        let client: &[_] = if with_client { &["client.cert", "client.key"] } else { &[] };
        for file in ["ca.crt"].iter().chain(client) {
            let from = self.directory.path().join(file);
            fs::copy(from, directory.join(file)).expect("copy a certificate");
        }
    }

    /// What a server in front of another needs.
    pub(crate) fn ends(&self) -> TlsEnds {
        let read = |path: &Path| -> Vec<CertificateDer<'static>> {
            let certificates = CertificateDer::pem_file_iter(path).expect("read certificates");
            certificates.collect::<Result<_, _>>().expect("certificates are in PEM format")
        };
        let (certificate, key) = self.server();
        let key = PrivateKeyDer::from_pem_file(key).expect("read a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(read(&certificate), key)
            .expect("the key belongs to the certificate");
        let mut roots = RootCertStore::empty();
        for certificate in read(&self.certificate()) {
            roots.add(certificate).expect("an authority's certificate");
        }
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsEnds { server: Arc::new(server), client: Arc::new(client) }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

const SERVER_NAMES: &str = "subjectAltName=DNS:localhost,IP:127.0.0.1";

/// Both ends of TLS connections on loopback.
pub(crate) struct TlsEnds {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl TlsEnds {
    /// The server's end of a connection.
    pub(crate) fn accept(&self, connection: impl Read + Write) -> impl Read + Write {
        let server = ServerConnection::new(Arc::clone(&self.server)).expect("begin TLS");
        StreamOwned::new(server, connection)
    }

    /// The client's end of a connection to 127.0.0.1.
    pub(crate) fn connect(&self, connection: TcpStream) -> impl Read + Write {
        let name = ServerName::try_from("127.0.0.1").expect("an address is a name");
        let client = ClientConnection::new(Arc::clone(&self.client), name).expect("begin TLS");
        StreamOwned::new(client, connection)
    }
}
