//! Help and usage errors in docker's form.
//!
//! The commands are declared with clap; this module gives all of them docker's help layout and
//! usage line, lets their boolean flags take a value (`--rm=true`), and words what clap finds wrong
//! as docker does.

mod help;

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

/// Exit code for a flag that does not exist or cannot take its value, whatever the command.
const BAD_FLAG: u8 = 125;

/// What is to be said instead of running a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The text.
    pub(crate) text: String,
    /// It was asked for, so it goes to standard output.
    pub(crate) asked: bool,
    /// The exit code.
    pub(crate) code: u8,
}

/// Gives a command and those below it docker's looks.
pub(crate) fn prepare(command: Command) -> Command {
    let mut command = command.mut_subcommands(prepare);
    let help = Arg::new("help").long("help").action(ArgAction::Help).help("Print usage").hide(true);
    command = command.disable_help_flag(true).disable_help_subcommand(true).arg(help);
    command = command.mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => {
            let default = arg.get_default_values().first().cloned();
            // Docker's flags may all be given a value.
            arg.action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_value(default.unwrap_or_else(|| "false".into()))
                .default_missing_value("true")
                .value_parser(BoolishValueParser::new())
                .hide_default_value(true)
                .value_name(help::NO_VALUE)
        }
        // The word behind a flag is its value, whatever it looks like.
        ArgAction::Set | ArgAction::Append
            if !arg.is_positional() && arg.get_num_args().is_none_or(|n| n == 1.into()) =>
        {
            arg.allow_hyphen_values(true)
        }
        _ => arg,
    });
    command
}

/// What follows the name in a usage line, by docker's conventions.
fn arguments(command: &Command) -> String {
    let mut text = String::new();
    if command.get_opts().any(|arg| !arg.is_hide_set() && !arg.is_global_set()) {
        text.push_str(" [OPTIONS]");
    }
    if command.has_subcommands() && command.get_positionals().next().is_none() {
        return text + " COMMAND";
    }
    for arg in command.get_positionals() {
        let names: Vec<&str> = arg
            .get_value_names()
            .unwrap_or_default()
            .iter()
            .map(clap::builder::Str::as_str)
            .collect();
        let many = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
        let shape = match (names.as_slice(), arg.is_required_set(), many) {
            ([first, second, third], ..) => {
                let least = arg.get_num_args().map_or(0, |range| range.min_values());
                let second = if least > 1 { (*second).to_owned() } else { format!("[{second}]") };
                format!(" {first} {second} [{third}...]")
            }
            ([first, rest], true, _) => format!(" {first} [{rest}...]"),
            ([first, rest, ..], _, _) => format!(" [{first}] [{rest}...]"),
            ([name], true, true) => format!(" {name} [{name}...]"),
            ([name], false, true) => format!(" [{name}...]"),
            ([name], true, false) => format!(" {name}"),
            ([name], false, false) => format!(" [{name}]"),
            ([], ..) => String::new(),
        };
        text.push_str(&shape);
    }
    if command.has_subcommands() { text + " | COMMAND" } else { text }
}

/// Finds the command that `args` (without the program) names, as deep as they go.
fn resolve<'a>(root: &'a Command, args: &[OsString]) -> (&'a Command, String) {
    let (mut command, mut path) = (root, root.get_name().to_owned());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let arg = arg.to_string_lossy();
        if let Some(flag) = arg.strip_prefix("--") {
            // Global flags that take a value as a word of its own.
            let takes_value = command.get_opts().any(|opt| opt.get_long() == Some(flag));
            if takes_value && command.has_subcommands() {
                args.next();
            }
        } else if !arg.starts_with('-') {
            match command.find_subcommand(arg.as_ref()) {
                Some(found) => {
                    command = found;
                    let _infallible = write!(path, " {}", found.get_name());
                }
                None => break,
            }
        }
    }
    (command, path)
}

