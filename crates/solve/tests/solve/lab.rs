//! A store with base images, a context, and the eyes to see what a build did.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use bld_dockerfile::ignore::Patterns;
use bld_event::{Cancel, Event, EventKind, Events, VertexId};
use bld_graph::{
    ContextOp, Entitlements, ImageOp, ImageRequest, LowerOptions, NamedContext, Network, NoCache,
    Op, ResolveError, ResolvedImage, Resolver,
};
use bld_layer::{ApplyOptions, TarOptions, View, apply, diff_id};
use bld_network::BridgeConfig;
use bld_oci::{Digest, ImageConfig, Platform, chain_id};
use bld_solve::{
    Devices, Environment, Images, Inspect, Limits, LocalContext, NetworkSetup, SolveError, Solved,
    Sources, TracedCache,
};
use bld_store::{SnapshotId, Store};
use tempfile::TempDir;

/// The images there are, both a busybox; the second has a file `/other` on top of it.
const IMAGES: [&str; 2] = ["busybox", "other"];

pub(crate) struct Lab {
    directory: TempDir,
    pub(crate) store: Store,
    images: BTreeMap<String, Vec<Digest>>,
}

/// Hears every piece of output.
pub(crate) type OnLog = Box<dyn Fn(&str) + Send + Sync>;

/// What a build is to do besides building its Dockerfile.
#[derive(Default)]
pub(crate) struct Ask {
    pub(crate) args: Vec<(&'static str, &'static str)>,
    pub(crate) no_cache: NoCache,
    pub(crate) secrets: Vec<(&'static str, &'static str)>,
    pub(crate) ignore: &'static str,
    pub(crate) jobs: Option<usize>,
    pub(crate) cancel: Cancel,
    pub(crate) on_log: Option<OnLog>,
    pub(crate) limits: Limits,
    pub(crate) devices: Devices,
    pub(crate) inspect: Option<Arc<dyn Inspect>>,
    pub(crate) traced: TracedCache,
}

/// What a build did.
pub(crate) struct Built {
    pub(crate) result: Result<Solved, SolveError>,
    events: Vec<Event>,
    store: Store,
}

fn busybox() -> &'static [u8] {
    static TAR: OnceLock<Vec<u8>> = OnceLock::new();
    TAR.get_or_init(|| bld_testkit::rootfs::busybox().unwrap())
}

