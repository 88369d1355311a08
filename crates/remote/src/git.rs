//! Checkouts of git repositories, by the program git: it knows every server, and users know it.

mod command;
mod tidy;
mod watch;

use std::fs;
use std::path::Path;

use bld_dockerfile::value::redacted;
use bld_graph::GitOp;
use bld_oci::Digest;
use bld_store::SnapshotId;
use serde::{Deserialize, Serialize};

use self::command::Git;
use crate::Remote;
use crate::error::{RemoteError, Result};

/// What is remembered of checkouts.
const BUCKET: &str = "git";

/// The files of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// Where they are.
    pub snapshot: SnapshotId,
    /// When the commit was made, in seconds since 1970.
    pub time: i64,
}

impl Remote {
    /// Fills in the commit that `op` names now, and the full name of its branch or tag. Nothing is
    /// asked when it is named by its full hash.
    ///
    /// # Errors
    /// When the repository cannot be reached, has no such reference, or has it at another commit
    /// than the operation asks for.
    pub fn resolve_git(&self, op: &mut GitOp) -> Result<()> {
        let (commit, reference) = self.find_commit(op)?;
        op.commit = Some(commit.to_ascii_lowercase());
        op.reference = reference;
        op.origin = op.keep_git_dir.then(|| {
            let reference = op.reference.as_deref().unwrap_or_default();
            format!("{} {reference}", redacted(&op.remote))
        });
        Ok(())
    }

    fn find_commit(&self, op: &GitOp) -> Result<(String, Option<String>)> {
        let checksum = op.checksum.as_deref();
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let Some(checksum) = checksum.filter(|checksum| !is_digits(checksum)) {
            return Err(RemoteError::NotACommit { checksum: checksum.to_owned() });
        }
        if let Some(commit) = op.reference.as_deref().filter(|name| is_commit(name)) {
            check_commit(op, commit, None)?;
            return Ok((commit.to_owned(), None));
        }
        if op.fetch_by_commit {
            let Some(commit) = checksum.filter(|checksum| is_commit(checksum)) else {
                let checksum = checksum.unwrap_or_default().to_owned();
                return Err(RemoteError::NotACommit { checksum });
            };
            let reference = op.reference.as_deref().map(|name| {
                let branch = || format!("refs/heads/{name}");
                if name.starts_with("refs/") { name.to_owned() } else { branch() }
            });
            return Ok((commit.to_owned(), reference));
        }
        let git = Git::new(self, &op.remote);
        let name = match &op.reference {
            Some(reference) => reference.clone(),
            None => default_branch(&git)?,
        };
        let peeled = format!("{name}^{{}}");
        let listing = git.run("read", &["ls-remote", "--", git.remote(), &name, &peeled])?;
        let found = find(&listing, &name).ok_or_else(|| RemoteError::NoReference {
            remote: redacted(&op.remote),
            reference: name.clone(),
        })?;
        check_commit(op, &found.commit, found.tag.as_deref())?;
        Ok((found.commit, Some(found.reference)))
    }

    /// The files of the commit that `op` was resolved to, or of the directory of it that `op` asks
    /// for.
    ///
    /// # Errors
    /// When the repository cannot be reached or does not have the commit or the directory.
    pub fn checkout(&self, op: &GitOp) -> Result<Checkout> {
        let Some(commit) = op.commit.as_deref() else {
            let reference = op.reference.clone().unwrap_or_else(|| "HEAD".to_owned());
            return Err(RemoteError::NoReference { remote: redacted(&op.remote), reference });
        };
        let key = key(op, commit);
        let _flight = self.store().lock(&format!("checkout {key}"))?;
        let known = self.store().get(BUCKET, &key)?;
        let known: Option<Checkout> = known.and_then(|note| serde_json::from_slice(&note).ok());
        if let Some(checkout) = known
            && self.is_there(checkout.snapshot)?
        {
            return Ok(checkout);
        }
        let active = self.store().prepare(None)?;
        let time = match op.subdir.as_deref() {
            None => self.check_out_into(active.upper(), op, commit)?,
            Some(subdir) => {
                let whole = active.upper().join(format!(".checkout-{}", active.id()));
                fs::create_dir(&whole).map_err(at("create", &whole))?;
                let time = self.check_out_into(&whole, op, commit)?;
                tidy::lift(&whole, subdir, active.upper(), &op.remote)?;
                time
            }
        };
        let checkout = Checkout { snapshot: active.commit()?, time };
        self.store().put(BUCKET, &key, &serde_json::to_vec(&checkout).unwrap_or_default())?;
        Ok(checkout)
    }

