//! What each modifier of a variable does, and which names are looked up on the way.

use bld_dockerfile::expand::{ExpandErrorKind, Expander};

/// Text, names found, names not found.
fn expand(word: &str, env: &[(&str, &str)]) -> (String, String, String) {
    let expanded = Expander::default().word(word, env);
    let expanded = expanded.unwrap_or_else(|error| panic!("{word}: {error}"));
    (expanded.text, expanded.used.join(" "), expanded.unset.join(" "))
}

fn text(word: &str, env: &[(&str, &str)]) -> String {
    expand(word, env).0
}

#[test]
fn names_that_are_looked_up_are_told_apart() {
    let env = [("SET", "xxx"), ("EMPTY", "")];
    for (word, expected, used, unset) in [
        ("x", "x", "", ""),
        ("x $NONE", "x ", "", "NONE"),
        ("${SET-a} ${EMPTY-b} ${NONE-c}", "xxx  c", "SET EMPTY", "NONE"),
        ("${SET:-a} ${EMPTY:-b} ${NONE:-c}", "xxx b c", "SET EMPTY", "NONE"),
        ("${SET+a} ${EMPTY+b} ${NONE+c}", "a b ", "SET EMPTY", "NONE"),
        ("${SET:+a} ${EMPTY:+b} ${NONE:+c}", "a  ", "SET EMPTY", "NONE"),
        ("${SET?a}${EMPTY?b}", "xxx", "SET EMPTY", ""),
        ("${SET#$EMPTY}${SET:-$NONE}$SET", "xxxxxxxxx", "SET EMPTY", "NONE"),
    ] {
        let found = (expected.to_owned(), used.to_owned(), unset.to_owned());
        assert_eq!(expand(word, &env), found, "{word}");
    }
}

#[test]
fn values_are_trimmed_by_patterns() {
    for (word, value, expected) in [
        ("${v#()[]{\\}^$.\\*\\?|\\\\}", "()[]{}^$.*?|\\x", "x"),
        ("${v%%\\**}", "xx**", "xx"),
        ("${v#*x*y}", "xxyy", "y"),
        ("${v#*}", "xxyy", "xxyy"),
        ("${v##*x}", "xxyy", "yy"),
        ("${v##}", "xxyy", "xxyy"),
        ("${v#?\\?}", "???y", "?y"),
        ("${v%}", "xxyy", "xxyy"),
        ("${v#\"x\"}", "xxyy", "xyy"),
    ] {
        assert_eq!(text(word, &[("v", value)]), expected, "{word}");
    }
}

#[test]
fn parts_of_values_are_replaced() {
    let env = [("path", "/tmp/tmp/bar.txt"), ("p", "/tmp"), ("url", "http://a.b"), ("r", "s://")];
    for (word, expected) in [
        ("${path/$p/} ${path//$p/}", "/tmp/bar.txt /bar.txt"),
        ("${url/:\\/\\//$r}", "https://a.b"),
        ("${path//\\//\\/}", "\\/tmp\\/tmp\\/bar.txt"),
        ("${path//t?p/x}", "/x/x/bar.txt"),
        ("${path///}", "/tmp/tmp/bar.txt"),
        ("${none/a/b}", ""),
        ("${p//\\//${none:-_}}", "_tmp"),
    ] {
        assert_eq!(text(word, &env), expected, "{word}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (word, kind) in [
        ("${v=a}", ExpandErrorKind::UnsupportedModifier("=".into())),
        ("${v:#}", ExpandErrorKind::UnsupportedModifier(":#".into())),
        ("${v^^}", ExpandErrorKind::UnsupportedModifier("^".into())),
        ("${v//ww}", ExpandErrorKind::MissingSlash),
        ("${v/a/b", ExpandErrorKind::UnclosedBrace),
        ("${v:-a", ExpandErrorKind::UnclosedBrace),
        ("${}", ExpandErrorKind::BadSubstitution),
        ("${v#\\x}", ExpandErrorKind::InvalidEscape("\\x".into())),
        ("a 'b", ExpandErrorKind::UnclosedQuote('\'')),
    ] {
        let error = Expander::default().word(word, &()).map_err(|error| error.kind);
        assert_eq!(error, Err(kind), "{word}");
    }
    let deep = "${a:-".repeat(100_000);
    let error = Expander::default().word(&deep, &()).map_err(|error| error.kind);
    assert_eq!(error, Err(ExpandErrorKind::TooDeep(64)));
}

#[test]
fn missing_values_say_what_is_missing() {
    for (word, message) in [
        ("${v?why $w}", "v: why because"),
        ("${v:?}", "v: is not allowed to be unset"),
        ("${e:?}", "e: is not allowed to be empty"),
    ] {
        let error = Expander::default().word(word, &[("w", "because"), ("e", "")]);
        assert_eq!(error.map_err(|error| error.to_string()), Err(message.to_owned()));
    }
}

#[test]
fn the_escape_character_can_be_chosen() {
    let windows = Expander::new('`');
    let env = [("v", "x")];
    assert_eq!(
        windows.word("c:\\dir\\$v `$v `\"", &env).map(|w| w.text).as_deref(),
        Ok("c:\\dir\\x $v \"")
    );
}

#[test]
fn a_command_is_shown_with_its_values() {
    let env = [("v", "1.2"), ("e", "")];
    let shown = Expander::default().display("RUN echo \"$v\" '$v' $none \\$v ${v#1} [$e]", &env);
    assert_eq!(shown, "RUN echo \"1.2\" '$v' $none \\$v .2 []");
    assert_eq!(Expander::default().display("RUN it's $v", &env), "RUN it's $v");
}

#[test]
fn templates_tell_what_they_mention() {
    let parse = |word: &str| {
        let template = Expander::default().parse(word);
        template.unwrap_or_else(|error| panic!("{word}: {error}"))
    };
    let names = |word| parse(word).variables().iter().map(|v| v.name.clone()).collect::<Vec<_>>();
    assert_eq!(names("a${b:-${c}}'$d'$e"), ["b", "c", "e"]);
    assert_eq!(parse("a\"b\"").constant().as_deref(), Some("ab"));
    assert_eq!(parse("/a$b").literal_prefix().as_deref(), Some("/a"));
    assert_eq!(parse("$b/a").literal_prefix(), None);
}

/// Lines that double one another's values must end in an error, not in the last of the memory.
#[test]
fn values_do_not_grow_without_bound() {
    let long = "x".repeat(3 << 20);
    let env = [("a", long.as_str())];
    for word in ["$a$a", "${a//x/$a}", "${b:-$a$a}"] {
        let error = Expander::default().word(word, &env).map_err(|error| error.kind);
        assert!(matches!(error, Err(ExpandErrorKind::TooLong(_))), "{word}");
    }
    assert_eq!(text("$a", &env), long);
}
