//! Archives that mean harm: whatever they say, nothing outside of the target changes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::*;
use bld_layer::{ApplyOptions, LayerError, View, Whiteouts, apply};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tar::{EntryType, Header};

/// Archives with headers exactly as given: the writer of the tar crate refuses these names.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn entry(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str) -> Self {
        self.entry(EntryType::Regular, name, "", b"evil")
    }

    fn dir(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    fn symlink(self, name: &str, to: &str) -> Self {
        self.entry(EntryType::Symlink, name, to, b"")
    }

    fn hardlink(self, name: &str, to: &str) -> Self {
        self.entry(EntryType::Link, name, to, b"")
    }
}

/// A target beside a directory that must not change.
struct Cell {
    dir: tempfile::TempDir,
}

impl Cell {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path().join("outside/precious"), "precious", 0o600);
        mkdirs(dir.path().join("target"));
        Self { dir }
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    fn apply(&self, archive: &Archive, options: &ApplyOptions) -> Result<(), LayerError> {
        let result = apply(&mut &archive.0[..], &self.target(), options);
        let beside: Vec<_> = fs::read_dir(self.dir.path()).unwrap().collect();
        assert_eq!(beside.len(), 2, "something was made beside the target");
        let outside = tree_on_disk(&self.dir.path().join("outside"));
        assert_eq!(outside.len(), 1, "something was made outside");
        let precious = &outside[Path::new("/precious")];
        assert_eq!((&precious.content[..], precious.mode), (&b"precious"[..], 0o600));
        result.map(drop)
    }
}

/// Every way of dealing with whiteouts.
fn options() -> [ApplyOptions; 3] {
    [Whiteouts::Overlay, Whiteouts::Remove, Whiteouts::Literal]
        .map(|whiteouts| ApplyOptions { whiteouts, ..Default::default() })
}

#[test]
fn names_that_climb_out_are_refused() {
    for options in options() {
        for name in ["../x", "a/../../x", "..", "/../x", "../outside/precious", "./../x"] {
            let cell = Cell::new();
            let error = cell.apply(&Archive::default().file(name), &options).unwrap_err();
            assert!(matches!(error, LayerError::Entry { .. }), "{name}: {error}");
            let archive = Archive::default().file("a").hardlink("b", name);
            let error = cell.apply(&archive, &options).unwrap_err();
            assert!(matches!(error, LayerError::Entry { .. }), "{name}: {error}");
        }
    }
}

#[test]
fn absolute_names_count_from_the_root_of_the_tree() {
    for options in options() {
        let cell = Cell::new();
        let precious = cell.dir.path().join("outside/precious");
        let precious = precious.to_str().unwrap();
        let archive = Archive::default().file("/etc/x").file(precious).file("//a/./b/../c");
        cell.apply(&archive, &options).unwrap();
        assert!(cell.target().join("etc/x").is_file());
        assert!(cell.target().join(&precious[1..]).is_file());
        assert!(cell.target().join("a/c").is_file());
    }
}

#[test]
fn links_that_lead_out_are_clamped() {
    for options in options() {
        for to in ["..", "../outside", "/", "../../../../../..", "OUTSIDE"] {
            let cell = Cell::new();
            let outside = cell.dir.path().join("outside");
            let to = if to == "OUTSIDE" { outside.to_str().unwrap() } else { to };
            let archive = Archive::default()
                .symlink("link", to)
                .file("link/precious")
                .dir("link/made")
                .symlink("link/evil", "x")
                .entry(EntryType::Fifo, "link/pipe", "", b"");
            // The link to a directory that does not exist inside makes it there.
            cell.apply(&archive, &options).unwrap();
            assert!(fs::symlink_metadata(cell.target().join("link")).unwrap().is_symlink());
        }
    }
}

#[test]
fn a_link_is_replaced_not_written_through() {
    for options in options() {
        let cell = Cell::new();
        let archive = Archive::default()
            .symlink("f", "../outside/precious")
            .file("f")
            .symlink("d", "../outside")
            .dir("d")
            .file("d/f");
        cell.apply(&archive, &options).unwrap();
        assert!(fs::symlink_metadata(cell.target().join("f")).unwrap().is_file());
        assert!(fs::symlink_metadata(cell.target().join("d")).unwrap().is_dir());
    }
}

#[test]
fn a_directory_that_becomes_a_link_leads_elsewhere() {
    // The second file is in the same directory as the first by name only.
    let archive = Archive::default()
        .file("a/b/first")
        .dir("other/b")
        .symlink("a", "other")
        .file("a/b/second")
        .symlink("other/b", "../../../outside")
        .file("a/b/third");
    for options in options() {
        let cell = Cell::new();
        cell.apply(&archive, &options).unwrap();
        let target = cell.target();
        assert!(fs::read_link(target.join("a")).unwrap() == Path::new("other"));
        assert!(!target.join("other/b/first").exists());
        assert!(target.join("outside/third").exists());
    }
}

