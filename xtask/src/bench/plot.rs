//! A chart as SVG: time and memory over a size, both axes logarithmic, so that a straight line is a
//! power and its slope the exponent.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{
    growth::{Chart, Series},
    measure::Usage,
    report::{count, memory, time},
};

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 370.0;
/// The first panel's corner, the distance to the second one's, and the size of both.
const LEFT: f64 = 74.0;
const TOP: f64 = 84.0;
const APART: f64 = 428.0;
const INNER: (f64, f64) = (340.0, 224.0);

/// Colours on light and on dark ground, and the shape of a point, 10 wide around the origin.
const LOOKS: [(&str, &str, &str); 5] = [
    ("#1d4ed8", "#7aa7ff", "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z"),
    ("#c2410c", "#ff9c5b", "M-4.5-4.5h9v9h-9z"),
    ("#15803d", "#5ddc8b", "M0-6l6 10.5h-12z"),
    ("#7e22ce", "#cf9bff", "M0-6.5l6 6.5l-6 6.5l-6-6.5z"),
    ("#0e7490", "#4fd1e0", "M0 6l6-10.5h-12z"),
];

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#333}\
    .title{font-size:15px;font-weight:600}.grid{stroke:#ddd}.axis{stroke:#777}\
    .guide{stroke:#888;stroke-dasharray:5 4}.faint{fill:#777}.line{fill:none;stroke-width:2}";
const DARK_STYLE: &str = "text{fill:#ddd}.grid{stroke:#3a3a3a}.axis{stroke:#999}\
    .guide{stroke:#999}.faint{fill:#aaa}";

/// An axis: what is on it, from where to where.
struct Axis {
    low: f64,
    high: f64,
    /// Pixels from the lower end to the higher.
    from: f64,
    to: f64,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let part = (value / self.low).ln() / (self.high / self.low).ln();
        self.from + part * (self.to - self.from)
    }
}

/// Round numbers around `values`, of at least a decade so that small differences look small: 1, 10,
/// 100 and, where they are few, 2 and 5 times those.
fn ticks(values: &[f64]) -> Vec<f64> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min).max(1e-9);
    let high = values.iter().copied().fold(low, f64::max);
    let (first, last) = (low.log10().floor() as i32, high.log10().floor() as i32);
    let factors: &[f64] = if last - first > 1 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let ticks = (first..=last + 2)
        .flat_map(|decade| factors.iter().map(move |factor| factor * 10_f64.powi(decade)));
    let mut ticks: Vec<f64> = ticks.collect();
    // No more than one beyond either end.
    let start = ticks.iter().rposition(|&tick| tick <= low).unwrap_or(0);
    let high = high.max(ticks[start] * 10.0);
    let end = ticks.iter().position(|&tick| tick >= high).unwrap_or(ticks.len() - 1);
    ticks.truncate(end + 1);
    ticks.split_off(start)
}

/// The chart as a document of its own.
pub(super) fn svg(chart: &Chart) -> String {
    let mut style = STYLE.to_owned();
    let mut dark = DARK_STYLE.to_owned();
    for (index, (light, on_dark, _)) in LOOKS.iter().enumerate() {
        let _ = write!(style, ".s{index}{{stroke:{light}}}.p{index}{{fill:{light}}}");
        let _ = write!(dark, ".s{index}{{stroke:{on_dark}}}.p{index}{{fill:{on_dark}}}");
    }
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n<title>{title}</title>\n\
         <style>{style}@media(prefers-color-scheme:dark){{{dark}}}</style>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"24\">{title}</text>\n",
        title = escape(&chart.title),
    );
    let mut x = LEFT;
    for (index, series) in chart.series.iter().enumerate() {
        let index = index % LOOKS.len();
        let _ = writeln!(
            text,
            "<path class=\"p{index}\" transform=\"translate({:.1} 46)\" d=\"{}\"/>\
             <text x=\"{:.1}\" y=\"50\">{}</text>",
            x + 6.0,
            LOOKS[index].2,
            x + 18.0,
            escape(&series.name)
        );
        x += 46.0 + 6.4 * series.name.chars().count() as f64;
    }
    text += &panel(chart, LEFT, "time", |usage| usage.wall, time);
    text += &panel(
        chart,
        LEFT + APART,
        "peak memory",
        |usage| usage.memory as f64,
        |bytes| memory(bytes as u64),
    );
    text + "</svg>\n"
}

