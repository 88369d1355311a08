//! Where results of builds go. The images have no base, so that nothing but files is needed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use bld_engine::attest::Attestations;
use bld_engine::build::{
    BuildError, BuildRequest, BuildResult, Context, Destination, DockerfileSource, ImageOptions,
    NetworkMode, OnFailure, Output, TracedCache,
};
use bld_engine::containers::Limits;
use bld_engine::{Engine, EngineConfig};
use bld_event::{Cancel, Events};
use bld_testkit::Archive;
use tempfile::TempDir;

const DOCKERFILE: &str =
    "FROM scratch AS one\nCOPY a /a\nFROM one\nCOPY b /b\nENV E=1\nWORKDIR /w\n";

struct Place {
    engine: Engine,
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bld-build-").tempdir().unwrap();
        let engine = Engine::open(EngineConfig::new(dir.path().join("root")));
        let place = Self { engine, dir };
        fs::create_dir(place.path("context")).unwrap();
        fs::write(place.path("context/a"), "a").unwrap();
        fs::write(place.path("context/b"), "b").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn request(&self, tags: &[&str], outputs: Vec<Output>) -> BuildRequest {
        BuildRequest {
            context: Context::Dir(self.path("context")),
            dockerfile: DockerfileSource::Text(DOCKERFILE.into()),
            named_contexts: BTreeMap::new(),
            tags: tags.iter().map(ToString::to_string).collect(),
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platforms: Vec::new(),
            no_cache: false,
            no_cache_filter: Vec::new(),
            traced: TracedCache::Off,
            pull: false,
            policy: None,
            no_stat_cache: false,
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            network: NetworkMode::None,
            add_hosts: Vec::new(),
            allow: Vec::new(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            resources: Limits::default(),
            together: Limits::default(),
            cgroup_parent: None,
            on_failure: OnFailure::default(),
            shm_size: None,
            ulimits: Vec::new(),
            outputs,
            attest: Attestations::default(),
            squash: false,
            reproducible: false,
            verify: false,
            jobs: None,
        }
    }

    fn try_build(
        &self,
        request: &BuildRequest,
        cancel: &Cancel,
    ) -> Result<BuildResult, BuildError> {
        let planned = self.engine.plan(request, &Events::none(), cancel)?;
        self.engine.build(request, planned, &Events::none(), cancel)
    }

    fn build(&self, tags: &[&str], outputs: Vec<Output>) -> BuildResult {
        self.try_build(&self.request(tags, outputs), &Cancel::new()).unwrap()
    }

    fn error(&self, tags: &[&str], outputs: Vec<Output>) -> String {
        let request = self.request(tags, outputs);
        self.try_build(&request, &Cancel::new()).unwrap_err().to_string()
    }

    fn tar(&self, name: &str) -> Output {
        Output::Tar { dest: Destination::Path(self.path(name)), split: None }
    }

    /// What lies in the directory, but for the store and the context.
    fn files(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> =
            names.filter(|name| name != "root" && name != "context").collect();
        names.sort();
        names
    }
}

fn image(names: &[&str], push: bool) -> Output {
    let names = names.iter().map(ToString::to_string).collect();
    Output::Image { names, push, options: ImageOptions::default() }
}

#[test]
fn every_output_has_its_own_names() {
    let place = Place::new();
    let docker = Output::Docker {
        dest: Some(Destination::Path(place.path("docker.tar"))),
        tar: true,
        names: vec!["in-the-archive".to_owned()],
        options: ImageOptions::default(),
    };
    let oci = Output::Oci {
        dest: Destination::Path(place.path("layout")),
        tar: false,
        names: Vec::new(),
        options: ImageOptions::default(),
    };
    let local = Output::Local { dest: place.path("local"), split: None, delete: false };
    let outputs = vec![image(&["in-the-store"], false), docker, oci, local, place.tar("tar")];
    let result = place.build(&["everywhere:1"], outputs);
    let expected = ["everywhere:1", "in-the-store:latest", "in-the-archive:latest"];
    assert_eq!(result.names, expected.map(|name| format!("docker.io/library/{name}")));
    let tags = place.engine.store().unwrap().tags().unwrap();
    let tags: Vec<&str> = tags.iter().map(|tag| tag.name.as_str()).collect();
    assert_eq!(tags, ["docker.io/library/everywhere:1", "docker.io/library/in-the-store:latest"]);
    let archive = Archive::read(&place.path("docker.tar")).unwrap();
    assert_eq!(archive.text("/b"), "b");
    assert_eq!(fs::read_to_string(place.path("local/a")).unwrap(), "a");
    assert_eq!(place.files(), ["docker.tar", "layout", "local", "tar"]);
}

#[test]
fn a_target_can_come_out_as_files() {
    let place = Place::new();
    let request = BuildRequest {
        target: Some("one".to_owned()),
        ..place.request(&[], vec![place.tar("tar"), Output::CacheOnly])
    };
    let result = place.try_build(&request, &Cancel::new()).unwrap();
    assert_eq!((result.image_id, result.names.len()), (None, 0));
    let mut archive = tar::Archive::new(fs::File::open(place.path("tar")).unwrap());
    let mut entries = archive.entries().unwrap();
    let mut text = String::new();
    entries.next().unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), entries.count()), ("a", 0));
}

