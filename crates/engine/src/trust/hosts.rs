//! The file `hosts.toml` of containerd: where the content of a registry can be had, and how the
//! hosts that have it are spoken to.
//!
//! Its form is that of containerd's [documentation][hosts]. What differs is that a push goes to the
//! registry itself, whatever a mirror says of what it can do.
//!
//! [hosts]: https://github.com/containerd/containerd/blob/main/docs/hosts.md

use std::collections::BTreeMap;
use std::path::Path;

use bld_registry::header::{HeaderName, HeaderValue};
use bld_registry::{Mirror, RegistryConfig, Url};
use serde::Deserialize;
use toml::Spanned;

/// What Docker Hub is called, and where it is.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// The file, but for what it says of the registry itself.
#[derive(Deserialize)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: BTreeMap<Spanned<String>, Host>,
}

/// How one host is spoken to. What later versions of containerd have beyond it changes nothing that
/// matters here.
#[derive(Deserialize)]
#[serde(default)]
struct Host {
    capabilities: Vec<String>,
    ca: Texts,
    client: Clients,
    skip_verify: bool,
    header: BTreeMap<String, Texts>,
    override_path: bool,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            capabilities: ["pull", "resolve", "push"].map(str::to_owned).into(),
            ca: Texts::default(),
            client: Clients::default(),
            skip_verify: false,
            header: BTreeMap::new(),
            override_path: false,
        }
    }
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    All(Vec<String>),
}

impl Default for Texts {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl Texts {
    fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::All(texts) => texts,
        }
    }
}

/// Files with a certificate and its key, or pairs of files.
#[derive(Deserialize)]
#[serde(untagged)]
enum Clients {
    Files(Texts),
    Pairs(Vec<Texts>),
}

impl Default for Clients {
    fn default() -> Self {
        Self::Files(Texts::default())
    }
}

/// Puts what `text` says of `registry` into `settings`; paths in it are relative to `dir`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(
    text: &str,
    registry: &str,
    dir: &Path,
    settings: &mut RegistryConfig,
) -> Result<(), String> {
    let malformed = |error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        format!("line {line}: {}", error.message())
    };
    let file: File = toml::from_str(text).map_err(malformed)?;
    let own: Host = toml::from_str(text).map_err(malformed)?;
    if let Some(server) = &file.server {
        settings.server = Some(root(server, own.override_path)?);
    }
    own.apply(dir, settings)?;

    let known = settings.server.as_ref().map(|server| server.authority().to_owned());
    let known = known.unwrap_or_else(|| match registry {
        name if name == DOCKER_HUB.0 => DOCKER_HUB.1.to_owned(),
        name => name.to_owned(),
    });
    let mut hosts: Vec<_> = file.host.into_iter().collect();
    // The order in the file is that in which they are asked.
    hosts.sort_by_key(|(name, _)| name.span().start);
    for (name, host) in hosts {
        let url = root(name.as_ref(), host.override_path)?;
        if url.authority() == known {
            // The registry itself, not a mirror: many files say in this place what it needs.
            settings.server.get_or_insert(url);
            host.apply(dir, settings)?;
            continue;
        }
        let can = |what: &str| host.capabilities.iter().any(|capability| capability == what);
        let (resolves, pulls) = (can("resolve"), can("pull"));
        let name = url.authority().to_owned();
        let mut own = RegistryConfig { server: Some(url), ..RegistryConfig::default() };
        host.apply(dir, &mut own)?;
        settings.mirrors.push(Mirror { name, resolves, pulls, settings: Some(Box::new(own)) });
    }
    Ok(())
}

impl Host {
    fn apply(&self, dir: &Path, settings: &mut RegistryConfig) -> Result<(), String> {
        settings.insecure |= self.skip_verify;
        for file in self.ca.all() {
            settings.authorities.push(super::read(&dir.join(file))?);
        }
        let pairs: Vec<(&str, &str)> = match &self.client {
            Clients::Files(files) => files.all().iter().map(|file| (&**file, &**file)).collect(),
            Clients::Pairs(pairs) => pairs.iter().map(pair).collect::<Result<_, _>>()?,
        };
        match pairs.as_slice() {
            [] => {}
            [(certificate, key)] => {
                let (certificate, key) = (dir.join(certificate), dir.join(key));
                settings.identity = Some(super::identity(&certificate, &key)?);
            }
            _ => return Err("only one client certificate can be shown to a host".to_owned()),
        }
        for (name, values) in &self.header {
            let header = name.parse::<HeaderName>();
            let header = header.map_err(|_| format!("{name:?} is no name of a header"))?;
            for value in values.all() {
                // It may be a secret, so it is not shown.
                let mut value = HeaderValue::from_str(value)
                    .map_err(|_| format!("the header {name} has characters that none can have"))?;
                value.set_sensitive(true);
                settings.headers.append(header.clone(), value);
            }
        }
        Ok(())
    }
}

