//! One chart as SVG: areas on one another, or lines on a logarithmic scale.

use std::fmt::Write as _;

use super::escape;
use crate::report::group;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 276.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 84.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 30.0;
/// Labels at the right end of lines stay so far apart.
const LABEL_GAP: f64 = 15.0;
/// Marks on the time axis, about.
const TIME_MARKS: f64 = 8.0;
/// Marks on a linear axis, about.
const VALUE_MARKS: f64 = 4.0;

/// How values become heights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Axis {
    /// Areas, each on the one before it.
    Stacked,
    /// Lines, a tenfold value the same distance higher.
    Log,
}

/// Values over time, one for each step; none: there is nothing to show.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) values: Vec<Option<f64>>,
}

pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) axis: Axis,
    pub(super) step_seconds: f64,
    pub(super) lines: Vec<Line>,
}

/// What heights mean.
struct Scale {
    low: f64,
    high: f64,
    log: bool,
    marks: Vec<f64>,
}

impl Scale {
    fn linear(high: f64) -> Scale {
        let step = round_step(high.max(1.0) / VALUE_MARKS);
        let count = (high.max(1.0) / step).ceil() as u32;
        let marks = (0..=count).map(|n| f64::from(n) * step).collect();
        Scale { low: 0.0, high: f64::from(count) * step, log: false, marks }
    }

    fn log(low: f64, high: f64) -> Scale {
        let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let to = to.max(from + 1);
        let marks: Vec<f64> = (from..=to).map(|power| 10_f64.powi(power)).collect();
        Scale { low: marks[0], high: marks[marks.len() - 1], log: true, marks }
    }

    fn y(&self, value: f64) -> f64 {
        let share = match self.log {
            true => (value.max(self.low) / self.low).log10() / (self.high / self.low).log10(),
            false => (value - self.low) / (self.high - self.low),
        };
        TOP + (1.0 - share.clamp(0.0, 1.0)) * (HEIGHT - TOP - BOTTOM)
    }
}

/// The next of 1, 2, 5, 10, … that is not below.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|n| n * power);
    steps.into_iter().find(|step| *step >= least * 0.999).unwrap_or(power * 10.0)
}

impl Chart {
    pub(super) fn write(&self, page: &mut String) {
        let (title, unit) = (escape(self.title), escape(self.unit));
        let names: Vec<&str> = self.lines.iter().map(|line| line.name).collect();
        write!(
            page,
            "<figure>\n<figcaption>{title} <span>{unit}</span></figcaption>\n\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}: {}\">\n",
            names.join(", ")
        )
        .expect("a string takes anything");
        let scale = self.scale();
        self.write_axes(page, &scale);
        match self.axis {
            Axis::Stacked => self.write_areas(page, &scale),
            Axis::Log => self.write_lines(page, &scale),
        }
        *page += "</svg>\n</figure>\n";
    }

    fn steps(&self) -> usize {
        self.lines.iter().map(|line| line.values.len()).max().unwrap_or(0)
    }

    fn seconds(&self) -> f64 {
        self.step_seconds * self.steps().max(1) as f64
    }

    /// Of the end of a step.
    fn x(&self, step: usize) -> f64 {
        LEFT + (step + 1) as f64 / self.steps().max(1) as f64 * (WIDTH - LEFT - RIGHT)
    }

    fn scale(&self) -> Scale {
        let values = || self.lines.iter().flat_map(|line| line.values.iter().flatten().copied());
        match self.axis {
            Axis::Stacked => {
                let sum = |step| self.lines.iter().filter_map(|line| line.values[step]).sum();
                Scale::linear((0..self.steps()).map(sum).fold(0.0, f64::max))
            }
            Axis::Log => {
                let low = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
                let high = values().fold(0.0, f64::max);
                if low.is_finite() { Scale::log(low, high) } else { Scale::log(1.0, 10.0) }
            }
        }
    }