#[test]
fn an_image_keeps_its_id_while_nothing_changes() {
    let place = Place::new();
    let first = place.build(&["x"], Vec::new());
    assert_eq!((first.steps.run, first.steps.cached), (3, 0));
    let second = place.build(&["x"], Vec::new());
    assert_eq!((second.steps.run, second.steps.cached), (0, 3));
    assert_eq!(first.image_id, second.image_id);
}

#[test]
fn devices_are_written_to_and_links_are_followed() {
    let place = Place::new();
    symlink("/dev/null", place.path("null")).unwrap();
    fs::write(place.path("real"), "old").unwrap();
    symlink("real", place.path("link")).unwrap();
    place.build(&[], vec![place.tar("null"), place.tar("link")]);
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    assert!(fs::metadata(place.path("real")).unwrap().len() > 1000);
    assert_eq!(fs::read_link(place.path("link")).unwrap(), PathBuf::from("real"));
    assert_eq!(place.files(), ["link", "null", "real"]);
}

#[test]
fn what_cannot_be_handed_out_is_refused_before_anything_runs() {
    let place = Place::new();
    fs::create_dir(place.path("dir")).unwrap();
    let stdout = || Output::Tar { dest: Destination::Stdout, split: None };
    let layout = Output::Oci {
        dest: Destination::Stdout,
        tar: false,
        names: Vec::new(),
        options: ImageOptions::default(),
    };
    for (outputs, part) in [
        (vec![image(&[], true)], "tag is needed when pushing to registry"),
        (vec![image(&["UPPER"], false)], "invalid tag \"UPPER\""),
        (vec![place.tar("dir")], "dir is a directory"),
        (vec![stdout(), stdout()], "only one output"),
        (vec![layout], "tar=false needs a dest"),
    ] {
        let error = place.error(&[], outputs);
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(place.build(&[], vec![Output::CacheOnly]).steps.run, 3);
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing() {
    let place = Place::new();
    let error = place.error(&[], vec![place.tar("nosuch/file")]);
    assert!(error.contains("nosuch/file"), "{error}");
    assert_eq!(place.files(), [""; 0]);
}

#[test]
fn a_canceled_build_hands_nothing_out() {
    let place = Place::new();
    place.build(&[], vec![Output::CacheOnly]);
    let cancel = Cancel::new();
    cancel.cancel();
    let request = place.request(&["x"], vec![image(&[], false), place.tar("tar")]);
    let result = place.try_build(&request, &cancel);
    assert!(matches!(result, Err(BuildError::Canceled)), "{result:?}");
    assert_eq!(place.files(), [""; 0]);
    assert!(place.engine.store().unwrap().tags().unwrap().is_empty());
}
