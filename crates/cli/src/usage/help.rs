//! Help texts in docker's layout.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// Value name of flags whose value nobody needs to give.
pub(super) const NO_VALUE: &str = "<bool>";

/// Widest line of a help text.
const WIDTH: usize = 100;

/// Headings over the commands of the root, with those that come under them; all others come last.
const GROUPS: [(&str, &[&str]); 2] = [
    (
        "Common Commands",
        &["run", "exec", "ps", "build", "pull", "push", "images", "version", "info"],
    ),
    ("Management Commands", &["builder", "cache", "container", "image", "system", "volume"]),
];

/// The commands, and `bld` itself, whose help tells of the flags that are about registries. All
/// others take these flags as well.
const TO_REGISTRIES: [&str; 11] = [
    "bld",
    "attestations",
    "build",
    "create",
    "login",
    "pull",
    "push",
    "run",
    "sbom",
    "sign",
    "verify",
];

/// The help text of `command`, which is called by `path`.
pub(super) fn render(command: &Command, path: &str, usage: &str) -> String {
    let mut text = format!("{usage}\n\n");
    if let Some(about) = command.get_long_about().or(command.get_about()) {
        let _infallible = writeln!(text, "{}", about.to_string().trim_end_matches('.'));
    }
    if command.has_subcommands() {
        commands(&mut text, command, !path.contains(' '));
    }
    let verb = path.rsplit(' ').next().unwrap_or(path);
    let mut options: Vec<&Arg> = command
        .get_opts()
        .filter(|arg| !arg.is_hide_set() && (!arg.is_global_set() || TO_REGISTRIES.contains(&verb)))
        .collect();
    options.sort_by_key(|arg| arg.get_long());
    if !options.is_empty() {
        let is_root = !path.contains(' ');
        let heading = if is_root { "Global Options" } else { "Options" };
        let _infallible = writeln!(text, "\n{heading}:");
        let lines: Vec<_> = options.into_iter().map(|arg| (left(arg), right(arg))).collect();
        columns(&mut text, &lines);
    }
    if command.has_subcommands() {
        let _infallible =
            writeln!(text, "\nRun '{path} COMMAND --help' for more information on a command.");
    }
    text
}

fn commands(text: &mut String, command: &Command, is_root: bool) {
    let mut rest: Vec<&Command> = command.get_subcommands().filter(|c| !c.is_hide_set()).collect();
    let mut section = |heading: &str, commands: &[&Command]| {
        if commands.is_empty() {
            return;
        }
        let _infallible = writeln!(text, "\n{heading}:");
        let about = |c: &Command| c.get_about().map(ToString::to_string).unwrap_or_default();
        let lines: Vec<_> =
            commands.iter().map(|c| (format!("  {}", c.get_name()), about(c))).collect();
        columns(text, &lines);
    };
    if is_root {
        for (heading, names) in GROUPS {
            let grouped: Vec<&Command> = names
                .iter()
                .filter_map(|name| rest.iter().find(|c| c.get_name() == *name))
                .copied()
                .collect();
            rest.retain(|command| !names.contains(&command.get_name()));
            section(heading, &grouped);
        }
    }
    rest.sort_by_key(|command| command.get_name().to_owned());
    section("Commands", &rest);
}

/// `  -m, --memory bytes`
fn left(arg: &Arg) -> String {
    let mut text = match arg.get_short() {
        Some(short) => format!("  -{short}, "),
        None => "      ".to_owned(),
    };
    if let Some(long) = arg.get_long() {
        let _infallible = write!(text, "--{long}");
    }
    match arg.get_value_names().and_then(<[_]>::first) {
        Some(name) if name.as_str() != NO_VALUE => {
            let _infallible = write!(text, " {name}");
        }
        _ => {}
    }
    text
}

fn right(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let default: Vec<_> = arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    if arg.is_hide_default_value_set() || default.is_empty() {
        return help;
    }
    format!("{help} (default {})", default.join(","))
}

/// Two columns, the second one wrapped.
fn columns(text: &mut String, lines: &[(String, String)]) {
    let width = lines.iter().map(|(left, _)| left.len()).max().unwrap_or(0) + 3;
    for (left, right) in lines {
        let mut line = format!("{left:width$}");
        for word in right.split_whitespace() {
            if line.len() > width && line.len() + 1 + word.len() > WIDTH {
                let _infallible = writeln!(text, "{line}");
                line = " ".repeat(width);
            }
            if line.len() > width {
                line.push(' ');
            }
            line.push_str(word);
        }
        let _infallible = writeln!(text, "{line}");
    }
}
