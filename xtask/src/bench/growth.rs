//! How what bld needs grows with what it is given: steps, files, images in the store, layers.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::{self, File},
    io::Read as _,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};
use bld_oci::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    builder::Builder,
    measure::{Usage, measure, median, runs},
    report::{memory, time},
    workload::Lab,
};
use crate::shell::step;

/// The largest exponent that still passes for linear: measurements vary.
pub(super) const LINEAR: f64 = 1.1;

/// What grows with one kind of size.
#[derive(Serialize, Deserialize)]
pub(super) struct Chart {
    /// For files: letters only.
    pub(super) name: String,
    pub(super) date: String,
    pub(super) title: String,
    /// What is counted.
    pub(super) axis: String,
    pub(super) series: Vec<Series>,
}

/// One thing that is done at several sizes.
#[derive(Serialize, Deserialize)]
pub(super) struct Series {
    pub(super) name: String,
    /// Sizes, ascending, and what was taken; a size that could not be done is left out.
    pub(super) points: Vec<(u64, Usage)>,
}

impl Series {
    /// The exponent between the last two sizes.
    pub(super) fn exponent(&self, value: fn(&Usage) -> f64) -> Option<f64> {
        let [.., (below, less), (size, more)] = &self.points[..] else { return None };
        let factor = value(more) / value(less);
        Some(factor.ln() / (*size as f64 / *below as f64).ln())
    }
}

impl Chart {
    pub(super) fn new(name: &str, title: &str, axis: &str) -> Self {
        let [name, title, axis] = [name, title, axis].map(str::to_owned);
        let date = jiff::Zoned::now().date().to_string();
        Self { name, date, title, axis, series: Vec::new() }
    }

    fn put(&mut self, name: &str, size: usize, usage: Option<Usage>) {
        let at = self.series.iter().position(|series| series.name == name).unwrap_or_else(|| {
            self.series.push(Series { name: name.to_owned(), points: Vec::new() });
            self.series.len() - 1
        });
        self.series[at].points.extend(usage.map(|usage| (size as u64, usage)));
    }
}

/// Takes the measurements.
pub(super) struct Grower<'a> {
    pub(super) bld: &'a Builder,
    pub(super) lab: &'a Lab<'a>,
    pub(super) log: &'a Path,
    pub(super) rounds: usize,
}

