//! The JSON API: buyers list events, order, pay and cancel; with a key, an organizer's programs read and cancel its
//! orders. What goes wrong is `application/problem+json`, with each field that breaks a rule.

mod problem;
mod read;
mod shapes;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::accounts::organizer_of_key;
use crate::catalogue::{Status, event_by_slug, public_events, whole};
use crate::error::Error;
use crate::orders::{self, By, Filter, Paid, Wanted};
use crate::serve::Office;
use crate::{codes, time};
pub use problem::Problem;
use read::{Body, Query};
use shapes::{EventJson, ListJson, ListedJson, NewOrder, OrderJson, Payment};

type Answer = Result<Response, Problem>;

/// All routes below `/api`.
pub fn routes() -> Router<Office> {
    Router::new()
        .route("/api/events", get(list_events))
        .route("/api/events/{slug}", get(show_event))
        .route("/api/orders", get(list_orders).post(create_order))
        .route("/api/orders/{code}", get(show_order))
        .route("/api/orders/{code}/pay", post(pay_order))
        .route("/api/orders/{code}/cancel", post(cancel_order))
        .route("/api/{*rest}", axum::routing::any(unknown))
}

async fn unknown() -> Answer {
    Err(Error::unknown("such address", "below /api").into())
}

async fn list_events(State(office): State<Office>, query: Query) -> Answer {
    let page = query.page()?;
    query.only(&["page"])?;
    let page = office.db.read(move |tx| public_events(tx, page)).await?;
    let now = time::now();
    Ok(Json(ListJson::of("events", page, |event| EventJson::brief(&event, now))).into_response())
}

async fn show_event(State(office): State<Office>, Path(slug): Path<String>) -> Answer {
    let found = office.db.read(move |tx| {
        let event = event_by_slug(tx, &slug)?;
        // A draft is nobody's business yet.
        match event.status {
            Status::Draft => Err(Error::unknown("event", &slug)),
            _ => whole(tx, event),
        }
    });
    Ok(Json(EventJson::whole(&found.await?, time::now())).into_response())
}

async fn create_order(
    State(office): State<Office>,
    headers: HeaderMap,
    body: Body<NewOrder>,
) -> Answer {
    let NewOrder { event, customer, lines, channel, client_key } = body.0;
    let header = match headers.get("idempotency-key").map(|key| key.to_str().map(str::to_owned)) {
        None => None,
        Some(Ok(key)) => Some(key),
        Some(Err(_)) => return Err(Error::field("Idempotency-Key", "must be plain ASCII").into()),
    };
    let wanted = Wanted {
        customer,
        lines: lines.into_iter().map(|line| (line.ticket_type, line.quantity)).collect(),
        channel: channel.unwrap_or_else(|| "api".to_owned()),
        client_key: client_key.or(header),
    };
    let order = office.db.write(move |tx| orders::sell(tx, &event, &wanted, time::now())).await?;
    let place = [("location", format!("/api/orders/{}", order.code))];
    Ok((StatusCode::CREATED, place, Json(OrderJson::of(&order))).into_response())
}

async fn show_order(State(office): State<Office>, Path(code): Path<String>) -> Answer {
    let order = office.db.read(move |tx| orders::order(tx, &code.to_uppercase())).await?;
    Ok(Json(OrderJson::of(&order)).into_response())
}

async fn pay_order(
    State(office): State<Office>,
    Path(code): Path<String>,
    body: Body<Payment>,
) -> Answer {
    let Payment { provider, reference, amount_minor } = body.0;
    for (field, text) in [("provider", &provider), ("reference", &reference)] {
        if text.as_ref().is_some_and(|text| !(1..=100).contains(&text.len())) {
            return Err(Error::field(field, "must be 1 to 100 bytes long").into());
        }
    }
    let paid = Paid {
        // No money moves: this stands for a provider that tells of a payment.
        provider: provider.unwrap_or_else(|| "test".to_owned()),
        reference: reference.unwrap_or_else(codes::order),
        amount_minor,
    };
    let order = office
        .db
        .write(move |tx| orders::pay(tx, &code.to_uppercase(), &paid, time::now()))
        .await?;
    Ok(Json(OrderJson::of(&order)).into_response())
}

async fn cancel_order(
    State(office): State<Office>,
    Path(code): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let by = match headers.contains_key("authorization") {
        true => By::Organizer(organizer(&office, &headers).await?),
        false => By::Buyer,
    };
    let order = office
        .db
        .write(move |tx| orders::cancel(tx, &code.to_uppercase(), by, time::now()))
        .await?;
    Ok(Json(OrderJson::of(&order)).into_response())
}

async fn list_orders(State(office): State<Office>, headers: HeaderMap, query: Query) -> Answer {
    let organizer_id = organizer(&office, &headers).await?;
    let page = query.page()?;
    query.only(&["page", "event", "status", "q"])?;
    let status = match query.get("status") {
        None => None,
        Some(word) => {
            let status = orders::Status::from_word(word);
            Some(
                status
                    .ok_or_else(|| Error::field("status", "must be pending, paid or cancelled"))?,
            )
        }
    };
    let event = query.get("event").map(str::to_owned);
    let filter = Filter {
        organizer_id,
        event,
        status,
        search: query.get("q").unwrap_or_default().to_owned(),
    };
    let page = office.db.read(move |tx| orders::list(tx, &filter, page)).await?;
    Ok(Json(ListJson::of("orders", page, |order| ListedJson::of(&order))).into_response())
}

/// The organizer whose key a request carries.
async fn organizer(office: &Office, headers: &HeaderMap) -> Result<i64, Problem> {
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    let key = given.and_then(|value| value.strip_prefix("Bearer "));
    let Some(key) = key else {
        return Err(Problem::unauthorized("Authorization must be `Bearer` and a key"));
    };
    let found = organizer_of_key(&office.db, key.trim()).await?;
    found.ok_or_else(|| Problem::unauthorized("Authorization: there is no such key"))
}
