//! `--call`: what is asked about a build instead of running it. Forms and words are those of buildx.

use bld_engine::build::{BuildRequest, Outline, OutlineMount, Target};
use bld_event::Events;

use super::{Args, check, report};
use crate::documents::build as documents;
use crate::error::Failure;
use crate::output::table::align_by;
use crate::progress::Summary;
use crate::session::{Outcome, Session};

/// A question about a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    method: Method,
    /// The answer is to be JSON.
    json: bool,
    /// Warnings are to leave the exit code alone.
    ignore_status: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Check,
    Outline,
    Targets,
}

/// The methods by name; `lint` is the frontend's name for `check`. `build` is none of them: it is
/// what happens without.
const METHODS: [(&str, Method); 4] = [
    ("check", Method::Check),
    ("lint", Method::Check),
    ("outline", Method::Outline),
    ("targets", Method::Targets),
];

impl Call {
    /// The question that the flags ask; none: build.
    pub(super) fn of(args: &Args) -> Result<Option<Self>, Failure> {
        let call = args.call.as_deref().map(Self::parse).transpose()?.flatten();
        let check = Self { method: Method::Check, json: false, ignore_status: false };
        Ok(call.or(args.check.then_some(check)))
    }

    /// Reads `METHOD[,format=text|json][,ignorestatus=BOOL]`.
    fn parse(text: &str) -> Result<Option<Self>, Failure> {
        let (mut method, mut json, mut ignore_status) = (None, false, false);
        for field in text.split(',') {
            match field.split_once('=') {
                None if method.is_none() => method = Some(field),
                None => return Err(Failure::new(format!("invalid print value: {text}"))),
                Some(("format", "json")) => json = true,
                Some(("format", "text")) => json = false,
                Some(("format", other)) => {
                    return Err(Failure::new(format!("invalid format {other:?} for --call"))
                        .with_hint("the formats are text and json"));
                }
                Some(("ignorestatus", value)) => {
                    ignore_status = bld_dockerfile::value::parse_bool(value).ok_or_else(|| {
                        Failure::new(format!("invalid ignorestatus print value: {value}"))
                    })?;
                }
                Some(_) => return Err(Failure::new(format!("invalid print field: {field}"))),
            }
        }
        let name = method.unwrap_or("build");
        if matches!(name, "" | "build") {
            return Ok(None);
        }
        match METHODS.iter().find(|(known, _)| *known == name) {
            Some((_, method)) => Ok(Some(Self { method: *method, json, ignore_status })),
            None => {
                let names = METHODS.iter().map(|(known, _)| *known).chain(["build"]);
                let near = bld_dockerfile::suggest(name, names);
                let near = near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
                Err(Failure::new(format!("unknown method {name:?} for --call{near}"))
                    .with_hint("the methods are build, check, outline and targets"))
            }
        }
    }

    /// Prints the answer.
    pub(super) fn run(self, session: &Session, request: &BuildRequest) -> Outcome {
        let failed = |error| report::failed(session, &error, &Summary::default(), true);
        let (engine, events) = (&session.engine, Events::none());
        match self.method {
            Method::Check => {
                let checked = engine.check_build(request, &events).map_err(failed)?;
                let code = check::print(session, &checked, self.json)?;
                Ok(if self.ignore_status { 0 } else { code })
            }
            Method::Outline => {
                let (source, outline) = engine.outline_build(request, &events).map_err(failed)?;
                if self.json {
                    return say_json(session, &documents::outline(&source, &outline));
                }
                session.print(&outline_text(&outline)).map(|()| 0)
            }
            Method::Targets => {
                let (source, targets) = engine.build_targets(request, &events).map_err(failed)?;
                if self.json {
                    return say_json(session, &documents::targets(&source, &targets));
                }
                session.print(&targets_text(&targets)).map(|()| 0)
            }
        }
    }
}

/// Prints `document` as JSON.
pub(super) fn say_json(session: &Session, document: &impl serde::Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| Failure::new(format!("write JSON: {error}")))?;
    session.say(&text).map(|()| 0)
}

fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    if let Some(name) = &outline.name {
        let mut lines = vec![cells(["TARGET:", name])];
        lines.extend(outline.description.as_ref().map(|text| cells(["DESCRIPTION:", text])));
        text += &align_by(0, 1, &lines);
        text.push('\n');
    }
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    if !outline.args.is_empty() {
        let mut lines = vec![cells(["BUILD ARG", "VALUE", "DESCRIPTION"])];
        lines.extend(
            outline.args.iter().map(|arg| {
                vec![arg.name.clone(), optional(&arg.value), optional(&arg.description)]
            }),
        );
        text += &align_by(0, 3, &lines);
        text.push('\n');
    }
    text + &mounts_text("SECRET", &outline.secrets) + &mounts_text("SSH", &outline.ssh)
}

fn mounts_text(title: &str, mounts: &[OutlineMount]) -> String {
    if mounts.is_empty() {
        return String::new();
    }
    let mut lines = vec![cells([title, "REQUIRED"])];
    let required = |required| if required { "true" } else { "" };
    lines.extend(mounts.iter().map(|mount| cells([&mount.name, required(mount.required)])));
    align_by(0, 3, &lines) + "\n"
}

fn targets_text(targets: &[Target]) -> String {
    let mut lines = vec![cells(["TARGET", "DESCRIPTION"])];
    for target in targets {
        let name = match (target.name.as_deref(), target.default) {
            (None, true) => "(default)".to_owned(),
            (Some(name), true) => format!("{name} (default)"),
            (name, false) => name.unwrap_or_default().to_owned(),
        };
        lines.push(vec![name, target.description.clone().unwrap_or_default()]);
    }
    align_by(0, 1, &lines)
}

fn cells<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Call>, String> {
        Call::parse(text).map_err(|failure| failure.text().unwrap_or_default().to_owned())
    }

    #[test]
    fn questions_have_a_method_and_a_form() {
        let call = |method, json, ignore_status| Ok(Some(Call { method, json, ignore_status }));
        assert_eq!(parse("build"), Ok(None));
        assert_eq!(parse("check"), call(Method::Check, false, false));
        assert_eq!(parse("lint,format=json"), call(Method::Check, true, false));
        assert_eq!(parse("check,ignorestatus=true"), call(Method::Check, false, true));
        assert_eq!(parse("format=json,targets"), call(Method::Targets, true, false));
        for (text, says) in [
            ("chek", "unknown method \"chek\" for --call (did you mean check?)"),
            ("nothing-like-it", "unknown method \"nothing-like-it\" for --call"),
            ("check,format=xml", "invalid format \"xml\" for --call"),
            ("check,colour=red", "invalid print field: colour=red"),
            ("check,outline", "invalid print value: check,outline"),
        ] {
            assert_eq!(parse(text), Err(says.to_owned()));
        }
    }
}
