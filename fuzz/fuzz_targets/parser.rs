//! Any bytes are parsed, every place that is complained about lies in them, and what parses can be
//! printed and parsed again.

#![no_main]

use bld_dockerfile::{Diagnostic, lint, parse, parse_bytes};
use libfuzzer_sys::fuzz_target;

fn check_places(source: &str, found: &[Diagnostic]) {
    for diagnostic in found {
        assert!(source.get(diagnostic.span.range()).is_some(), "{diagnostic:?}");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let parsed = parse_bytes(bytes);
    let source = String::from_utf8_lossy(bytes);
    check_places(&source, &parsed.diagnostics);
    check_places(&source, &parsed.deferred);
    check_places(&source, &lint::check(&parsed.dockerfile, &source));
    if parsed.is_ok() {
        let printed = parsed.dockerfile.to_string();
        let again = parse(&printed);
        assert!(again.is_ok(), "{printed:?}: {:?}", again.diagnostics);
        assert_eq!(again.dockerfile.to_string(), printed);
    }
});
