//! What the benchmarks found, and its three forms: text for a terminal, JSON, and Markdown for
//! `docs/performance.md`.

mod markdown;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use serde::{Serialize, Serializer};
use serde_json::json;

use super::stats::Middle;

pub use markdown::rewrite;

/// One row of the benchmarks.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// What was found.
    pub figures: Vec<Figure>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// What makes the figures doubtful.
    pub warnings: Vec<String>,
    /// Tables over a size that grows.
    pub tables: Vec<Table>,
}

impl Row {
    /// A row without figures yet.
    #[must_use]
    pub fn new(name: &'static str, about: &'static str) -> Row {
        let (figures, notes, warnings, tables) = Default::default();
        Row { name, about, figures, notes, warnings, tables }
    }
}

/// What counts as good.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Goal {
    /// At least this share of the limit.
    OfLimit(f64),
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

/// A unit, and whether more of it is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Things each second.
    PerSecond,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Nanoseconds.
    Nanoseconds,
    /// Bytes.
    Bytes,
}

impl Unit {
    fn symbol(self) -> &'static str {
        match self {
            Unit::PerSecond => "/s",
            Unit::Seconds => " s",
            Unit::Milliseconds => " ms",
            Unit::Nanoseconds => " ns",
            Unit::Bytes => " B",
        }
    }

    fn more_is_better(self) -> bool {
        self == Unit::PerSecond
    }
}

/// One figure of the product, beside its limit.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What of the row it is.
    pub name: String,
    /// Unit of both sides.
    pub unit: Unit,
    /// One measurement per pair.
    pub product: Vec<f64>,
    /// What the limit is, and as many measurements of it.
    pub limit: Option<(&'static str, Vec<f64>)>,
    /// What was to be reached; none: it is only told.
    pub goals: Vec<Goal>,
}

impl Figure {
    /// A figure without a limit.
    #[must_use]
    pub fn alone(name: impl Into<String>, unit: Unit, product: Vec<f64>) -> Figure {
        Figure { name: name.into(), unit, product, limit: None, goals: Vec::new() }
    }

    /// A figure beside its limit.
    #[must_use]
    pub fn beside(
        name: impl Into<String>,
        unit: Unit,
        product: Vec<f64>,
        limit: (&'static str, Vec<f64>),
    ) -> Figure {
        Figure { limit: Some(limit), ..Figure::alone(name, unit, product) }
    }

    /// The same figure with one goal more.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Figure {
        self.goals.push(goal);
        self
    }

    /// What share of the limit the product reaches: of each pair, then the middle of those.
    #[must_use]
    pub fn ratio(&self) -> Option<Middle> {
        let (_, limit) = self.limit.as_ref()?;
        let ratio = |(product, limit): (&f64, &f64)| match self.unit.more_is_better() {
            true => product / limit,
            false => limit / product,
        };
        let ratios: Vec<f64> = self.product.iter().zip(limit).map(ratio).collect();
        Some(Middle::of(&ratios))
    }

    /// Whether a goal is met; none where that can't be said.
    #[must_use]
    pub fn meets(&self, goal: Goal) -> Option<bool> {
        let median = Middle::of(&self.product).median;
        Some(match goal {
            Goal::OfLimit(share) => self.ratio()?.median >= share,
            Goal::AtLeast(least) => median >= least,
            Goal::AtMost(most) => median <= most,
        })
    }

    fn goal_text(&self, goal: Goal) -> String {
        let unit = self.unit.symbol();
        let text = match goal {
            Goal::OfLimit(share) => format!("≥ {share} of the limit"),
            Goal::AtLeast(least) => format!("≥ {}{unit}", number(least)),
            Goal::AtMost(most) => format!("≤ {}{unit}", number(most)),
        };
        let met = match self.meets(goal) {
            Some(true) => "met",
            Some(false) => "missed",
            None => "not known",
        };
        format!("{text}: {met}")
    }

    fn goals_text(&self) -> String {
        let goals: Vec<String> = self.goals.iter().map(|goal| self.goal_text(*goal)).collect();
        goals.join("; ")
    }

    fn product_text(&self) -> String {
        with_unit(&Middle::of(&self.product), self.unit)
    }

