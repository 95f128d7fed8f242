//! The report as one page that needs nothing else: tiles, charts as SVG, a table; light
//! and dark as the reader has it.

mod chart;

use std::fmt::Write as _;

use crate::report::{Ended, Report, group};
use crate::timeline::{Step, StepLatency};
use chart::{Axis, Chart, Line};

const STYLE: &str = include_str!("page/style.css");

/// What stands around the figures of a rush.
#[derive(Clone, PartialEq, Debug)]
pub struct Heading {
    /// What was sold, and where.
    pub title: String,
    /// Whether all is as it should be.
    pub right: bool,
    /// That in a sentence.
    pub verdict: String,
    /// Further rows of the table: a name and a value.
    pub rows: Vec<(String, String)>,
}

impl Report {
    /// The report as a page of HTML.
    #[must_use]
    pub fn page(&self, heading: &Heading) -> String {
        let mut page = String::with_capacity(256 << 10);
        let title = escape(&heading.title);
        let verdict = escape(&heading.verdict);
        let class = if heading.right { "right" } else { "wrong" };
        write!(
            page,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1>{title}</h1>\n<p class=\"verdict {class}\">{verdict}</p>\n"
        )
        .expect("a string takes anything");
        self.tiles(&mut page);
        for chart in self.charts() {
            chart.write(&mut page);
        }
        self.table(&mut page, &heading.rows);
        page += "</main>\n</body>\n</html>\n";
        page
    }

    fn tiles(&self, page: &mut String) {
        let mut tiles: Vec<(String, String)> = Vec::new();
        if let Some(stock) = &self.stock {
            let of = format!("of {} tickets sold", group(stock.tickets));
            tiles.push((group(stock.sold), of));
        }
        if let Some(seconds) = self.seconds_to_sold_out {
            tiles.push((format!("{seconds:.1} s"), "until sold out".to_owned()));
        }
        let operations = group(self.operations.per_second.round() as u64);
        tiles.push((operations, "answers each second".to_owned()));
        let hold = self.hold_ms.all;
        let others = format!("median of a hold; p99 {}", milliseconds(hold.p99));
        tiles.push((milliseconds(hold.p50), others));
        tiles.push((group(self.oversold), "oversold".to_owned()));
        let lost = self.lost.map_or("not asked".to_owned(), group);
        tiles.push((lost, "acknowledged and lost".to_owned()));
        *page += "<dl class=\"tiles\">\n";
        for (value, name) in tiles {
            let (value, name) = (escape(&value), escape(&name));
            *page += &format!("<div><dt>{name}</dt><dd>{value}</dd></div>\n");
        }
        *page += "</dl>\n";
    }

    fn charts(&self) -> [Chart; 3] {
        let timeline = &self.timeline;
        let line = |name, class, value: &dyn Fn(&Step) -> Option<f64>| Line {
            name,
            class,
            values: timeline.steps.iter().map(value).collect(),
        };
        let latency = |name, class, of: fn(StepLatency) -> f64| {
            line(name, class, &move |step| step.hold_ms.map(of))
        };
        // Buyers hear of a hold's end and of its tickets' next buyer in any order: together
        // they may know of more than there is.
        let held = |step: &Step| match timeline.tickets {
            Some(tickets) => step.held.min(tickets.saturating_sub(step.sold)),
            None => step.held,
        };
        let mut stock = vec![
            line("sold", "sold", &|step| Some(step.sold as f64)),
            line("held", "held", &|step| Some(held(step) as f64)),
        ];
        if let Some(tickets) = timeline.tickets {
            let free = move |step: &Step| tickets.saturating_sub(step.sold + held(step)) as f64;
            stock.push(line("free", "free", &|step| Some(free(step))));
        }
        let answers = vec![
            line("granted", "sold", &|step| Some(step.accepted_per_second)),
            line("refused", "refused", &|step| Some(step.refused_per_second)),
        ];
        let latencies = vec![
            latency("longest", "longest", |hold| hold.max),
            latency("p99", "p99", |hold| hold.p99),
            latency("median", "p50", |hold| hold.p50),
        ];
        let chart = |title, unit, axis, lines| {
            let step_seconds = timeline.step_seconds;
            Chart { title, unit, axis, step_seconds, lines }
        };
        [
            chart("Tickets over time", "tickets", Axis::Stacked, stock),
            chart("Answers each second", "answers/s", Axis::Stacked, answers),
            chart(
                "How long a hold takes, from when the buyer wanted it",
                "ms",
                Axis::Log,
                latencies,
            ),
        ]
    }

    fn table(&self, page: &mut String, further: &[(String, String)]) {
        let own = [
            ("buyers", group(self.buyers_arrived)),
            ("sockets", self.sockets_told()),
            ("orders", group(self.orders)),
            ("holds", group(self.holds)),
            ("holds abandoned", group(self.abandoned_holds)),
            ("ended", ended(self.ended).to_owned()),
            ("hold p50 / p99 / p99.9", {
                let all = self.hold_ms.all;
                [all.p50, all.p99, all.p999].map(milliseconds).join(" / ")
            }),
            ("busiest second", format!("{} answers", group(self.operations.per_second_max))),
            ("buyers' own CPU", format!("{:.0} % of a core", self.cpu_percent)),
        ];
        *page += "<table>\n<tbody>\n";
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        let further = further.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let warnings = self.warnings.iter().map(|warning| ("note", warning.as_str()));
        for (name, value) in own.chain(further).chain(warnings) {
            let (name, value) = (escape(name), escape(value));
            *page += &format!("<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>\n");
        }
        *page += "</tbody>\n</table>\n";
    }
}

fn ended(ended: Ended) -> &'static str {
    match ended {
        Ended::SoldOut => "sold out",
        Ended::BuyersDone => "every buyer was done",
        Ended::Deadline => "the time was up",
        Ended::ServerGone => "the server did not answer any more",
    }
}

/// With as many digits as tell something.
fn milliseconds(ms: f64) -> String {
    match ms {
        _ if ms < 10.0 => format!("{ms:.2} ms"),
        _ if ms < 100.0 => format!("{ms:.1} ms"),
        _ => format!("{} ms", group(ms.round() as u64)),
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_escaped() {
        assert_eq!(escape("<b>\"R&B\"</b>"), "&lt;b&gt;&quot;R&amp;B&quot;&lt;/b&gt;");
    }

    #[test]
    fn milliseconds_have_three_digits_or_so() {
        let texts = [0.123, 12.34, 640.2, 1234.0].map(milliseconds);
        assert_eq!(texts, ["0.12 ms", "12.3 ms", "640 ms", "1,234 ms"]);
    }
}
