//! The report as a table for people: a name, then figures in columns.

use std::fmt;

use super::{Latency, Percentiles, Report};

pub(super) fn write(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write_stock(report, f)?;
    write_crowd(report, f)?;
    let ops = &report.operations;
    row(
        f,
        "answers/s",
        &format!(
            "{}  ({} accepted, {} refused, {} at most)",
            whole(ops.per_second),
            whole(ops.accepted_per_second),
            whole(ops.refused_per_second),
            group(ops.per_second_max),
        ),
    )?;
    row(f, "generator's core", &format!("{:.0} %", report.cpu_percent))?;
    write_latencies(report, f)?;
    write_counts(f, "refused", report.refusals.iter().map(|(k, v)| (k.as_str(), *v)))?;
    write_counts(f, "errors", report.errors.iter().map(|(k, v)| (*k, *v)))?;
    if report.put_off > 0 {
        row(f, "put off", &format!("{} answers said \"later\"", group(report.put_off)))?;
    }
    if report.reconnects > 0 {
        row(f, "reconnects", &group(report.reconnects))?;
    }
    let problems = report.verification.iter().flat_map(|v| &v.problems);
    for problem in problems {
        row(f, "wrong", problem)?;
    }
    for warning in &report.warnings {
        row(f, "warning", warning)?;
    }
    Ok(())
}

fn write_stock(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Some(stock) = &report.stock {
        let share = match report.seconds_to_sold_out {
            Some(seconds) if report.sold_out => format!("  (sold out in {seconds:.1} s)"),
            _ => String::new(),
        };
        let (sold, tickets) = (group(stock.sold), group(stock.tickets));
        row(f, "sold", &format!("{sold} of {tickets}{share}"))?;
    }
    row(f, "oversold", &group(report.oversold))?;
    match &report.verification {
        Some(v) => row(
            f,
            "lost",
            &format!(
                "{}  ({} orders asked for, {} unknown; {} codes twice)",
                group(v.lost + v.changed),
                group(v.checked),
                group(v.unchecked),
                group(v.duplicate_orders + v.duplicate_tickets),
            ),
        )?,
        None => row(f, "lost", "not verified")?,
    }
    row(f, "orders", &format!("{} with {} tickets", group(report.orders), group(report.tickets)))?;
    let resold = report.stock.as_ref().and_then(|s| s.resold);
    let resold =
        resold.map_or(String::new(), |n| format!(", {} of the main stock sold again", group(n)));
    row(
        f,
        "abandoned",
        &format!(
            "{} of {} holds, {} tickets{resold}",
            group(report.abandoned_holds),
            group(report.holds),
            group(report.abandoned_tickets),
        ),
    )
}

fn write_crowd(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let fates = &report.fates;
    let fates: Vec<String> = [
        ("served", fates.served),
        ("abandoned", fates.abandoned),
        ("told sold out", fates.sold_out),
        ("gave up", fates.gave_up),
        ("turned away", fates.turned_away),
        ("lost touch", fates.lost_touch),
        ("unfinished", fates.unfinished),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(name, count)| format!("{} {name}", group(count)))
    .collect();
    let (arrived, buyers) = (group(report.buyers_arrived), group(report.buyers));
    row(f, "buyers", &format!("{arrived} of {buyers}  ({})", fates.join(", ")))?;
    row(f, "sockets", &report.sockets_told())
}

fn write_latencies(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "{:<18}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "latency, ms", "count", "p50", "p99", "p99.9", "max"
    )?;
    let kinds =
        [("hold", &report.hold_ms), ("order", &report.order_ms), ("payment", &report.payment_ms)];
    for (kind, Latency { accepted, refused, .. }) in kinds {
        for (outcome, figures) in [("accepted", accepted), ("refused", refused)] {
            let Percentiles { count, p50, p99, p999, max } = figures;
            if *count > 0 {
                let (name, count) = (format!("  {kind} {outcome}"), group(*count));
                writeln!(f, "{name:<18}{count:>10}{p50:>10.2}{p99:>10.2}{p999:>10.2}{max:>10.2}")?;
            }
        }
    }
    Ok(())
}

fn write_counts<'a>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    counts: impl Iterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let counts: Vec<String> = counts.map(|(kind, n)| format!("{kind} {}", group(n))).collect();
    if counts.is_empty() { Ok(()) } else { row(f, name, &counts.join(", ")) }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "{name:<18}{value}")
}

fn whole(number: f64) -> String {
    group(number.round() as u64)
}

/// A number with a comma between groups of three digits: `20000` as `20,000`.
#[must_use]
pub fn group(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn digits_are_grouped() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (20_000, "20,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(super::group(number), text);
        }
    }
}
