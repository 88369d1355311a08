//! The listing of a manifest or index, byte for byte that of buildx, blanks at the ends of lines
//! included.

use bld_engine::imagetools::{Entry, RemoteImage};

/// Lines of a name and a value, the values below each other.
#[derive(Default)]
struct Lines(Vec<(String, String)>);

impl Lines {
    fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// The lines as far as they go together.
    fn flush(&mut self, out: &mut String) {
        let width = self.0.iter().map(|(name, _)| name.chars().count() + 1).max().unwrap_or(0);
        for (name, value) in self.0.drain(..) {
            out.extend([&format!("{name:width$}"), &value, "\n"]);
        }
    }
}

/// The listing of `image`.
pub(super) fn of(image: &RemoteImage) -> String {
    let (mut out, mut lines) = (String::new(), Lines::default());
    lines.add("Name:", image.location.to_string());
    lines.add("MediaType:", &image.manifest.media_type);
    lines.add("Digest:", image.manifest.digest.to_string());
    lines.flush(&mut out);
    if let Some(index) = &image.index {
        lines.add("", "");
        lines.add("Manifests:", "");
        lines.flush(&mut out);
        for (number, entry) in index.manifests.iter().enumerate() {
            if number > 0 {
                lines.add("", "");
            }
            let digest = entry.sha256().map(|digest| image.location.with_digest(digest));
            let name = digest.unwrap_or_else(|_| image.location.clone());
            lines.add("  Name:", name.to_string());
            lines.add("  MediaType:", &entry.media_type);
            of_image(entry, &mut lines, &mut out);
        }
        lines.flush(&mut out);
    }
    out
}

/// What is only told of manifests that say what they are for.
fn of_image(entry: &Entry, lines: &mut Lines, out: &mut String) {
    let Some(platform) = &entry.platform else { return };
    lines.add("  Platform:", platform.shown());
    if !platform.os_version.is_empty() {
        lines.add("  OSVersion:", &platform.os_version);
    }
    if !platform.os_features.is_empty() {
        lines.add("  OSFeatures:", platform.os_features.join(", "));
    }
    if !entry.urls.is_empty() {
        lines.add("  URLs:", entry.urls.join(", "));
    }
    if !entry.annotations.is_empty() {
        lines.add("  Annotations:", "");
        lines.flush(out);
        for (key, value) in &entry.annotations {
            lines.add(format!("    {key}:"), value);
        }
        lines.flush(out);
    }
}
