//! `--print`: what would be built, and from what.

use std::fmt::Write as _;

use bld_engine::build::{BuildRequest, ContextListing};
use bld_event::{Cancel, Events};
use serde_json::json;

use super::report;
use crate::error::Failure;
use crate::output::units;
use crate::progress::Summary;
use crate::session::{Outcome, Session};

/// Files that are named as the largest of a context.
const LARGEST: usize = 10;

/// `--print graph[=text|dot|json]` and `--print context[=text|json]`
pub(super) fn print(session: &Session, request: &BuildRequest, what: &str) -> Outcome {
    let graph = match what {
        "context" | "context=text" => return context(session, request, text),
        "context=json" => {
            return context(session, request, |listing| format!("{:#}\n", json!(listing)));
        }
        "graph" | "graph=text" => bld_graph::render::text,
        "graph=dot" => bld_graph::render::dot,
        "graph=json" => |plan: &bld_graph::Plan| format!("{:#}\n", bld_graph::render::json(plan)),
        other => {
            return Err(Failure::new(format!("cannot print {other:?}")).with_hint(
                "what can be printed is graph, graph=dot, graph=json, context and context=json",
            ));
        }
    };
    // Nothing is looked up, so no cache is read.
    let request = BuildRequest { cache_from: Vec::new(), ..request.clone() };
    match session.engine.plan(&request, &Events::none(), &Cancel::new()) {
        Ok(planned) => {
            planned.plans.iter().try_for_each(|plan| session.print(&graph(plan))).map(|()| 0)
        }
        Err(error) => Err(report::failed(session, &error, &Summary::default(), true)),
    }
}

fn context(
    session: &Session,
    request: &BuildRequest,
    form: impl Fn(&ContextListing) -> String,
) -> Outcome {
    match session.engine.list_context(request) {
        Ok(listing) => session.print(&form(&listing)).map(|()| 0),
        Err(error) => Err(report::failed(session, &error, &Summary::default(), true)),
    }
}

/// A line for each file: `+` goes in, `-` is kept out, by which rule. Then the largest, and a sum.
fn text(listing: &ContextListing) -> String {
    let size = |bytes| units::size(bytes, 4);
    let rules = listing.ignore_file.as_ref().map(|file| file.display().to_string());
    let rules = rules.as_deref().unwrap_or_default();
    let mut lines = vec![format!("context {}", listing.context)];
    for file in &listing.included {
        lines.push(format!("+ {:>8}  {}", size(file.size), file.path));
    }
    for file in &listing.excluded {
        let rule = format_args!("{rules}:{}: {}", file.line, file.pattern);
        lines.push(format!("- {:>8}  {}  ({rule})", "", file.path));
    }
    let largest = listing.largest(LARGEST);
    if !largest.is_empty() {
        lines.push("\nlargest:".to_owned());
    }
    for file in largest {
        lines.push(format!("  {:>8}  {}", size(file.size), file.path));
    }
    let mut text = lines.join("\n");
    let _infallible = write!(
        text,
        "\n\n{} go in ({}), {} are kept out",
        listing.included.len(),
        size(listing.size()),
        listing.excluded.len()
    );
    if rules.is_empty() {
        text.push_str(": there is no .dockerignore");
    }
    text.push('\n');
    text
}
