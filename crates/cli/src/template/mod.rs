//! The subset of Go's `text/template` that `--format` takes.
//!
//! Scripts written for docker hand over templates such as
//! `{{range .Config.Env}}{{println .}}{{end}}`. This module reads them ([`lex`], [`parse`]) and
//! applies them to JSON values ([`eval`]), printing values as Go does ([`mod@print`]). Left out, because
//! nothing in the field uses them here: `define`, `template`, `block`, complex numbers and method
//! calls other than those a row of a list offers ([`Methods`]).
//!
//! A value that does not exist differs from `null`: a missing key prints `<no value>` or is an
//! error ([`Missing`]), while `null` prints as the empty list or map it stands for.

mod eval;
mod funcs;
mod lex;
mod parse;
mod print;

use serde_json::Value;

/// A template that was understood.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    nodes: Vec<parse::Node>,
}

/// Why a template was not understood or could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template parsing error: template: :1: {0}")]
pub(crate) struct TemplateError(pub(crate) String);

/// What a reference to a key that does not exist gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The text `<no value>`, as Go prints for maps.
    #[default]
    NoValue,
    /// An error, as docker gives for the documents of `inspect`.
    Error,
}

/// Calls a method of the data, e.g. `{{.Label "role"}}`: name and arguments; `None` when there is
/// no such method.
pub(crate) type Methods<'a> = dyn Fn(&str, &[Value]) -> Option<Value> + 'a;

