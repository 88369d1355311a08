//! `bld system df`

use std::time::SystemTime;

use bld_engine::containers::{Container, ContainerFilter};
use bld_engine::disk::{DiskEntry, DiskKind};
use bld_engine::images::ImageUsage;
use bld_engine::volumes::Volume;
use serde_json::Value;

use super::ps::{self, ago, created_at};
use super::{images, version, volume};
use crate::error::Failure;
use crate::output::list::{Layout, Row};
use crate::output::units;
use crate::session::{Outcome, Session};

/// Digits of an id in the table of the cache.
const ID_DIGITS: usize = 12;

const SUMMARY: Layout = Layout {
    headings: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    columns: &["Type", "TotalCount", "Active", "Size", "Reclaimable"],
};

const IMAGES: Layout = Layout {
    headings: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
    columns: &[
        "Repository",
        "Tag",
        "ID",
        "CreatedSince",
        "Size",
        "SharedSize",
        "UniqueSize",
        "Containers",
    ],
};

const CONTAINERS: Layout = Layout {
    headings: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ],
    columns: &["ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"],
};

const VOLUMES: Layout = Layout {
    headings: &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")],
    columns: &["Name", "Links", "Size"],
};

const CACHE: Layout = Layout {
    headings: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ],
    columns: &["ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared"],
};

/// Show how much of the disk images, containers, volumes and the build cache take
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show detailed information on space usage
    #[arg(short, long)]
    verbose: bool,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let usage = Usage::of(session)?;
    let format = args.format.as_deref();
    let text = match format {
        _ if !args.verbose => SUMMARY.render(format, &usage.summary())?,
        None | Some("" | "table") => usage.tables()?,
        Some("json") => format!("{}\n", usage.document()),
        Some(template) => version::render(template, &usage.document())?,
    };
    session.print(&text)?;
    Ok(0)
}

/// Everything that takes space.
struct Usage {
    images: ImageUsage,
    /// With what each has written.
    containers: Vec<(Container, u64)>,
    /// With how many containers use each, and the size.
    volumes: Vec<(Volume, usize, u64)>,
    cache: Vec<DiskEntry>,
}

impl Usage {
    fn of(session: &Session) -> Result<Self, Failure> {
        let engine = &session.engine;
        let all = ContainerFilter { all: true, ..ContainerFilter::default() };
        let mut containers = Vec::new();
        for container in engine.containers(&all)? {
            let size = engine.container_size(&container)?;
            containers.push((container, size));
        }
        let mut volumes = Vec::new();
        for volume in engine.volumes()? {
            let users = engine.volume_users(&volume.name)?.len();
            let size = volume.size();
            volumes.push((volume, users, size));
        }
        let mut cache = engine.disk_usage()?;
        // Images, containers and volumes have rows of their own.
        cache.retain(|entry| entry.kind != DiskKind::Internal);
        Ok(Self { images: engine.image_usage()?, containers, volumes, cache })
    }

    /// Bytes of the cache that no image has.
    fn cache_size(&self) -> u64 {
        self.cache.iter().filter(|entry| !entry.shared).map(|entry| entry.bytes).sum()
    }

    fn summary(&self) -> [Row; 4] {
        let needed = self.images.images.iter().filter(|(image, _)| image.containers > 0);
        let needed_bytes: u64 =
            needed.clone().map(|(image, shared)| image.record.size.saturating_sub(*shared)).sum();
        let running = |(container, _): &&(Container, u64)| container.state.is_running();
        let of_containers: u64 = self.containers.iter().map(|(_, size)| size).sum();
        let of_running: u64 = self.containers.iter().filter(running).map(|(_, size)| size).sum();
        let of_volumes: u64 = self.volumes.iter().map(|(_, _, size)| size).sum();
        let used = |(_, users, _): &&(Volume, usize, u64)| *users > 0;
        let of_used: u64 = self.volumes.iter().filter(used).map(|(_, _, size)| size).sum();
        let busy = self.cache.iter().filter(|entry| entry.in_use);
        let of_busy: u64 =
            busy.clone().filter(|entry| !entry.shared).map(|entry| entry.bytes).sum();
        [
            line(
                "Images",
                (self.images.images.len(), needed.count()),
                self.images.bytes,
                share(self.images.bytes.saturating_sub(needed_bytes), self.images.bytes),
            ),
            line(
                "Containers",
                (self.containers.len(), self.containers.iter().filter(running).count()),
                of_containers,
                share(of_containers - of_running, of_containers),
            ),
            line(
                "Local Volumes",
                (self.volumes.len(), self.volumes.iter().filter(used).count()),
                of_volumes,
                share(of_volumes - of_used, of_volumes),
            ),
            line(
                "Build Cache",
                (self.cache.len(), busy.count()),
                self.cache_size(),
                units::size(self.cache_size().saturating_sub(of_busy), 4),
            ),
        ]
    }

