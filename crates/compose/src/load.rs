//! From files to a project.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::excerpt::{Text, blame};
use crate::forms::Mapping;
use crate::interpolate::interpolate;
use crate::merge::{merge, merge_service};
use crate::model::{Dependency, FileReference, Project, Service, VolumeMount};
use crate::{ComposeError, dotenv};

/// The names of Compose files, the one to prefer in front.
const NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// Keys of services that are valid and mean nothing here.
const IGNORED: [&str; 7] = [
    "attach",
    "cgroup_parent",
    "credential_spec",
    "isolation",
    "mac_address",
    "provider",
    "runtime",
];

/// Where a project comes from.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The files, each laid over those before.
    pub files: Vec<PathBuf>,
    /// The directory that relative paths start from; that of the first file when absent.
    pub directory: Option<PathBuf>,
    /// The project's name; the file's, or the directory's, when absent.
    pub name: Option<String>,
    /// Variables, which count more than those of `.env`.
    pub environment: BTreeMap<String, String>,
    /// Files of variables instead of `.env`.
    pub env_files: Vec<PathBuf>,
    /// Profiles whose services are wanted; `*` means all.
    pub profiles: Vec<String>,
    /// Services that are wanted whatever their profiles.
    pub wanted: Vec<String>,
    /// See [`Project::compatibility`].
    pub compatibility: bool,
}

/// The Compose file in `dir` or the nearest directory above, with the override beside it.
///
/// # Errors
/// [`ComposeError::NoFile`]
pub fn find_files(dir: &Path) -> Result<Vec<PathBuf>, ComposeError> {
    for dir in dir.ancestors() {
        for name in NAMES {
            let file = dir.join(name);
            if !file.is_file() {
                continue;
            }
            let (stem, end) = name.rsplit_once('.').unwrap_or((name, "yaml"));
            let ends = [end, if end == "yaml" { "yml" } else { "yaml" }];
            let over = ends.map(|end| dir.join(format!("{stem}.override.{end}")));
            let over = over.into_iter().find(|over| over.is_file());
            return Ok(std::iter::once(file).chain(over).collect());
        }
    }
    Err(ComposeError::NoFile { dir: dir.to_owned() })
}

/// What a directory's project is called: its name in lower case, without what a name can't have.
pub fn project_name(dir: &Path) -> String {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let kept = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    kept.collect::<String>().trim_start_matches(['-', '_']).to_owned()
}

/// Reads a project.
///
/// # Errors
/// What is wrong with it, with the file and the keys that lead there.
pub fn load(source: &Source) -> Result<Project, ComposeError> {
    let first = source
        .files
        .first()
        .ok_or_else(|| ComposeError::Project("no configuration file provided".to_owned()))?;
    let beside = first.parent().filter(|dir| !dir.as_os_str().is_empty());
    let directory = source.directory.as_deref().or(beside).unwrap_or(Path::new("."));
    let directory = std::path::absolute(directory)
        .map_err(|source| ComposeError::Io { path: directory.to_owned(), source })?;
    let mut loader = Loader { variables: variables(source, &directory)?, ..Loader::default() };
    let project = read_project(&mut loader, source, first, directory);
    project.map_err(|error| error.located(&loader.texts))
}

fn read_project(
    loader: &mut Loader,
    source: &Source,
    first: &Path,
    directory: PathBuf,
) -> Result<Project, ComposeError> {
    let mut whole = json!({});
    for file in &source.files {
        let read = loader.file(file, &directory, &mut Vec::new())?;
        merge(&mut whole, read);
    }
    let name = source.name.clone();
    let name = name.or_else(|| loader.variables.get("COMPOSE_PROJECT_NAME").cloned());
    let name = name.or_else(|| whole["name"].as_str().map(str::to_owned));
    let name = name.unwrap_or_else(|| project_name(&directory));
    check_name(&name)?;
    let mut project = loader.typed(first, whole)?;
    project.name = name;
    let whole_path = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    project.files = source.files.iter().map(whole_path).collect();
    project.directory = directory;
    project.compatibility = source.compatibility;
    for name in &loader.unset {
        let text = format!("The {name:?} variable is not set. Defaulting to a blank string.");
        loader.warnings.push(text);
    }
    project.warnings = std::mem::take(&mut loader.warnings);
    finish(&mut project, source, first, &loader.variables)?;
    Ok(project)
}

