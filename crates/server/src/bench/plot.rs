//! Plots as SVG: one small panel per column of a table, all over the same size. They follow the
//! reader's light or dark theme.

use std::fmt::Write as _;

use super::report::{Table, number};

/// Size of a panel with its margins, in pixels.
const PANEL: [f64; 2] = [300.0, 190.0];
/// Margins of a panel: left, top, right, bottom.
const MARGIN: [f64; 4] = [64.0, 34.0, 16.0, 34.0];
/// Panels beside each other.
const ACROSS: usize = 3;
/// From this ratio of the largest to the smallest size on, sizes are drawn by their logarithm.
const LOG_FROM: f64 = 50.0;

const STYLE: &str = "\
    text{font:11px system-ui,sans-serif;fill:#333}.t{font-weight:600}\
    .g{stroke:#ddd}.a{stroke:#888}.l{stroke:#0a6ebd;stroke-width:2;fill:none}.p{fill:#0a6ebd}\
    @media(prefers-color-scheme:dark){text{fill:#ddd}.g{stroke:#444}.a{stroke:#999}\
    .l{stroke:#5cb8ff}.p{fill:#5cb8ff}}";

/// Draws a table.
#[must_use]
pub fn svg(table: &Table) -> String {
    let panels = table.columns.len().saturating_sub(1);
    let across = panels.clamp(1, ACROSS);
    let (width, height) =
        (PANEL[0] * across as f64, PANEL[1] * panels.div_ceil(across).max(1) as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>\n",
        escape(&table.title)
    );
    for panel in 0..panels {
        let (x, y) = ((panel % across) as f64 * PANEL[0], (panel / across) as f64 * PANEL[1]);
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">");
        draw(&mut svg, table, panel + 1);
        svg += "</g>\n";
    }
    svg + "</svg>\n"
}

/// Draws one column over the first.
fn draw(svg: &mut String, table: &Table, column: usize) {
    let points: Vec<(f64, f64)> = table.lines.iter().map(|line| (line[0], line[column])).collect();
    let [left, top, right, bottom] = MARGIN;
    let (wide, high) = (PANEL[0] - left - right, PANEL[1] - top - bottom);
    let most = nice(points.iter().map(|point| point.1).fold(0.0, f64::max));
    let x = scale(&points);
    let place =
        |(size, value): (f64, f64)| (left + wide * x(size), top + high * (1.0 - value / most));
    let _ = writeln!(
        svg,
        "<text class=\"t\" x=\"{left}\" y=\"18\">{}</text>",
        escape(table.columns[column])
    );
    for part in [0.0, 0.5, 1.0] {
        let y = top + high * (1.0 - part);
        let class = if part == 0.0 { "a" } else { "g" };
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left + wide,
            left - 6.0,
            y + 4.0,
            number(most * part)
        );
    }
    for (size, anchor) in ends(&points) {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{} {}</text>",
            place((size, 0.0)).0,
            top + high + 16.0,
            number(size),
            escape(table.columns[0])
        );
    }
    let line: Vec<String> =
        points.iter().map(|point| place(*point)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(svg, "<polyline class=\"l\" points=\"{}\"/>", line.join(" "));
    for (x, y) in points.iter().map(|point| place(*point)) {
        let _ = writeln!(svg, "<circle class=\"p\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
    }
}

/// The first and the last size, and how their labels lie.
fn ends(points: &[(f64, f64)]) -> Vec<(f64, &'static str)> {
    match points {
        [] => Vec::new(),
        [(only, _)] => vec![(*only, "start")],
        [(first, _), .., (last, _)] => vec![(*first, "start"), (*last, "end")],
    }
}

/// Where a size lies between the first and the last, from 0 to 1.
fn scale(points: &[(f64, f64)]) -> impl Fn(f64) -> f64 {
    let first = points.first().map_or(0.0, |point| point.0);
    let last = points.last().map_or(1.0, |point| point.0);
    let log = first > 0.0 && last / first >= LOG_FROM;
    let map = move |size: f64| if log { size.ln() } else { size };
    let (from, to) = (map(first), map(last));
    move |size| if to > from { (map(size) - from) / (to - from) } else { 0.0 }
}

/// The least round number that is no less.
fn nice(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(most.log10().floor());
    [1.0, 2.0, 4.0, 5.0, 10.0]
        .map(|step| step * power)
        .into_iter()
        .find(|n| *n >= most * 0.999_999)
        .unwrap_or(most)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(lines: Vec<Vec<f64>>) -> Table {
        let columns = vec!["events", "cost < 1, ns", "memory"];
        Table { title: "A & B".to_owned(), plot: "x", columns, lines }
    }

    #[test]
    fn every_point_lies_in_its_panel() {
        let lines = vec![vec![1.0, 5.0, 100.0], vec![10.0, 7.0, 200.0], vec![10_000.0, 0.0, 1e9]];
        let svg = svg(&table(lines));
        assert_eq!(svg.matches("<circle").count(), 6);
        let places = svg.split("<circle class=\"p\" cx=\"").skip(1);
        let xs: Vec<f64> = places
            .map(|rest| rest.split('"').next().and_then(|x| x.parse().ok()).expect("x"))
            .collect();
        assert_eq!(xs[0], MARGIN[0]);
        assert!((xs[1] - (MARGIN[0] + 55.0)).abs() < 0.1, "a quarter of the logarithm: {xs:?}");
        assert_eq!(xs[2], PANEL[0] - MARGIN[2]);
        assert!(
            svg.contains("cost &lt; 1, ns") && svg.contains("aria-label=\"A &amp; B\""),
            "{svg}"
        );
        assert!(svg.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn an_axis_ends_at_a_round_number() {
        for (most, end) in [(0.0, 1.0), (0.7, 1.0), (1.0, 1.0), (37.0, 40.0), (5_100.0, 10_000.0)] {
            assert!((nice(most) - end).abs() < 1e-9, "{most}");
        }
    }
}