    /// Fetches `commit` and writes its files to the empty directory `dir`; the commit's time.
    fn check_out_into(&self, dir: &Path, op: &GitOp, commit: &str) -> Result<i64> {
        let git = Git::new(self, &op.remote).at(dir);
        let format = if commit.len() == SHA256_DIGITS { "sha256" } else { "sha1" };
        git.run("prepare for", &["init", "-q", &format!("--object-format={format}")])?;
        git.run("prepare for", &["remote", "add", "--", "origin", git.remote()])?;
        fetch(&git, op, commit)?;
        let commit_object = format!("{commit}^{{commit}}");
        git.run("check out", &["checkout", "-q", "--detach", &commit_object])?;
        if !op.skip_submodules && dir.join(".gitmodules").exists() {
            update_submodules(&git)?;
        }
        let time = git.run("read", &["log", "-1", "--format=%ct", &commit_object])?;
        let time = time.trim().parse().unwrap_or(0);
        let keep = op.keep_git_dir && op.subdir.is_none();
        if keep {
            let shown = redacted(git.remote());
            git.run("tidy up", &["remote", "set-url", "--", "origin", &shown])?;
            if let Some(reference) =
                op.reference.as_deref().filter(|name| name.starts_with("refs/"))
            {
                git.run("tidy up", &["update-ref", reference, "FETCH_HEAD"])?;
            }
            git.run("tidy up", &["reflog", "expire", "--all", "--expire=now"])?;
            let fetched = dir.join(".git/FETCH_HEAD");
            fs::remove_file(&fetched).or_else(missing_is_fine).map_err(at("remove", &fetched))?;
        }
        tidy::normalize(dir, keep, time)?;
        Ok(time)
    }
}

/// Digits of a commit's hash in repositories that use SHA-256.
const SHA256_DIGITS: usize = 64;

/// Whether `text` is a commit, all digits.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | SHA256_DIGITS) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What a checkout is remembered by.
fn key(op: &GitOp, commit: &str) -> String {
    // A git directory says where it is from.
    let origin = op.keep_git_dir.then_some((&op.remote, &op.reference));
    let key = format!("{commit} {:?} {} {origin:?}", op.subdir, op.skip_submodules);
    Digest::of(key.as_bytes()).hex()
}

fn check_commit(op: &GitOp, commit: &str, tag: Option<&str>) -> Result<()> {
    let Some(expected) = op.checksum.as_deref() else { return Ok(()) };
    let expected = expected.to_ascii_lowercase();
    if [Some(commit), tag].into_iter().flatten().any(|found| found.starts_with(&expected)) {
        return Ok(());
    }
    Err(RemoteError::Commit { expected, found: commit.to_owned() })
}

/// The branch that a clone would check out.
fn default_branch(git: &Git<'_>) -> Result<String> {
    let listing = git.run("read", &["ls-remote", "--symref", "--", git.remote(), "HEAD"])?;
    let symref = listing.lines().find_map(|line| line.strip_prefix("ref: ")?.split_once('\t'));
    Ok(symref.map_or_else(|| "HEAD".to_owned(), |(name, _)| name.to_owned()))
}

/// A reference of a listing.
struct Found {
    commit: String,
    /// Full name.
    reference: String,
    /// The object of an annotated tag, which leads to the commit.
    tag: Option<String>,
}

