//! Packages of languages, by lock files and by what installers leave.
//!
//! Lock files are read line by line where that is enough: all of them are written by programs.

use serde_json::Value;

use super::Package;
use super::system::Distribution;

/// `package-lock.json` of npm, in all its versions.
pub(super) fn npm(bytes: &[u8], _: &Distribution) -> Vec<Package> {
    let Ok(lock) = serde_json::from_slice::<Value>(bytes) else { return Vec::new() };
    let mut found = Vec::new();
    if let Some(packages) = lock["packages"].as_object() {
        for (path, package) in packages {
            // The path without a `node_modules` is the project itself, or a part of it.
            let Some((_, name)) = path.rsplit_once("node_modules/") else { continue };
            let name = package["name"].as_str().unwrap_or(name);
            found.extend(npm_package(name, package));
        }
    } else {
        dependencies(&lock, &mut found);
    }
    found
}

/// The older form: what a package depends on is inside of it.
fn dependencies(package: &Value, found: &mut Vec<Package>) {
    for (name, dependency) in package["dependencies"].as_object().into_iter().flatten() {
        found.extend(npm_package(name, dependency));
        dependencies(dependency, found);
    }
}

fn npm_package(name: &str, package: &Value) -> Option<Package> {
    let version = package["version"].as_str()?;
    let license = package["license"].as_str().unwrap_or_default().to_owned();
    Some(Package { license, ..node(name, version) })
}

/// A package of npm, whose name may begin with a scope.
fn node(name: &str, version: &str) -> Package {
    match name.split_once('/') {
        Some((scope, name)) if scope.starts_with('@') => {
            let package = Package::new("npm", name, version);
            Package { namespace: scope.to_owned(), ..package }
        }
        _ => Package::new("npm", name, version),
    }
}

/// `package.json` of an installed package.
pub(super) fn node_module(bytes: &[u8], _: &Distribution) -> Vec<Package> {
    let Ok(package) = serde_json::from_slice::<Value>(bytes) else { return Vec::new() };
    let name = package["name"].as_str().filter(|name| !name.is_empty());
    name.and_then(|name| npm_package(name, &package)).into_iter().collect()
}

/// `yarn.lock`, of the first yarn and of later ones.
pub(super) fn yarn(bytes: &[u8], _: &Distribution) -> Vec<Package> {
    let (mut found, mut name) = (Vec::new(), None);
    for line in String::from_utf8_lossy(bytes).lines() {
        if !line.starts_with([' ', '#']) {
            let key = line.trim_end_matches(':').split(", ").next().unwrap_or_default();
            let key = key.trim_matches('"');
            // The first `@` may be that of a scope.
            let end = key.char_indices().skip(1).find(|(_, c)| *c == '@').map(|(at, _)| at);
            let local = ["@workspace:", "@link:", "@portal:"].iter().any(|part| key.contains(part));
            name = end.filter(|_| !local).and_then(|end| key.get(..end)).map(str::to_owned);
        } else if let Some(version) = line.trim().strip_prefix("version")
            && let Some(name) = name.take()
        {
            let version = version.trim_start_matches(':').trim().trim_matches('"');
            found.push(node(&name, version));
        }
    }
    found
}

/// `pnpm-lock.yaml`: the keys below `packages`.
pub(super) fn pnpm(bytes: &[u8], _: &Distribution) -> Vec<Package> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().skip_while(|line| *line != "packages:").skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with(' '));
    let keys = lines.filter_map(|line| {
        let key = line.strip_prefix("  ").filter(|key| !key.starts_with(' '))?;
        let key = key.split_once(':').map_or(key, |(key, _)| key).trim_matches('\'');
        // Behind it may be what the package was resolved against.
        let key = key.strip_prefix('/').unwrap_or(key).split('(').next()?;
        let at = key.rfind('@').filter(|at| *at > 0).or_else(|| key.rfind('/'))?;
        Some(node(key.get(..at)?, key.get(at + 1..)?))
    });
    keys.collect()
}

/// `Cargo.lock`. What has no source is the project itself.
pub(super) fn cargo(bytes: &[u8], _: &Distribution) -> Vec<Package> {
    let text = String::from_utf8_lossy(bytes);
    let tables = text.split("[[package]]").skip(1).filter_map(|table| {
        let value = |key: &str| {
            let line = table.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| Some(rest.trim().strip_prefix('=')?.trim().trim_matches('"')))
        };
        value("source ")?;
        Some(Package::new("cargo", value("name ")?, value("version ")?))
    });
    tables.collect()
}