fn check_name(name: &str) -> Result<(), ComposeError> {
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    if fits {
        return Ok(());
    }
    Err(ComposeError::Project(format!(
        "invalid project name {name:?}: must consist only of lowercase alphanumeric characters, \
         hyphens, and underscores as well as start with a letter or number"
    )))
}

/// The environment, and below it the files of variables.
/// The variables that a project in `directory` has: those of its files of variables, and those of the
/// environment, which count more.
///
/// # Errors
/// When a file cannot be read, or a line of it is none.
pub fn variables(
    source: &Source,
    directory: &Path,
) -> Result<BTreeMap<String, String>, ComposeError> {
    let mut variables = BTreeMap::new();
    let usual = [directory.join(".env")];
    let given = !source.env_files.is_empty();
    let files = if given { source.env_files.as_slice() } else { &usual };
    for path in files {
        if !given && !path.is_file() {
            continue;
        }
        for (name, value) in read_variables(path)? {
            variables.extend(value.map(|value| (name, value)));
        }
    }
    variables.extend(source.environment.clone());
    Ok(variables)
}

fn read_variables(path: &Path) -> Result<Vec<(String, Option<String>)>, ComposeError> {
    dotenv::parse(&read(path)?).map_err(|line| ComposeError::Yaml {
        path: path.to_owned(),
        problem: format!("line {line} is neither NAME=VALUE nor a comment"),
    })
}

fn read(path: &Path) -> Result<String, ComposeError> {
    fs::read_to_string(path).map_err(|source| ComposeError::Io { path: path.to_owned(), source })
}

#[derive(Default)]
struct Loader {
    variables: BTreeMap<String, String>,
    unset: BTreeSet<String>,
    warnings: Vec<String>,
    /// What was read.
    texts: Vec<Text>,
}