/// The files of one certificate; one file may have both.
fn pair(files: &Texts) -> Result<(&str, &str), String> {
    match files.all() {
        [both] => Ok((both, both)),
        [certificate, key] if key.is_empty() => Ok((certificate, certificate)),
        [certificate, key] => Ok((certificate, key)),
        _ => Err("a client is a certificate and a key".to_owned()),
    }
}

/// The root of the API at `host`.
fn root(host: &str, override_path: bool) -> Result<Url, String> {
    let with_scheme =
        if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
    // What is in front of an @ may be a password.
    let shown = host.rsplit('@').next().unwrap_or_default();
    let refused = |why: &str| format!("the host {shown:?} {why}");
    let mut url = Url::parse(&with_scheme).map_err(|_| refused("is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refused("is no URL of http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("has a user: credentials come from `bld login`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("has a query or a fragment"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let version = if path.ends_with("/v2") || override_path { "" } else { "/v2" };
    url.set_path(&format!("{path}{version}/"));
    Ok(url)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn parse(registry: &str, text: &str) -> Result<RegistryConfig, String> {
        let mut settings = RegistryConfig::default();
        read(text, registry, Path::new("/nonexistent"), &mut settings)?;
        Ok(settings)
    }

    #[test]
    fn mirrors_come_in_the_order_of_the_file() {
        let text = r#"
            server = "https://registry-1.docker.io"
            [host."https://z.example"]
              capabilities = ["pull"]
              [host."https://z.example".header]
                x-key = ["geheim", "zwei"]
            [host."http://a.example:5000/proxy"]
              skip_verify = true
            [host."b.example/v2/hub"]
              override_path = true
              capabilities = ["pull", "resolve"]
        "#;
        let settings = parse("docker.io", text).unwrap();
        assert_eq!(settings.server.unwrap().as_str(), "https://registry-1.docker.io/v2/");
        let found = settings.mirrors.iter().map(|mirror| {
            let own = mirror.settings.as_ref().unwrap();
            let url = own.server.as_ref().unwrap().to_string();
            (url, mirror.resolves, mirror.pulls, own.insecure)
        });
        let found: Vec<_> = found.collect();
        let expected = [
            ("https://z.example/v2/", false, true, false),
            ("http://a.example:5000/proxy/v2/", true, true, true),
            ("https://b.example/v2/hub/", true, true, false),
        ];
        let expected = expected
            .map(|(url, resolves, pulls, insecure)| (url.to_owned(), resolves, pulls, insecure));
        assert_eq!(found, expected);
        assert_eq!(settings.mirrors[0].name, "z.example");
        let own = settings.mirrors[0].settings.as_ref().unwrap();
        assert_eq!(own.headers.get_all("x-key").iter().count(), 2);
        assert!(!format!("{:?}", settings.mirrors).contains("geheim"));
    }

    #[test]
    fn what_is_said_of_the_registry_itself_is_not_of_a_mirror() {
        let plain = parse("r.example:5000", "[host.\"http://r.example:5000\"]\n").unwrap();
        assert_eq!(plain.server.unwrap().as_str(), "http://r.example:5000/v2/");
        assert!(plain.mirrors.is_empty());
        let own = "skip_verify = true\n[host.\"https://registry-1.docker.io\".header]\nx = 'y'\n";
        let own = parse("docker.io", own).unwrap();
        assert!(own.insecure && own.mirrors.is_empty() && own.headers.contains_key("x"));
        let elsewhere = parse("docker.io", "server = 'hub.example'").unwrap();
        assert_eq!(elsewhere.server.unwrap().as_str(), "https://hub.example/v2/");
    }

    #[test]
    fn mistakes_are_told() {
        for (text, part) in [
            ("server = 7", "line 1: invalid type"),
            ("\n[host", "line 2:"),
            ("server = 'ftp://x'", "no URL of http or https"),
            ("server = 'https://me:geheim@x'", "\"x\" has a user"),
            ("[host.'https://x/?y=1']", "has a query"),
            ("ca = 'none.crt'", "/nonexistent/none.crt: No such file"),
            ("client = [['a', 'b'], ['c', 'd']]", "only one client certificate"),
            ("client = [['a', 'b', 'c']]", "a certificate and a key"),
            ("header.'a b' = 'x'", "is no name of a header"),
            ("header.x = \"geheim\\n\"", "the header x has characters"),
        ] {
            let error = parse("r.example", text).map_or_else(|error| error, |_| String::new());
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
