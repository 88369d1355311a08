//! `bld images`

use std::time::SystemTime;

use bld_engine::images::{ImageFilter, ImageSummary};

use super::filter::Filters;
use super::ps::{ago, created_at};
use crate::error::Failure;
use crate::output::list::{Layout, Row};
use crate::output::units;
use crate::session::{Outcome, Session};

const NONE: &str = "<none>";

const LAYOUT: Layout = Layout {
    headings: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("VirtualSize", "SIZE"),
        ("Platform", "PLATFORM"),
    ],
    columns: &["Repository", "Tag", "ID", "CreatedSince", "Size"],
};

const WITH_DIGESTS: Layout = Layout {
    headings: LAYOUT.headings,
    columns: &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"],
};

/// List images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all images (default hides intermediate images; there are none here)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let images = session.engine.images(&filter(args)?)?;
    let id = |image: &ImageSummary| {
        if args.no_trunc { image.record.id.to_string() } else { image.record.id.short() }
    };
    if args.quiet && args.format.is_none() {
        let lines = images.iter().flat_map(|image| {
            // One line for each name, as the table has.
            std::iter::repeat_n(format!("{}\n", id(image)), image.tags.len().max(1))
        });
        session.print(&lines.collect::<String>())?;
        return Ok(0);
    }
    let rows: Vec<Row> = images.iter().flat_map(|image| rows(image, &id(image))).collect();
    let layout = if args.digests { &WITH_DIGESTS } else { &LAYOUT };
    session.print(&layout.render(args.format.as_deref(), &rows)?)?;
    Ok(0)
}

fn filter(args: &Args) -> Result<ImageFilter, Failure> {
    let filters = Filters::parse(
        &args.filter,
        &["dangling", "label", "before", "since", "until", "reference"],
    )?;
    let mut references = filters.all("reference");
    references.extend(args.repository.clone());
    Ok(ImageFilter {
        references,
        dangling: filters.flag("dangling")?,
        labels: filters.labels("label"),
        without_labels: Vec::new(),
        before: filters.last("before").map(str::to_owned),
        since: filters.last("since").map(str::to_owned),
        until: filters.time("until")?,
    })
}

/// One row for each name, or one without.
pub(super) fn rows(image: &ImageSummary, id: &str) -> Vec<Row> {
    let now = SystemTime::now();
    let row = |repository: String, tag: String| {
        let digest = image.repo_digests.iter().find(|known| {
            bld_oci::Reference::parse(&known.repo)
                .is_ok_and(|repo| repo.familiar_name() == repository)
        });
        Row::new([
            ("ID", id.to_owned()),
            ("Digest", digest.map_or_else(|| NONE.to_owned(), |known| known.digest.to_string())),
            ("Repository", repository),
            ("Tag", tag),
            ("CreatedSince", ago(image.record.created, now)),
            ("CreatedAt", created_at(image.record.created)),
            ("Size", units::size(image.record.size, 3)),
            ("VirtualSize", units::size(image.record.size, 3)),
            ("Containers", image.containers.to_string()),
            ("SharedSize", "N/A".to_owned()),
            ("UniqueSize", "N/A".to_owned()),
            ("Platform", image.record.platform.clone()),
        ])
    };
    if image.tags.is_empty() {
        let repository = image.repo_digests.first().map(|known| known.repo.as_str());
        let repository = repository.and_then(|repo| bld_oci::Reference::parse(repo).ok());
        let repository = repository.map_or_else(|| NONE.to_owned(), |repo| repo.familiar_name());
        return vec![row(repository, NONE.to_owned())];
    }
    image
        .tags
        .iter()
        .map(|name| row(name.familiar_name(), name.tag().unwrap_or(NONE).to_owned()))
        .collect()
}