/// What to say about an error of clap.
pub(crate) fn answer(root: &Command, args: &[OsString], error: &clap::Error) -> Answer {
    let (command, path) = resolve(root, args);
    let usage = format!("Usage:  {path}{}", arguments(command));
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let flag_error = |what: String| Answer {
        text: format!("{what}\n\n{usage}\n\nRun '{path} --help' for more information\n"),
        asked: false,
        code: BAD_FLAG,
    };
    let arg = context(ContextKind::InvalidArg).unwrap_or_default();
    // clap shows flags with their placeholder, docker without.
    let flag = arg.split([' ', '=']).next().unwrap_or_default().to_owned();
    match error.kind() {
        ErrorKind::DisplayVersion => Answer { text: error.to_string(), asked: true, code: 0 },
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::MissingSubcommand => {
            Answer { text: help::render(command, &path, &usage), asked: true, code: 0 }
        }
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            let near = context(ContextKind::SuggestedSubcommand);
            let near = near.map_or_else(String::new, |near| format!("\n\nDid you mean '{near}'?"));
            Answer {
                text: format!(
                    "bld: unknown command: {path} {word}{near}\n\nRun '{path} --help' for more information\n"
                ),
                asked: false,
                code: 1,
            }
        }
        ErrorKind::UnknownArgument if flag.starts_with("--") => {
            let near = context(ContextKind::SuggestedArg);
            let near = near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
            flag_error(format!("unknown flag: {flag}{near}"))
        }
        ErrorKind::UnknownArgument if flag.starts_with('-') && flag.len() > 1 => {
            let letter = flag.chars().nth(1).unwrap_or_default();
            flag_error(format!(
                "unknown shorthand flag: '{letter}' in {}",
                typed(args, letter, &flag)
            ))
        }
        // Words that are missing count first, as they do in docker.
        ErrorKind::MissingRequiredArgument if lacks_flags_only(error) => Answer {
            text: format!(
                "bld: '{path}' requires the flag {flag}\n\n{usage}\n\nRun '{path} --help' for more information\n"
            ),
            asked: false,
            code: 1,
        },
        ErrorKind::MissingRequiredArgument
        | ErrorKind::TooFewValues
        | ErrorKind::UnknownArgument
        | ErrorKind::TooManyValues => Answer {
            text: format!(
                "bld: '{path}' {}\n\n{usage}\n\nRun '{path} --help' for more information\n",
                arity(command)
            ),
            asked: false,
            code: 1,
        },
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::NoEquals => {
            let value = context(ContextKind::InvalidValue).unwrap_or_default();
            if value.is_empty() {
                return flag_error(format!("flag needs an argument: {flag}"));
            }
            let reason = std::error::Error::source(error).map(ToString::to_string);
            let known = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(values)) => {
                    let near = bld_dockerfile::suggest(&value, values.iter().map(String::as_str));
                    let near =
                        near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
                    Some(format!("must be one of {}{near}", values.join(", ")))
                }
                _ => None,
            };
            let reason = reason.or(known).unwrap_or_else(|| "invalid value".to_owned());
            flag_error(format!(
                "invalid argument {value:?} for {:?} flag: {reason}",
                both(command, &flag)
            ))
        }
        ErrorKind::InvalidUtf8 => {
            let wrong = args.iter().find(|arg| arg.to_str().is_none());
            let wrong = wrong.map(|arg| arg.to_string_lossy()).unwrap_or_default();
            flag_error(format!("the argument {wrong:?} is not UTF-8"))
        }
        _ => flag_error(error.to_string().trim().to_owned()),
    }
}

/// `-m, --memory` of either.
fn both(command: &Command, flag: &str) -> String {
    let long = flag.trim_start_matches('-');
    let arg = command.get_arguments().find(|arg| arg.get_long() == Some(long));
    match arg.and_then(Arg::get_short) {
        Some(short) => format!("-{short}, {flag}"),
        None => flag.to_owned(),
    }
}

/// The word in which a short flag was typed.
fn typed(args: &[OsString], letter: char, flag: &str) -> String {
    let words = args.iter().map(|arg| arg.to_string_lossy());
    let mut groups = words.filter(|word| word.starts_with('-') && !word.starts_with("--"));
    groups
        .find(|word| word.contains(letter))
        .map_or_else(|| flag.to_owned(), std::borrow::Cow::into_owned)
}

/// Whether all that is missing are flags.
fn lacks_flags_only(error: &clap::Error) -> bool {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(missing)) => missing.iter().all(|arg| arg.starts_with("--")),
        _ => false,
    }
}