impl Grower<'_> {
    /// Makes the charts of these sizes, or all if none is named.
    pub(super) fn measure(&self, sizes: &[String]) -> Result<Vec<Chart>> {
        let wants = |name: &str| sizes.is_empty() || sizes.iter().any(|size| size == name);
        let mut charts = Vec::new();
        if wants("steps") {
            charts.push(self.steps()?);
        }
        if wants("files") {
            charts.push(self.files()?);
        }
        if wants("images") || wants("layers") {
            charts.extend(self.images()?);
        }
        Ok(charts)
    }

    /// Times what `command` makes, as often as is worth it; says so and goes on when it fails.
    fn repeat(&self, name: &str, command: impl FnMut(usize) -> Result<Command>) -> Option<Usage> {
        match self.try_repeat(command) {
            Ok(usage) => {
                println!("    {name:24} {:>8}, {}", time(usage.wall), memory(usage.memory));
                Some(usage)
            }
            Err(error) => {
                let text = error.to_string();
                let is_reason = |line: &&str| line.starts_with("ERROR") || line.starts_with("bld:");
                let reason = text.lines().find(is_reason).unwrap_or(&text);
                println!("    {name:24} failed: {reason}");
                None
            }
        }
    }

    fn try_repeat(&self, mut command: impl FnMut(usize) -> Result<Command>) -> Result<Usage> {
        let mut usages = Vec::new();
        while usages
            .first()
            .is_none_or(|first: &Usage| usages.len() < runs(self.rounds, first.wall))
        {
            let command = command(usages.len())?;
            Command::new("sync").status()?;
            usages.push(measure(&[command], self.log)?);
        }
        median(&usages).context("nothing was measured")
    }

    fn build(&self, context: &Path) -> Command {
        let mut command = self.bld.start();
        command.args(["build", "--progress", "plain", "--network", "host", "-t", "bench/grown:1"]);
        command.arg(context);
        command
    }

    fn do_once(&self, command: Command) -> Result<()> {
        measure(&[command], self.log).map(drop)
    }

    /// Builds of more and more steps.
    fn steps(&self) -> Result<Chart> {
        let mut chart = Chart::new("steps", "Builds of 10 to 1,000 RUN steps", "steps");
        self.bld.empty()?;
        for size in [10, 100, 1000] {
            step(&format!("Growth: {size} steps"));
            let context = self.lab.context(&format!("steps-{size}"), &self.lab.steps(size))?;
            let all = self.repeat("all steps run", |_| {
                let mut command = self.build(&context);
                command.arg("--no-cache");
                Ok(command)
            });
            chart.put("all steps run", size, all);
            let steps = self.lab.steps(size - 1);
            let last = self.repeat("last step changed", |run| {
                self.lab.context(
                    &format!("steps-{size}"),
                    &format!("{steps}RUN echo {run} > /last\n"),
                )?;
                Ok(self.build(&context))
            });
            chart.put("last step changed", size, last);
            // The last one of those is known now.
            let none = self.repeat("nothing changed", |_| Ok(self.build(&context)));
            chart.put("nothing changed", size, all.and(none));
        }
        self.bld.forget()?;
        Ok(chart)
    }

    /// Copies of more and more files.
    fn files(&self) -> Result<Chart> {
        let mut chart =
            Chart::new("files", "COPY of 1,000 to 200,000 files of 0.5 kB", "files in the context");
        let busybox =
            self.lab.context("base", &format!("FROM {}\nRUN true\n", self.lab.busybox()))?;
        for size in [1000, 20_000, 200_000] {
            step(&format!("Growth: {size} files"));
            let (context, changing) = self.lab.files(&format!("files-{size}"), size, size * 512)?;
            let first = self.repeat("first time", |_| {
                self.bld.empty()?;
                self.do_once(self.build(&busybox))?;
                Ok(self.build(&context))
            });
            chart.put("first time", size, first);
            let changed = self.repeat("one file changed", |run| {
                fs::write(&changing, format!("{run}\n"))?;
                Ok(self.build(&context))
            });
            chart.put("one file changed", size, changed);
            let none = self.repeat("nothing changed", |_| Ok(self.build(&context)));
            chart.put("nothing changed", size, none);
            self.bld.forget()?;
        }
        Ok(chart)
    }

    /// A store with more and more images, of 10, 100 and 500 layers.
    fn images(&self) -> Result<[Chart; 2]> {
        let mut images =
            Chart::new("images", "A store of 100 to 10,000 images", "images in the store");
        let mut layers =
            Chart::new("layers", "Images of 10 to 500 layers, in a store of 10,000", "layers");
        self.bld.empty()?;
        step("Growth: images of 10, 100 and 500 layers");
        let mut contexts = Vec::new();
        for size in LAYERS {
            let context = self.lab.context(&format!("layers-{size}"), &self.layers(size))?;
            fs::write(context.join("file"), "")?;
            let mut build = self.build(&context);
            build.args(["-t", &format!("bench/layers:{size}")]);
            self.do_once(build)?;
            contexts.push((size, context));
        }
        let saved = Saved::new(self)?;
        let mut count = 0;
        for size in [100, 1000, 10_000] {
            step(&format!("Growth: {size} images"));
            while count < size {
                // A step up to the size, but not more of them in an archive than it may have.
                let next = size.min(count + 1000);
                let archive = self.lab.directory.join("images.tar");
                saved.multiply(&archive, count..next)?;
                let mut load = self.bld.start();
                load.args(["load", "--input"]).arg(&archive);
                self.do_once(load)?;
                fs::remove_file(archive)?;
                count = next;
            }
            let (layers, context) = &contexts[0];
            let new = self.repeat("build of one new step", |run| {
                self.one_more(*layers, &format!("{size}-{run}"))?;
                Ok(self.build(context))
            });
            images.put("build of one new step", size, new);
            images.put(
                "build, nothing changed",
                size,
                self.repeat("nothing changed", |_| Ok(self.build(context))),
            );
            for verb in [&["images"][..], &["du"], &["prune", "--all", "--dry-run"]] {
                let command = |_| {
                    let mut command = self.bld.start();
                    command.args(verb);
                    Ok(command)
                };
                let name = verb.join(" ");
                images.put(&format!("bld {name}"), size, self.repeat(&name, command));
            }
        }
        step("Growth: layers");
        for (size, context) in &contexts {
            let new = self.repeat("build of one new step", |run| {
                self.one_more(*size, &format!("layers-{run}"))?;
                Ok(self.build(context))
            });
            layers.put("build of one new step", *size, new);
            layers.put(
                "build, nothing changed",
                *size,
                self.repeat("nothing changed", |_| Ok(self.build(context))),
            );
        }
        self.bld.forget()?;
        images.series.retain(|series| !series.points.is_empty());
        Ok([images, layers])
    }

    /// A Dockerfile whose image has so many layers.
    fn layers(&self, size: usize) -> String {
        (1..size).fold(format!("FROM {}\n", self.lab.busybox()), |mut text, layer| {
            let _ = writeln!(text, "COPY file /f{layer}");
            text
        })
    }

    /// Adds a step to the Dockerfile of an image of so many layers.
    fn one_more(&self, size: usize, mark: &str) -> Result<()> {
        let text = format!("{}RUN echo {mark} > /new\n", self.layers(size));
        self.lab.context(&format!("layers-{size}"), &text).map(drop)
    }
}

