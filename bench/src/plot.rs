//! The plot: delivered calls and latency over offered load, two panels of one SVG on a white ground, so that it can be
//! read on light and dark pages alike. Pure; refuses to know where the figures come from and where they go.

use std::fmt::Write;

use crate::report::{Served, Step, grouped};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 446.0;
/// Where the panels begin and end from top to bottom.
const TOP: f64 = 62.0;
const BOTTOM: f64 = 366.0;
/// Two colours that everybody can tell apart (Okabe and Ito).
const POSTCALL: &str = "#0072b2";
const RELAY: &str = "#d55e00";

/// A range of values on a stretch of the picture.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
    is_log: bool,
}

impl Axis {
    /// Where a value stands.
    fn at(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.is_log { value.max(self.from).log10() } else { value };
        let part = (scale(value) - scale(self.from)) / (scale(self.to) - scale(self.from));
        self.start + part * (self.end - self.start)
    }

    /// Values to write beside it.
    fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let mut tick = self.from;
            let mut ticks = Vec::new();
            while tick <= self.to * 1.001 {
                ticks.push(tick);
                tick *= 10.0;
            }
            return ticks;
        }
        let step = round_step(self.to / 6.0);
        let mut ticks = vec![0.0];
        while ticks.last().is_some_and(|last| last + step <= self.to * 1.001) {
            ticks.push(ticks.last().copied().unwrap_or_default() + step);
        }
        ticks
    }
}

/// The next of 1, 2 or 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= least).unwrap_or(power)
}

/// The powers of ten around some values.
fn decades(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let least = values.clone().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
    let most = values.fold(0.0, f64::max);
    if !least.is_finite() {
        return (0.1, 10.0);
    }
    let (from, to) = (10f64.powf(least.log10().floor()), 10f64.powf(most.log10().ceil()));
    (from, if to > from { to } else { from * 10.0 })
}

/// The whole picture; `caption` stands below it.
pub fn draw(sweep: &[Step], caption: &str) -> String {
    let mut svg = String::new();
    let _ = write!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="12" fill="#333333">
<title>Delivered calls and latency over offered load</title>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>
"##
    );
    let offered_most = sweep.iter().map(|step| step.offered).fold(1.0, f64::max);
    throughput(&mut svg, sweep, offered_most);
    latency(&mut svg, sweep, offered_most);
    text(&mut svg, (WIDTH / 2.0, HEIGHT - 14.0), "middle", r##"fill="#666666" font-size="11""##, caption);
    svg.push_str("</svg>\n");
    svg
}