fn panel(
    chart: &Chart,
    left: f64,
    name: &str,
    value: fn(&Usage) -> f64,
    label: impl Fn(f64) -> String,
) -> String {
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let sizes: BTreeSet<_> = points().map(|(size, _)| *size).collect();
    let values: Vec<_> = points().map(|(_, usage)| value(usage)).collect();
    let (right, bottom) = (left + INNER.0, TOP + INNER.1);
    let mut text = format!("<text x=\"{left}\" y=\"{}\">{name}</text>\n", TOP - 12.0);
    let rows = ticks(&values);
    let (Some(low), Some(high)) = (sizes.first(), sizes.last()) else { return text };
    let [least, .., most] = &rows[..] else { return text };
    let x = Axis { low: *low as f64, high: *high as f64, from: left, to: right };
    let y = Axis { low: *least, high: *most, from: bottom, to: TOP };
    for tick in &rows {
        let at = y.place(*tick);
        let _ = writeln!(
            text,
            "<path class=\"grid\" d=\"M{left} {at:.1}H{right}\"/>\
             <text text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
            left - 8.0,
            at + 4.0,
            label(*tick)
        );
    }
    for size in &sizes {
        let at = x.place(*size as f64);
        let _ = writeln!(
            text,
            "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>\
             <text text-anchor=\"middle\" x=\"{at:.1}\" y=\"{}\">{}</text>",
            bottom + 18.0,
            count(*size)
        );
    }
    let _ = writeln!(
        text,
        "<path class=\"axis\" fill=\"none\" d=\"M{left} {TOP}V{bottom}H{right}\"/>\
         <text text-anchor=\"middle\" x=\"{}\" y=\"{}\">{}</text>",
        f64::midpoint(left, right),
        bottom + 40.0,
        escape(&chart.axis)
    );
    text += &guide(&x, &y);
    for (index, series) in chart.series.iter().enumerate() {
        text += &line(index % LOOKS.len(), series, |(size, usage)| {
            (x.place(*size as f64), y.place(value(usage)))
        });
    }
    text
}

/// A line along which what is twice as large takes twice as much, from the lower left corner.
fn guide(x: &Axis, y: &Axis) -> String {
    let factor = (x.high / x.low).min(y.high / y.low);
    let (to_x, to_y) = (x.place(x.low * factor), y.place(y.low * factor));
    let angle = (to_y - y.from).atan2(to_x - x.from).to_degrees();
    format!(
        "<path class=\"guide\" d=\"M{:.1} {:.1}L{to_x:.1} {to_y:.1}\"/>\
         <text class=\"faint\" text-anchor=\"end\" \
         transform=\"translate({to_x:.1} {to_y:.1})rotate({angle:.1})translate(-10 14)\">linear</text>\n",
        x.from, y.from,
    )
}

fn line(index: usize, series: &Series, place: impl Fn(&(u64, Usage)) -> (f64, f64)) -> String {
    let places: Vec<_> = series.points.iter().map(place).collect();
    let mut path = String::new();
    let mut points = String::new();
    for (n, (x, y)) in places.iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if n == 0 { "M" } else { "L" });
        let _ = writeln!(
            points,
            "<path class=\"p{index}\" transform=\"translate({x:.1} {y:.1})\" d=\"{}\"/>",
            LOOKS[index].2
        );
    }
    format!("<path class=\"line s{index}\" d=\"{path}\"/>\n{points}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_just_enclose() {
        assert_eq!(ticks(&[10.0, 100.0, 1000.0]), [10.0, 100.0, 1000.0]);
        assert_eq!(ticks(&[12.0, 14.0]), [10.0, 20.0, 50.0, 100.0], "at least a decade");
        assert_eq!(ticks(&[20.0]), [20.0, 50.0, 100.0, 200.0]);
        assert_eq!(ticks(&[3.0, 4000.0]), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
    }

    #[test]
    fn a_chart_has_a_line_and_points_for_each_series() {
        let usage = |wall| Usage { wall, cpu: 0.0, memory: 1 << 24 };
        let series = |name: &str, points| Series { name: name.to_owned(), points };
        let chart = Chart {
            series: vec![
                series("first", vec![(10, usage(0.01)), (100, usage(0.1)), (1000, usage(1.0))]),
                series("second", vec![(10, usage(0.02))]),
            ],
            ..Chart::new("c", "a < b & c", "steps")
        };
        let text = svg(&chart);
        assert!(text.contains("a &lt; b &amp; c"));
        assert_eq!(text.matches("class=\"line s0\"").count(), 2, "one in each panel");
        assert_eq!(text.matches("class=\"p0\"").count(), 2 * 3 + 1, "and one in the legend");
        assert_eq!(text.matches("class=\"p1\"").count(), 2 + 1);
        // Ten times the size and ten times the time: along the diagonal.
        let slope = "M74.0 308.0L244.0 196.0L414.0 84.0";
        assert!(text.contains(slope), "{text}");
        assert!(!text.contains("NaN") && !text.contains("inf"));
    }
}