    fn limit_text(&self) -> Option<String> {
        let (name, samples) = self.limit.as_ref()?;
        Some(format!("{} {name}", with_unit(&Middle::of(samples), self.unit)))
    }

    fn ratio_text(&self) -> Option<String> {
        let ratio = self.ratio()?;
        Some(format!("{:.2} ({:.2} – {:.2})", ratio.median, ratio.from, ratio.to))
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let limit = self.limit.as_ref().map(|(name, samples)| {
            json!({"name": name, "middle": Middle::of(samples), "samples": samples})
        });
        let goals = self.goals.iter();
        let goals: Vec<_> = goals
            .map(|goal| json!({"goal": self.goal_text(*goal), "met": self.meets(*goal)}))
            .collect();
        json!({
            "name": self.name,
            "unit": self.unit.symbol().trim(),
            "product": {"middle": Middle::of(&self.product), "samples": self.product},
            "limit": limit,
            "ratio": self.ratio(),
            "goals": goals,
        })
        .serialize(serializer)
    }
}

/// How figures go with a size that grows.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// What grows, and with what.
    pub title: String,
    /// Name of the plot, a file's without its ending.
    pub plot: &'static str,
    /// Heads of the columns; the first is the size.
    pub columns: Vec<&'static str>,
    /// A line per size.
    pub lines: Vec<Vec<f64>>,
}

/// All rows as text.
#[must_use]
pub fn to_text(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(text, "{}: {}", row.name, row.about);
        for figure in &row.figures {
            let _ = writeln!(text, "  {:<60} {}", figure.name, figure.product_text());
            if let Some(limit) = figure.limit_text() {
                let _ = writeln!(text, "  {:<60} {limit}", "  limit");
            }
            if let Some(ratio) = figure.ratio_text() {
                let _ = writeln!(text, "  {:<60} {ratio}", "  of the limit");
            }
            if !figure.goals.is_empty() {
                let _ = writeln!(text, "  {:<60} {}", "  goal", figure.goals_text());
            }
        }
        for table in &row.tables {
            let _ = writeln!(text, "  {}", table.title);
            let wide = table.columns.iter().map(|head| head.chars().count().max(12) + 2);
            let wide: Vec<usize> = wide.collect();
            let heads =
                table.columns.iter().zip(&wide).map(|(head, wide)| format!("{head:>wide$}"));
            let _ = writeln!(text, "{}", heads.collect::<String>());
            for line in &table.lines {
                let cells = line.iter().map(|cell| number(*cell)).zip(&wide);
                let cells = cells.map(|(cell, wide)| format!("{cell:>wide$}"));
                let _ = writeln!(text, "{}", cells.collect::<String>());
            }
        }
        row.notes.iter().for_each(|note| _ = writeln!(text, "  {note}"));
        row.warnings.iter().for_each(|warning| _ = writeln!(text, "  warning: {warning}"));
        text.push('\n');
    }
    text
}

/// All rows as one JSON object.
#[must_use]
pub fn to_json(rows: &[Row], heading: &Heading) -> serde_json::Value {
    json!({"command": heading.command, "date": heading.date, "machine": heading.machine, "rows": rows})
}

/// Where figures come from.
#[derive(Clone, Debug)]
pub struct Heading {
    /// The command that made them.
    pub command: String,
    /// The day.
    pub date: String,
    /// Kind of machine.
    pub machine: String,
}

fn with_unit(middle: &Middle, unit: Unit) -> String {
    let Middle { median, from, to } = middle;
    let median = format!("{}{}", number(*median), unit.symbol());
    match from == to {
        true => median,
        false => format!("{median} ({} – {})", number(*from), number(*to)),
    }
}

/// A number with three digits that count at least, and its thousands apart.
#[must_use]
pub fn number(number: f64) -> String {
    let size = number.abs();
    let digits = match () {
        () if size == 0.0 || size >= 100.0 || size.fract() == 0.0 => 0,
        () if size >= 10.0 => 1,
        () if size >= 1.0 => 2,
        () => 3,
    };
    let text = format!("{number:.digits$}");
    match text.split_once('.') {
        Some(_) => text,
        None => onsale_rush::group(number.round().abs() as u64),
    }
}
