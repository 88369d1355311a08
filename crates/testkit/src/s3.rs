//! A server of S3 for tests.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{Cmd, listener::Listener};

/// Calls that moto takes from anybody: those of [`SETUP`]. After them signatures and policies count.
const OPEN_CALLS: &str = "4";

/// Makes a bucket and somebody who may use it, and prints the keys.
const SETUP: &str = r#"
import boto3, json, sys
where = dict(endpoint_url=sys.argv[1], region_name="eu-west-1", aws_access_key_id="x",
             aws_secret_access_key="x")
place = {"LocationConstraint": "eu-west-1"}
boto3.client("s3", **where).create_bucket(Bucket="farm", CreateBucketConfiguration=place)
iam = boto3.client("iam", **where)
iam.create_user(UserName="ci")
allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
iam.put_user_policy(UserName="ci", PolicyName="all", PolicyDocument=policy)
key = iam.create_access_key(UserName="ci")["AccessKey"]
print(key["AccessKeyId"], key["SecretAccessKey"])
"#;

/// Begins every script: Amazon's own client of the bucket.
const CLIENT: &str = r#"
import boto3, sys
s3 = boto3.client("s3", endpoint_url=sys.argv[1], region_name="eu-west-1",
                  aws_access_key_id=sys.argv[2], aws_secret_access_key=sys.argv[3])
"#;

/// A moto server on loopback with the empty bucket [`BUCKET`](Self::BUCKET), which takes only requests
/// that are signed with its keys.
pub struct S3Server {
    listener: Listener,
    programs: PathBuf,
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
}

impl S3Server {
    /// The bucket, in the region `eu-west-1`.
    pub const BUCKET: &str = "farm";

    /// Starts one.
    pub fn start() -> Result<Self> {
        let programs = programs()?;
        let listener = Listener::start("moto of PyPI", |_, port| {
            let mut command = Command::new(programs.join("moto_server"));
            command
                .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                .env("NO_COLOR", "1")
                .env("INITIAL_NO_AUTH_ACTION_COUNT", OPEN_CALLS);
            Ok(command)
        })?;
        let url = format!("http://127.0.0.1:{}", listener.port);
        let python = programs.join("python3");
        let keys = Cmd::new(python).args(["-c", SETUP, &url]).ok();
        let (id, secret) = keys.text().split_once(' ').context("moto gave no keys")?;
        let (id, secret) = (id.to_owned(), secret.to_owned());
        Ok(Self { listener, programs, id, secret })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.listener.port)
    }

    /// Runs statements of Python in which `s3` is boto3's client; what they print.
    pub fn script(&self, statements: &str) -> String {
        let script = format!("{CLIENT}{statements}");
        let python = self.programs.join("python3");
        let ran = Cmd::new(python).args(["-c", &script, &self.url(), &self.id, &self.secret]).ok();
        ran.text().to_owned()
    }

    /// The keys of all objects, sorted.
    pub fn keys(&self) -> Vec<String> {
        let keys = self.script(
            "for o in s3.list_objects_v2(Bucket='farm').get('Contents', []): print(o['Key'])",
        );
        keys.lines().map(str::to_owned).collect()
    }

    /// The requests so far, as `GET /farm/key`.
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.listener.directory.path().join("log"));
        let log = log.unwrap_or_default();
        let requests = log.lines().filter_map(|line| {
            let (_, request) = line.split_once("] \"")?;
            // What was refused is coloured.
            let request = request.split(" HTTP/").next()?;
            Some(request.rsplit('\u{1b}').next()?.trim_start_matches("[1m").to_owned())
        });
        requests.collect()
    }
}

/// Where the programs of PyPI's packages are: where `cargo xtask test` installs them, or on `PATH`.
fn programs() -> Result<PathBuf> {
    let this = env::current_exe()?;
    let ours = this.ancestors().map(|directory| directory.join("python/bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let all = ours.chain(env::split_paths(&path));
    let mut having = all.filter(|directory| Path::new(directory).join("moto_server").exists());
    having.next().context("moto_server is not installed: `cargo xtask test` does that")
}