impl Loader {
    /// A file with its variables replaced, what it includes below it, and its services whole.
    fn file(
        &mut self,
        path: &Path,
        directory: &Path,
        above: &mut Vec<PathBuf>,
    ) -> Result<Value, ComposeError> {
        let real = std::path::absolute(path)
            .map_err(|source| ComposeError::Io { path: path.to_owned(), source })?;
        if above.contains(&real) {
            let what = format!("{} includes or extends itself", path.display());
            return Err(ComposeError::Project(what));
        }
        above.push(real);
        // As YAML 1.2 has it: `n` and `on` are texts.
        let options = serde_saphyr::options! { strict_booleans: true };
        let text = read(path)?;
        let read = serde_saphyr::from_str_with_options(&text, options);
        self.texts.push((path.to_owned(), text));
        let mut value: Value = read.map_err(|error| ComposeError::Yaml {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        if value.is_null() {
            value = json!({});
        }
        let wrong = |(at, problem): (String, String)| ComposeError::invalid(path, at, problem);
        if !value.is_object() {
            return Err(wrong(("the file".to_owned(), "it has to be a mapping".to_owned())));
        }
        interpolate(&mut value, &self.variables, &mut self.unset, "").map_err(wrong)?;
        let included = value.as_object_mut().and_then(|fields| fields.remove("include"));
        let mut whole = self.included(included.as_ref(), path, directory, above)?;
        let home = self.variables.get("HOME").map(PathBuf::from);
        absolute(&mut value, directory, home.as_deref());
        self.extended(&mut value, path, directory, above)?;
        merge(&mut whole, value);
        above.pop();
        Ok(whole)
    }

    fn included(
        &mut self,
        included: Option<&Value>,
        path: &Path,
        directory: &Path,
        above: &mut Vec<PathBuf>,
    ) -> Result<Value, ComposeError> {
        let mut whole = json!({});
        for item in included.and_then(Value::as_array).into_iter().flatten() {
            let files = match item {
                Value::String(file) => vec![file.clone()],
                other => match &other["path"] {
                    Value::String(file) => vec![file.clone()],
                    Value::Array(files) => {
                        files.iter().filter_map(|file| file.as_str().map(str::to_owned)).collect()
                    }
                    _ => {
                        return Err(ComposeError::invalid(path, "include", "path is missing"));
                    }
                },
            };
            for file in files {
                let file = directory.join(file);
                let own = item["project_directory"].as_str().map(|dir| directory.join(dir));
                let own = own.or_else(|| file.parent().map(Path::to_owned));
                let dir = own.unwrap_or_else(|| directory.to_owned());
                let read = self.file(&file, &dir, above)?;
                merge(&mut whole, read);
            }
        }
        Ok(whole)
    }

    /// Lays every service over the one it extends.
    fn extended(
        &mut self,
        value: &mut Value,
        path: &Path,
        directory: &Path,
        above: &mut Vec<PathBuf>,
    ) -> Result<(), ComposeError> {
        let names: Vec<String> =
            value["services"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
        for name in names {
            let whole = self.whole_service(&name, value, path, directory, above, 0)?;
            value["services"][&name] = whole;
        }
        Ok(())
    }

    fn whole_service(
        &mut self,
        name: &str,
        file: &Value,
        path: &Path,
        directory: &Path,
        above: &mut Vec<PathBuf>,
        depth: usize,
    ) -> Result<Value, ComposeError> {
        let mut service = file["services"][name].clone();
        let wrong = |problem: String| {
            ComposeError::invalid(path, format!("services.{name}.extends"), problem)
        };
        let extends = service.as_object_mut().and_then(|fields| fields.remove("extends"));
        let Some(extends) = extends else { return Ok(service) };
        if depth > 32 {
            return Err(wrong("services extend each other in a circle".to_owned()));
        }
        let base = extends.as_str().or_else(|| extends["service"].as_str());
        let base = base.ok_or_else(|| wrong("service is missing".to_owned()))?;
        let mut whole = match extends["file"].as_str() {
            Some(other) if std::path::absolute(path).ok() != Some(directory.join(other)) => {
                let other = directory.join(other);
                let dir = other.parent().unwrap_or(directory).to_owned();
                let read = self.file(&other, &dir, above)?;
                read["services"][base].clone()
            }
            _ => self.whole_service(base, file, path, directory, above, depth + 1)?,
        };
        if whole.is_null() {
            return Err(wrong(format!("there is no service {base:?}")));
        }
        if let Some(fields) = whole.as_object_mut() {
            // These belong to the one that has them.
            fields.remove("depends_on");
            fields.remove("container_name");
        }
        merge_service(&mut whole, service);
        Ok(whole)
    }

    /// The project, once all is merged.
    fn typed(&mut self, path: &Path, mut value: Value) -> Result<Project, ComposeError> {
        let mut project = Project::default();
        let fields = value.as_object_mut().map(std::mem::take).unwrap_or_default();
        for (key, value) in fields {
            match key.as_str() {
                "services" => project.services = self.services(path, value)?,
                "networks" => project.networks = section(path, &key, value)?,
                "volumes" => project.volumes = section(path, &key, value)?,
                "secrets" => project.secrets = section(path, &key, value)?,
                "configs" => project.configs = section(path, &key, value)?,
                "version" => self.warnings.push(format!(
                    "{}: the attribute `version` is obsolete, it will be ignored, please remove it \
                     to avoid potential confusion",
                    path.display()
                )),
                "name" => {}
                key if key.starts_with("x-") => {}
                key => {
                    return Err(ComposeError::invalid(
                        path,
                        key,
                        "additional properties not allowed: a file has services, networks, \
                         volumes, secrets, configs, include and name",
                    ));
                }
            }
        }
        Ok(project)
    }

    fn services(
        &mut self,
        path: &Path,
        value: Value,
    ) -> Result<BTreeMap<String, Service>, ComposeError> {
        let Value::Object(fields) = value else {
            return section(path, "services", value);
        };
        let mut services = BTreeMap::new();
        for (name, mut value) in fields {
            if let Some(fields) = value.as_object_mut() {
                for key in IGNORED {
                    if fields.remove(key).is_some() {
                        self.warnings.push(format!("services.{name}.{key} has no effect yet"));
                    }
                }
            }
            let mut one = section(path, "services", json!({&name: value}))?;
            services.append(&mut one);
        }
        Ok(services)
    }
}

/// A section of the file, each entry with a type.
fn section<T: for<'a> serde::Deserialize<'a> + Default>(
    path: &Path,
    key: &str,
    value: Value,
) -> Result<BTreeMap<String, T>, ComposeError> {
    let invalid = |at: String, problem: String| ComposeError::invalid(path, at, problem);
    match value {
        Value::Null => Ok(BTreeMap::new()),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, mut value)| {
                if let Some(fields) = value.as_object_mut() {
                    fields.retain(|key, _| !key.starts_with("x-"));
                }
                if value.is_null() {
                    return Ok((name, T::default()));
                }
                match serde_json::from_value(value.clone()) {
                    Ok(value) => Ok((name, value)),
                    Err(error) => {
                        let fails = |value: &Value| {
                            let read = serde_json::from_value::<T>(value.clone());
                            read.err().map(|error| error.to_string())
                        };
                        let below = blame(&value, &fails);
                        Err(invalid(format!("{key}.{name}{below}"), error.to_string()))
                    }
                }
            })
            .collect(),
        _ => Err(invalid(key.to_owned(), "it has to be a mapping".to_owned())),
    }
}

/// Makes paths of the host absolute, and mounts whole.
fn absolute(value: &mut Value, directory: &Path, home: Option<&Path>) {
    let join = |path: &str| -> String {
        if let Some(rest) = path.strip_prefix("~/")
            && let Some(home) = home
        {
            return home.join(rest).display().to_string();
        }
        let joined = directory.join(path);
        let mut clean = PathBuf::new();
        for component in joined.components() {
            match component {
                std::path::Component::ParentDir => _ = clean.pop(),
                std::path::Component::CurDir => {}
                other => clean.push(other),
            }
        }
        clean.display().to_string()
    };
    let is_remote = |text: &str| text.contains("://") || text.starts_with("git@");
    for service in value["services"].as_object_mut().into_iter().flat_map(|s| s.values_mut()) {
        let Some(fields) = service.as_object_mut() else { continue };
        match fields.get_mut("build") {
            Some(Value::String(context)) if !is_remote(context) => *context = join(context),
            Some(Value::Object(build)) => {
                let context = build.get("context").and_then(Value::as_str).unwrap_or(".");
                if !is_remote(context) {
                    let context = join(context);
                    build.insert("context".to_owned(), context.into());
                }
            }
            _ => {}
        }
        match fields.get_mut("env_file") {
            Some(Value::String(path)) => *path = join(path),
            Some(Value::Array(items)) => {
                for item in items {
                    match item {
                        Value::String(path) => *path = join(path),
                        other => {
                            if let Some(path) = other["path"].as_str().map(join) {
                                other["path"] = path.into();
                            }
                        }
                    }
                }
            }
            _ => {}
        }
        let triggers = fields.get_mut("develop").and_then(|develop| develop.get_mut("watch"));
        for trigger in triggers.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(path) = trigger.get("path").and_then(Value::as_str).map(join) {
                trigger["path"] = path.into();
            }
        }
        for mount in fields.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
            *mount = whole_mount(mount.take(), &join);
        }
    }
    for section in ["secrets", "configs"] {
        for object in value[section].as_object_mut().into_iter().flat_map(|s| s.values_mut()) {
            if let Some(file) = object["file"].as_str().map(join) {
                object["file"] = file.into();
            }
        }
    }
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}

