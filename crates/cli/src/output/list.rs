//! Lists: the default table, `--format` in all its forms, and `--quiet`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::table;
use crate::template::{Missing, Options, Template, TemplateError};

/// One entry of a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    /// Everything a template can name.
    fields: BTreeMap<&'static str, Value>,
    /// What `{{.Label "name"}}` looks up.
    labels: BTreeMap<String, String>,
}

impl Row {
    /// A row with these fields.
    pub(crate) fn new(fields: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self::of(fields.into_iter().map(|(name, text)| (name, text.into())))
    }

    /// The same with fields that are not all text.
    pub(crate) fn of(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self { fields: fields.into_iter().collect(), labels: BTreeMap::new() }
    }

    /// The same with labels, which also become the field `Labels`.
    pub(crate) fn with_labels(mut self, labels: &BTreeMap<String, String>) -> Self {
        let joined: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        self.fields.insert("Labels", joined.join(",").into());
        self.labels.clone_from(labels);
        self
    }

    /// The same with one more field, or another value of one.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.insert(name, value.into());
        self
    }

    /// All fields as one document.
    pub(crate) fn value(&self) -> Value {
        self.fields.iter().map(|(key, value)| (*key, value.clone())).collect()
    }
}

/// How a list looks when nothing else is asked for.
pub(crate) struct Layout {
    /// Heading of every field that has one.
    pub(crate) headings: &'static [(&'static str, &'static str)],
    /// The fields of the default table, in order.
    pub(crate) columns: &'static [&'static str],
}

impl Layout {
    /// Renders `rows` by `--format`, or as the default table.
    pub(crate) fn render(
        &self,
        format: Option<&str>,
        rows: &[Row],
    ) -> Result<String, TemplateError> {
        match format.map(str::trim) {
            None | Some("" | "table") => Ok(self.default_table(rows)),
            Some("json") => Ok(rows.iter().map(|row| row.value().to_string() + "\n").collect()),
            Some(format) => match format.strip_prefix("table ") {
                Some(template) => self.table(&unescape(template), rows),
                None => {
                    let template = Template::parse(&unescape(format))?;
                    rows.iter().map(|row| Ok(render_row(&template, row)? + "\n")).collect()
                }
            },
        }
    }

    fn heading(&self, field: &'static str) -> String {
        let known = self.headings.iter().find(|(name, _)| *name == field);
        known.map_or_else(|| field.to_uppercase(), |(_, heading)| (*heading).to_owned())
    }

    fn default_table(&self, rows: &[Row]) -> String {
        let mut lines: Vec<Vec<String>> =
            vec![self.columns.iter().map(|column| self.heading(column)).collect()];
        lines.extend(rows.iter().map(|row| {
            self.columns
                .iter()
                .map(|column| match row.fields.get(column) {
                    Some(Value::String(text)) => text.clone(),
                    value => value.map(Value::to_string).unwrap_or_default(),
                })
                .collect()
        }));
        table::align(&lines)
    }

    fn table(&self, template: &str, rows: &[Row]) -> Result<String, TemplateError> {
        let template = Template::parse(template)?;
        let headings: Value =
            self.headings.iter().map(|(name, heading)| (*name, *heading)).collect();
        let label = |name: &str, args: &[Value]| {
            let label = args.first().and_then(Value::as_str).unwrap_or_default();
            // `com.example.the-role` is shown as THE ROLE, as docker does.
            let short = label.rsplit('.').next().unwrap_or(label).replace(['-', '_'], " ");
            (name == "Label").then(|| short.into())
        };
        let options = Options { headings: true, methods: &label, ..Options::default() };
        let mut lines = vec![cells(&template.render(&headings, &options)?.to_uppercase())];
        for row in rows {
            lines.extend(render_row(&template, row)?.lines().map(cells));
        }
        Ok(table::align(&lines))
    }
}

fn cells(line: &str) -> Vec<String> {
    line.split('\t').map(str::to_owned).collect()
}

/// `\t` and `\n` as typed in a shell.
fn unescape(format: &str) -> String {
    format.replace("\\t", "\t").replace("\\n", "\n")
}

fn render_row(template: &Template, row: &Row) -> Result<String, TemplateError> {
    let label = |name: &str, args: &[Value]| {
        let label = args.first().and_then(Value::as_str).unwrap_or_default();
        (name == "Label").then(|| row.labels.get(label).cloned().unwrap_or_default().into())
    };
    let options = Options { missing: Missing::Error, methods: &label, ..Options::default() };
    template.render(&row.value(), &options)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        headings: &[("ID", "IMAGE ID"), ("Name", "NAME"), ("Labels", "LABELS")],
        columns: &["Name", "ID"],
    };

    fn rows() -> Vec<Row> {
        let labels = BTreeMap::from([("role".to_owned(), "web".to_owned())]);
        vec![Row::new([("ID", "1".to_owned()), ("Name", "a".to_owned())]).with_labels(&labels)]
    }

    #[test]
    fn every_form_of_format() {
        for (format, expected) in [
            (None, "NAME      IMAGE ID\na         1\n"),
            (Some("table {{.ID}}\\t{{upper .Name}}"), "IMAGE ID   NAME\n1          A\n"),
            (Some("table {{.Label \"role\"}}"), "ROLE\nweb\n"),
            (Some("{{.Name}}: {{.Labels}}"), "a: role=web\n"),
            (Some("{{json .}}"), "{\"ID\":\"1\",\"Labels\":\"role=web\",\"Name\":\"a\"}\n"),
            (Some("json"), "{\"ID\":\"1\",\"Labels\":\"role=web\",\"Name\":\"a\"}\n"),
        ] {
            assert_eq!(LAYOUT.render(format, &rows()).as_deref(), Ok(expected), "{format:?}");
        }
        assert!(LAYOUT.render(Some("{{.Nosuch}}"), &rows()).is_err());
    }

    #[test]
    fn an_empty_list_is_a_heading() {
        assert_eq!(LAYOUT.render(None, &[]).as_deref(), Ok("NAME      IMAGE ID\n"));
        assert_eq!(LAYOUT.render(Some("{{.ID}}"), &[]).as_deref(), Ok(""));
    }
}