    fn images(&self) -> Vec<Row> {
        let rows = self.images.images.iter().flat_map(|(image, shared)| {
            let unique = image.record.size.saturating_sub(*shared);
            images::rows(image, &image.record.id.short()).into_iter().map(move |row| {
                row.with("SharedSize", units::size(*shared, 4))
                    .with("UniqueSize", units::size(unique, 4))
            })
        });
        rows.collect()
    }

    fn containers(&self) -> Vec<Row> {
        let rows = self.containers.iter();
        rows.map(|(container, size)| ps::row(container, false, units::size(*size, 3))).collect()
    }

    fn volumes(&self) -> Vec<Row> {
        let row = |(volume, users, size): &(Volume, usize, u64)| {
            volume::row(volume).with("Links", users.to_string()).with("Size", units::size(*size, 4))
        };
        self.volumes.iter().map(row).collect()
    }

    fn cache(&self) -> Vec<Row> {
        let now = SystemTime::now();
        let row = |entry: &DiskEntry| {
            let id: String = entry.id.chars().take(ID_DIGITS).collect();
            let used =
                |show: &dyn Fn(SystemTime) -> String| entry.used.map(show).unwrap_or_default();
            Row::new([
                ("ID", id + if entry.mutable { "*" } else { "" }),
                ("Parent", entry.parents.join(",")),
                ("CacheType", entry.kind.to_string()),
                ("Size", units::size(entry.bytes, 4)),
                ("CreatedSince", ago(entry.created, now)),
                ("CreatedAt", created_at(entry.created)),
                ("LastUsedSince", used(&|time| ago(time, now))),
                ("LastUsedAt", used(&created_at)),
                ("UsageCount", entry.uses.to_string()),
                ("InUse", entry.in_use.to_string()),
                ("Shared", entry.shared.to_string()),
                ("Description", entry.description.clone()),
            ])
        };
        self.cache.iter().map(row).collect()
    }

    fn tables(&self) -> Result<String, Failure> {
        Ok(format!(
            "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\n\
             Build cache usage: {}\n\n{}",
            IMAGES.render(None, &self.images())?,
            CONTAINERS.render(None, &self.containers())?,
            VOLUMES.render(None, &self.volumes())?,
            units::size(self.cache_size(), 4),
            CACHE.render(None, &self.cache())?,
        ))
    }

    fn document(&self) -> Value {
        let list = |rows: Vec<Row>| rows.iter().map(Row::value).collect::<Value>();
        serde_json::json!({
            "Images": list(self.images()),
            "Containers": list(self.containers()),
            "Volumes": list(self.volumes()),
            "BuildCache": list(self.cache()),
        })
    }
}

fn line(kind: &str, (total, active): (usize, usize), bytes: u64, reclaimable: String) -> Row {
    Row::new([
        ("Type", kind.to_owned()),
        ("TotalCount", total.to_string()),
        ("Active", active.to_string()),
        ("Size", units::size(bytes, 4)),
        ("Reclaimable", reclaimable),
    ])
}

/// How much of `total` could be freed.
fn share(bytes: u64, total: u64) -> String {
    match (bytes * 100).checked_div(total) {
        Some(percent) => format!("{} ({percent}%)", units::size(bytes, 4)),
        None => units::size(bytes, 4),
    }
}
