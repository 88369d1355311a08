//! Plans for people and for other programs: as text, for Graphviz, as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use petgraph::graph::NodeIndex;
use serde_json::{Value, json};

use crate::op::Op;
use crate::plan::{Input, Plan, Vertex};

/// One line for each operation, in an order in which they can be executed, and what it needs.
///
/// ```text
/// linux/amd64, target build
/// #1 [build 1/2] FROM docker.io/library/busybox:latest
/// #2 [internal] load build context
/// #3 [build 2/2] COPY . /src
///    on #1, from #2
/// => #3
/// ```
pub fn text(plan: &Plan) -> String {
    let mut out = format!("{}, target {}\n", plan.platform, plan.target);
    for index in plan.graph.node_indices() {
        put(&mut out, format_args!("#{} {}\n", number(index), plan.graph[index].name));
        let needs: Vec<_> = (plan.inputs(index).iter())
            .map(|(input, vertex)| match input {
                Input::Root => format!("on #{}", number(*vertex)),
                Input::From(_) => format!("from #{}", number(*vertex)),
            })
            .collect();
        if !needs.is_empty() {
            put(&mut out, format_args!("   {}\n", needs.join(", ")));
        }
    }
    match plan.root {
        Some(root) => put(&mut out, format_args!("=> #{}\n", number(root))),
        None => out.push_str("=> an empty filesystem\n"),
    }
    out
}

/// A graph in the language of [Graphviz](https://graphviz.org/doc/info/lang.html): a cluster for
/// each stage, solid edges for what an operation works on top of, dashed ones for what it reads.
pub fn dot(plan: &Plan) -> String {
    let mut out = "digraph build {\n  node [shape=box, fontname=monospace];\n".to_owned();
    let mut stages: BTreeMap<&str, Vec<NodeIndex>> = BTreeMap::new();
    for index in plan.graph.node_indices() {
        stages.entry(&plan.graph[index].stage).or_default().push(index);
    }
    for (number, (stage, vertices)) in stages.iter().enumerate() {
        let inside = !stage.is_empty();
        if inside {
            let label = quoted(stage);
            put(&mut out, format_args!("  subgraph cluster_{number} {{\n    label={label};\n"));
        }
        for &index in vertices {
            let indent = if inside { "    " } else { "  " };
            put(&mut out, format_args!("{indent}{}", dot_node(plan, index)));
        }
        if inside {
            out.push_str("  }\n");
        }
    }
    for index in plan.graph.node_indices() {
        for (input, vertex) in plan.inputs(index) {
            let style = if input == Input::Root { "" } else { " [style=dashed]" };
            let (from, to) = (vertex.index(), index.index());
            put(&mut out, format_args!("  v{from} -> v{to}{style};\n"));
        }
    }
    out.push_str("}\n");
    out
}

fn dot_node(plan: &Plan, index: NodeIndex) -> String {
    let vertex = &plan.graph[index];
    let style = match (plan.root == Some(index), vertex.op.is_source()) {
        (true, _) => ", penwidth=3",
        (false, true) => ", style=rounded",
        (false, false) => "",
    };
    format!("v{} [label={}{style}];\n", index.index(), quoted(&vertex.name))
}

/// Everything a plan says, with the operations as their keys have them.
pub fn json(plan: &Plan) -> Value {
    let vertices: Vec<_> =
        plan.graph.node_indices().map(|index| vertex_json(plan, index)).collect();
    let history: Vec<_> = (plan.history.iter())
        .map(|step| json!({"entry": step.entry, "vertex": step.vertex.map(NodeIndex::index)}))
        .collect();
    let base =
        plan.base.as_ref().map(|base| json!({"reference": base.reference, "digest": base.digest}));
    json!({
        "platform": plan.platform.to_string(),
        "target": plan.target,
        "root": plan.root.map(NodeIndex::index),
        "vertices": vertices,
        "config": plan.config,
        "history": history,
        "base": base,
        "epoch": plan.epoch,
    })
}

fn vertex_json(plan: &Plan, index: NodeIndex) -> Value {
    let vertex: &Vertex = &plan.graph[index];
    let mut from = Vec::new();
    let mut root = None;
    for (input, vertex) in plan.inputs(index) {
        match input {
            Input::Root => root = Some(vertex.index()),
            Input::From(_) => from.push(vertex.index()),
        }
    }
    let mut value = json!({
        "id": index.index(),
        "name": vertex.name,
        "stage": vertex.stage,
        "platform": vertex.platform.to_string(),
        "span": [vertex.span.start, vertex.span.end],
        "no_cache": vertex.no_cache,
        "op": vertex.op,
        "key": vertex.digest(),
        "root": root,
        "from": from,
    });
    if let Op::Image(image) = &vertex.op {
        value["image"] = json!({"reference": image.reference, "manifest": image.manifest});
    }
    value
}

/// The number a person sees, counted from 1.
fn number(index: NodeIndex) -> usize {
    index.index() + 1
}

/// A quoted string of the Graphviz language.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = out.write_fmt(text);
}
