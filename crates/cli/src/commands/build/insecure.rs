//! `registry.insecure`: registries that one cache or output is trusted with blindly.

use bld_dockerfile::value::parse_bool;
use bld_oci::Reference;

use super::Args;
use super::outputs::fields;

/// The key, in `--cache-from`, `--cache-to` and `--output`.
pub(super) const KEY: &str = "registry.insecure";

/// The registries of all words of `args` that ask for it. What is wrong with the words is told by those
/// who read them whole.
pub(super) fn registries(args: &Args) -> Vec<String> {
    let caches = args.cache_from.iter().chain(&args.cache_to).filter(|word| is_insecure(word));
    let caches = caches.filter_map(|word| value(word, "ref"));
    let outputs = args.output.iter().filter(|word| is_insecure(word));
    let outputs = outputs.flat_map(|word| {
        let own = value(word, "name").unwrap_or_default();
        let own = own.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>();
        // An output has the names of the command line, too.
        own.into_iter().chain(args.tag.iter().cloned())
    });
    let names = caches.chain(outputs);
    names.filter_map(|name| Some(Reference::parse(&name).ok()?.domain().to_owned())).collect()
}

fn is_insecure(word: &str) -> bool {
    // A key alone is a wish.
    value(word, KEY).is_some_and(|text| text.is_empty() || parse_bool(&text) == Some(true))
}

fn value(word: &str, key: &str) -> Option<String> {
    let fields = fields(word);
    let mut pairs = fields.iter().filter_map(|field| field.split_once('='));
    let found = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case(key));
    found.map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_for_it_gets_it() {
        for (word, expected) in [
            ("type=registry,ref=a,registry.insecure=true", true),
            ("type=image,\"name=a,b\",Registry.Insecure=", true),
            ("type=registry,ref=a,registry.insecure=0", false),
            ("type=registry,ref=a", false),
        ] {
            assert_eq!(is_insecure(word), expected, "{word}");
        }
    }
}
