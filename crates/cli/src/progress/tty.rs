//! The view on a terminal: output scrolls above, running steps stay below.
//!
//! What a step writes is shown as it comes, marked with the step it is from; a step that ends leaves
//! one line. Cached steps are counted only: nobody reads them, and fifty of them would hide the one
//! line that matters.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::time::{Duration, Instant, SystemTime};

use bld_event::{Event, EventKind, VertexId};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Reader;
use super::steps::{End, Step, Steps};
use crate::output::units;

/// Supporting work that took less than this leaves no line.
const WORTH_A_LINE: Duration = Duration::from_millis(500);

/// The reader.
pub(super) struct Tty {
    bars: MultiProgress,
    status: ProgressBar,
    running: HashMap<VertexId, ProgressBar>,
    begun: Instant,
}

impl Tty {
    /// Draws on standard error.
    pub(super) fn new() -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let status = bars.add(ProgressBar::new_spinner());
        status.set_style(style("{wide_msg:.bold}"));
        Self { bars, status, running: HashMap::new(), begun: Instant::now() }
    }

    fn say(&self, line: &str) -> io::Result<()> {
        self.bars.println(line)
    }

    fn show_status(&self, steps: &Steps, end: &str) {
        let (mut all, mut ended, mut cached) = (0, 0, 0);
        for step in steps.iter().filter(|step| !step.vertex.internal) {
            all += 1;
            ended += usize::from(step.ended.is_some());
            cached += usize::from(matches!(step.ended, Some((_, End::Cached))));
        }
        let seconds = self.begun.elapsed().as_secs_f64();
        let cached = if cached > 0 { format!(", {cached} cached") } else { String::new() };
        self.status.set_message(format!("[+] Building {seconds:.1}s ({ended}/{all}{cached}){end}"));
    }

    fn show_running(&self, steps: &Steps) {
        let now = SystemTime::now();
        for (id, bar) in &self.running {
            if let Some(step) = steps.get(*id) {
                bar.set_message(format!("{:.1}s{}", step.age(now).as_secs_f64(), working_on(step)));
            }
        }
    }
}

impl Reader for Tty {
    fn event(&mut self, event: &Event, steps: &mut Steps) -> io::Result<()> {
        let Some(step) = steps.get_mut(event.id) else { return Ok(()) };
        let fresh = std::mem::take(&mut step.fresh);
        let reads_file = step.reads_file;
        let (name, label) = (step.vertex.name.replace('\n', " "), label(&step.vertex.name));
        for line in fresh {
            self.say(&format!("{label} {}", harmless(&line.text)))?;
        }
        match &event.kind {
            EventKind::Started => {
                let bar = self.bars.add(ProgressBar::new_spinner());
                bar.set_style(style("{spinner:.cyan} {prefix} {msg:.dim}"));
                bar.set_prefix(name);
                self.running.insert(event.id, bar);
            }
            EventKind::Warning { .. } if reads_file => {}
            EventKind::Warning { message, .. } => self.say(&format!("WARN: {message}"))?,
            EventKind::Cached(_)
            | EventKind::Done
            | EventKind::Failed { .. }
            | EventKind::Canceled => {
                if let Some(bar) = self.running.remove(&event.id) {
                    bar.finish_and_clear();
                    self.bars.remove(&bar);
                }
                let step = steps.get(event.id);
                if let Some(line) = step.and_then(last_line) {
                    self.say(&line)?;
                }
            }
            _ => {}
        }
        self.show_status(steps, "");
        Ok(())
    }

    fn tick(&mut self, steps: &mut Steps) -> io::Result<()> {
        self.show_running(steps);
        self.show_status(steps, "");
        for bar in self.running.values() {
            bar.tick();
        }
        Ok(())
    }

    fn pause(&mut self, _steps: &mut Steps) -> io::Result<()> {
        self.bars.clear()
    }

    fn finish(&mut self, steps: &mut Steps) -> io::Result<()> {
        for (_, bar) in self.running.drain() {
            bar.finish_and_clear();
        }
        let failed = steps.iter().any(|s| matches!(s.ended, Some((_, End::Failed(_)))));
        self.show_status(steps, if failed { " FAILED" } else { " FINISHED" });
        self.status.abandon();
        // What is said next begins on a line of its own.
        io::stderr().write_all(b"\n")
    }
}

/// The line that a step leaves behind.
fn last_line(step: &Step) -> Option<String> {
    let (name, took) = (step.vertex.name.replace('\n', " "), step.took());
    let seconds = took.as_secs_f64();
    match &step.ended.as_ref()?.1 {
        End::Done if step.vertex.internal && took < WORTH_A_LINE => None,
        End::Done => Some(format!(" => {name} {seconds:.1}s")),
        End::Failed(_) => Some(format!(" => ERROR {name} {seconds:.1}s")),
        End::Canceled if step.started.is_some() => Some(format!(" => CANCELED {name}")),
        End::Cached | End::Canceled => None,
    }
}

/// The pieces of work within a step that are not finished.
fn working_on(step: &Step) -> String {
    let open: Vec<_> = step.progress.values().filter(|progress| !progress.done).collect();
    match open.as_slice() {
        [] => String::new(),
        [one] => format!("  {}", one.item.chars().take(40).collect::<String>()),
        many => {
            let current = many.iter().map(|p| p.current).sum();
            let total: u64 = many.iter().filter_map(|p| p.total).sum();
            format!(
                "  {} items, {} / {}",
                many.len(),
                units::size(current, 3),
                units::size(total, 3)
            )
        }
    }
}

/// `[build 2/5]` of `[build 2/5] RUN make`.
fn label(name: &str) -> &str {
    match name.find(']') {
        Some(end) if name.starts_with('[') => &name[..=end],
        _ => " |",
    }
}

/// The text without anything that moves the cursor or hides what is on the screen; colours stay.
fn harmless(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                let mut sequence = String::from("\u{1b}[");
                for c in chars.by_ref() {
                    sequence.push(c);
                    if ('\u{40}'..='\u{7e}').contains(&c) {
                        break;
                    }
                }
                if sequence.ends_with('m') {
                    clean.push_str(&sequence);
                }
            }
            '\t' => clean.push_str("    "),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

/// A style; a template of ours that does not parse would be a mistake of ours and shows as such.
pub(super) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_cannot_move_the_cursor() {
        assert_eq!(
            harmless("a\u{1b}[31mred\u{1b}[0m\u{1b}[2J\u{7}b\tc"),
            "a\u{1b}[31mred\u{1b}[0mb    c"
        );
    }

    #[test]
    fn labels_are_the_part_in_brackets() {
        assert_eq!(label("[build 2/5] RUN make"), "[build 2/5]");
        assert_eq!(label("exporting"), " |");
    }
}
