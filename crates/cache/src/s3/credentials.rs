//! Who we are to Amazon: the environment, and the files that its own tools keep.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Keys of an account. Nobody sees them printed.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKeys {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
    /// Token of a session that ends.
    pub token: Option<String>,
}

impl AccessKeys {
    /// Whether they can be sent in a header.
    pub(super) fn are_sound(&self) -> bool {
        let all = [&self.id, &self.secret].into_iter().chain(&self.token);
        all.flat_map(|key| key.bytes()).all(|byte| byte.is_ascii_graphic())
    }
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKeys")
    }
}

/// What a program finds around it of Amazon's: the environment's variables `AWS_*`, and a home.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// Variables by name.
    pub variables: HashMap<String, String>,
    /// The directory that has `.aws` in it.
    pub home: Option<PathBuf>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

/// Variables by which a cloud hands credentials to what runs in it; `object_store` takes it from here.
const OF_CLOUD: [&str; 8] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
];

/// What is said to who has none.
pub(super) const NO_CREDENTIALS: &str = "there are no credentials: set AWS_ACCESS_KEY_ID and \
     AWS_SECRET_ACCESS_KEY, or have a profile in ~/.aws/credentials";

/// Settings of a profile by which credentials are made in ways that we do not go.
const OTHER_WAYS: [&str; 4] = ["credential_process", "sso_session", "sso_start_url", "role_arn"];

/// What the environment and the files say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) keys: Option<AccessKeys>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    /// The setting by which the profile makes its credentials, where that is not ours to do.
    other_way: Option<(String, &'static str)>,
    is_alone: bool,
}

impl Profile {
    /// Whether credentials can be had without keys.
    pub(super) fn usable(&self) -> Result<(), String> {
        if let Some((profile, setting)) = &self.other_way {
            return Err(format!(
                "the profile {profile:?} gets its credentials by {setting}, which is not supported: \
                 put into the environment what `aws configure export-credentials --profile {profile} \
                 --format env` says"
            ));
        }
        if self.is_alone {
            return Err(NO_CREDENTIALS.to_owned());
        }
        Ok(())
    }
}

impl Surroundings {
    fn variable(&self, name: &str) -> Option<&String> {
        self.variables.get(name).filter(|value| !value.is_empty())
    }

    /// What the cloud we run in says of credentials.
    pub(super) fn of_cloud(&self) -> impl Iterator<Item = (&str, &String)> {
        OF_CLOUD.iter().filter_map(|name| Some((*name, self.variable(name)?)))
    }

    /// Whether it has some.
    pub(super) fn has_cloud(&self) -> bool {
        let is_enough =
            |name: &str| name.ends_with("_URI") || name.ends_with("_IDENTITY_TOKEN_FILE");
        self.of_cloud().any(|(name, _)| is_enough(name))
    }

    /// What the environment and the profile of the files say; the environment counts first.
    pub(super) fn profile(&self) -> Result<Profile, String> {
        let named = self.variable("AWS_PROFILE").or_else(|| self.variable("AWS_DEFAULT_PROFILE"));
        let name = named.map_or("default", String::as_str);
        let file = |variable: &str, usual: &str| {
            let named = self.variable(variable).map(PathBuf::from);
            named.or_else(|| self.home.as_ref().map(|home| home.join(".aws").join(usual)))
        };
        let config = read(file("AWS_CONFIG_FILE", "config").as_deref())?;
        let credentials = read(file("AWS_SHARED_CREDENTIALS_FILE", "credentials").as_deref())?;
        let of_config = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        let mut settings = section(&config, &of_config);
        let known = settings.is_some();
        let more = section(&credentials, name);
        if !known && more.is_none() && named.is_some() && !self.has_keys() {
            return Err(format!("there is no profile {name:?} in the files of ~/.aws"));
        }
        settings.get_or_insert_default().extend(more.unwrap_or_default());
        let settings = settings.unwrap_or_default();
        let of_file = |key: &str| settings.get(key).filter(|value| !value.is_empty());
        let first = |names: &[&str], key| {
            let variable = names.iter().find_map(|name| self.variable(name));
            variable.or_else(|| of_file(key)).cloned()
        };
        let keys = if self.has_keys() {
            keys(
                self.variable("AWS_ACCESS_KEY_ID"),
                self.variable("AWS_SECRET_ACCESS_KEY"),
                self.variable("AWS_SESSION_TOKEN"),
            )
        } else if self.has_cloud() {
            None
        } else {
            keys(
                of_file("aws_access_key_id"),
                of_file("aws_secret_access_key"),
                of_file("aws_session_token"),
            )
        };
        let other_way = OTHER_WAYS.iter().find(|way| of_file(way).is_some());
        Ok(Profile {
            keys,
            region: first(&["AWS_REGION", "AWS_DEFAULT_REGION"], "region"),
            endpoint: first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], "endpoint_url"),
            other_way: other_way.map(|way| (name.to_owned(), *way)),
            is_alone: self
                .variable("AWS_EC2_METADATA_DISABLED")
                .is_some_and(|value| value.eq_ignore_ascii_case("true")),
        })
    }

    fn has_keys(&self) -> bool {
        self.variable("AWS_ACCESS_KEY_ID").is_some()
            && self.variable("AWS_SECRET_ACCESS_KEY").is_some()
    }
}