#[test]
fn hard_links_do_not_reach_out() {
    for options in options() {
        let cell = Cell::new();
        let precious = cell.dir.path().join("outside/precious");
        for to in ["missing", "/etc/passwd", precious.to_str().unwrap(), "link/precious"] {
            let archive = Archive::default().symlink("link", "../outside").hardlink("hard", to);
            let error = cell.apply(&archive, &options).unwrap_err();
            assert!(error.to_string().contains("hard link is missing"), "{to}: {error}");
        }
        // To the link itself, not to what it points to; writing there then replaces the name.
        let archive = Archive::default()
            .symlink("link", "../outside/precious")
            .hardlink("hard", "link")
            .file("hard");
        cell.apply(&archive, &options).unwrap();
        // Onto itself, and onto a directory that holds the target.
        let archive = Archive::default().file("same").hardlink("same", "./same");
        cell.apply(&archive, &options).unwrap();
        assert!(cell.target().join("same").is_file());
        let archive = Archive::default().file("h/f").hardlink("h", "h/f");
        assert!(cell.apply(&archive, &options).is_err());
        assert!(cell.target().join("h/f").is_file());
    }
}

#[test]
fn whiteouts_do_not_reach_out() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh...", "x/.wh.."] {
        for options in &options()[..2] {
            let cell = Cell::new();
            let error = cell.apply(&Archive::default().file(name), options).unwrap_err();
            assert!(matches!(error, LayerError::Entry { .. }), "{name}: {error}");
        }
    }
    for name in ["link/.wh.precious", "link/.wh..wh..opq", ".wh.link"] {
        for options in &options()[..2] {
            let cell = Cell::new();
            link("../outside", cell.target().join("link"));
            cell.apply(&Archive::default().file(name), options).unwrap();
        }
    }
}

#[test]
fn a_whiteout_does_not_remove_what_its_own_layer_made() {
    for options in &options()[..2] {
        for archive in [
            Archive::default().file("d/f").file(".wh.d").file("d/.wh..wh..opq"),
            Archive::default().file(".wh.d").file("d/.wh..wh..opq").file("d/f"),
        ] {
            let cell = Cell::new();
            if options.whiteouts == Whiteouts::Remove {
                write(cell.target().join("d/old"), "", 0o644);
            }
            cell.apply(&archive, options).unwrap();
            assert!(cell.target().join("d/f").is_file());
            assert!(!cell.target().join("d/old").exists());
            if options.whiteouts == Whiteouts::Overlay {
                assert_eq!(
                    getxattr(cell.target().join("d"), "trusted.overlay.opaque").unwrap(),
                    b"y"
                );
            }
        }
    }
}

#[test]
fn a_hidden_root_hides_by_name() {
    let cell = Cell::new();
    let lower = tempfile::tempdir().unwrap();
    write(lower.path().join("a/x"), "", 0o644);
    write(lower.path().join("b/x"), "", 0o644);
    let view = View::new(vec![lower.path().to_owned()]);
    let archive = Archive::default().file("b/y").file(".wh..wh..opq");
    let applied = apply(&mut &archive.0[..], &cell.target(), &ApplyOptions::default()).unwrap();
    assert!(applied.opaque_root);
    assert!(bld_layer::adopt(&cell.target(), &applied, &view).unwrap());
    let paths: Vec<_> = tree(&view.with_top(cell.target())).into_keys().collect();
    assert_eq!(paths, ["/b", "/b/y"].map(PathBuf::from));
}

#[test]
fn overlay_attributes_do_not_come_in() {
    let record = |key: &str, value: &str| {
        let rest = key.len() + value.len() + 3;
        let length =
            (rest..rest + 9).find(|length| rest + length.to_string().len() == *length).unwrap();
        format!("{length} {key}={value}\n")
    };
    let records: String =
        ["trusted.overlay.opaque", "user.overlay.opaque", "trusted.overlay.redirect"]
            .into_iter()
            .chain(["security.selinux", "user.kept"])
            .map(|name| record(&format!("SCHILY.xattr.{name}"), "y"))
            .collect();
    for options in options() {
        let cell = Cell::new();
        let archive =
            Archive::default().entry(EntryType::XHeader, "pax", "", records.as_bytes()).dir("d");
        cell.apply(&archive, &options).unwrap();
        let has = |name: &str| getxattr(cell.target().join("d"), name).is_some();
        assert!(has("user.kept"));
        assert!(!has("trusted.overlay.opaque") && !has("user.overlay.opaque"));
        assert!(!has("trusted.overlay.redirect"));
    }
}

#[test]
fn a_device_with_the_number_of_a_whiteout_is_one() {
    let lower = tempfile::tempdir().unwrap();
    write(lower.path().join("f"), "", 0o644);
    let cell = Cell::new();
    let archive = Archive::default().entry(EntryType::Char, "f", "", b"");
    cell.apply(&archive, &ApplyOptions::default()).unwrap();
    let view = View::new(vec![lower.path().to_owned(), cell.target()]);
    assert!(tree(&view).is_empty());
    // Where it would be removed instead, it goes no further than its own name either.
    link("../outside", cell.target().join("link"));
    let remove = ApplyOptions { whiteouts: Whiteouts::Remove, ..Default::default() };
    let archive = Archive::default().entry(EntryType::Char, "link/precious", "", b"");
    cell.apply(&archive, &remove).unwrap();
    // And where nothing is to be deleted, it is refused.
    let literal = ApplyOptions { whiteouts: Whiteouts::Literal, ..Default::default() };
    assert!(matches!(cell.apply(&archive, &literal), Err(LayerError::Entry { .. })));
}

