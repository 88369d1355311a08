//! Names as Docker reads them, and what is said about those it refuses.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use bld_oci::{Digest, Reference, ReferenceError};

fn parse(text: &str) -> Reference {
    Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn names_are_completed() {
    for (text, canonical, familiar) in [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.37", "docker.io/library/busybox:1.37", "busybox:1.37"),
        ("library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("me/app", "docker.io/me/app:latest", "me/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/me/app", "docker.io/me/app:latest", "me/app:latest"),
        ("library/me/app", "docker.io/library/me/app:latest", "library/me/app:latest"),
        ("localhost", "docker.io/library/localhost:latest", "localhost:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
        ("app:5000", "docker.io/library/app:5000", "app:5000"),
        ("quay.io/a/b/c:x_Y.z-1", "quay.io/a/b/c:x_Y.z-1", "quay.io/a/b/c:x_Y.z-1"),
        ("REG.example:80/a", "REG.example:80/a:latest", "REG.example:80/a:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        ("a--b__c.d/e", "docker.io/a--b__c.d/e:latest", "docker.io/a--b__c.d/e:latest"),
    ] {
        // The last row has a dot in its first component and would be taken for a registry.
        let text = if text == "a--b__c.d/e" { canonical } else { text };
        assert_eq!(parse(text).to_string(), canonical, "{text}");
        assert_eq!(parse(text).familiar(), familiar, "{text}");
    }
}

#[test]
fn a_digest_replaces_the_default_tag() {
    let digest = Digest::of(b"manifest");
    let pinned = parse(&format!("busybox@{digest}"));
    assert_eq!((pinned.tag(), pinned.digest()), (None, Some(digest)));
    assert_eq!(pinned.to_string(), format!("docker.io/library/busybox@{digest}"));
    let both = parse("busybox:1").with_digest(digest);
    assert_eq!(both.to_string(), format!("docker.io/library/busybox:1@{digest}"));
    assert_eq!(parse(&both.familiar()), both);
    let retagged = both.with_tag("2").unwrap();
    assert_eq!((retagged.tag(), retagged.digest()), (Some("2"), None));
}

#[test]
fn refusals_name_the_part_that_is_wrong() {
    let long = "a".repeat(256);
    let hex = "0".repeat(64);
    for (text, wanted) in [
        ("", "image reference is empty"),
        (
            "Busybox",
            "image reference \"Busybox\" has uppercase letters, repository names are lowercase",
        ),
        ("Me/app", "image reference \"Me/app\" has uppercase letters"),
        ("quay.io/Me/app", "has uppercase letters"),
        ("busy box", "repository \"busy box\" of image reference \"busy box\" is malformed"),
        ("a//b", "repository \"a//b\""),
        ("-a", "repository \"-a\""),
        ("a..b", "repository \"a..b\""),
        ("a___b", "repository \"a___b\""),
        ("http://quay.io/a", "registry \"http:\" of image reference"),
        ("host:port/a", "registry \"host:port\""),
        ("a:", "tag \"\" of image reference \"a:\" is malformed"),
        ("a:.b", "tag \".b\""),
        ("a:b c", "tag \"b c\""),
        ("a@sha256:123", "digest of image reference \"a@sha256:123\" is malformed"),
        (&hex, "looks like an image id"),
        (&long, "is longer than 255 characters"),
    ] {
        let message = Reference::parse(text).map_or_else(
            |error| error.to_string(),
            |reference| panic!("{text:?} was read as {reference}"),
        );
        assert!(message.contains(wanted), "{text:?}: {message}");
    }
    let tag = parse("busybox").with_tag("no/tag").unwrap_err();
    assert!(matches!(tag, ReferenceError::Tag { .. }), "{tag}");
}

#[test]
fn loopback_is_recognised() {
    for text in ["localhost/a", "localhost:5000/a", "127.0.0.1:5000/a", "127.8.9.1/a", "[::1]:80/a"]
    {
        assert!(parse(text).is_loopback(), "{text}");
    }
    for text in
        ["busybox", "localhost.example/a", "10.0.0.1:5000/a", "[fe80::1]/a", "127.example/a"]
    {
        assert!(!parse(text).is_loopback(), "{text}");
    }
}
