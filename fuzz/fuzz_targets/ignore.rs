//! Any ignore file is read or refused, and a walk that skips excluded directories finds the same
//! files as asking for each of them. The first line is a path.

#![no_main]

use bld_dockerfile::ignore::{Patterns, Verdict, clean};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (path, rules) = text.split_once('\n').unwrap_or(("a/b", text));
    let path = clean(path);
    let Ok(patterns) = Patterns::parse(rules) else { return };
    if path.is_empty() || path == "." || path.starts_with('/') || path.starts_with("..") {
        return;
    }
    let mut above: Option<Verdict> = None;
    for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
        let here = &path[..end];
        let verdict = patterns.enter(above.as_ref(), here);
        assert_eq!(verdict.excluded(), patterns.matches(here), "{here:?}");
        let rule = patterns.matching_rule(here);
        assert_eq!(rule.is_some_and(|rule| !rule.negated), verdict.excluded(), "{here:?}: {rule:?}");
        if above.as_ref().is_some_and(Verdict::excluded) && !verdict.excluded() {
            let dir = here.rsplit_once('/').map_or("", |(dir, _)| dir);
            assert!(patterns.may_contain_exception_below(dir), "{here:?}");
        }
        above = Some(verdict);
    }
});