/// A mount in its long form.
fn whole_mount(mount: Value, join: &dyn Fn(&str) -> String) -> Value {
    match mount {
        Value::String(text) => {
            let parts: Vec<&str> = text.split(':').collect();
            let (source, target, mode) = match parts.as_slice() {
                [target] => (None, *target, ""),
                [source, target] => (Some(*source), *target, ""),
                [source, target, mode] => (Some(*source), *target, *mode),
                _ => return Value::String(text),
            };
            let read_only = mode.split(',').any(|word| word == "ro");
            match source {
                Some(source) if source.starts_with(['/', '.', '~']) => json!({
                    "type": "bind", "source": join(source), "target": target,
                    "read_only": read_only, "create_host_path": true,
                }),
                source => json!({
                    "type": "volume", "source": source, "target": target, "read_only": read_only,
                }),
            }
        }
        Value::Object(mut fields) => {
            if fields.get("type").and_then(Value::as_str) == Some("bind") {
                if let Some(source) = fields.get("source").and_then(Value::as_str).map(join) {
                    fields.insert("source".to_owned(), source.into());
                }
                let create = fields.get("bind").and_then(|bind| bind["create_host_path"].as_bool());
                fields.insert("create_host_path".to_owned(), create.unwrap_or(true).into());
            }
            for key in ["bind", "volume", "tmpfs", "consistency"] {
                fields.remove(key);
            }
            Value::Object(fields)
        }
        other => other,
    }
}