#[test]
fn a_file_is_no_way() {
    for options in options() {
        let cell = Cell::new();
        let archive = Archive::default().file("f").file("f/x");
        assert!(cell.apply(&archive, &options).is_err());
        let archive = Archive::default().symlink("loop", "loop").file("loop/x");
        let error = cell.apply(&archive, &options).unwrap_err();
        assert!(matches!(error, LayerError::SymlinkLoop { .. }), "{error}");
    }
}

#[test]
fn lengths_are_not_believed() {
    let bomb = |kind: EntryType, size: u64| {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[0] = b'x';
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(size);
        header.set_cksum();
        Archive(header.as_bytes().to_vec())
    };
    let cell = Cell::new();
    for kind in [EntryType::XHeader, EntryType::GNULongName, EntryType::GNULongLink] {
        let error = cell.apply(&bomb(kind, 1 << 40), &ApplyOptions::default()).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
    }
    for size in [u64::MAX, 1 << 63, 1 << 62, 1] {
        for kind in [EntryType::Regular, EntryType::XGlobalHeader] {
            assert!(cell.apply(&bomb(kind, size), &ApplyOptions::default()).is_err());
        }
    }
    // Directories and links have no contents, whatever their size says.
    for kind in [EntryType::Directory, EntryType::Fifo] {
        cell.apply(&bomb(kind, 1 << 40), &ApplyOptions::default()).unwrap();
    }
}

#[test]
fn kinds_may_change_within_an_archive() {
    for options in options() {
        let cell = Cell::new();
        let archive = Archive::default()
            .dir("x")
            .file("x/y/z")
            .file("x")
            .dir("x")
            .symlink("x", "elsewhere")
            .entry(EntryType::Fifo, "x", "", b"")
            .dir("x")
            .file("x/last");
        cell.apply(&archive, &options).unwrap();
        let paths: Vec<_> = tree_on_disk(&cell.target()).into_keys().collect();
        assert_eq!(paths, ["/x", "/x/last"].map(PathBuf::from));
        // Hiding older contents is for layers; a tree of its own is left alone.
        let is_opaque = getxattr(cell.target().join("x"), "trusted.overlay.opaque").is_some();
        assert_eq!(is_opaque, options.whiteouts != Whiteouts::Remove);
    }
    // And what was removed on the way stays hidden.
    let lower = tempfile::tempdir().unwrap();
    write(lower.path().join("x/old"), "", 0o644);
    let cell = Cell::new();
    let archive = Archive::default().file("x").dir("x").file("x/new");
    cell.apply(&archive, &ApplyOptions::default()).unwrap();
    let view = View::new(vec![lower.path().to_owned(), cell.target()]);
    let paths: Vec<_> = tree(&view).into_keys().collect();
    assert_eq!(paths, ["/x", "/x/new"].map(PathBuf::from));
}

/// Makes the checksum of every block that may be a header right again: damage that is noticed at
/// once teaches nothing.
fn mend(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(block);
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
}

#[test]
fn no_damage_leads_out_or_panics() {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12);
    let strategy = (damage, 0..3_usize);
    let source = tempfile::tempdir().unwrap();
    odd_tree(source.path());
    link("../outside", source.path().join("bin/out"));
    let mut original = Vec::new();
    // Sparse entries, long names and extended headers: more to get wrong.
    for format in ["--format=gnu", "--format=pax"] {
        let output = std::process::Command::new("tar")
            .args([format, "--sparse", "--create", "--directory"])
            .arg(source.path())
            .args(["bin", "home", "sparse", "etc", &"d".repeat(200), "long-link"])
            .output()
            .unwrap();
        assert!(output.status.success());
        original.push(output.stdout);
    }
    let check = |(damage, options_index): (Vec<(prop::sample::Index, u8)>, usize)| {
        for tar in &original {
            let mut tar = tar.clone();
            for (index, byte) in &damage {
                // Headers are where it matters: most of the damage goes there.
                let headers: Vec<_> = (0..tar.len() / 512)
                    .filter(|block| &tar[block * 512 + 257..block * 512 + 262] == b"ustar")
                    .collect();
                let header = headers[index.index(headers.len())];
                let offset = index.index(512 * 511) % 512;
                tar[header * 512 + offset] = *byte;
            }
            mend(&mut tar);
            let cell = Cell::new();
            // Well or not, but only inside.
            let _ = cell.apply(&Archive(tar), &options()[options_index]);
        }
        Ok(())
    };
    let config = Config { cases: 100, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&strategy, check).unwrap();
}