fn throughput(svg: &mut String, sweep: &[Step], offered_most: f64) {
    let x = Axis { from: 0.0, to: offered_most * 1.04, start: 74.0, end: 462.0, is_log: false };
    let y = Axis { from: 0.0, to: offered_most * 1.04, start: BOTTOM, end: TOP, is_log: false };
    frame(svg, &x, &y, "Throughput", "delivered per second", grouped);
    let all = [(x.at(0.0), y.at(0.0)), (x.at(offered_most), y.at(offered_most))];
    line(svg, &all, r##"stroke="#999999" stroke-width="1" stroke-dasharray="2 3""##);
    let points = |served: fn(&Step) -> Served| {
        sweep.iter().map(move |step| (step.offered, served(step).delivered)).collect::<Vec<_>>()
    };
    series(svg, &x, &y, &points(|step| step.relay), RELAY, false);
    series(svg, &x, &y, &points(|step| step.postcall), POSTCALL, false);
    legend(
        svg,
        (x.start + 14.0, TOP + 16.0),
        &[("postcall", POSTCALL, ""), ("bare relay", RELAY, ""), ("all that is offered", "#999999", "2 3")],
    );
}

fn latency(svg: &mut String, sweep: &[Step], offered_most: f64) {
    let all = sweep.iter().flat_map(|step| [step.relay.late, step.postcall.late]);
    let (from, to) = decades(all.flat_map(|late| [late.p50, late.p99]));
    let x = Axis { from: 0.0, to: offered_most * 1.04, start: 556.0, end: 944.0, is_log: false };
    let y = Axis { from, to, start: BOTTOM, end: TOP, is_log: true };
    let shown = |value: f64| if value < 1.0 { format!("{value}") } else { grouped(value) };
    frame(
        svg,
        &x,
        &y,
        "Latency",
        "milliseconds from when a call was due to its arrival at the endpoint",
        shown,
    );
    for (served, colour) in
        [((|step: &Step| step.relay) as fn(&Step) -> Served, RELAY), (|step: &Step| step.postcall, POSTCALL)]
    {
        let points = |late: fn(Served) -> f64| {
            sweep.iter().map(|step| (step.offered, late(served(step)))).collect::<Vec<_>>()
        };
        series(svg, &x, &y, &points(|served| served.late.p50), colour, false);
        series(svg, &x, &y, &points(|served| served.late.p99), colour, true);
    }
    legend(
        svg,
        (x.start + 14.0, TOP + 16.0),
        &[
            ("postcall p50", POSTCALL, ""),
            ("postcall p99", POSTCALL, "6 4"),
            ("bare relay p50", RELAY, ""),
            ("bare relay p99", RELAY, "6 4"),
        ],
    );
}

/// Title, grid, axes with their names.
fn frame(svg: &mut String, x: &Axis, y: &Axis, title: &str, unit: &str, shown: fn(f64) -> String) {
    text(svg, (x.start, 28.0), "start", r##"font-size="15" font-weight="600" fill="#111111""##, title);
    text(svg, (x.start, 48.0), "start", r##"fill="#666666""##, unit);
    for tick in y.ticks() {
        let at = y.at(tick);
        line(svg, &[(x.start, at), (x.end, at)], r##"stroke="#e4e4e4" stroke-width="1""##);
        text(svg, (x.start - 8.0, at + 4.0), "end", "", &shown(tick));
    }
    for tick in x.ticks() {
        let at = x.at(tick);
        line(svg, &[(at, y.start), (at, y.start + 5.0)], r##"stroke="#333333" stroke-width="1""##);
        text(svg, (at, y.start + 19.0), "middle", "", &grouped(tick));
    }
    line(svg, &[(x.start, y.start), (x.end, y.start)], r##"stroke="#333333" stroke-width="1""##);
    text(
        svg,
        (f64::midpoint(x.start, x.end), y.start + 37.0),
        "middle",
        "",
        "offered load, calls per second",
    );
}

fn series(svg: &mut String, x: &Axis, y: &Axis, points: &[(f64, f64)], colour: &str, is_dashed: bool) {
    let dash = if is_dashed { r#" stroke-dasharray="6 4""# } else { "" };
    let points: Vec<_> = points.iter().map(|(offered, value)| (x.at(*offered), y.at(*value))).collect();
    line(svg, &points, &format!(r#"stroke="{colour}" stroke-width="2" stroke-linejoin="round"{dash}"#));
    for (x, y) in points {
        let _ = writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#);
    }
}

fn legend(svg: &mut String, (x, y): (f64, f64), entries: &[(&str, &str, &str)]) {
    #[expect(clippy::cast_precision_loss, reason = "a few entries")]
    let height = entries.len() as f64 * 18.0 + 6.0;
    let _ = writeln!(
        svg,
        r##"<rect x="{}" y="{}" width="148" height="{height}" fill="#ffffff" fill-opacity="0.85"/>"##,
        x - 6.0,
        y - 14.0
    );
    let mut at = y;
    for (name, colour, dash) in entries {
        let style = format!(r#"stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}""#);
        line(svg, &[(x, at - 4.0), (x + 26.0, at - 4.0)], &style);
        text(svg, (x + 34.0, at), "start", "", name);
        at += 18.0;
    }
}

fn line(svg: &mut String, points: &[(f64, f64)], style: &str) {
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(svg, r#"<polyline points="{}" fill="none" {style}/>"#, path.join(" "));
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" {style}>{words}</text>"#);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lateness::Quantiles;

    #[test]
    fn values_stand_where_they_belong() {
        let linear = Axis { from: 0.0, to: 10.0, start: 100.0, end: 0.0, is_log: false };
        assert_eq!(linear.at(2.5), 75.0);
        let log = Axis { from: 0.1, to: 1000.0, start: 0.0, end: 400.0, is_log: true };
        assert!((log.at(10.0) - 200.0).abs() < 1e-9);
        assert_eq!(log.at(0.0), 0.0, "what is below the scale stands at its foot");
        assert_eq!(log.ticks().len(), 5);
        let axis = Axis { from: 0.0, to: 29_120.0, start: 0.0, end: 1.0, is_log: false };
        assert_eq!(axis.ticks(), [0.0, 5_000.0, 10_000.0, 15_000.0, 20_000.0, 25_000.0]);
    }

    #[test]
    fn the_scale_holds_every_value() {
        assert_eq!(decades([0.4, 2300.0].into_iter()), (0.1, 10_000.0));
        assert_eq!(decades([0.0].into_iter()), (0.1, 10.0), "nothing was measured");
    }

    #[test]
    fn a_caption_is_text() {
        let late = Quantiles { p50: 0.3, p99: 1.2 };
        let served = Served { delivered: 1000.0, late };
        let svg = draw(&[Step { offered: 1000.0, relay: served, postcall: served }], "a < b & c");
        assert!(svg.contains("a &lt; b &amp; c") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<circle").count(), 6);
    }
}
