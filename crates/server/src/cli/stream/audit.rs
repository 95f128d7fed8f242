//! `onsale stream audit`: the books of a copy of the sales.

use onsale_bus::{Bus, From, Limits, StreamName};
use serde_json::Value;

use super::OfStream;
use super::books::Books;
use crate::cli::say;

/// `onsale stream audit`
pub async fn run(of: &OfStream) -> anyhow::Result<()> {
    let bus = of.at.place.open().await?;
    let books = read(&bus, &of.stream).await?;
    #[cfg(feature = "redis")]
    if let Bus::Redis(redis) = &bus {
        redis.check(&of.stream).await?;
    }
    let report = books.report();
    match of.at.json {
        true => say(&report.to_string()),
        false => say(&to_text(&report)),
    }
    // The log of every shard has a first record.
    anyhow::ensure!(
        report["records"] != 0,
        "{} has no record: it is no copy of the sales",
        of.at.place
    );
    anyhow::ensure!(report["ok"] == true, "the books of {} are not right", of.at.place);
    Ok(())
}

/// Reads all that there is, parents before children, so that each event's records come in their order.
async fn read(bus: &Bus, stream: &StreamName) -> anyhow::Result<Books> {
    let mut books = Books::default();
    for shard in bus.describe(stream).await?.shards {
        let mut from = From::Start;
        loop {
            let page = bus.read(stream, &shard.id, from, Limits::default()).await?;
            page.records.iter().for_each(|record| books.take(&record.payload));
            // What comes after the end that was told is for another time.
            let reached =
                page.records.last().is_some_and(|record| Some(record.position) >= shard.last);
            if page.ended || page.records.is_empty() || (shard.last.is_some() && reached) {
                break;
            }
            from = page.next;
        }
    }
    Ok(books)
}

/// For people.
fn to_text(report: &Value) -> String {
    let numbers = |of: &str| -> String {
        let numbers = report[of].as_object().into_iter().flatten();
        numbers
            .map(|(what, n)| format!("{n} {what}").replace('_', " "))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut text = format!("records   {}, and {} doubles", report["records"], report["doubles"]);
    for of in ["holds", "orders", "payments"] {
        text += &format!("\n{of:9} {}", numbers(of));
    }
    for event in report["events"].as_array().into_iter().flatten() {
        text += &format!("\n\n{}/{}", plain(&event["organizer"]), plain(&event["event"]));
        for quota in event["quotas"].as_array().into_iter().flatten() {
            let [allotment, free, held, sold] =
                ["allotment", "free", "held", "sold"].map(|of| plain(&quota[of]));
            text += &format!(
                "\n  {:24} allotment {allotment}, free {free}, held {held}, sold {sold}",
                plain(&quota["id"])
            );
        }
    }
    for finding in report["findings"].as_array().into_iter().flatten() {
        text += &format!("\n\nWRONG  {}", plain(finding));
    }
    match report["ok"] == true {
        true => {
            text + "\n\nok: no record is missing, each event's are in order, and the books are right"
        }
        false => text + &format!("\n\n{} findings", report["findings_count"]),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "unlimited".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
