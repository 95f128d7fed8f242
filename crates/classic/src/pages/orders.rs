//! The organizer's orders: the list with its search, and an order's page.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::session::{LoggedIn, Posted};
use super::{Answer, page, told};
use crate::accounts::Session;
use crate::catalogue::{self, Page};
use crate::error::Error;
use crate::orders::{self, By, Filter, Listed, Order, Status};
use crate::serve::Office;
use crate::{money, time};

/// What is looked for.
#[derive(Deserialize, Default)]
pub struct Wanted {
    #[serde(default)]
    pub event: String,
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub q: String,
    pub page: Option<i64>,
    pub done: Option<String>,
}

impl Wanted {
    pub fn filter(&self, organizer_id: i64) -> Filter {
        Filter {
            organizer_id,
            event: Some(self.event.clone()).filter(|event| !event.is_empty()),
            status: Status::from_word(&self.status),
            search: self.q.chars().take(100).collect(),
        }
    }

    /// The same again, as a query.
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("event", &self.event), ("status", &self.status), ("q", &self.q)] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }
}

#[derive(Template)]
#[template(path = "orders.html")]
struct Orders {
    session: Session,
    wanted: Wanted,
    query: String,
    /// What the number of a page is put behind.
    link: String,
    statuses: [Status; 3],
    events: Vec<(String, String)>,
    orders: Page<Listed>,
}

/// The list.
pub async fn list(
    State(office): State<Office>,
    LoggedIn(session): LoggedIn,
    Query(wanted): Query<Wanted>,
) -> Answer {
    let (organizer, filter) = (session.organizer_id, wanted.filter(session.organizer_id));
    let number = wanted.page.unwrap_or(1).clamp(1, 10_000);
    let (events, orders) = office
        .db
        .read(move |tx| {
            let events = catalogue::own_events(tx, organizer, 1)?.items.into_iter();
            let events = events.map(|listed| (listed.event.slug, listed.event.name)).collect();
            Ok((events, orders::list(tx, &filter, number)?))
        })
        .await?;
    let query = wanted.query();
    let link = match query.as_str() {
        "" => "/office/orders?".to_owned(),
        query => format!("/office/orders?{query}&"),
    };
    Ok(page(&Orders { session, wanted, query, link, statuses: Status::ALL, events, orders }))
}

#[derive(Template)]
#[template(path = "order.html")]
struct OneOrder {
    session: Session,
    told: &'static str,
    order: Order,
}

/// An order.
pub async fn show(
    State(office): State<Office>,
    LoggedIn(session): LoggedIn,
    Path(code): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer {
    let order = office.db.read(move |tx| orders::order(tx, &code)).await?;
    if order.organizer_id != session.organizer_id {
        return Err(Error::unknown("order", order.code).into());
    }
    Ok(page(&OneOrder { session, told: told(wanted.done.as_deref().unwrap_or_default()), order }))
}

/// Cancels an order.
pub async fn cancel(
    State(office): State<Office>,
    Path(code): Path<String>,
    Posted { session, .. }: Posted,
) -> Answer {
    let by = By::Organizer(session.organizer_id);
    let order = office.db.write(move |tx| orders::cancel(tx, &code, by, time::now())).await?;
    Ok(Redirect::to(&format!("/office/orders/{}?done=cancelled", order.code)).into_response())
}
