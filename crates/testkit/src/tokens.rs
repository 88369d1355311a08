//! A token server for a registry: who may do what, and a signature under it.

use std::{fs, path::Path};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use crate::Authority;
use crate::http::{Reply, Request, Server};

/// The name that registry and token server know each other by.
const SERVICE: &str = "test registry";
const ISSUER: &str = "test tokens";

/// Gives tokens for one registry, by the [protocol][token] of Docker, to one user: for all
/// repositories, but for those below `readonly/` only to pull. Others are refused.
///
/// [token]: https://distribution.github.io/distribution/spec/auth/jwt/
pub struct TokenServer {
    server: Server,
    authority: Authority,
}

impl TokenServer {
    /// Starts one that knows the user `name` by `password`.
    pub fn start(name: &str, password: &str) -> Self {
        Self::start_with(name, password, |_, answer| answer)
    }

    /// The same; `disturb` decides what becomes of an answer.
    pub fn start_with(
        name: &str,
        password: &str,
        disturb: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.server();
        let signer = Signer { key: der(&key), certificate: STANDARD.encode(der(&certificate)) };
        let welcome = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
        let name = name.to_owned();
        let server = Server::new(move |request| {
            if request.header("authorization") != Some(&welcome) {
                return Reply::json(401, r#"{"details":"incorrect username or password"}"#);
            }
            let token = signer.token(&name, &granted(request));
            let answer = json!({ "token": token, "expires_in": 300 }).to_string();
            disturb(request, Reply::json(200, &answer))
        });
        Self { server, authority }
    }

    /// The settings that make a registry ask for the tokens of this server.
    pub fn registry(&self) -> [(&'static str, String); 5] {
        let certificate = self.authority.certificate();
        [
            ("REGISTRY_AUTH", "token".to_owned()),
            ("REGISTRY_AUTH_TOKEN_REALM", format!("http://{}/token", self.server.host())),
            ("REGISTRY_AUTH_TOKEN_SERVICE", SERVICE.to_owned()),
            ("REGISTRY_AUTH_TOKEN_ISSUER", ISSUER.to_owned()),
            ("REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE", certificate.display().to_string()),
        ]
    }

    /// Every request so far.
    pub fn log(&self) -> Vec<Request> {
        self.server.log()
    }
}

/// The rights that a request gets, of those that its scopes ask for.
fn granted(request: &Request) -> Vec<Value> {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let scopes = query.split('&').filter_map(|pair| pair.strip_prefix("scope="));
    let scopes = scopes.flat_map(|scope| {
        let scope = scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
        scope.split('+').map(str::to_owned).collect::<Vec<_>>()
    });
    let grant = |scope: String| {
        let (kind, rest) = scope.split_once(':')?;
        let (repository, actions) = rest.rsplit_once(':')?;
        let may = |action: &&str| *action == "pull" || !repository.starts_with("readonly/");
        let actions: Vec<_> = actions.split(',').filter(may).collect();
        Some(json!({ "type": kind, "name": repository, "actions": actions }))
    };
    scopes.filter_map(grant).collect()
}

struct Signer {
    key: Vec<u8>,
    /// What belongs to the key, as a token has it.
    certificate: String,
}

impl Signer {
    /// A JSON web token for `subject` that grants `access`.
    fn token(&self, subject: &str, access: &[Value]) -> String {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.key, &random);
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [self.certificate] });
        let claims = json!({
            "iss": ISSUER, "sub": subject, "aud": SERVICE, "jti": "1",
            "iat": 0, "nbf": 0, "exp": 4_000_000_000_u64,
            "access": access,
        });
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let signature = key.expect("a key of the curve P-256").sign(&random, text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.expect("sign a token")))
    }
}

/// What a file in PEM format holds.
fn der(path: &Path) -> Vec<u8> {
    let pem = fs::read_to_string(path).expect("read a certificate or key");
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    STANDARD.decode(lines.collect::<String>()).expect("PEM is base64")
}
