//! What an image is said to be made of.

use bld_testkit::{Cmd, TestEnv};
use serde_json::Value;

use crate::env;

/// The package URLs in a document.
fn urls(document: &Value) -> Vec<String> {
    let packages = document["packages"].as_array().unwrap().iter();
    let urls = packages.filter_map(|found| found["externalRefs"][0]["referenceLocator"].as_str());
    urls.map(str::to_owned).collect()
}

fn sbom(env: &TestEnv, dockerfile: &str) -> Value {
    let _ = env.build("s:1", dockerfile, []).expect_code(0);
    serde_json::from_str(env.bld(["sbom", "s:1"]).ok().text()).unwrap()
}

/// A database of rpm with a package.
fn rpm_database(env: &TestEnv) {
    let script = r#"
import sqlite3, struct, sys
fields = [(1000, b"bash\0"), (1001, b"5.2\0"), (1002, b"1.el9\0"), (1022, b"x86_64\0")]
entries, data = b"", b""
for tag, value in fields:
    entries += struct.pack(">IIII", tag, 6, len(data), 1)
    data += value
blob = struct.pack(">II", len(fields), len(data)) + entries + data
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA journal_mode=WAL")
database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
database.execute("INSERT INTO Packages (blob) VALUES (?)", (blob,))
database.commit()
database.close()
"#;
    Cmd::new("python3").args(["-c", script]).arg(env.path("ctx/rpmdb.sqlite")).ok();
}

#[test]
fn databases_and_lock_files_are_read() {
    let env = env();
    env.write("ctx/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
    let status =
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n";
    env.write("ctx/status", status);
    env.write("ctx/installed", "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n");
    env.write(
        "ctx/Cargo.lock",
        "[[package]]\nname = \"libc\"\nversion = \"0.2.1\"\nsource = \"r\"\n",
    );
    env.write("ctx/gone.lock", "GEM\n  specs:\n    rack (3.0)\n");
    rpm_database(&env);
    let dockerfile = "FROM busybox\nCOPY os-release /etc/\nCOPY status /var/lib/dpkg/\n\
        COPY installed /lib/apk/db/\nCOPY rpmdb.sqlite /var/lib/rpm/\nCOPY Cargo.lock /app/\n\
        COPY gone.lock /app/Gemfile.lock\nRUN rm /app/Gemfile.lock\n";
    let document = sbom(&env, dockerfile);
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    let found = urls(&document);
    assert_eq!(
        found,
        [
            "pkg:apk/debian/musl@1.2.5-r0?arch=x86_64&distro=debian-12",
            "pkg:cargo/libc@0.2.1",
            "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12",
            "pkg:rpm/debian/bash@5.2-1.el9?arch=x86_64&distro=debian-12",
        ]
    );
    // All of it is said to be in the image.
    let contained = document["relationships"].as_array().unwrap().iter();
    let contained = contained.filter(|one| one["relationshipType"] == "CONTAINS").count();
    assert_eq!(contained, found.len());
    assert_eq!(env.bld(["sbom", "s:1"]).ok().text(), format!("{document:#}"));
}

#[test]
fn an_image_without_packages_has_a_document() {
    let env = env();
    let document = sbom(&env, "FROM scratch\n");
    assert_eq!(urls(&document), [""; 0]);
    assert_eq!(document["packages"][0]["name"], "s:1");
    let _ = env.bld(["sbom", "missing"]).run().expect_code(1).expect_text("No such image");
}