/// A module of Go, whose name begins with the place it is from.
pub(super) fn module(name: &str, version: &str) -> Package {
    match name.rsplit_once('/') {
        Some((place, name)) => {
            let package = Package::new("golang", name, version);
            Package { namespace: place.to_owned(), ..package }
        }
        None => Package::new("golang", name, version),
    }
}

/// `go.mod`: what is required.
pub(super) fn go_mod(bytes: &[u8], _: &Distribution) -> Vec<Package> {
    let (mut found, mut inside) = (Vec::new(), false);
    for line in String::from_utf8_lossy(bytes).lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        let required = match (inside, line.strip_prefix("require ")) {
            (true, _) if line == ")" => {
                inside = false;
                continue;
            }
            (true, _) => line,
            (false, Some(rest)) if rest.trim() == "(" => {
                inside = true;
                continue;
            }
            (false, Some(rest)) => rest,
            (false, None) => continue,
        };
        if let Some((name, version)) = required.trim().split_once(' ') {
            found.push(module(name, version.trim()));
        }
    }
    found
}

/// `go.sum`. Modules of which only the `go.mod` was read are no part of the program.
pub(super) fn go_sum(bytes: &[u8], _: &Distribution) -> Vec<Package> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (name, version) = (words.next()?, words.next()?);
        (!version.ends_with("/go.mod")).then(|| module(name, version))
    });
    lines.collect()
}

/// The name of a package of Python, by which it is found: PEP 503.
fn python_name(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if plain.ends_with('-') => {}
            '-' | '_' | '.' => plain.push('-'),
            c => plain.extend(c.to_lowercase()),
        }
    }
    plain
}

/// `requirements.txt`: what is pinned to one version.
pub(super) fn requirements(bytes: &[u8], _: &Distribution) -> Vec<Package> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter_map(|line| {
        let line = line.split([';', '#']).next()?.trim();
        let (name, version) = line.split_once("==")?;
        let name = name.split('[').next()?.trim();
        let version = version.trim_start_matches('=').split_whitespace().next()?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let whole = !name.is_empty() && name.chars().all(is_name) && !version.contains(['*', ',']);
        whole.then(|| Package::new("pypi", python_name(name), version.trim_end_matches('\\')))
    });
    lines.collect()
}

