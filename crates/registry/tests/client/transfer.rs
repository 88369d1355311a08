//! Moving images to and from a real registry.

use crate::support::{
    Recorder, TestStore, amd64, chain, client, fetch, image, layer, noise, pull, push, put, quick,
    reference,
};
use bld_event::{EventKind, Events};
use bld_oci::document::{new_index, to_bytes};
use bld_oci::{Descriptor, Digest, ImageConfig, ImageExt as _, MemoryImage, Platform, media_type};
use bld_registry::{Config, Manifest, RegistryError};
use bld_testkit::Registry;
use bld_testkit::http::{Reply, Request, Server};

fn assert_send<T: Send>(future: T) -> T {
    future
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_survives_the_round_trip() {
    let registry = Registry::start().unwrap();
    let (from, to) = (TestStore::new(), TestStore::new());
    let image = image(1, &[300_000, 10, 0, 5_000_000]);
    let manifest = put(&from, &image);
    let name = reference(&registry.host(), "team/app:v1");
    let recorder = Recorder::default();
    let (platform, events) = (amd64(), recorder.events());

    let client = client(quick());
    let pushed = assert_send(push(&client, &from, &name, &manifest)).await.unwrap();
    assert_eq!(pushed.digest, manifest.digest);
    let pull = client.pull_image(&to.store, &name, &platform, &events);
    let pulled = assert_send(pull).await.unwrap();

    assert_eq!(pulled.manifest, manifest);
    assert_eq!(pulled.digest, manifest.digest);
    assert_eq!(pulled.id, image.id().unwrap());
    assert_eq!(pulled.config, image.config().unwrap());
    assert_eq!(pulled.platform(), amd64());
    for (digest, blob) in &image.blobs {
        assert_eq!(&to.store.read_blob(digest).unwrap(), blob);
    }
    assert_eq!(to.store.read_blob(&manifest.digest).unwrap(), image.manifest);

    let kinds = recorder.kinds();
    assert!(matches!(&kinds[0], EventKind::Planned(vertex) if vertex.name.starts_with("pull ")));
    assert_eq!(kinds.last(), Some(&EventKind::Done));
    let items = recorder.items();
    assert_eq!(items.len(), 5, "four layers and the configuration: {items:?}");
    assert!(items.values().all(|(_, done)| *done), "{items:?}");

    // By digest, and by the digest a tag has.
    let pinned = name.with_digest(manifest.digest);
    assert_eq!(client.resolve(&pinned).await.unwrap(), manifest);
    assert_eq!(client.digest(&name).await.unwrap(), manifest.digest);
    assert_eq!(client.tags(&name).await.unwrap(), ["v1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_sent_again() {
    let registry = Registry::start().unwrap();
    let server = Server::before(&registry.host(), |_| Reply::Pass);
    let (from, to) = (TestStore::new(), TestStore::new());
    let image = image(2, &[100_000, 200_000]);
    let manifest = put(&from, &image);
    let name = reference(&server.host(), "app:v1");
    let client = client(quick());

    for _ in 0..2 {
        push(&client, &from, &name, &manifest).await.unwrap();
        pull(&client, &to, &name).await.unwrap();
    }
    assert_eq!(server.seen("POST", "/blobs/uploads/").len(), 3, "two layers, one configuration");
    assert_eq!(server.seen("GET", "/blobs/").len(), 3);
    // One connection was opened to find out how the registry is spoken to.
    assert_eq!(server.log().iter().filter(|request| request.target == "/v2/").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_mounted_from_other_repositories() {
    let registry = Registry::start().unwrap();
    let server = Server::before(&registry.host(), |_| Reply::Pass);
    let store = TestStore::new();
    let base = image(3, &[400_000]);
    let mut derived = base.clone();
    let layers = vec![base.blobs.values().next().unwrap().clone(), noise(4, 1000)];
    derived = MemoryImage::new(derived.config().unwrap(), layers).unwrap();
    let client = client(quick());
    let from = reference(&server.host(), "library/base:1");
    let events = Events::none();
    let manifest = put(&store, &base);
    push(&client, &store, &from, &manifest).await.unwrap();

    let to = reference(&server.host(), "me/app:1");
    let elsewhere = reference("r.example", "x");
    let manifest = put(&store, &derived);
    let before = server.log().len();
    client.push_image(&store.store, &to, &manifest, &[elsewhere, from], &events).await.unwrap();
    let log: Vec<_> = server.log().split_off(before);
    let mounts = log.iter().filter(|r| r.is("POST", "from=library%2Fbase"));
    assert_eq!(mounts.count(), 3, "every blob is asked for: {log:#?}");
    let sent = |log: &[Request]| log.iter().filter(|r| r.is("PUT", "/blobs/")).count();
    assert_eq!(sent(&log), 2, "the new layer and the configuration are sent");

    // Of several repositories, the one that has the blob is asked.
    let third = reference(&server.host(), "third:1");
    let before = server.log().len();
    let from = [reference(&server.host(), "library/base"), to];
    client.push_image(&store.store, &third, &manifest, &from, &events).await.unwrap();
    let log: Vec<_> = server.log().split_off(before);
    assert_eq!(log.iter().filter(|r| r.is("POST", "from=library%2Fbase")).count(), 1);
    assert_eq!(log.iter().filter(|r| r.is("POST", "from=me%2Fapp")).count(), 2);
    assert_eq!(sent(&log), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_blobs_go_in_pieces() {
    let registry = Registry::start().unwrap();
    let server = Server::before(&registry.host(), |_| Reply::Pass);
    let (from, to) = (TestStore::new(), TestStore::new());
    let image = image(5, &[1_000_000]);
    let manifest = put(&from, &image);
    let name = reference(&server.host(), "app:v1");
    let client = client(Config { chunk_size: 300_000, ..quick() });

    push(&client, &from, &name, &manifest).await.unwrap();
    let pieces: Vec<_> = server
        .seen("PATCH", "/blobs/uploads/")
        .iter()
        .map(|request| request.header("content-range").unwrap_or_default().to_owned())
        .collect();
    assert_eq!(pieces, ["0-299999", "300000-599999", "600000-899999", "900000-999999"]);
    pull(&client, &to, &name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_leads_to_the_platform() {
    let registry = Registry::start().unwrap();
    let (from, to) = (TestStore::new(), TestStore::new());
    let client = client(quick());
    let mut manifests: Vec<Descriptor> = Vec::new();
    for (seed, platform) in [(10, "linux/arm/v6"), (11, "linux/arm64"), (12, "linux/s390x")] {
        let platform = Platform::parse(platform).unwrap();
        let config = ImageConfig::for_platform(&platform);
        let image = MemoryImage::new(config, vec![noise(seed, 100)]).unwrap();
        let mut descriptor = put(&from, &image).descriptor();
        descriptor.set_platform(Some((&platform).into()));
        manifests.push(descriptor);
    }
    // An attestation stands for no platform, whatever it claims.
    let statement = image(13, &[5]);
    let mut attestation = put(&from, &statement).descriptor();
    attestation.set_platform(Some((&Platform::new("unknown", "unknown", None)).into()));
    manifests.insert(0, attestation);
    let index = to_bytes(&new_index(media_type::OCI_INDEX, manifests)).unwrap();
    let index = Manifest::new(media_type::OCI_INDEX, index).unwrap();
    let name = reference(&registry.host(), "multi:1");
    push(&client, &from, &name, &index).await.unwrap();

    for (wanted, found) in [
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm/v7", "linux/arm/v6"),
        ("linux/s390x", "linux/s390x"),
    ] {
        let wanted = Platform::parse(wanted).unwrap();
        let pulled = client.pull_image(&to.store, &name, &wanted, &Events::none()).await.unwrap();
        assert_eq!(pulled.platform().to_string(), found);
        assert_eq!(pulled.digest, index.digest, "the reference names the index");
        assert_ne!(pulled.manifest.digest, index.digest);
    }
    let error = pull(&client, &to, &name).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "image {name} is not available for linux/amd64, \
             only for linux/arm/v6, linux/arm64, linux/s390x"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_media_types_are_pulled() {
    let registry = Registry::start().unwrap();
    let (from, to) = (TestStore::new(), TestStore::new());
    let oci = image(20, &[1000]);
    let text = String::from_utf8(oci.manifest.clone()).unwrap();
    let text = text
        .replace(media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST)
        .replace(media_type::OCI_CONFIG, media_type::DOCKER_CONFIG)
        .replace(media_type::OCI_LAYER, media_type::DOCKER_LAYER_GZIP);
    put(&from, &oci);
    let manifest = Manifest::new(media_type::DOCKER_MANIFEST, text.into_bytes()).unwrap();
    let name = reference(&registry.host(), "docker:1");
    let client = client(quick());
    push(&client, &from, &name, &manifest).await.unwrap();
    let pulled = pull(&client, &to, &name).await.unwrap();
    assert_eq!(pulled.manifest, manifest);
    assert_eq!(pulled.manifest.media_type, media_type::DOCKER_MANIFEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_image_is_called_by_its_name() {
    let registry = Registry::start().unwrap();
    let store = TestStore::new();
    let chart = image(21, &[10]);
    let text = String::from_utf8(chart.manifest.clone()).unwrap();
    let text = text.replace(media_type::OCI_CONFIG, "application/vnd.cncf.helm.config.v1+json");
    put(&store, &chart);
    let manifest = Manifest::new(media_type::OCI_MANIFEST, text.into_bytes()).unwrap();
    let name = reference(&registry.host(), "chart:1");
    let client = client(quick());
    push(&client, &store, &name, &manifest).await.unwrap();
    let error = pull(&client, &store, &name).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{name} is not a container image but \"application/vnd.cncf.helm.config.v1+json\"")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_said_so() {
    let registry = Registry::start().unwrap();
    let store = TestStore::new();
    let client = client(quick());
    for rest in ["nobody/nothing:1", &format!("nobody/nothing@{}", Digest::of(b"x"))] {
        let name = reference(&registry.host(), rest);
        let recorder = Recorder::default();
        let (platform, events) = (amd64(), recorder.events());
        let pull = client.pull_image(&store.store, &name, &platform, &events);
        let error = pull.await.unwrap_err();
        assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
        assert_eq!(error.to_string(), format!("image {name} does not exist"));
        assert!(matches!(recorder.kinds().last(), Some(EventKind::Failed { .. })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_registry_is_one_message() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = TestStore::new();
    let name = reference(&format!("127.0.0.1:{port}"), "app:1");
    let began = std::time::Instant::now();
    let client = client(Config::default());
    let error = pull(&client, &store, &name).await.unwrap_err();
    assert_eq!(
        chain(&error),
        format!("registry 127.0.0.1:{port} cannot be reached: Connection refused (os error 111)")
    );
    assert!(began.elapsed().as_secs() < 2, "a refusal is final");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_blob_is_received_once_by_all() {
    let registry = Registry::start().unwrap();
    let server = Server::before(&registry.host(), |_| Reply::Pass);
    let (from, to) = (TestStore::new(), TestStore::new());
    let image = image(30, &[3_000_000]);
    let manifest = put(&from, &image);
    let name = reference(&server.host(), "app:v1");
    let events = Events::none();
    push(&client(quick()), &from, &name, &manifest).await.unwrap();

    // Clients that know nothing of each other, as different processes would.
    let clients: Vec<_> = (0..4).map(|_| client(quick())).collect();
    let platform = amd64();
    let pulls = clients.iter().map(|c| c.pull_image(&to.store, &name, &platform, &events));
    for result in futures_util::future::join_all(pulls).await {
        result.unwrap();
    }
    assert_eq!(server.seen("GET", "/blobs/").len(), 2, "one layer, one configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_are_asked_first_and_may_fail() {
    let registry = Registry::start().unwrap();
    let origin = Server::before(&registry.host(), |_| Reply::Pass);
    let broken = Server::new(|_| Reply::status(404));
    let (from, to) = (TestStore::new(), TestStore::new());
    let image = image(31, &[1000]);
    let manifest = put(&from, &image);
    let name = reference(&origin.host(), "app:v1");
    push(&client(quick()), &from, &name, &manifest).await.unwrap();

    let settings = |mirrors: &[String]| {
        let mirrors = mirrors.iter().map(bld_registry::Mirror::new).collect();
        let settings = bld_registry::RegistryConfig { mirrors, ..Default::default() };
        client(Config { registries: [(origin.host(), settings)].into(), ..quick() })
    };
    let before = origin.log().len();
    let mirrored = settings(&[broken.host(), registry.host()]);
    pull(&mirrored, &to, &name).await.unwrap();
    assert_eq!(origin.log().len(), before, "the second mirror had everything");
    assert_eq!(broken.seen("GET", "/manifests/").len(), 1);

    let silent = Server::new(|_| Reply::Close);
    let mirrored = settings(&[silent.host()]);
    pull(&mirrored, &TestStore::new(), &name).await.unwrap();
    assert!(origin.log().len() > before, "the registry itself is asked at last");
    assert_eq!(silent.log().len(), 4, "a mirror that does not answer is given up for good");

    let busy = Server::new(|_| Reply::status(503));
    let mirrored = settings(&[busy.host()]);
    pull(&mirrored, &TestStore::new(), &name).await.unwrap();
    assert!(!busy.seen("GET", "/manifests/").is_empty());
    assert_eq!(busy.seen("GET", "/blobs/").len(), 0, "as is one that has no time");
}

#[tokio::test(flavor = "multi_thread")]
async fn inline_data_is_taken_from_the_manifest() {
    use base64::Engine as _;
    let store = TestStore::new();
    let bytes = b"small".to_vec();
    let mut descriptor = layer(&bytes);
    descriptor.set_data(Some(base64::engine::general_purpose::STANDARD.encode(&bytes)));
    // Nobody listens there, and nobody needs to.
    let name = reference("127.0.0.1:1", "app");
    let client = client(quick());
    let digest = fetch(&client, &store, &name, &descriptor).await.unwrap();
    assert_eq!(store.store.read_blob(&digest).unwrap(), bytes);
}
