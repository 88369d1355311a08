//! A resolver that needs no network, and short ways to lower a Dockerfile.

#![expect(dead_code, reason = "every test file uses its own part")]

use std::collections::BTreeMap;

use bld_dockerfile::{Diagnostic, LineIndex};
use bld_graph::{
    ContextOp, ImageRequest, LowerOptions, NamedContext, Op, Plan, ResolveError, ResolvedImage,
    Resolver,
};
use bld_oci::{Digest, History, ImageConfig, Platform};

/// Knows images by their familiar name; may make up all others.
#[derive(Default)]
pub(crate) struct Images {
    pub(crate) known: BTreeMap<String, ImageConfig>,
    pub(crate) contexts: BTreeMap<String, NamedContext>,
    pub(crate) times: BTreeMap<String, i64>,
    pub(crate) make_up: bool,
    /// What was asked for, in order.
    pub(crate) asked: Vec<ImageRequest>,
    pub(crate) prefetched: Vec<ImageRequest>,
}

impl Images {
    /// Knows `busybox`.
    pub(crate) fn busybox() -> Self {
        let mut config = ImageConfig::for_platform(&amd64());
        config.config.env = vec![PATH.to_owned()];
        config.config.cmd = Some(vec!["sh".to_owned()]);
        config.rootfs.diff_ids = vec![Digest::of(b"busybox")];
        config.history =
            vec![History { created_by: Some("busybox-static".to_owned()), ..History::default() }];
        config.created = Some("2020-01-01T00:00:00Z".to_owned());
        Self::default().with("busybox:latest", config)
    }

    /// Makes up every image.
    pub(crate) fn any() -> Self {
        Self { make_up: true, ..Self::busybox() }
    }

    pub(crate) fn with(mut self, name: &str, config: ImageConfig) -> Self {
        self.known.insert(name.to_owned(), config);
        self
    }

    /// Gives a context that is a directory.
    pub(crate) fn with_dir(mut self, name: &str) -> Self {
        let op = Op::Context(ContextOp { name: name.to_owned() });
        self.contexts.insert(name.to_owned(), NamedContext::Files(op));
        self
    }
}

impl Resolver for Images {
    fn prefetch(&mut self, requests: &[ImageRequest]) {
        self.prefetched.extend(requests.iter().cloned());
    }

    fn image(&mut self, request: &ImageRequest) -> Result<ResolvedImage, ResolveError> {
        self.asked.push(request.clone());
        let name = request.reference.familiar();
        let config = match self.known.get(&name) {
            Some(config) if !self.make_up || config.platform() == request.platform => {
                config.clone()
            }
            _ if self.make_up => {
                let mut config = ImageConfig::for_platform(&request.platform);
                let layer = format!("{name} for {}", request.platform);
                config.rootfs.diff_ids = vec![Digest::of(layer.as_bytes())];
                config
            }
            _ => return Err(ResolveError { message: "not found".to_owned(), help: None }),
        };
        let digest = Some(Digest::of(format!("manifest of {name}").as_bytes()));
        Ok(ResolvedImage { reference: request.reference.clone(), digest, manifest: digest, config })
    }

    fn time(&mut self, source: &Op) -> Result<Option<i64>, ResolveError> {
        let name = match source {
            Op::Context(op) => &op.name,
            Op::Http(op) => &op.url,
            Op::Git(op) => &op.remote,
            _ => return Ok(None),
        };
        Ok(self.times.get(name).copied())
    }

    fn context(&mut self, name: &str, _: &Platform) -> Result<Option<NamedContext>, ResolveError> {
        Ok(self.contexts.get(name).cloned())
    }
}

pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) fn amd64() -> Platform {
    Platform::new("linux", "amd64", None)
}

pub(crate) fn options() -> LowerOptions {
    LowerOptions::new(amd64())
}

/// Lowers `source`, which must parse.
pub(crate) fn lower_with(
    source: &str,
    options: &LowerOptions,
    images: &mut Images,
) -> Result<Plan, Vec<Diagnostic>> {
    let parsed = bld_dockerfile::parse(source);
    assert!(parsed.is_ok(), "{:#?}", parsed.diagnostics);
    bld_graph::lower(&parsed.dockerfile, source, options, images)
}

/// Lowers `source` on busybox with default options; it must succeed.
pub(crate) fn plan(source: &str) -> Plan {
    match lower_with(source, &options(), &mut Images::busybox()) {
        Ok(plan) => plan,
        Err(errors) => panic!("{source}\n{}", listed(source, &errors)),
    }
}

/// What is wrong with `source`, one line for each finding.
pub(crate) fn errors(source: &str) -> String {
    match lower_with(source, &options(), &mut Images::busybox()) {
        Ok(_) => "no error".to_owned(),
        Err(errors) => listed(source, &errors),
    }
}

/// Diagnostics as text: `line:column: message (help)`.
pub(crate) fn listed(source: &str, diagnostics: &[Diagnostic]) -> String {
    let index = LineIndex::new(source);
    let lines = diagnostics.iter().map(|found| {
        let (line, column) = index.line_col(found.span.start);
        let rule = found.rule.map_or_else(String::new, |rule| format!("{rule}: "));
        let words = source.get(found.span.range()).unwrap_or_default();
        let words = words.lines().next().unwrap_or_default();
        let help = found.help.as_ref().map_or_else(String::new, |help| format!("\n  help: {help}"));
        format!("{line}:{column} [{words}] {rule}{}{help}\n", found.message)
    });
    lines.collect()
}

/// The operations of a plan in order, as JSON.
pub(crate) fn ops(plan: &Plan) -> Vec<serde_json::Value> {
    let ops = plan.graph.node_weights().map(|vertex| serde_json::to_value(&vertex.op));
    ops.map(Result::unwrap).collect()
}

pub(crate) fn names(plan: &Plan) -> Vec<&str> {
    plan.graph.node_weights().map(|vertex| vertex.name.as_str()).collect()
}

/// The history that a plan adds, `-` in front of entries without a layer.
pub(crate) fn history(plan: &Plan) -> Vec<String> {
    let line = |step: &bld_graph::HistoryStep| {
        let mark = if step.entry.empty_layer { "- " } else { "" };
        format!("{mark}{}", step.entry.created_by.as_deref().unwrap_or_default())
    };
    plan.history.iter().map(line).collect()
}
