//! The document: SPDX 2.3 in JSON.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bld_oci::Digest;
use serde_json::{Value, json};

use super::Package;

/// The id of the image in the document.
const IMAGE: &str = "SPDXRef-Image";
/// What is not known.
const UNKNOWN: &str = "NOASSERTION";
/// When a document is from, if the image does not say when it is from.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// The document about the image `id`, called `name`.
pub(super) fn document(name: &str, id: &Digest, created: &str, found: &BTreeSet<Package>) -> Value {
    let mut packages = vec![json!({
        "SPDXID": IMAGE,
        "name": name,
        "versionInfo": id,
        "primaryPackagePurpose": "CONTAINER",
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
    })];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    for package in found {
        let url = package_url(package);
        let unique = Digest::of(format!("{url} {}", package.found_in).as_bytes());
        let id = format!("SPDXRef-{}-{}", package.kind, &unique.hex()[..16]);
        packages.push(json!({
            "SPDXID": id,
            "name": full_name(package),
            "versionInfo": package.version,
            "sourceInfo": format!("found in {}", package.found_in),
            "downloadLocation": UNKNOWN,
            "filesAnalyzed": false,
            "licenseConcluded": UNKNOWN,
            "licenseDeclared": license(&package.license),
            "copyrightText": UNKNOWN,
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": url,
            }],
        }));
        relationships.push(relationship(IMAGE, "CONTAINS", &id));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("urn:bld:sbom:{}", id.hex()),
        "creationInfo": {
            "created": time(created),
            "creators": [format!("Tool: bld-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relationships,
    })
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// SPDX wants seconds and `Z`.
fn time(created: &str) -> String {
    let time = created.parse::<jiff::Timestamp>();
    let time = time.ok().map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    time.unwrap_or_else(|| NO_TIME.to_owned())
}

/// What packages state is not always an expression of SPDX, and must not be put where one belongs.
fn license(stated: &str) -> &str {
    let is_id = |c: char| c.is_ascii_alphanumeric() || "-.+".contains(c);
    if !stated.is_empty() && stated.chars().all(is_id) { stated } else { UNKNOWN }
}

/// The name as people of its kind write it.
fn full_name(package: &Package) -> String {
    match package.kind {
        "npm" | "golang" | "composer" if !package.namespace.is_empty() => {
            format!("{}/{}", package.namespace, package.name)
        }
        _ => package.name.clone(),
    }
}

/// `pkg:KIND/NAMESPACE/NAME@VERSION?KEY=VALUE`
fn package_url(package: &Package) -> String {
    let mut url = format!("pkg:{}/", package.kind);
    for part in package.namespace.split('/').filter(|part| !part.is_empty()) {
        encode(&mut url, part);
        url.push('/');
    }
    encode(&mut url, &package.name);
    if !package.version.is_empty() {
        url.push('@');
        encode(&mut url, &package.version);
    }
    for (index, (key, value)) in package.qualifiers.iter().enumerate() {
        url.push(if index == 0 { '?' } else { '&' });
        url.push_str(key);
        url.push('=');
        encode(&mut url, value);
    }
    url
}

fn encode(url: &mut String, part: &str) {
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                url.push(byte.into());
            }
            other => {
                let _infallible = write!(url, "%{other:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls_are_encoded() {
        let scoped = Package { namespace: "@s".into(), ..Package::new("npm", "a", "1.0+b") };
        assert_eq!(package_url(&scoped), "pkg:npm/%40s/a@1.0%2Bb");
        let mut deb = Package::new("deb", "g++", "4:12-1");
        deb.namespace = "debian".into();
        deb.qualifiers = vec![("arch", "amd64".into()), ("distro", "debian-12".into())];
        assert_eq!(package_url(&deb), "pkg:deb/debian/g%2B%2B@4:12-1?arch=amd64&distro=debian-12");
    }
}
