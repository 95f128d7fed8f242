//! Orders as CSV, of any number: read and sent piece by piece.

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::IntoResponse as _;
use futures_util::stream;

use super::Answer;
use super::orders::Wanted;
use super::session::LoggedIn;
use crate::error::Error;
use crate::orders::{Listed, export};
use crate::serve::Office;
use crate::{money, time};

const HEAD: &str =
    "code,event,customer,status,tickets,total,currency,channel,created_at,paid_at\r\n";

/// All orders that the list would show.
pub async fn csv(
    State(office): State<Office>,
    LoggedIn(session): LoggedIn,
    Query(wanted): Query<Wanted>,
) -> Answer {
    let filter = wanted.filter(session.organizer_id);
    // Where to go on, and what stands before the first piece.
    let begin = Some((0, HEAD));
    let pieces = stream::try_unfold(begin, move |at| {
        let (db, filter) = (office.db.clone(), filter.clone());
        async move {
            let Some((after, head)) = at else { return Ok(None) };
            let piece = db.read(move |tx| export(tx, &filter, after)).await?;
            let text = piece.orders.iter().fold(head.to_owned(), |text, order| text + &line(order));
            Ok::<_, Error>(Some((Bytes::from(text), piece.next.map(|next| (next, "")))))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"orders.csv\""),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

fn line(order: &Listed) -> String {
    let cells = [
        order.code.clone(),
        order.event.clone(),
        order.customer.clone(),
        order.status.word().to_owned(),
        order.tickets.to_string(),
        money::text(order.total_minor, &order.currency),
        order.currency.clone(),
        order.channel.clone(),
        time::text(order.created_at),
        order.paid_at.map(time::text).unwrap_or_default(),
    ];
    cells.map(|text| cell(&text)).join(",") + "\r\n"
}

/// A cell as RFC 4180 wants it. What a spreadsheet would take for a formula gets an apostrophe before it.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    match text.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn cells_are_quoted_and_never_formulas() {
        for (text, written) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "'=1+1"),
            ("@home, 2", "\"'@home, 2\""),
        ] {
            assert_eq!(cell(text), written);
        }
    }
}
