//! What holds for every reference, platform, digest and configuration.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::{BTreeMap, BTreeSet};

use bld_oci::{
    ContainerConfig, Digest, Healthcheck, History, ImageConfig, Platform, Reference, RootFs,
    chain_id, chain_ids,
};
use proptest::option;
use proptest::prelude::*;

fn path() -> impl Strategy<Value = String> {
    "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,8}){0,2}"
}

fn domain() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("docker.io/".to_owned()),
        Just("index.docker.io/".to_owned()),
        Just("docker.io/library/".to_owned()),
        Just("localhost/".to_owned()),
        Just("[::1]:5000/".to_owned()),
        "[a-z]{1,5}(\\.[a-zA-Z0-9]{1,5}){1,2}(:[0-9]{1,5})?/",
        Just(String::new()),
    ]
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

proptest! {
    #[test]
    fn valid_references_survive_both_spellings(
        domain in domain(),
        path in path(),
        tag in option::of("[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,20}"),
        digest in option::of(digest()),
    ) {
        // Without a registry in front, a dot would make one of the first component.
        let domain = if path.contains('.') && domain.is_empty() { "docker.io/" } else { &domain };
        let tagged = tag.as_ref().map_or(String::new(), |tag| format!(":{tag}"));
        let pinned = digest.map_or(String::new(), |digest| format!("@{digest}"));
        let reference = Reference::parse(&format!("{domain}{path}{tagged}{pinned}")).unwrap();
        prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
        prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
        prop_assert_eq!(reference.digest(), digest);
        match (tag, digest) {
            (Some(tag), _) => prop_assert_eq!(reference.tag(), Some(tag.as_str())),
            (None, Some(_)) => prop_assert_eq!(reference.tag(), None),
            (None, None) => prop_assert_eq!(reference.tag(), Some("latest")),
        }
    }

    #[test]
    fn no_text_breaks_the_reference_parser(text in ".{0,60}") {
        if let Ok(reference) = Reference::parse(&text) {
            prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference);
        }
    }

    #[test]
    fn near_references_do_not_break_the_parser(text in "[a-zA-Z0-9._:@/\\[\\]-]{0,40}") {
        if let Ok(reference) = Reference::parse(&text) {
            prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
            prop_assert_eq!(Reference::parse(&reference.familiar()).unwrap(), reference);
        }
    }

    #[test]
    fn platforms_have_one_spelling(text in "(linux|windows|macos|x)/(amd64|arm64|arm|aarch64|armhf|x86_64|y)(/v?[1-9](\\.[0-9])?)?") {
        let platform = Platform::parse(&text).unwrap();
        prop_assert_eq!(&platform.normalized(), &platform);
        prop_assert_eq!(&Platform::parse(&platform.to_string()).unwrap(), &platform);
        prop_assert!(platform.satisfies(&platform));
    }

    #[test]
    fn no_text_breaks_the_platform_parser(text in ".{0,30}") {
        if let Ok(platform) = Platform::parse(&text) {
            prop_assert_eq!(Platform::parse(&platform.to_string()).unwrap(), platform);
        }
    }

    #[test]
    fn digests_print_and_parse(digest in digest()) {
        prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        let json = serde_json::to_string(&digest).unwrap();
        prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }

    #[test]
    fn chains_agree(layers in prop::collection::vec(digest(), 0..6)) {
        let all = chain_ids(&layers);
        prop_assert_eq!(all.len(), layers.len());
        prop_assert_eq!(all.last().copied(), chain_id(&layers));
    }

    #[test]
    fn configurations_survive_writing(config in config()) {
        let bytes = config.to_bytes();
        let back = ImageConfig::parse(&bytes).unwrap();
        prop_assert_eq!(&back, &config);
        prop_assert_eq!(back.to_bytes(), bytes);
    }
}

fn words() -> impl Strategy<Value = Option<Vec<String>>> {
    option::of(prop::collection::vec(".{0,8}", 1..4))
}

fn container() -> impl Strategy<Value = ContainerConfig> {
    let texts = || prop::collection::vec(".{0,12}", 0..3);
    let check = (texts(), option::of(any::<i64>())).prop_map(|(test, interval)| Healthcheck {
        test,
        interval,
        ..Healthcheck::default()
    });
    (
        (".{0,5}", texts(), words(), words(), words(), texts()),
        (
            prop::collection::btree_map(".{0,5}", ".{0,5}", 0..4),
            prop::collection::btree_set("[0-9]{1,5}/(tcp|udp)", 0..3),
            prop::collection::btree_set("/[a-z]{1,5}", 0..3),
            option::of(check),
            option::of("[A-Z]{3,8}"),
        ),
    )
        .prop_map(|((user, env, entrypoint, cmd, shell, on_build), rest)| {
            let (labels, exposed_ports, volumes, healthcheck, stop_signal) = rest;
            let labels: BTreeMap<_, _> = labels;
            let volumes: BTreeSet<_> = volumes;
            ContainerConfig {
                user,
                exposed_ports,
                env,
                entrypoint,
                cmd,
                volumes,
                labels,
                stop_signal,
                healthcheck,
                on_build,
                shell,
                extra: [("ArgsEscaped".to_owned(), true.into())].into_iter().collect(),
                ..ContainerConfig::default()
            }
        })
}

fn config() -> impl Strategy<Value = ImageConfig> {
    let history = (option::of(".{0,9}"), any::<bool>()).prop_map(|(created_by, empty_layer)| {
        History { created_by, empty_layer, ..History::default() }
    });
    (
        container(),
        prop::collection::vec(digest(), 0..4),
        prop::collection::vec(history, 0..4),
        option::of(".{0,9}"),
        "[a-z.]{1,9}",
    )
        .prop_map(|(config, diff_ids, history, author, unknown)| ImageConfig {
            author,
            config,
            rootfs: RootFs { diff_ids, ..RootFs::default() },
            history,
            extra: [(format!("x-{unknown}"), unknown.into())].into_iter().collect(),
            ..ImageConfig::for_platform(&Platform::host())
        })
}