/// `METADATA` or `PKG-INFO` of an installed package: fields as in a mail.
pub(super) fn python(bytes: &[u8], _: &Distribution) -> Vec<Package> {
    let text = String::from_utf8_lossy(bytes);
    let field = |name: &str| {
        let mut head = text.lines().take_while(|line| !line.is_empty());
        head.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let (Some(name), Some(version)) = (field("Name"), field("Version")) else { return Vec::new() };
    let license = field("License-Expression").unwrap_or_default().to_owned();
    vec![Package { license, ..Package::new("pypi", python_name(name), version) }]
}

/// `Gemfile.lock`: what is four blanks deep below `specs:`.
pub(super) fn gems(bytes: &[u8], _: &Distribution) -> Vec<Package> {
    let text = String::from_utf8_lossy(bytes);
    // What comes from a path is the project itself.
    let mut section = "";
    let mut found = Vec::new();
    for line in text.lines() {
        if !line.starts_with(' ') {
            section = line;
        }
        let spec = line.strip_prefix("    ").filter(|spec| !spec.starts_with(' '));
        if let Some((name, version)) = spec.and_then(|spec| spec.split_once(" ("))
            && matches!(section, "GEM" | "GIT")
        {
            found.push(Package::new("gem", name, version.trim_end_matches(')')));
        }
    }
    found
}

/// `composer.lock`
pub(super) fn composer(bytes: &[u8], _: &Distribution) -> Vec<Package> {
    let Ok(lock) = serde_json::from_slice::<Value>(bytes) else { return Vec::new() };
    let lists = ["packages", "packages-dev"].map(|key| lock[key].as_array());
    let packages = lists.into_iter().flatten().flatten().filter_map(|package| {
        let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
        let (vendor, name) = name.split_once('/').unwrap_or(("", name));
        let found = Package::new("composer", name, version);
        Some(Package { namespace: vendor.to_owned(), ..found })
    });
    packages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = fn(&[u8], &Distribution) -> Vec<Package>;

    fn found(read: Read, text: &str) -> Vec<String> {
        let packages = read(text.as_bytes(), &Distribution::default()).into_iter();
        let shown = packages.map(|found| {
            let slash = if found.namespace.is_empty() { "" } else { "/" };
            format!("{}{slash}{} {}", found.namespace, found.name, found.version)
        });
        shown.collect()
    }

    #[test]
    fn node() {
        let new = r#"{"packages":{"":{"version":"1"},"node_modules/a":{"version":"1.0.0"},
            "node_modules/a/node_modules/@s/b":{"version":"2.0.0"}}}"#;
        assert_eq!(found(npm, new), ["a 1.0.0", "@s/b 2.0.0"]);
        let old = r#"{"dependencies":{"a":{"version":"1.0.0",
            "dependencies":{"b":{"version":"2.0.0"}}}}}"#;
        assert_eq!(found(npm, old), ["a 1.0.0", "b 2.0.0"]);
        assert_eq!(found(npm, "{"), [""; 0]);
        let classic = "# v1\n\n\"@s/a@^1.0.0\", \"@s/a@^1.1.0\":\n  version \"1.2.0\"\n  dependencies:\n    b \"^2\"\n\nb@^2:\n  version \"2.0.1\"\n";
        assert_eq!(found(yarn, classic), ["@s/a 1.2.0", "b 2.0.1"]);
        let berry = "__metadata:\n  version: 8\n\n\"a@npm:^1.0.0\":\n  version: 1.2.0\n  resolution: \"a@npm:1.2.0\"\n\n\"me@workspace:.\":\n  version: 0.0.0-use.local\n";
        assert_eq!(found(yarn, berry), ["a 1.2.0"]);
        let lock = "lockfileVersion: '9.0'\n\npackages:\n\n  '@s/a@1.0.0':\n    resolution: {}\n\n  /b/2.0.0:\n    dev: true\n\n  /c@3.0.0(b@2.0.0):\n    dev: true\n\nsnapshots:\n\n  d@4.0.0: {}\n";
        assert_eq!(found(pnpm, lock), ["@s/a 1.0.0", "b 2.0.0", "c 3.0.0"]);
        assert_eq!(found(node_module, r#"{"name":"@s/a","version":"1.0.0"}"#), ["@s/a 1.0.0"]);
        assert_eq!(found(node_module, r#"{"type":"module"}"#), [""; 0]);
    }

    #[test]
    fn rust_and_go() {
        let lock = "version = 4\n\n[[package]]\nname = \"me\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"libc\"\nversion = \"0.2.1\"\nsource = \"registry+x\"\n";
        assert_eq!(found(cargo, lock), ["libc 0.2.1"]);
        let module = "module x\n\nrequire a.example/b v1.0.0\nrequire (\n\tc.example/d/v2 v2.0.0 // indirect\n)\n";
        assert_eq!(found(go_mod, module), ["a.example/b v1.0.0", "c.example/d/v2 v2.0.0"]);
        let sums = "a.example/b v1.0.0 h1:x\na.example/b v1.0.0/go.mod h1:y\nc v1/go.mod h1:z\n";
        assert_eq!(found(go_sum, sums), ["a.example/b v1.0.0"]);
    }

    #[test]
    fn python_ruby_and_php() {
        let pinned = "Flask==3.0 ; python_version>'3'\nx[y]==1.0 \\\n  --hash=sha256:1\nfree>=2\n-r o\nany==1.*\n";
        assert_eq!(found(requirements, pinned), ["flask 3.0", "x 1.0"]);
        let metadata = "Metadata-Version: 2.1\nName: Zope.Interface\nVersion: 6.0\n\nName: no\n";
        assert_eq!(found(python, metadata), ["zope-interface 6.0"]);
        let lock = "PATH\n  remote: .\n  specs:\n    me (0.1)\n\nGEM\n  specs:\n    rack (3.0)\n      dep (>= 1)\n\nDEPENDENCIES\n    rack (3.0)\n";
        assert_eq!(found(gems, lock), ["rack 3.0"]);
        let lock = r#"{"packages":[{"name":"a/b","version":"1.0"}],"packages-dev":[{"name":"c/d","version":"2"}]}"#;
        assert_eq!(found(composer, lock), ["a/b 1.0", "c/d 2"]);
    }
}
