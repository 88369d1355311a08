//! Applying a tree to data.

use std::ops::ControlFlow;

use serde_json::Value;

use super::parse::{Node, Operand, Pipeline};
use super::{Missing, Options, TemplateError, funcs, print};

/// A value of a pipeline; `None` is one that does not exist.
pub(super) type Cell = Option<Value>;

/// Renders `nodes` with the dot at `data`.
pub(super) fn render(
    nodes: &[Node],
    data: &Value,
    options: &Options<'_>,
) -> Result<String, TemplateError> {
    let mut scope = Scope {
        out: String::new(),
        variables: vec![("$".to_owned(), Some(data.clone()))],
        options,
    };
    // `break` and `continue` outside of a loop were refused by the parser.
    let _flow = scope.nodes(nodes, Some(data))?;
    Ok(scope.out)
}

/// Whether a loop goes on.
enum Jump {
    Break,
    Continue,
}

type Flow = ControlFlow<Jump>;

struct Scope<'a> {
    out: String,
    variables: Vec<(String, Cell)>,
    options: &'a Options<'a>,
}

impl Scope<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: Option<&Value>) -> Result<Flow, TemplateError> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.out.push_str(&print::cell(value.as_ref()));
                    } else {
                        self.bind(pipeline, 0, value)?;
                    }
                }
                Node::If(pipeline, body, other) | Node::With(pipeline, body, other) => {
                    let depth = self.variables.len();
                    let value = self.pipeline(pipeline, dot)?;
                    if !pipeline.variables.is_empty() {
                        self.bind(pipeline, 0, value.clone())?;
                    }
                    let chosen = if truth(value.as_ref()) { body } else { other };
                    let inner = match node {
                        Node::With(..) if truth(value.as_ref()) => value.as_ref(),
                        _ => dot,
                    };
                    let flow = self.nodes(chosen, inner)?;
                    self.variables.truncate(depth);
                    if flow.is_break() {
                        return Ok(flow);
                    }
                }
                Node::Range(pipeline, body, other) => self.range(pipeline, body, other, dot)?,
                Node::Break => return Ok(Flow::Break(Jump::Break)),
                Node::Continue => return Ok(Flow::Break(Jump::Continue)),
            }
        }
        Ok(Flow::Continue(()))
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        body: &[Node],
        other: &[Node],
        dot: Option<&Value>,
    ) -> Result<(), TemplateError> {
        let items: Vec<(Value, Value)> = match self.pipeline(pipeline, dot)? {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => {
                items.into_iter().enumerate().map(|(i, item)| (i.into(), item)).collect()
            }
            Some(Value::Object(map)) => map.into_iter().map(|(k, v)| (k.into(), v)).collect(),
            Some(Value::Number(n)) => {
                (0..n.as_u64().unwrap_or(0)).map(|i| (i.into(), i.into())).collect()
            }
            Some(value) => {
                return Err(TemplateError(format!(
                    "range can't iterate over {}",
                    print::value(&value)
                )));
            }
        };
        let depth = self.variables.len();
        if items.is_empty() {
            let _flow = self.nodes(other, dot)?;
        }
        for (key, item) in items {
            match pipeline.variables.len() {
                0 => {}
                1 => self.bind(pipeline, 0, Some(item.clone()))?,
                _ => {
                    self.bind(pipeline, 0, Some(key))?;
                    self.bind(pipeline, 1, Some(item.clone()))?;
                }
            }
            let flow = self.nodes(body, Some(&item))?;
            self.variables.truncate(depth);
            if matches!(flow, Flow::Break(Jump::Break)) {
                break;
            }
        }
        Ok(())
    }

    fn bind(&mut self, pipeline: &Pipeline, at: usize, value: Cell) -> Result<(), TemplateError> {
        let name = &pipeline.variables[at];
        if pipeline.declares {
            self.variables.push((name.clone(), value));
        } else {
            let slot = self.variables.iter_mut().rev().find(|(known, _)| known == name);
            slot.ok_or_else(|| undefined(name))?.1 = value;
        }
        Ok(())
    }

    fn pipeline(
        &mut self,
        pipeline: &Pipeline,
        dot: Option<&Value>,
    ) -> Result<Cell, TemplateError> {
        let mut piped: Option<Cell> = None;
        for command in &pipeline.commands {
            piped = Some(self.command(command, piped, dot)?);
        }
        Ok(piped.flatten())
    }

    fn command(
        &mut self,
        words: &[Operand],
        piped: Option<Cell>,
        dot: Option<&Value>,
    ) -> Result<Cell, TemplateError> {
        let (first, rest) = (&words[0], &words[1..]);
        if rest.is_empty() && piped.is_none() && !matches!(first, Operand::Function(_)) {
            return self.operand(first, dot);
        }
        let mut args = Vec::with_capacity(words.len());
        for word in rest {
            args.push(self.operand(word, dot)?);
        }
        args.extend(piped);
        match first {
            Operand::Function(_) if self.options.headings && !args.is_empty() => {
                Ok(args.swap_remove(0))
            }
            Operand::Function(name) if name == "json" && self.options.pretty_json => {
                let value = args.into_iter().next().flatten().unwrap_or_default();
                Ok(Some(format!("{value:#}").into()))
            }
            Operand::Function(name) => funcs::call(name, args),
            Operand::Dot(path) if path.len() == 1 => {
                let args: Vec<Value> = args.into_iter().map(Option::unwrap_or_default).collect();
                let value = (self.options.methods)(&path[0], &args);
                value.map(Some).ok_or_else(|| {
                    TemplateError(format!("{} is not a method but has arguments", path[0]))
                })
            }
            _ => Err(TemplateError("can't give argument to non-function".into())),
        }
    }

    fn operand(&mut self, operand: &Operand, dot: Option<&Value>) -> Result<Cell, TemplateError> {
        match operand {
            Operand::Literal(value) => Ok(Some(value.clone())),
            Operand::Function(name) => funcs::call(name, Vec::new()),
            Operand::Dot(path) => self.walk(dot, path),
            Operand::Variable(name, path) => {
                let slot = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = slot.ok_or_else(|| undefined(name))?.1.clone();
                self.walk(value.as_ref(), path)
            }
            Operand::Group(pipeline, path) => {
                let value = self.pipeline(pipeline, dot)?;
                self.walk(value.as_ref(), path)
            }
        }
    }

    fn walk(&self, from: Option<&Value>, path: &[String]) -> Result<Cell, TemplateError> {
        let mut at = from;
        for key in path {
            let next = match at {
                Some(Value::Object(map)) => match map.get(key) {
                    None if self.options.go_fields => field(map, key),
                    found => found,
                },
                Some(Value::Null) | None => None,
                Some(other) => {
                    let text = print::value(other);
                    return Err(TemplateError(format!("can't evaluate field {key} in {text}")));
                }
            };
            if next.is_none() && self.options.missing == Missing::Error {
                return Err(TemplateError(format!(
                    "executing \"\" at <.{}>: map has no entry for key {key:?}",
                    path.join(".")
                )));
            }
            at = next;
        }
        Ok(at.cloned())
    }
}

/// The value of the key that a field of Go called `name` has.
fn field<'a>(map: &'a serde_json::Map<String, Value>, name: &str) -> Option<&'a Value> {
    let is_it = |key: &str| {
        let letters = key.chars().filter(|c| !matches!(c, '.' | '_'));
        letters.map(|c| c.to_ascii_lowercase()).eq(name.chars().map(|c| c.to_ascii_lowercase()))
    };
    map.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value)
}

fn undefined(name: &str) -> TemplateError {
    TemplateError(format!("undefined variable {name:?}"))
}

/// Go's truth: neither false, zero, empty nor missing.
pub(super) fn truth(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(b)) => *b,
        Some(Value::Number(n)) => n.as_f64() != Some(0.0),
        Some(Value::String(s)) => !s.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
    }
}