fn keys(
    id: Option<&String>,
    secret: Option<&String>,
    token: Option<&String>,
) -> Option<AccessKeys> {
    Some(AccessKeys { id: id?.clone(), secret: secret?.clone(), token: token.cloned() })
}

fn read(file: Option<&Path>) -> Result<String, String> {
    let Some(file) = file else { return Ok(String::new()) };
    match fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(format!("read {}: {error}", file.display())),
    }
}

/// The settings of a section of such a file.
fn section(text: &str, name: &str) -> Option<HashMap<String, String>> {
    let mut found: Option<HashMap<String, String>> = None;
    let mut inside = false;
    for line in text.lines() {
        // What is indented belongs to a setting of another service.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        let line = line.trim_end();
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            inside = header.split_whitespace().eq(name.split_whitespace());
            if inside {
                found.get_or_insert_default();
            }
        } else if inside && let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().to_owned());
            found.get_or_insert_default().insert(key, value);
        }
    }
    found
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn surroundings(home: &Path, variables: &[(&str, &str)]) -> Surroundings {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Surroundings { variables: variables.collect(), home: Some(home.to_owned()) }
    }

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join(".aws");
        fs::create_dir(&dir).unwrap();
        let credentials = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=B=\n\
                           [ci]\naws_access_key_id=C\naws_secret_access_key=D\naws_session_token=E\n";
        let config = "[default]\nregion = eu-west-1\n[profile ci]\nregion=eu-west-2\n\
                      s3 =\n  addressing_style = path\nendpoint_url = http://127.0.0.1:1\n\
                      [profile sso]\nsso_session = x\n";
        fs::write(dir.join("credentials"), credentials).unwrap();
        fs::write(dir.join("config"), config).unwrap();
        home
    }

    #[test]
    fn files_have_profiles_and_the_environment_counts_first() {
        let home = home();
        let of = |variables: &[(&str, &str)]| {
            let profile = surroundings(home.path(), variables).profile().unwrap();
            let keys = profile.keys.as_ref().map(|keys| (keys.id.clone(), keys.secret.clone()));
            (keys, profile.region, profile.endpoint)
        };
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(of(&[]), (pair("A", "B="), Some("eu-west-1".into()), None));
        let ci = ("AWS_PROFILE", "ci");
        let endpoint = Some("http://127.0.0.1:1".to_owned());
        assert_eq!(of(&[ci]), (pair("C", "D"), Some("eu-west-2".into()), endpoint.clone()));
        let own = [("AWS_ACCESS_KEY_ID", "X"), ("AWS_SECRET_ACCESS_KEY", "Y"), ("AWS_REGION", "z")];
        let all = [&own[..], &[ci]].concat();
        assert_eq!(of(&all), (pair("X", "Y"), Some("z".into()), endpoint));
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let home = home();
        let of = |name| surroundings(home.path(), &[("AWS_PROFILE", name)]).profile();
        assert!(of("nobody").unwrap_err().contains("no profile \"nobody\""));
        assert!(of("sso").unwrap().usable().unwrap_err().contains("by sso_session"));
    }

    #[test]
    fn keys_are_never_printed() {
        let keys = AccessKeys { id: "A".into(), secret: "geheim".into(), token: None };
        let around = surroundings(Path::new("/"), &[("AWS_SECRET_ACCESS_KEY", "geheim")]);
        assert!(!format!("{keys:?} {around:?}").contains("geheim"));
    }
}