/// Layers of the images that the store is filled with.
const LAYERS: [usize; 3] = [10, 100, 500];

/// Images saved by bld, as docker's archives hold them.
struct Saved {
    /// The entries of `manifest.json`, with the fewest layers first.
    entries: Vec<Value>,
    files: HashMap<String, Vec<u8>>,
}

impl Saved {
    fn new(grower: &Grower<'_>) -> Result<Self> {
        let archive = grower.lab.directory.join("saved.tar");
        let mut save = grower.bld.start();
        save.args(["save", "--output"]).arg(&archive);
        save.args(LAYERS.map(|size| format!("bench/layers:{size}")));
        grower.do_once(save)?;
        let mut files = HashMap::new();
        for entry in tar::Archive::new(File::open(&archive)?).entries()? {
            let mut entry = entry?;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            files.insert(entry.path()?.to_string_lossy().into_owned(), bytes);
        }
        fs::remove_file(archive)?;
        let index = files.get("manifest.json").context("the archive has no manifest.json")?;
        let mut entries: Vec<Value> = serde_json::from_slice(index)?;
        entries.sort_by_key(|entry| entry["Layers"].as_array().map(Vec::len));
        Ok(Self { entries, files })
    }

    fn file<'a>(&'a self, name: &'a Value) -> Result<(&'a str, &'a [u8])> {
        let name = name.as_str().context("a file of the archive has no name")?;
        let bytes = self.files.get(name).with_context(|| format!("the archive has no {name}"))?;
        Ok((name, bytes))
    }

    /// Writes an archive of images that differ in a label only: 1 of 100 has the most layers, 9 the
    /// middle number of them and 90 the fewest.
    fn multiply(&self, archive: &Path, numbers: std::ops::Range<usize>) -> Result<()> {
        let mut tar = tar::Builder::new(File::create(archive)?);
        let mut add = |name: &str, bytes: &[u8]| -> Result<()> {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            Ok(tar.append_data(&mut header, name, bytes)?)
        };
        let most = self.entries.last().context("nothing was saved")?;
        for layer in most["Layers"].as_array().into_iter().flatten() {
            let (name, bytes) = self.file(layer)?;
            add(name, bytes)?;
        }
        let mut index = Vec::new();
        for number in numbers {
            let kind = if number % 100 == 0 { 2 } else { usize::from(number % 10 == 0) };
            let entry = &self.entries[kind.min(self.entries.len() - 1)];
            let mut config: Value = serde_json::from_slice(self.file(&entry["Config"])?.1)?;
            config["config"]["Labels"] = json!({"number": number.to_string()});
            let config = serde_json::to_vec(&config)?;
            let name = format!("blobs/sha256/{}", Digest::of(&config).hex());
            add(&name, &config)?;
            let tag = format!("bench/many:{number}");
            index.push(json!({"Config": name, "RepoTags": [tag], "Layers": entry["Layers"]}));
        }
        add("manifest.json", &serde_json::to_vec(&index)?)?;
        Ok(tar.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_is_that_of_the_end() {
        let usage = |wall| Usage { wall, cpu: 0.0, memory: 1000 };
        let mut chart = Chart::new("n", "t", "a");
        chart.put("s", 10, Some(usage(1.0)));
        let exponent = |chart: &Chart| chart.series[0].exponent(|usage| usage.wall);
        assert_eq!(exponent(&chart), None);
        chart.put("s", 100, Some(usage(1.0)));
        chart.put("s", 500, None);
        chart.put("s", 1000, Some(usage(100.0)));
        assert!(exponent(&chart).is_some_and(|exponent| (exponent - 2.0).abs() < 1e-9));
        assert_eq!(chart.series[0].exponent(|usage| usage.memory as f64), Some(0.0));
    }
}