/// The reference that `name` stands for: its full name, else a branch, else a tag, as for git
/// checkout.
fn find(listing: &str, name: &str) -> Option<Found> {
    let object = |wanted: &str| {
        let mut lines = listing.lines().filter_map(|line| line.split_once('\t'));
        lines.find(|(_, reference)| *reference == wanted).map(|(object, _)| object.to_owned())
    };
    let candidates = [
        name.to_owned(),
        format!("refs/{}", name.strip_prefix("refs/").unwrap_or(name)),
        format!("refs/heads/{}", name.strip_prefix("refs/heads/").unwrap_or(name)),
        format!("refs/tags/{}", name.strip_prefix("refs/tags/").unwrap_or(name)),
    ];
    let usable = |name: &&String| name.starts_with("refs/") || *name == "HEAD";
    candidates.iter().filter(usable).find_map(|reference| {
        let target = object(reference)?;
        let peeled = object(&format!("{reference}^{{}}"));
        let tag = peeled.is_some().then(|| target.clone());
        Some(Found { commit: peeled.unwrap_or(target), reference: reference.clone(), tag })
    })
}

/// Fetches `commit`, and as little else as the server allows.
fn fetch(git: &Git<'_>, op: &GitOp, commit: &str) -> Result<()> {
    let has = || {
        let object = format!("{commit}^{{commit}}");
        git.run("read", &["cat-file", "-e", &object]).is_ok()
    };
    let named = op.reference.as_deref().filter(|name| !is_commit(name) && !op.fetch_by_commit);
    if let Some(reference) = named {
        let shallow = ["fetch", "-q", "--depth=1", "--no-tags", "--", "origin", reference];
        let fetched = git.run("fetch", &shallow);
        if fetched.is_err() && !is_refusal(&fetched) {
            fetched?;
        }
        if has() {
            return Ok(());
        }
    }
    // The reference has moved, or there is none: many servers give commits by their hash.
    let alone =
        git.run("fetch", &["fetch", "-q", "--depth=1", "--no-tags", "--", "origin", commit]);
    if alone.is_err() && !is_refusal(&alone) {
        alone?;
    }
    if has() {
        return Ok(());
    }
    let all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
    git.run("fetch", &["fetch", "-q", "--", "origin", all[0], all[1]])?;
    if has() {
        return Ok(());
    }
    let (remote, reference) = (redacted(&op.remote), commit.to_owned());
    Err(RemoteError::NoReference { remote, reference })
}

/// Whether a fetch failed because of how little it asked for.
fn is_refusal<T>(result: &Result<T>) -> bool {
    let Err(RemoteError::Git { message, .. }) = result else { return false };
    ["shallow", "--depth", "not our ref", "unadvertised object", "couldn't find remote ref"]
        .iter()
        .any(|part| message.contains(part))
}

fn update_submodules(git: &Git<'_>) -> Result<()> {
    let update = ["submodule", "-q", "update", "--init", "--recursive", "--depth=1"];
    let shallow = git.run("update the submodules of", &update);
    if is_refusal(&shallow) {
        git.run("update the submodules of", &update[..update.len() - 1])?;
        return Ok(());
    }
    shallow.map(drop)
}

/// For `map_err`: `action` was tried on `path`.
fn at(action: &str, path: &Path) -> impl FnOnce(std::io::Error) -> RemoteError {
    RemoteError::io(format!("{action} {}", path.display()))
}

fn missing_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_come_before_tags_and_tags_lead_to_commits() {
        let listing = "a1\trefs/heads/v1\nb2\trefs/tags/v1\nc3\trefs/tags/v1^{}\n\
                       d4\trefs/tags/light\ne5\trefs/pull/1/head\n";
        let found = |name: &str| {
            find(listing, name).map(|found| (found.commit, found.reference, found.tag))
        };
        let some = |commit: &str, reference: &str, tag: Option<&str>| {
            Some((commit.to_owned(), reference.to_owned(), tag.map(str::to_owned)))
        };
        assert_eq!(found("v1"), some("a1", "refs/heads/v1", None));
        assert_eq!(found("refs/tags/v1"), some("c3", "refs/tags/v1", Some("b2")));
        assert_eq!(found("tags/v1"), some("c3", "refs/tags/v1", Some("b2")));
        assert_eq!(found("light"), some("d4", "refs/tags/light", None));
        assert_eq!(found("refs/pull/1/head"), some("e5", "refs/pull/1/head", None));
        assert_eq!(found("nosuch"), None);
    }

    #[test]
    fn commits_are_told_by_their_length() {
        assert!(is_commit(&"a".repeat(40)) && is_commit(&"0".repeat(64)));
        assert!(!is_commit("abc") && !is_commit(&"g".repeat(40)));
    }
}
