//! Reads Compose files: what is to run together, as the [Compose Specification] has it.
//!
//! [`load`] turns files, an environment and profiles into a [`Project`] in which nothing is left open:
//! variables are replaced, files are merged, services that extend others are whole, paths are
//! absolute. What is done with it is the caller's business; nothing here knows of containers.
//!
//! [Compose Specification]: https://github.com/compose-spec/compose-spec/blob/main/spec.md

mod develop;
mod dotenv;
mod error;
mod excerpt;
mod forms;
mod interpolate;
mod load;
mod merge;
mod model;
mod order;

pub use develop::{Action, Develop, Hook, Trigger};
pub use dotenv::parse as parse_env_file;
pub use error::ComposeError;
pub use excerpt::Excerpt;
pub use forms::{Mapping, Words};
pub use load::{Source, find_files, load, project_name, variables};
pub use model::{
    Blkio, Build, Condition, Dependency, DeviceRate, FileObject, FileReference, Healthcheck,
    Logging, Membership, Network, Pool, Port, Project, PullPolicy, Service, Volume, VolumeMount,
};
