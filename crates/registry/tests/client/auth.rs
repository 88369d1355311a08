//! Being let in, or not.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use bld_oci::Digest;
use bld_registry::auth::{self, Credential, CredentialFiles, Credentials, Single};
use bld_registry::{Client, Config, RegistryError};
use bld_testkit::Registry;

use crate::support::{
    TestStore, chain, client, fetch, image, layer, pull, push, put, quick, reference,
};
use bld_testkit::http::{Reply, Request, Server};

/// `s3cret`, as htpasswd keeps it for the user `me`.
const HTPASSWD: &str = "me:$2b$04$ZuKilVoRr3TYKx1oCQm0qORQTIOOCK.IPltJ8Y4W.OvyATnFjgzK.\n";

fn password(username: &str, password: &str) -> Credential {
    Credential::Password { username: username.into(), password: password.into() }
}

fn client_with(registry: &str, credential: Credential) -> Client {
    let credentials = Single { registry: registry.to_owned(), credential };
    client(Config { credentials: Arc::new(credentials), ..quick() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_passwords() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("htpasswd");
    fs::write(&file, HTPASSWD).unwrap();
    let registry = Registry::start_with(&[
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "test"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", file.to_str().unwrap()),
    ])
    .unwrap();
    let (host, store) = (registry.host(), TestStore::new());
    let manifest = put(&store, &image(1, &[100_000]));
    let name = reference(&host, "private/app:1");

    let config = directory.path().join("config.json");
    auth::store(&config, &host, &password("me", "s3cret")).unwrap();
    let files = CredentialFiles::read([directory.path().join("none"), config.clone()]).unwrap();
    let known = client(Config { credentials: Arc::new(files), ..quick() });
    known.login(&host).await.unwrap();
    push(&known, &store, &name, &manifest).await.unwrap();
    pull(&known, &TestStore::new(), &name).await.unwrap();

    for stranger in [client(quick()), client_with(&host, password("me", "wrong"))] {
        let error = pull(&stranger, &store, &name).await.unwrap_err();
        assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
        assert_eq!(
            chain(&error),
            format!(
                "access to {host}/private/app is denied: it may be private, or not exist: \
                 UNAUTHORIZED: authentication required"
            )
        );
        let error = push(&stranger, &store, &name, &manifest).await.unwrap_err();
        assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    }
    let error = client_with(&host, password("me", "wrong")).login(&host).await.unwrap_err();
    let expected = format!("registry {host} does not accept the credentials");
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kept_credentials_away_is_told_when_they_are_missed() {
    struct Broken;
    impl Credentials for Broken {
        fn get(&self, _: &str, _: &str) -> Result<Option<Credential>, auth::CredentialError> {
            Err(auth::CredentialError::HelperFailed {
                program: "docker-credential-vault".into(),
                reason: "the vault is locked".into(),
            })
        }
    }
    let bytes = b"public".to_vec();
    let served = bytes.clone();
    let server = Server::new(move |request| match request.path() {
        "/v2/" => unauthorized("Basic realm=\"x\""),
        path if path.starts_with("/v2/public/") => Reply::Answer(200, Vec::new(), served.clone()),
        _ => unauthorized("Basic realm=\"x\""),
    });
    let client = client(Config { credentials: Arc::new(Broken), ..quick() });
    let store = TestStore::new();
    // What is open to all does not need the vault.
    let public = reference(&server.host(), "public/x");
    fetch(&client, &store, &public, &layer(&bytes)).await.unwrap();
    let private = reference(&server.host(), "private/x");
    let error = fetch(&client, &store, &private, &layer(b"private")).await.unwrap_err();
    let expected = "credential helper docker-credential-vault failed: the vault is locked";
    assert!(chain(&error).ends_with(expected), "{}", chain(&error));
}

fn unauthorized(challenge: &str) -> Reply {
    Reply::Answer(401, vec![("WWW-Authenticate", challenge.to_owned())], Vec::new())
}

/// A registry with one blob in every repository, that wants a token, and its token server. Tokens
/// have a number and the right they are for; those with the number `expired` are not accepted.
fn token_registry(blob: Vec<u8>, lifetime: u32, expired: usize) -> Server {
    let issued = AtomicUsize::new(0);
    Server::new(move |request| {
        let host = request.header("host").unwrap_or_default();
        if request.path() == "/token" {
            let number = issued.fetch_add(1, Relaxed);
            let right = if request.target.contains("push") { "push" } else { "pull" };
            let token = format!("{number}-{right}");
            return Reply::json(200, &format!(r#"{{"token":"{token}","expires_in":{lifetime}}}"#));
        }
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match token {
            Some(token) if token != format!("{expired}-pull") => {
                Reply::Answer(200, Vec::new(), blob.clone())
            }
            _ => unauthorized(&format!(
                "Bearer realm=\"http://{host}/token\",service=\"test\",scope=\"repository:a/b:pull\""
            )),
        }
    })
}

fn tokens(server: &Server) -> Vec<Request> {
    server.log().into_iter().filter(|request| request.path() == "/token").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_serves_many_requests() {
    let bytes = b"blob".to_vec();
    let server = token_registry(bytes.clone(), 300, usize::MAX);
    let client = client_with(&server.host(), password("me", "s3cret"));
    let name = reference(&server.host(), "a/b");
    let stores: Vec<_> = (0..5).map(|_| TestStore::new()).collect();
    let blob = layer(&bytes);
    let fetches = stores.iter().map(|store| fetch(&client, store, &name, &blob));
    for result in futures_util::future::join_all(fetches).await {
        result.unwrap();
    }
    let tokens = tokens(&server);
    assert_eq!(tokens.len(), 1, "{tokens:#?}");
    assert_eq!(
        tokens[0].target,
        "/token?service=test&scope=repository%3Aa%2Fb%3Apull&account=me&client_id=bld"
    );
    assert_eq!(tokens[0].header("authorization"), Some("Basic bWU6czNjcmV0"));
    let blobs = server.seen("GET", "/blobs/");
    assert!(blobs.iter().all(|r| r.header("authorization") == Some("Bearer 0-pull")), "{blobs:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_is_renewed() {
    let bytes = b"blob".to_vec();
    let name = |server: &Server| reference(&server.host(), "a/b");
    // Refused although it looked fresh.
    let server = token_registry(bytes.clone(), 300, 0);
    fetch(&client(quick()), &TestStore::new(), &name(&server), &layer(&bytes)).await.unwrap();
    assert_eq!(tokens(&server).len(), 2);
    // Not used any more, since it would end under way.
    let server = token_registry(bytes.clone(), 1, usize::MAX);
    let client = client(quick());
    for _ in 0..2 {
        fetch(&client, &TestStore::new(), &name(&server), &layer(&bytes)).await.unwrap();
    }
    assert_eq!(tokens(&server).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_and_access_tokens() {
    let bytes = b"blob".to_vec();
    let server = token_registry(bytes.clone(), 300, usize::MAX);
    let name = reference(&server.host(), "a/b");
    let identity = client_with(&server.host(), Credential::IdentityToken("refresh me".into()));
    fetch(&identity, &TestStore::new(), &name, &layer(&bytes)).await.unwrap();
    let asked = tokens(&server);
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].method.as_str(), asked[0].target.as_str()), ("POST", "/token"));
    assert_eq!(asked[0].header("authorization"), None);

    let access = client_with(&server.host(), Credential::AccessToken("my-own".into()));
    fetch(&access, &TestStore::new(), &name, &layer(&bytes)).await.unwrap();
    assert_eq!(tokens(&server).len(), 1, "no token server is asked");
    let last = server.seen("GET", "/blobs/").pop().unwrap();
    assert_eq!(last.header("authorization"), Some("Bearer my-own"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_server_that_refuses_is_quoted() {
    let server = Server::new(|request| {
        let host = request.header("host").unwrap_or_default();
        match request.path() {
            "/token" => Reply::json(401, r#"{"details":"incorrect username or password"}"#),
            _ => unauthorized(&format!("Bearer realm=\"http://{host}/token\"")),
        }
    });
    let client = client_with(&server.host(), password("me", "wrong"));
    let name = reference(&server.host(), "a/b:1");
    let error = client.resolve(&name).await.unwrap_err();
    assert_eq!(
        chain(&error),
        format!(
            "access to {}/a/b is denied: it may be private, or not exist: \
             incorrect username or password",
            server.host()
        )
    );
    let text = chain(&client.login(&server.host()).await.unwrap_err());
    assert!(
        text.ends_with("does not accept the credentials: incorrect username or password"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_asks_for_the_right_to_push() {
    let server = token_registry(Vec::new(), 300, usize::MAX);
    let store = TestStore::new();
    let manifest = put(&store, &image(1, &[10]));
    let name = reference(&server.host(), "a/b:1");
    let lender = reference(&server.host(), "base/c:1");
    let events = bld_event::Events::none();
    client(quick()).push_image(&store.store, &name, &manifest, &[lender], &events).await.unwrap();
    let asked = tokens(&server);
    assert_eq!(asked.len(), 1);
    for scope in ["scope=repository%3Aa%2Fb%3Apull%2Cpush", "scope=repository%3Abase%2Fc%3Apull"] {
        assert!(asked[0].target.contains(scope), "{}", asked[0].target);
    }
}

#[test]
fn the_digest_of_a_credential_is_nowhere_shown() {
    let secret = "s3cret";
    let shown = format!("{:?}", password("me", secret));
    assert!(!shown.contains(secret), "{shown}");
    let shown = format!("{:?}", Credential::IdentityToken(Digest::of(b"x").to_string()));
    assert!(!shown.contains("sha256"), "{shown}");
}