/// Leaves out what profiles do, and brings variables of files and of the environment in.
fn finish(
    project: &mut Project,
    source: &Source,
    path: &Path,
    variables: &BTreeMap<String, String>,
) -> Result<(), ComposeError> {
    let all = source.profiles.iter().any(|profile| profile == "*");
    let is_wanted = |name: &str, service: &Service| {
        all || service.profiles.is_empty()
            || source.wanted.iter().any(|wanted| wanted == name)
            || service.profiles.iter().any(|profile| source.profiles.contains(profile))
    };
    let (kept, left): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut project.services)
        .into_iter()
        .partition(|(name, service)| is_wanted(name, service));
    project.services = kept;
    project.disabled = left.into_keys().collect();
    for (name, service) in &mut project.services {
        let at = |below: &str| format!("services.{name}{below}");
        let wrong = |problem: String| ComposeError::invalid(path, at(""), problem);
        if service.image.is_none() && service.build.is_none() {
            return Err(wrong("has neither an image nor a build context specified".to_owned()));
        }
        let mut own = BTreeMap::new();
        for file in &service.env_file {
            let path = Path::new(&file.path);
            if file.required || path.exists() {
                own.extend(read_variables(path)?);
            }
        }
        own.extend(std::mem::take(&mut service.environment.0));
        // A name alone takes what the environment has; what that has not, the container has not.
        let given = own.into_iter().filter_map(|(name, value)| {
            let value = value.or_else(|| variables.get(&name).cloned())?;
            Some((name, Some(value)))
        });
        service.environment = Mapping(given.collect());
        service.env_file.clear();
        for (other, restart) in service.implied() {
            let implied = Dependency { restart, ..Dependency::default() };
            service.depends_on.entry(other).or_insert(implied);
        }
        if service.network_mode.is_none() && service.networks.is_empty() {
            service.networks.insert("default".to_owned(), crate::Membership::default());
        }
        for network in service.networks.keys() {
            if network == "default" {
                project.networks.entry(network.clone()).or_default();
            } else if !project.networks.contains_key(network) {
                let problem = format!("refers to undefined network {network}");
                return Err(ComposeError::invalid(
                    path,
                    at(&format!(".networks.{network}")),
                    problem,
                ));
            }
        }
        for (index, mount) in service.volumes.iter().enumerate() {
            if let VolumeMount::Volume { source: Some(volume), .. } = mount
                && !project.volumes.contains_key(volume)
            {
                let problem = format!("refers to undefined volume {volume}");
                return Err(ComposeError::invalid(
                    path,
                    at(&format!(".volumes[{index}]")),
                    problem,
                ));
            }
        }
        for (kind, known, used) in [
            ("secret", &project.secrets, &service.secrets),
            ("config", &project.configs, &service.configs),
        ] {
            if let Some(unknown) = used.iter().find(|one| !known.contains_key(&one.source)) {
                return Err(wrong(format!("refers to undefined {kind} {}", unknown.source)));
            }
        }
    }
    let uses = |used: fn(&Service) -> &[FileReference]| -> BTreeSet<String> {
        let all = project.services.values().flat_map(used);
        all.map(|one| one.source.clone()).collect()
    };
    let used = [
        ("secret", uses(|service| &service.secrets)),
        ("config", uses(|service| &service.configs)),
    ];
    for ((kind, used), objects) in used.iter().zip([&mut project.secrets, &mut project.configs]) {
        for (name, object) in objects.iter_mut().filter(|(name, _)| used.contains(*name)) {
            object.value = match &object.environment {
                None => object.content.clone(),
                Some(variable) => Some(variables.get(variable).cloned().ok_or_else(|| {
                    ComposeError::Project(format!(
                        "environment variable {variable:?} required by {kind} {name:?} is not set"
                    ))
                })?),
            };
        }
    }
    let prefix = project.name.clone();
    for (name, network) in &mut project.networks {
        let own = if network.external { name.clone() } else { format!("{prefix}_{name}") };
        network.name.get_or_insert(own);
    }
    for (name, volume) in &mut project.volumes {
        let own = if volume.external { name.clone() } else { format!("{prefix}_{name}") };
        volume.name.get_or_insert(own);
    }
    project.order().map(drop)
}