    fn write_axes(&self, page: &mut String, scale: &Scale) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for &mark in &scale.marks {
            let (y, text) = (scale.y(mark), number(mark));
            *page += &format!(
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>\n",
                LEFT - 8.0,
                y + 4.0
            );
        }
        let step = round_step(self.seconds() / TIME_MARKS);
        let mut seconds = 0.0;
        while seconds <= self.seconds() * 1.001 {
            let x = LEFT + seconds / self.seconds() * (right - LEFT);
            *page += &format!(
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>\n",
                bottom + 20.0,
                number(seconds)
            );
            seconds += step;
        }
    }

    fn write_areas(&self, page: &mut String, scale: &Scale) {
        let mut below = vec![0.0; self.steps()];
        let mut labels = Vec::new();
        for line in &self.lines {
            let above: Vec<f64> = below
                .iter()
                .zip(&line.values)
                .map(|(base, value)| base + value.unwrap_or(0.0))
                .collect();
            // The first value holds from the left edge on.
            let first = |values: &[f64]| scale.y(values.first().copied().unwrap_or(scale.low));
            let mut path = format!("M{LEFT} {:.1}", first(&above));
            for (step, value) in above.iter().enumerate() {
                write!(path, "L{:.1} {:.1}", self.x(step), scale.y(*value))
                    .expect("a string takes anything");
            }
            for (step, value) in below.iter().enumerate().rev() {
                write!(path, "L{:.1} {:.1}", self.x(step), scale.y(*value))
                    .expect("a string takes anything");
            }
            write!(path, "L{LEFT} {:.1}Z", first(&below)).expect("a string takes anything");
            *page += &format!("<path class=\"area {}\" d=\"{path}\"/>\n", line.class);
            // The label stands beside the middle of the area's end.
            let last = above.last().zip(below.last());
            let middle = last.map_or(scale.low, |(above, base)| f64::midpoint(*above, *base));
            labels.push((scale.y(middle), line));
            below = above;
        }
        write_labels(page, labels);
    }

    fn write_lines(&self, page: &mut String, scale: &Scale) {
        let mut labels = Vec::new();
        for line in &self.lines {
            let mut path = String::new();
            let mut apart = true;
            for (step, value) in line.values.iter().enumerate() {
                let Some(value) = value else {
                    apart = true;
                    continue;
                };
                let command = if apart { 'M' } else { 'L' };
                apart = false;
                write!(path, "{command}{:.1} {:.1}", self.x(step), scale.y(*value))
                    .expect("a string takes anything");
            }
            *page += &format!("<path class=\"line {}\" d=\"{path}\"/>\n", line.class);
            let last = line.values.iter().rev().flatten().next();
            labels.push((scale.y(last.copied().unwrap_or(scale.low)), line));
        }
        write_labels(page, labels);
    }
}

/// Names at the right, apart from one another.
fn write_labels(page: &mut String, mut labels: Vec<(f64, &Line)>) {
    labels.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut lowest = HEIGHT - BOTTOM + 4.0;
    for (y, line) in labels {
        let y = (y + 4.0).min(lowest);
        lowest = y - LABEL_GAP;
        let x = WIDTH - RIGHT + 8.0;
        *page += &format!(
            "<circle class=\"dot {}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/>\
             <text x=\"{:.1}\" y=\"{y:.1}\">{}</text>\n",
            line.class,
            x + 4.0,
            y - 4.0,
            x + 13.0,
            escape(line.name)
        );
    }
}

/// `20,000`, `0.5`.
fn number(value: f64) -> String {
    if value.fract().abs() < 1e-9 {
        group(value as u64)
    } else {
        format!("{value:.3}").trim_end_matches('0').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round_and_hold_all_values() {
        assert_eq!(Scale::linear(19_000.0).marks, [0.0, 5_000.0, 10_000.0, 15_000.0, 20_000.0]);
        assert_eq!(Scale::log(0.08, 580.0).marks, [0.01, 0.1, 1.0, 10.0, 100.0, 1_000.0]);
        let scale = Scale::linear(7.0);
        assert!(scale.y(0.0) > scale.y(7.0));
        assert!(scale.y(7.0) >= TOP && scale.y(0.0) <= HEIGHT - BOTTOM);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([20_000.0, 0.5, 0.01, 10.0].map(number), ["20,000", "0.5", "0.01", "10"]);
    }

    #[test]
    fn an_empty_chart_is_still_one() {
        let lines = vec![Line { name: "a", class: "a", values: Vec::new() }];
        let chart = Chart { title: "t", unit: "u", axis: Axis::Log, step_seconds: 0.1, lines };
        let mut page = String::new();
        chart.write(&mut page);
        assert!(
            page.contains("</svg>") && !page.contains("NaN") && !page.contains("inf"),
            "{page}"
        );
    }
}
