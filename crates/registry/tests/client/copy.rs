//! Copying between repositories of real registries.

use bld_oci::document::{new_index, new_manifest, to_bytes};
use bld_oci::{Descriptor, ImageExt as _, MemoryImage, Platform, Reference, describe, media_type};
use bld_registry::{Client, Config, Manifest, RegistryError, Reporter};
use bld_testkit::Registry;

use crate::support::{TestStore, client, image, noise, pull, push, put, quick, reference};
use bld_testkit::http::{Reply, Server};

/// Copies what `from` names to the repository of `to`, and tags it there.
async fn copy(client: &Client, from: &Reference, to: &Reference) -> Result<(), RegistryError> {
    let manifest = client.resolve(from).await?;
    client.copy(from, to, &manifest, &Reporter::none()).await?;
    client.put(to, &manifest).await
}

/// An index of `images`, which are in `store`.
fn index(store: &TestStore, images: &[&MemoryImage]) -> Manifest {
    let entry = |image: &&MemoryImage| {
        let mut entry = put(store, image).descriptor();
        entry.set_platform(Some((&Platform::parse("linux/amd64").unwrap()).into()));
        entry
    };
    let index = new_index(media_type::OCI_INDEX, images.iter().map(entry).collect());
    Manifest::new(media_type::OCI_INDEX, to_bytes(&index).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn within_a_registry_nothing_is_transferred() {
    let registry = Registry::start().unwrap();
    let server = Server::before(&registry.host(), |_| Reply::Pass);
    let (store, client) = (TestStore::new(), client(quick()));
    let (one, two) = (image(60, &[200_000]), image(61, &[100_000]));
    let from = reference(&server.host(), "team/app:1");
    push(&client, &store, &from, &index(&store, &[&one, &two])).await.unwrap();
    let before = server.log().len();
    let to = reference(&server.host(), "shop/front:2");
    copy(&client, &from, &to).await.unwrap();
    let log: Vec<_> = server.log().split_off(before);
    assert!(!log.iter().any(|request| request.is("GET", "/blobs/")), "{log:#?}");
    assert!(!log.iter().any(|request| request.is("PUT", "/blobs/")), "{log:#?}");
    let manifest = client.resolve(&from).await.unwrap();
    assert_eq!(client.resolve(&to).await.unwrap(), manifest);
    pull(&client, &TestStore::new(), &to).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn between_registries_bytes_pass_through() {
    let (near, far) = (Registry::start().unwrap(), Registry::start().unwrap());
    let source = Server::before(&near.host(), |_| Reply::Pass);
    let (store, other) = (TestStore::new(), TestStore::new());
    let image = image(62, &[1_000_000, 0, 300]);
    let from = reference(&source.host(), "app:1");
    // Large blobs in pieces, of which each is read by its range.
    let client = client(Config { chunk_size: 300_000, ..quick() });
    push(&client, &store, &from, &put(&store, &image)).await.unwrap();
    let to = reference(&far.host(), "copy/app:1");
    copy(&client, &from, &to).await.unwrap();
    let ranges = source
        .seen("GET", "/blobs/")
        .into_iter()
        .filter_map(|request| request.header("range").map(ToOwned::to_owned));
    let mut ranges: Vec<_> = ranges.collect();
    ranges.sort();
    assert_eq!(ranges.len(), 4, "{ranges:?}");
    assert_eq!(ranges[0], "bytes=0-299999");
    let pulled = pull(&client, &other, &to).await.unwrap();
    assert_eq!(pulled.id, image.id().unwrap());
    for (digest, blob) in &image.blobs {
        assert_eq!(&other.store.read_blob(digest).unwrap(), blob);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_is_begun_again_and_what_is_wrong_is_not_copied() {
    let (near, far) = (Registry::start().unwrap(), Registry::start().unwrap());
    let (store, client) = (TestStore::new(), client(quick()));
    let image = image(63, &[200_000]);
    let from = reference(&near.host(), "app:1");
    push(&client, &store, &from, &put(&store, &image)).await.unwrap();

    let first = std::sync::atomic::AtomicBool::new(true);
    let cutting = Server::before(&near.host(), move |request| {
        let is_blob = request.is("GET", "/blobs/");
        if is_blob && first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            Reply::CutAfter(100)
        } else {
            Reply::Pass
        }
    });
    let to = reference(&far.host(), "cut:1");
    copy(&client, &reference(&cutting.host(), "app:1"), &to).await.unwrap();
    pull(&client, &TestStore::new(), &to).await.unwrap();

    let flipping = Server::before(&near.host(), |request| {
        if request.is("GET", "/blobs/") { Reply::Flip(50) } else { Reply::Pass }
    });
    // Another registry, which has nothing of it.
    let fresh = Registry::start().unwrap();
    let to = reference(&fresh.host(), "flipped:1");
    let error = copy(&client, &reference(&flipping.host(), "app:1"), &to).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error:?}");
    assert!(matches!(client.resolve(&to).await, Err(RegistryError::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_about_an_image_goes_along() {
    let registry = Registry::start().unwrap();
    let (store, client) = (TestStore::new(), client(quick()));
    let from = reference(&registry.host(), "app:1");
    let image = put(&store, &image(64, &[1000]));
    push(&client, &store, &from, &image).await.unwrap();
    for (seed, kind) in [
        (65, "application/vnd.docker.attestation.manifest.v1+json"),
        (66, "application/vnd.example.something.else"),
    ] {
        let said = noise(seed, 100);
        store.store.put_blob(&said).unwrap();
        store.store.put_blob(b"{}").unwrap();
        let layers = vec![describe("application/vnd.in-toto+json", &said)];
        let mut artifact =
            new_manifest(media_type::OCI_MANIFEST, describe(media_type::OCI_EMPTY, b"{}"), layers);
        artifact.set_artifact_type(Some(kind.into()));
        artifact.set_subject(Some(image.descriptor()));
        let bytes = to_bytes(&artifact).unwrap();
        let artifact = Manifest::new(media_type::OCI_MANIFEST, bytes).unwrap();
        let mut described: Descriptor = artifact.descriptor();
        described.set_artifact_type(Some(kind.into()));
        let push =
            client.push_referrer(&store.store, &from, image.digest, &artifact, described.clone());
        push.await.unwrap();
    }
    assert_eq!(client.referrers(&from, image.digest).await.unwrap().len(), 2);
    let to = reference(&registry.host(), "other/app:1");
    copy(&client, &from, &to).await.unwrap();
    let found = client.referrers(&to, image.digest).await.unwrap();
    assert_eq!(found.len(), 1, "attestations do, strangers do not");
}