/// How a template is applied.
pub(crate) struct Options<'a> {
    /// What a missing key gives.
    pub(crate) missing: Missing,
    /// Methods of the data.
    pub(crate) methods: &'a Methods<'a>,
    /// Functions return their last argument as it is: how the headings of a table are made from
    /// the template of its rows.
    pub(crate) headings: bool,
    /// Keys are also found by the names that Go's fields have for them: `MediaType` is `mediaType`,
    /// `OSVersion` is `os.version`, `DiffIDs` is `diff_ids`.
    pub(crate) go_fields: bool,
    /// `json` writes a line for each value.
    pub(crate) pretty_json: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            missing: Missing::default(),
            methods: &|_, _| None,
            headings: false,
            go_fields: false,
            pretty_json: false,
        }
    }
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::parse(lex::lex(text)?).map(|nodes| Self { nodes })
    }

    /// Applies the template to `data`.
    pub(crate) fn render(
        &self,
        data: &Value,
        options: &Options<'_>,
    ) -> Result<String, TemplateError> {
        eval::render(&self.nodes, data, options)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str, data: &Value) -> String {
        Template::parse(template)
            .and_then(|t| t.render(data, &Options::default()))
            .unwrap_or_else(|error| format!("error: {}", error.0))
    }

    #[test]
    fn templates_of_the_field() {
        let image = json!({
            "Id": "sha256:ab",
            "RepoTags": ["a:1", "b:2"],
            "Config": {
                "Cmd": ["nginx", "-g", "daemon off;"],
                "Env": ["PATH=/bin", "MODE=course"],
                "ExposedPorts": {"80/tcp": {}},
                "Labels": {"maintainer": "course@example.com", "com.example.x": "1"},
                "Entrypoint": null,
            },
            "State": {"ExitCode": 5, "Running": false},
            "Networks": {"bridge": {"IPAddress": "172.17.0.2"}, "tr-net": {"IPAddress": "10.0.0.2"}},
        });
        for (template, expected) in [
            ("plain", "plain"),
            ("{{.Id}}", "sha256:ab"),
            ("{{ .Config.Cmd }}", "[nginx -g daemon off;]"),
            ("{{json .Config.Cmd}}", r#"["nginx","-g","daemon off;"]"#),
            ("{{range .Config.Env}}{{println .}}{{end}}", "PATH=/bin\nMODE=course\n"),
            (
                "{{.Config.ExposedPorts}} {{index .Config.Labels \"maintainer\"}}",
                "map[80/tcp:{}] course@example.com",
            ),
            ("{{len .RepoTags}}", "2"),
            ("{{index .RepoTags 1}}", "b:2"),
            ("{{.State.ExitCode}} {{.State.Running}}", "5 false"),
            (
                "{{range $k, $v := .Networks}}{{$k}}={{$v.IPAddress}} {{end}}",
                "bridge=172.17.0.2 tr-net=10.0.0.2 ",
            ),
            ("{{range $i, $e := .RepoTags}}{{if $i}},{{end}}{{$e}}{{end}}", "a:1,b:2"),
            ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
            (
                "{{if and .State.Running (eq .Id \"x\")}}a{{else if eq .State.ExitCode 5}}b{{else}}c{{end}}",
                "b",
            ),
            ("{{with .Config}}{{.Cmd | json}}{{end}}", r#"["nginx","-g","daemon off;"]"#),
            ("{{join .RepoTags \", \"}}", "a:1, b:2"),
            ("{{upper .Id}} {{lower \"AB\"}} {{title \"ab cd\"}}", "SHA256:AB ab Ab Cd"),
            ("{{truncate .Id 3}}{{pad \"x\" 1 2}}|", "sha x  |"),
            ("{{index (split \"a:b\" \":\") 1}}", "b"),
            (
                "{{printf \"%s %d %q %-4s|%05.1f %%\" .Id .State.ExitCode \"q\" \"ab\" 2.25}}",
                "sha256:ab 5 \"q\" ab  |002.2 %",
            ),
            ("{{.Config.Entrypoint}}{{.Missing}}", "[]<no value>"),
            ("{{index .Config.Labels \"none\"}}|", "|"),
            ("{{$x := .Id}}{{$x = \"y\"}}{{$x}}{{$.State.ExitCode}}", "y5"),
            ("a {{- /* comment */ -}} b", "ab"),
            ("{{`raw`}}{{'a'}}{{nil | json}}", "raw97null"),
            (
                "{{not true}} {{ne 1 2}} {{lt 1 2}} {{ge \"b\" \"a\"}} {{or \"\" \"x\"}}",
                "false true true true x",
            ),
            ("{{print 1 2 \"a\" \"b\" 3}}", "1 2ab3"),
            ("{{slice \"abcdef\" 1 3}}", "bc"),
            ("{{range .RepoTags}}{{if eq . \"b:2\"}}{{break}}{{end}}{{.}}{{end}}", "a:1"),
        ] {
            assert_eq!(render(template, &image), expected, "{template}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (template, part) in [
            ("{{.Id", "unclosed action"),
            ("{{end}}", "unexpected {{end}}"),
            ("{{range .a}}", "unexpected EOF"),
            ("{{nosuch .a}}", "function \"nosuch\" not defined"),
            ("{{\"a}}", "unterminated quoted string"),
            ("{{index .a}}{{index 1 2}}", "can't index item"),
            ("{{$x}}", "undefined variable \"$x\""),
        ] {
            let got = render(template, &json!({"a": []}));
            assert!(got.starts_with("error: ") && got.contains(part), "{template}: {got}");
        }
    }

    #[test]
    fn fields_of_go_are_found_under_their_names_in_json() -> Result<(), TemplateError> {
        let options = Options { go_fields: true, pretty_json: true, ..Options::default() };
        let data = json!({"manifest": {"mediaType": "a/b", "platform": {"os.version": "10"}},
                          "image": {"rootfs": {"diff_ids": ["x"]}}, "SBOM": {}});
        let template = "{{.Manifest.MediaType}} {{.Manifest.Platform.OSVersion}} {{.Image.RootFS.DiffIDs}} \
                        {{json .Image}}{{.SBOM}}";
        let text = Template::parse(template)?.render(&data, &options)?;
        let json = "{\n  \"rootfs\": {\n    \"diff_ids\": [\n      \"x\"\n    ]\n  }\n}";
        assert_eq!(text, format!("a/b 10 [x] {json}map[]"));
        Ok(())
    }

    #[test]
    fn strict_documents_and_methods() -> Result<(), TemplateError> {
        let strict = Options { missing: Missing::Error, ..Options::default() };
        let error = Template::parse("{{.A.B}}")?.render(&json!({"A": {}}), &strict).err();
        assert!(error.is_some_and(|e| e.0.contains("map has no entry for key \"B\"")));
        let label = |name: &str, args: &[Value]| {
            (name == "Label").then(|| json!(format!("<{}>", args[0].as_str().unwrap_or(""))))
        };
        let options = Options { methods: &label, ..Options::default() };
        let text = Template::parse("{{.Label \"x\"}}{{.A}}")?.render(&json!({"A": 1}), &options)?;
        assert_eq!(text, "<x>1");
        Ok(())
    }
}
