//! Any word is expanded or refused, with a place that lies in it. The first line is a value.

#![no_main]

use bld_dockerfile::expand::Expander;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (value, word) = text.split_once('\n').unwrap_or(("", text));
    let env = [("x", value), ("empty", "")];
    for escape in ['\\', '`'] {
        let expander = Expander::new(escape);
        match expander.word(word, &env) {
            Ok(expanded) => {
                for name in &expanded.unset {
                    assert!(env.iter().all(|(known, _)| known != name), "{name} is set");
                }
            }
            Err(error) => assert!(word.get(error.span.range()).is_some(), "{error:?}"),
        }
        let _ = expander.words(word, &env);
        let _ = expander.display(word, &env);
    }
    let _ = Expander::heredoc(word, &env);
});
