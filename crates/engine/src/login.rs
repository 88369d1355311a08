//! Logging in to registries and out of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bld_registry::auth::{
    self, Credential, CredentialFiles, Credentials as _, Single, registry_of, server_of,
};
use bld_registry::{Client, Config};

use crate::{Engine, EngineError, Result, trust};

/// What came of a login or logout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The registry, as Docker's files call it.
    pub server: String,
    /// The file that has the password now, readable to whoever may read the file. `None` when
    /// nothing was written, or a credential helper has it.
    pub in_clear: Option<PathBuf>,
}

impl Engine {
    /// Keeps name and password for `server` (a host, or a URL as Docker's files have them), once
    /// the registry has accepted them.
    ///
    /// # Errors
    /// What the registry answers, or when they cannot be kept; nothing is changed then.
    pub fn login(&self, server: &str, username: &str, password: &str) -> Result<Login> {
        let registry = host_of(server);
        let file = self.login_file()?;
        let (username, password) = (username.to_owned(), password.to_owned());
        let credential = Credential::Password { username, password };
        self.check_login(registry, credential.clone())?;
        let in_file = auth::store(file, registry, &credential)?;
        let in_clear = in_file.then(|| file.to_owned());
        Ok(Login { server: server_of(registry).to_owned(), in_clear })
    }

    /// Checks that `server` accepts what is kept for it. `None` when it does not, or nothing is.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub fn login_again(&self, server: &str) -> Result<Option<Login>> {
        let registry = host_of(server);
        let files = CredentialFiles::read(&self.config().auth_files)?;
        let Ok(Some(credential)) = files.get(registry, "") else { return Ok(None) };
        match self.check_login(registry, credential) {
            Ok(()) => Ok(Some(Login { server: server_of(registry).to_owned(), in_clear: None })),
            Err(EngineError::Registry(error))
                if matches!(*error, bld_registry::RegistryError::NotAccepted { .. }) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Forgets what is kept for `server`.
    ///
    /// # Errors
    /// When the file or the credential helper does not let go of it.
    pub fn logout(&self, server: &str) -> Result<Login> {
        let registry = host_of(server);
        auth::erase(self.login_file()?, registry)?;
        Ok(Login { server: server_of(registry).to_owned(), in_clear: None })
    }

    fn check_login(&self, registry: &str, credential: Credential) -> Result<()> {
        let single = Single { registry: registry.to_owned(), credential };
        let config = Config { credentials: Arc::new(single), ..trust::registries(self.config())? };
        let client = Client::new(config)?;
        Ok(self.block_on(client.login(registry))??)
    }

    /// The file that new credentials go to.
    fn login_file(&self) -> Result<&Path> {
        self.config().auth_files.first().map(PathBuf::as_path).ok_or(EngineError::NoLoginFile)
    }
}

/// The registry that `server` names.
fn host_of(server: &str) -> &str {
    let name = registry_of(server.trim());
    name.split('/').next().unwrap_or(name)
}
