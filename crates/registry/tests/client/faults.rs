//! Registries that fail, and what becomes of the transfer.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use crate::support::{
    TestStore, chain, client, fetch, image, layer, noise, pull, push, put, quick, reference,
};
use bld_oci::Digest;
use bld_registry::{Config, RegistryError, Reporter};
use bld_testkit::Registry;
use bld_testkit::http::{Reply, Request, Server};

/// Pushes a layer of a megabyte, then pulls it through a server with this behaviour.
async fn pull_through(
    config: Config,
    handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (Server, TestStore, Result<(), RegistryError>) {
    let registry = Registry::start().unwrap();
    let (from, to) = (TestStore::new(), TestStore::new());
    let manifest = put(&from, &image(1, &[1_000_000]));
    let direct = reference(&registry.host(), "app:v1");
    push(&client(quick()), &from, &direct, &manifest).await.unwrap();
    let server = Server::before(&registry.host(), handler);
    let name = reference(&server.host(), "app:v1");
    let result = pull(&client(config), &to, &name).await;
    (server, to, result.map(drop))
}

/// Pushes a layer of a megabyte through a server with this behaviour, and pulls it directly.
async fn push_through(
    config: Config,
    handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (Server, Result<(), RegistryError>) {
    let registry = Registry::start().unwrap();
    let (from, to) = (TestStore::new(), TestStore::new());
    let manifest = put(&from, &image(2, &[1_000_000]));
    let server = Server::before(&registry.host(), handler);
    let name = reference(&server.host(), "app:v1");
    let result = push(&client(config), &from, &name, &manifest).await;
    if result.is_ok() {
        let direct = reference(&registry.host(), "app:v1");
        pull(&client(quick()), &to, &direct).await.unwrap();
    }
    (server, result.map(drop))
}

/// The layer; the configuration is a blob too, but small.
fn is_layer(request: &Request) -> bool {
    let layer = Digest::of(&noise(1, 1_000_000));
    request.is("GET", &format!("/blobs/{layer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_registries_are_waited_for() {
    let (server, _, result) = pull_through(quick(), |request| match request.nth {
        0 if request.is("GET", "/manifests/") => {
            Reply::Answer(429, vec![("Retry-After", "1".to_owned())], Vec::new())
        }
        0 if request.is("GET", "/blobs/") => Reply::status(503),
        1 if request.is("GET", "/blobs/") => Reply::Close,
        _ => Reply::Pass,
    })
    .await;
    result.unwrap();
    assert_eq!(server.seen("GET", "/manifests/").len(), 2);
    assert_eq!(server.seen("GET", "/blobs/").len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_stays_busy_is_given_up() {
    let began = Instant::now();
    let (server, _, result) = pull_through(quick(), |request| {
        if request.is("GET", "/manifests/") {
            return Reply::json(
                503,
                r#"{"errors":[{"code":"UNAVAILABLE","message":"come back later"}]}"#,
            );
        }
        Reply::Pass
    })
    .await;
    let host = server.host();
    assert_eq!(
        chain(&result.unwrap_err()),
        format!(
            "registry {host} answered 503 Service Unavailable to GET \
             http://{host}/v2/app/manifests/v1: UNAVAILABLE: come back later"
        )
    );
    assert_eq!(server.seen("GET", "/manifests/").len(), 4, "as many attempts as allowed");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_of_hours_is_not_begun() {
    let (server, _, result) = pull_through(quick(), |request| {
        if request.is("GET", "/manifests/") {
            return Reply::Answer(429, vec![("Retry-After", "21600".to_owned())], Vec::new());
        }
        Reply::Pass
    })
    .await;
    assert!(result.unwrap_err().to_string().contains("429"));
    assert_eq!(server.seen("GET", "/manifests/").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_blob_is_resumed() {
    let (server, _, result) = pull_through(quick(), |request| match request.nth {
        0 if is_layer(request) => Reply::CutAfter(400_000),
        1 if is_layer(request) => Reply::CutAfter(250_000),
        _ => Reply::Pass,
    })
    .await;
    result.unwrap();
    let layers: Vec<_> = server.log().into_iter().filter(is_layer).collect();
    let ranges: Vec<_> = layers.iter().map(|request| request.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=400000-"), Some("bytes=650000-")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_cannot_resume_is_read_anew() {
    let (server, _, result) = pull_through(quick(), |request| match request.nth {
        0 if is_layer(request) => Reply::CutAfter(400_000),
        _ if is_layer(request) => Reply::WithoutRange,
        _ => Reply::Pass,
    })
    .await;
    result.unwrap();
    assert_eq!(server.log().iter().filter(|request| is_layer(request)).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_comes_in_pieces_that_are_resumed_by_themselves() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, seen) = (Arc::clone(&now), Arc::clone(&most));
    let config = Config { piece_size: 100_000, ..quick() };
    let (server, _, result) = pull_through(config, move |request| {
        if !is_layer(request) {
            return Reply::Pass;
        }
        seen.fetch_max(counted.fetch_add(1, Relaxed) + 1, Relaxed);
        std::thread::sleep(Duration::from_millis(50));
        counted.fetch_sub(1, Relaxed);
        match request.header("range") {
            Some("bytes=200000-299999") => Reply::CutAfter(70_000),
            Some("bytes=500000-599999") if request.nth < 9 => Reply::Close,
            Some("bytes=700000-799999") => Reply::WithoutRange,
            _ => Reply::Pass,
        }
    })
    .await;
    result.unwrap();
    let asked = server.log();
    let asked: Vec<_> = asked
        .iter()
        .filter(|r| is_layer(r))
        .filter_map(|request| request.header("range"))
        .collect();
    assert_eq!(asked[0], "bytes=0-99999");
    for range in ["bytes=200000-299999", "bytes=270000-299999", "bytes=900000-999999"] {
        assert_eq!(
            asked.iter().filter(|asked| **asked == range).count(),
            1,
            "{range} in {asked:?}"
        );
    }
    assert!((2..=4).contains(&most.load(Relaxed)), "{most:?} at the same time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_comes_in_one_where_there_are_no_pieces() {
    let config = Config { piece_size: 100_000, ..quick() };
    let (server, _, result) = pull_through(config, |request| match request.nth {
        0 if is_layer(request) => Reply::WithoutRange,
        _ => Reply::Pass,
    })
    .await;
    result.unwrap();
    assert_eq!(server.log().iter().filter(|request| is_layer(request)).count(), 1);
}

/// Receives a layer of a megabyte through a server with this behaviour, and what came out of the
/// tap meanwhile.
async fn tap_through(
    handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (Result<Digest, RegistryError>, io::Result<Vec<u8>>) {
    let registry = Registry::start().unwrap();
    let (from, to) = (TestStore::new(), TestStore::new());
    let manifest = put(&from, &image(1, &[1_000_000]));
    let direct = reference(&registry.host(), "app:v1");
    push(&client(quick()), &from, &direct, &manifest).await.unwrap();
    let server = Server::before(&registry.host(), handler);
    let name = reference(&server.host(), "app:v1");
    let (tap, mut arriving) = bld_registry::tap();
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        arriving.read_to_end(&mut bytes).map(|_| bytes)
    });
    let (lease, reporter) = (to.store.lease(), Reporter::none());
    let descriptor = layer(&noise(1, 1_000_000));
    let fetched =
        client(quick()).fetch_tapped(&to.store, &lease, &name, &descriptor, &reporter, tap).await;
    (fetched, reading.await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_along_gets_every_byte_once_and_no_end_before_it_is_verified() {
    let (fetched, read) = tap_through(|request| match request.nth {
        0 if is_layer(request) => Reply::CutAfter(400_000),
        1 if is_layer(request) => Reply::WithoutRange,
        _ => Reply::Pass,
    })
    .await;
    fetched.unwrap();
    assert!(read.unwrap() == noise(1, 1_000_000));

    for reply in [Reply::Flip(777_777), Reply::CutAfter(10)] {
        let (fetched, read) =
            tap_through(move |request| if is_layer(request) { reply.clone() } else { Reply::Pass })
                .await;
        fetched.unwrap_err();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_never_arrives_is_given_up() {
    let (server, store, result) =
        pull_through(
            quick(),
            |request| {
                if is_layer(request) { Reply::CutAfter(10) } else { Reply::Pass }
            },
        )
        .await;
    let error = result.unwrap_err();
    let layer = Digest::of(&noise(1, 1_000_000));
    let expected =
        format!("connection to registry {} was lost to download blob {layer}", server.host());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert_eq!(server.log().iter().filter(|request| is_layer(request)).count(), 4);
    assert_eq!(store.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found_and_leaves_nothing() {
    let (_server, store, result) =
        pull_through(
            quick(),
            |request| {
                if is_layer(request) { Reply::Flip(777_777) } else { Reply::Pass }
            },
        )
        .await;
    let layer = Digest::of(&noise(1, 1_000_000));
    let error = result.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
    let expected = format!("blob {layer} has the wrong content: it hashes to sha256:");
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(!store.store.has_blob(&layer));
    assert_eq!(store.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spoilt_on_its_way_is_received_anew() {
    for spoilt in [Reply::Flip(777_777), Reply::Truncate(777_777)] {
        let (server, store, result) = pull_through(quick(), move |request| {
            if is_layer(request) && request.nth == 0 { spoilt.clone() } else { Reply::Pass }
        })
        .await;
        result.unwrap();
        assert!(store.store.has_blob(&Digest::of(&noise(1, 1_000_000))));
        assert_eq!(store.leftovers(), Vec::<String>::new());
        assert_eq!(server.log().iter().filter(|request| is_layer(request)).count(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_manifest_is_found() {
    let (_server, store, result) = pull_through(quick(), |request| {
        if request.is("GET", "/manifests/") { Reply::Flip(60) } else { Reply::Pass }
    })
    .await;
    let error = result.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
    assert_eq!(store.blobs(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_the_wrong_size_is_refused_early() {
    let store = TestStore::new();
    let bytes = noise(7, 1000);
    let served = bytes.clone();
    let server = Server::new(move |request| match request.target.as_str() {
        "/v2/" => Reply::status(200),
        _ => Reply::Answer(200, Vec::new(), served.clone()),
    });
    let name = reference(&server.host(), "app");
    for (claimed, message) in [(999, "has 1000 bytes instead of 999"), (1001, "instead of 1001")] {
        let descriptor = bld_oci::descriptor("application/x", Digest::of(&bytes), claimed);
        let client = client(quick());
        let error = fetch(&client, &store, &name, &descriptor).await.unwrap_err();
        assert!(error.to_string().ends_with(message), "{error}");
    }
    assert_eq!(store.leftovers(), Vec::<String>::new());
    assert_eq!(server.seen("GET", "/blobs/").len(), 4, "each is tried once more");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends() {
    let config = Config { idle_timeout: Duration::from_millis(300), ..quick() };
    let began = Instant::now();
    let (server, _, result) = pull_through(config, |request| {
        if is_layer(request) { Reply::Stall(Duration::from_secs(30)) } else { Reply::Pass }
    })
    .await;
    let text = chain(&result.unwrap_err());
    assert!(text.ends_with("nothing was received for 0.3 s"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(15));
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn permission_is_not_taken_along_to_another_host() {
    let bytes = noise(8, 5000);
    let (digest, served) = (Digest::of(&bytes), bytes.clone());
    let storage = Server::new(move |_| Reply::Answer(200, Vec::new(), served.clone()));
    let location = format!("http://{}/signed?key=secret", storage.host());
    let registry = Server::new(move |request| match request.path() {
        "/v2/" => Reply::Answer(
            401,
            vec![("WWW-Authenticate", "Basic realm=\"x\"".to_owned())],
            Vec::new(),
        ),
        "/v2/app/moved" => Reply::Answer(307, vec![("Location", location.clone())], Vec::new()),
        _ => Reply::Answer(307, vec![("Location", "/v2/app/moved".to_owned())], Vec::new()),
    });
    let store = TestStore::new();
    let credentials = bld_registry::auth::Single {
        registry: registry.host(),
        credential: bld_registry::auth::Credential::Password {
            username: "me".into(),
            password: "pw".into(),
        },
    };
    let client = client(Config { credentials: Arc::new(credentials), ..quick() });
    let name = reference(&registry.host(), "app");
    assert_eq!(fetch(&client, &store, &name, &layer(&bytes)).await.unwrap(), digest);

    let asked = registry.seen("GET", "/v2/app/");
    assert_eq!(asked.len(), 2, "one redirect stays on the host");
    assert!(asked.iter().all(|request| request.header("authorization") == Some("Basic bWU6cHc=")));
    assert_eq!(storage.log().len(), 1);
    assert_eq!(storage.log()[0].header("authorization"), None);
}

/// Uploads that the registry wants to have elsewhere, in one piece and in several.
#[tokio::test(flavor = "multi_thread")]
async fn permission_is_not_taken_along_to_an_upload_elsewhere() {
    let storage = Server::new(|request| match &*request.method {
        "PATCH" => {
            Reply::Answer(202, vec![("Location", "/upload?key=next".to_owned())], Vec::new())
        }
        _ => Reply::status(201),
    });
    let location = format!("http://{}/upload?key=secret", storage.host());
    let registry = Server::new(move |request| match &*request.method {
        _ if request.header("authorization").is_none() => Reply::Answer(
            401,
            vec![("WWW-Authenticate", "Basic realm=\"x\"".to_owned())],
            Vec::new(),
        ),
        "HEAD" => Reply::status(404),
        "POST" => Reply::Answer(202, vec![("Location", location.clone())], Vec::new()),
        _ => Reply::status(201),
    });
    let store = TestStore::new();
    let manifest = put(&store, &image(5, &[1000]));
    for chunk_size in [1 << 20, 400] {
        let credentials = bld_registry::auth::Single {
            registry: registry.host(),
            credential: bld_registry::auth::Credential::Password {
                username: "me".into(),
                password: "pw".into(),
            },
        };
        let config = Config { credentials: Arc::new(credentials), chunk_size, ..quick() };
        let name = reference(&registry.host(), "app:1");
        push(&client(config), &store, &name, &manifest).await.unwrap();
    }
    let methods: Vec<_> = storage.log().iter().map(|request| request.method.clone()).collect();
    assert!(methods.iter().filter(|method| *method == "PATCH").count() >= 3, "{methods:?}");
    assert!(methods.iter().filter(|method| *method == "PUT").count() >= 4, "{methods:?}");
    for request in storage.log() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
        assert!(!format!("{request:?}").contains("bWU6cHc"), "{request:?}");
    }
    assert!(!registry.seen("PUT", "/v2/app/manifests/1").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_do_not_show_signatures() {
    let storage = Server::new(|_| Reply::status(403));
    let location = format!("http://{}/signed?key=secret", storage.host());
    let registry = Server::new(move |request| match request.path() {
        "/v2/" => Reply::status(200),
        _ => Reply::Answer(307, vec![("Location", location.clone())], Vec::new()),
    });
    let store = TestStore::new();
    let name = reference(&registry.host(), "app");
    let client = client(quick());
    let text = chain(&fetch(&client, &store, &name, &layer(b"x")).await.unwrap_err());
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_end() {
    let server = Server::new(|request| match request.path() {
        "/v2/" => Reply::status(200),
        path => Reply::Answer(307, vec![("Location", path.to_owned())], Vec::new()),
    });
    let error = client(quick()).resolve(&reference(&server.host(), "app")).await.unwrap_err();
    assert!(chain(&error).ends_with("too many redirects"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_upload_is_begun_anew() {
    let closed = AtomicUsize::new(0);
    let (server, result) = push_through(quick(), move |request| match request.nth {
        0 if request.is("POST", "/blobs/uploads/") => Reply::status(500),
        _ if request.is("PUT", "/blobs/uploads/") && closed.fetch_add(1, Relaxed) < 2 => {
            Reply::Close
        }
        0 if request.is("PUT", "/manifests/") => Reply::status(502),
        _ => Reply::Pass,
    })
    .await;
    result.unwrap();
    assert_eq!(server.seen("PUT", "/blobs/uploads/").len(), 4, "two blobs, two cuts");
    assert_eq!(server.seen("PUT", "/manifests/").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_pieces_goes_on_where_it_broke() {
    let config = Config { chunk_size: 250_000, ..quick() };
    let (server, result) = push_through(config, |request| {
        // The third piece does not come through at first.
        let third = request.header("content-range") == Some("500000-749999");
        if third && request.nth == 2 { Reply::Close } else { Reply::Pass }
    })
    .await;
    result.unwrap();
    let pieces: Vec<_> = server
        .seen("PATCH", "/blobs/uploads/")
        .iter()
        .map(|request| request.header("content-range").unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        pieces,
        ["0-249999", "250000-499999", "500000-749999", "500000-749999", "750000-999999"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_answer_was_lost_still_succeeds() {
    let config = Config { chunk_size: 250_000, ..quick() };
    let lost = AtomicBool::new(false);
    let (_server, result) = push_through(config, move |request| {
        let second = request.header("content-range") == Some("250000-499999");
        if second && !lost.swap(true, Relaxed) { Reply::CloseAfter } else { Reply::Pass }
    })
    .await;
    result.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_always_breaks_is_given_up() {
    let config = Config { chunk_size: 250_000, ..quick() };
    let (server, result) = push_through(config, |request| {
        let second = request.header("content-range") == Some("250000-499999");
        if second { Reply::CloseAfter } else { Reply::Pass }
    })
    .await;
    let text = result.unwrap_err().to_string();
    assert!(text.contains("was lost to upload blob"), "{text}");
    assert!(server.seen("PATCH", "").len() <= 12, "{}", server.seen("PATCH", "").len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_whose_confirmation_was_lost_is_not_sent_again() {
    let (server, result) = push_through(quick(), |request| match request.method.as_str() {
        "PUT" if request.target.contains("/blobs/uploads/") => Reply::CloseAfter,
        _ => Reply::Pass,
    })
    .await;
    result.unwrap();
    assert_eq!(server.seen("PUT", "/blobs/uploads/").len(), 2, "two blobs, sent once each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_takes_no_pieces_gets_the_whole() {
    let config = Config { chunk_size: 250_000, ..quick() };
    let (server, result) = push_through(config, |request| match request.method.as_str() {
        "PATCH" => Reply::json(405, r#"{"errors":[{"code":"UNSUPPORTED"}]}"#),
        _ => Reply::Pass,
    })
    .await;
    result.unwrap();
    assert_eq!(server.seen("PATCH", "").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_says_why() {
    let (server, result) = push_through(quick(), |request| match request.method.as_str() {
        "POST" => Reply::json(
            413,
            r#"{"errors":[{"code":"SIZE_INVALID","message":"quota of 1 MB is used up"}]}"#,
        ),
        _ => Reply::Pass,
    })
    .await;
    let text = chain(&result.unwrap_err());
    assert!(text.ends_with("SIZE_INVALID: quota of 1 MB is used up"), "{text}");
    assert!(text.contains("413 Payload Too Large to POST"), "{text}");
    assert!(server.seen("POST", "").len() <= 2, "not tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_stands_still_ends() {
    let config = Config { idle_timeout: Duration::from_millis(300), ..quick() };
    let server = Server::new(|request| match (request.method.as_str(), request.path()) {
        ("HEAD", _) => Reply::status(404),
        ("POST", _) => Reply::Answer(202, vec![("Location", "/v2/app/up".to_owned())], Vec::new()),
        ("PUT", _) => {
            // The body is not read while this sleeps, and it is larger than what the system takes.
            std::thread::sleep(Duration::from_secs(20));
            Reply::Close
        }
        _ => Reply::status(200),
    });
    let store = TestStore::new();
    let manifest = put(&store, &image(9, &[32 << 20]));
    let began = Instant::now();
    let name = reference(&server.host(), "app:1");
    let error = push(&client(config), &store, &name, &manifest).await;
    let text = chain(&error.unwrap_err());
    assert!(text.contains("was lost to upload blob"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(18), "{:?}", began.elapsed());
}