/// How many arguments a command takes, in docker's words.
fn arity(command: &Command) -> String {
    let (mut least, mut most) = (0, Some(0));
    for arg in command.get_positionals() {
        let least_values = arg.get_num_args().map_or(1, |range| range.min_values().max(1));
        least += if arg.is_required_set() { least_values } else { 0 };
        // `COMMAND [ARG...]` and `NAME [NAME...]` take any number.
        let many = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
        most = if many { None } else { most.map(|most: usize| most + 1) };
    }
    let s = |n: usize| if n == 1 { "" } else { "s" };
    match (least, most) {
        (0, Some(0)) => "accepts no arguments".to_owned(),
        (least, Some(most)) if least == most => format!("requires {least} argument{}", s(least)),
        (0, Some(most)) => format!("requires at most {most} argument{}", s(most)),
        (least, Some(most)) => format!("requires at least {least} and at most {most} arguments"),
        (least, None) => format!("requires at least {least} argument{}", s(least)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use clap::arg;

    use super::*;

    fn command() -> Command {
        let run = Command::new("run")
            .about("Run it")
            .arg(arg!(-m --memory <bytes> "Memory limit").value_parser(|text: &str| match text {
                "lots" => Err(format!("invalid size: '{text}'")),
                text => Ok(text.to_owned()),
            }))
            .arg(arg!(-d --detach "In the background"))
            .arg(arg!(-i --interactive "Keep open"))
            .arg(
                Arg::new("words")
                    .value_names(["IMAGE", "COMMAND", "ARG"])
                    .num_args(1..)
                    .required(true)
                    .trailing_var_arg(true),
            );
        let tag = Command::new("tag")
            .arg(Arg::new("source").value_name("SOURCE").required(true))
            .arg(Arg::new("target").value_name("TARGET").required(true));
        let sign = Command::new("sign")
            .arg(arg!(--key <string> "The key").required(true))
            .arg(Arg::new("image").value_name("IMAGE").required(true));
        prepare(Command::new("bld").subcommand_required(true).subcommands([run, tag, sign]))
    }

    fn said(words: &str) -> Answer {
        said_to(&words.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    fn said_to(args: &[OsString]) -> Answer {
        let mut root = command();
        let line = std::iter::once("bld".into()).chain(args.to_owned());
        match root.try_get_matches_from_mut(line) {
            Ok(_) => Answer { text: "fine".into(), asked: true, code: 0 },
            Err(error) => answer(&root, args, &error),
        }
    }

    #[test]
    fn mistakes_are_worded_as_docker_does() {
        let usage = "Usage:  bld run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n\
                     Run 'bld run --help' for more information\n";
        for (words, first, code) in [
            ("run --nosuch x", "unknown flag: --nosuch", 125),
            ("run -Z x", "unknown shorthand flag: 'Z' in -Z", 125),
            ("run", "bld: 'bld run' requires at least 1 argument", 1),
            (
                "run -m lots x",
                "invalid argument \"lots\" for \"-m, --memory\" flag: invalid size: 'lots'",
                125,
            ),
            ("run -m", "flag needs an argument: --memory", 125),
        ] {
            let answer = said(words);
            assert_eq!(answer.text, format!("{first}\n\n{usage}"), "{words}");
            assert_eq!(answer.code, code, "{words}");
        }
        assert!(said("tag a").text.starts_with("bld: 'bld tag' requires 2 arguments"));
        assert!(said("sign a").text.starts_with("bld: 'bld sign' requires the flag --key\n"));
        assert!(said("sign").text.starts_with("bld: 'bld sign' requires 1 argument\n"));
        assert!(said("tag a b c").text.starts_with("bld: 'bld tag' requires 2 arguments"));
        assert!(said("foo").text.starts_with("bld: unknown command: bld foo\n"));
    }

    #[test]
    fn boolean_flags_take_values_and_cluster() {
        for words in
            ["run -di x", "run --detach=true x", "run -d=false x", "run -i x -d --nosuch -la"]
        {
            assert_eq!(said(words).text, "fine", "{words}");
        }
    }

    #[test]
    fn arguments_that_are_no_text_are_named() {
        let answer = said_to(&["run".into(), OsString::from_vec(b"a\xff".to_vec())]);
        assert!(answer.text.starts_with("the argument \"a�\" is not UTF-8\n"), "{answer:?}");
    }

    #[test]
    fn help_has_dockers_layout() {
        let help = said("run --help");
        assert!(help.asked && help.code == 0);
        assert_eq!(
            help.text,
            "Usage:  bld run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun it\n\nOptions:\n\
             \x20 -d, --detach         In the background\n\
             \x20 -i, --interactive    Keep open\n\
             \x20 -m, --memory bytes   Memory limit\n"
        );
        let groups = said("--help").text;
        let expected = "\nCommon Commands:\n  run   Run it\n\nCommands:\n  sign   \n  tag    \n";
        assert!(groups.contains(expected), "{groups}");
    }
}