impl Lab {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("bld-solve-").tempdir().unwrap();
        fs::create_dir(directory.path().join("context")).unwrap();
        let store = Store::open(&directory.path().join("root")).unwrap();
        let mut lab = Self { directory, store, images: BTreeMap::new() };
        let base = lab.image(IMAGES[0], None, &|upper| {
            apply(&mut busybox(), upper, &ApplyOptions::default()).unwrap();
        });
        lab.image(IMAGES[1], Some(base), &|upper| fs::write(upper.join("other"), "").unwrap());
        lab
    }

    /// Makes the image `name`, by adding a layer to `base`.
    fn image(&mut self, name: &str, base: Option<SnapshotId>, fill: &dyn Fn(&Path)) -> SnapshotId {
        let active = self.store.prepare(base).unwrap();
        fill(active.upper());
        let (digest, size) = diff_id(active.upper(), &TarOptions::default()).unwrap();
        let snapshot = active.commit().unwrap();
        self.store.set_diff_id(snapshot, &digest, size).unwrap();
        let mut layers = if base.is_some() { self.images[IMAGES[0]].clone() } else { Vec::new() };
        layers.push(digest);
        self.store.set_chain(&chain_id(&layers).unwrap(), snapshot).unwrap();
        self.images.insert(name.to_owned(), layers);
        snapshot
    }

    /// Lets the name `name` lead to the layers that `image` has now.
    pub(crate) fn tag(&mut self, name: &str, image: &str) {
        let layers = self.images[image].clone();
        self.images.insert(name.to_owned(), layers);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("context").join(name)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    pub(crate) fn write(&self, name: &str, contents: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// Builds with nothing special, and must succeed.
    pub(crate) fn build(&self, dockerfile: &str) -> Built {
        self.ask(dockerfile, Ask::default()).done()
    }

    pub(crate) fn ask(&self, dockerfile: &str, ask: Ask) -> Built {
        let owned = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let parsed = bld_dockerfile::parse(dockerfile);
        assert!(parsed.is_ok(), "{:?}", parsed.diagnostics);
        let options = LowerOptions {
            build_args: owned(&ask.args),
            no_cache: ask.no_cache,
            network: Network::None,
            entitlements: Entitlements { network_host: true, ..Entitlements::default() },
            ..LowerOptions::new(Platform::host())
        };
        let mut resolver = Local { images: &self.images };
        let plan = bld_graph::lower(&parsed.dockerfile, dockerfile, &options, &mut resolver);
        let patterns = Patterns::parse(ask.ignore).unwrap();
        let context = LocalContext::new(self.path(""), patterns, None);
        let seen: Arc<Mutex<Vec<Event>>> = Arc::default();
        let (sink, on_log) = (Arc::clone(&seen), ask.on_log);
        let events = Events::new(move |event| {
            if let (EventKind::Log { data, .. }, Some(on_log)) = (&event.kind, &on_log) {
                on_log(&String::from_utf8_lossy(data));
            }
            sink.lock().unwrap().push(event);
        });
        let environment = Environment {
            describe: false,
            shared: Arc::new(bld_solve::Alone),
            store: self.store.clone(),
            lease: Arc::new(self.store.lease()),
            images: Arc::new(Unpacked),
            sources: Arc::new(Unpacked),
            contexts: BTreeMap::from([(ContextOp::MAIN.to_owned(), Arc::new(context))]),
            stat_cache: true,
            secrets: owned(&ask.secrets)
                .into_iter()
                .map(|(id, value)| (id, value.into_bytes()))
                .collect(),
            ssh: BTreeMap::new(),
            network: NetworkSetup {
                bridge: BridgeConfig::default(),
                state: self.directory.path().join("run"),
            },
            limits: Limits { jobs: ask.jobs, ..ask.limits },
            devices: ask.devices,
            traced: ask.traced,
            inspect: ask.inspect,
            events,
            cancel: ask.cancel,
        };
        let result =
            bld_solve::solve(std::slice::from_ref(&plan.unwrap()), dockerfile, environment);
        let events = std::mem::take(&mut *seen.lock().unwrap());
        Built { result, events, store: self.store.clone() }
    }

    /// What the build of a failing Dockerfile says.
    pub(crate) fn error(&self, dockerfile: &str) -> String {
        self.ask(dockerfile, Ask::default()).result.unwrap_err().to_string()
    }

    /// How many snapshots lie on disk, made or in the making.
    pub(crate) fn snapshots(&self) -> usize {
        fs::read_dir(self.root().join("snapshots")).unwrap().count()
    }
}

impl Built {
    pub(crate) fn done(self) -> Self {
        if let Err(error) = &self.result {
            panic!("{error}\n{}", self.log());
        }
        self
    }

    fn solved(&self) -> &Solved {
        self.result.as_ref().unwrap()
    }

    pub(crate) fn snapshot(&self) -> SnapshotId {
        self.solved().snapshots[0].unwrap()
    }

    /// Steps that ran and steps that were known.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.solved().run, self.solved().cached)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        let view = View::new(self.store.layers(self.snapshot()).unwrap());
        let bytes = view.read(path, 1 << 20).unwrap();
        String::from_utf8(bytes.unwrap_or_else(|| panic!("{path} is not there"))).unwrap()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        let view = View::new(self.store.layers(self.snapshot()).unwrap());
        view.lookup(path).unwrap().is_some()
    }

    /// The events of the one step whose name contains `name`.
    fn step(&self, name: &str) -> impl Iterator<Item = &EventKind> {
        let ids: Vec<VertexId> = self
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Planned(vertex) if vertex.name.contains(name) => Some(vertex.id),
                _ => None,
            })
            .collect();
        let [id] = ids[..] else { panic!("{} steps match {name:?}", ids.len()) };
        self.events.iter().filter(move |event| event.id == id).map(|event| &event.kind)
    }

    /// How the step ended: `run`, `failed`, `canceled`, or how it was known.
    pub(crate) fn how(&self, name: &str) -> String {
        let mut ends = self.step(name).filter_map(|kind| match kind {
            EventKind::Cached(hit) => Some(hit.word().to_owned()),
            EventKind::Done => Some("run".to_owned()),
            EventKind::Failed { .. } => Some("failed".to_owned()),
            EventKind::Canceled => Some("canceled".to_owned()),
            _ => None,
        });
        let end = ends.next().unwrap_or_else(|| panic!("{name:?} did not end"));
        assert_eq!(ends.next(), None, "{name:?} ended twice");
        end
    }

    /// Why the step was not known.
    pub(crate) fn why(&self, name: &str) -> String {
        let why = self.step(name).find_map(|kind| match kind {
            EventKind::Missed(miss) => Some(miss.to_string()),
            _ => None,
        });
        why.unwrap_or_default()
    }

    /// What was told besides.
    pub(crate) fn notes(&self) -> Vec<&str> {
        let notes = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::Note { message } => Some(message.as_str()),
            _ => None,
        });
        notes.collect()
    }

    /// What was warned of.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        let warnings = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::Warning { message, .. } => Some(message.as_str()),
            _ => None,
        });
        warnings.collect()
    }

    /// All output of all steps.
    pub(crate) fn log(&self) -> String {
        let logs = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::Log { data, .. } => Some(String::from_utf8_lossy(data)),
            _ => None,
        });
        logs.collect()
    }
}

struct Local<'a> {
    images: &'a BTreeMap<String, Vec<Digest>>,
}

impl Resolver for Local<'_> {
    fn image(&mut self, request: &ImageRequest) -> Result<ResolvedImage, ResolveError> {
        let reference = request.reference.clone();
        let mut config = ImageConfig::for_platform(&request.platform);
        config.rootfs.diff_ids.clone_from(&self.images[&reference.familiar_name()]);
        Ok(ResolvedImage { reference, digest: None, manifest: None, config })
    }

    fn context(
        &mut self,
        _name: &str,
        _platform: &Platform,
    ) -> Result<Option<NamedContext>, ResolveError> {
        Ok(None)
    }
}

struct Unpacked;

impl Sources for Unpacked {
    fn fetch(&self, _: &Op, _: VertexId) -> Result<SnapshotId, Box<dyn Error + Send + Sync>> {
        Err("nothing is brought here".into())
    }
}

impl Images for Unpacked {
    fn unpack(
        &self,
        image: &ImageOp,
        _platform: &Platform,
        _vertex: VertexId,
    ) -> Result<SnapshotId, Box<dyn Error + Send + Sync>> {
        Err(format!("{} is not unpacked", image.reference).into())
    }
}
