//! The plain shop: what is for sale, a form that buys it, and the order's page.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse as _, Redirect};
use serde::Deserialize;

use super::form::Form;
use super::session::{PlainForm, cookie, set_cookie};
use super::{Answer, page, page_with, told};
use crate::catalogue::{self, Event, Page, Status as EventStatus, Whole};
use crate::error::Error;
use crate::orders::{self, By, Order, Paid, TICKETS_MAX};
use crate::serve::Office;
use crate::{codes, money, time};

/// Who a browser is, for the limits per customer: random, and nothing else.
const BUYER: &str = "boxoffice_buyer";
/// How long a browser stays the same buyer.
const BUYER_SECONDS: i64 = 180 * 86_400;

/// What stands behind a page's address.
#[derive(Deserialize)]
pub struct Wanted {
    page: Option<i64>,
    done: Option<String>,
}

#[derive(Template)]
#[template(path = "shop.html")]
struct Shop {
    events: Page<Event>,
}

/// What is for sale.
pub async fn events(State(office): State<Office>, Query(wanted): Query<Wanted>) -> Answer {
    let number = wanted.page.unwrap_or(1).clamp(1, 10_000);
    let events = office.db.read(move |tx| catalogue::public_events(tx, number)).await?;
    Ok(page(&Shop { events }))
}

#[derive(Template)]
#[template(path = "shop_event.html")]
struct ShopEvent {
    whole: Whole,
    closed: Option<String>,
    form: Form,
    key: String,
    tickets_max: i64,
}

async fn shown(office: &Office, slug: String, form: Form, status: StatusCode) -> Answer {
    let found = office.db.read(move |tx| {
        let event = catalogue::event_by_slug(tx, &slug)?;
        match event.status {
            EventStatus::Draft => Err(Error::unknown("event", &slug)),
            _ => catalogue::whole(tx, event),
        }
    });
    let whole = found.await?;
    let closed = whole.event.closed_since(time::now());
    // The same form sent twice makes one order.
    let key = codes::secret();
    let tickets_max = whole.event.customer_limit.unwrap_or(TICKETS_MAX).min(TICKETS_MAX);
    Ok(page_with(status, &ShopEvent { whole, closed, form, key, tickets_max }))
}

/// An event.
pub async fn event(State(office): State<Office>, Path(slug): Path<String>) -> Answer {
    shown(&office, slug, Form::default(), StatusCode::OK).await
}

/// Buys.
pub async fn buy(
    State(office): State<Office>,
    Path(slug): Path<String>,
    headers: HeaderMap,
    PlainForm(mut form): PlainForm,
) -> Answer {
    let known = cookie(&headers, BUYER).filter(|buyer| (1..=64).contains(&buyer.len()));
    let buyer = known.map_or_else(codes::secret, str::to_owned);
    let mut lines = Vec::new();
    let mut wrong = Vec::new();
    for (name, value) in form.each() {
        let Some(kind) = name.strip_prefix("type-").and_then(|id| id.parse::<i64>().ok()) else {
            continue;
        };
        match value.trim() {
            "" | "0" => {}
            value => match value.parse() {
                Ok(quantity) => lines.push((kind, quantity)),
                Err(_) => wrong.push(name.to_owned()),
            },
        }
    }
    wrong.iter().for_each(|name| form.refuse(name, "must be a whole number"));
    if form.is_right() && lines.is_empty() {
        form.refuse("", "Choose at least one ticket.");
    }
    if form.is_right() {
        let key = Some(form.get("key").to_owned()).filter(|key| !key.is_empty());
        let wanted = orders::Wanted {
            customer: buyer.clone(),
            lines,
            channel: "shop".to_owned(),
            client_key: key,
        };
        let of = slug.clone();
        match office.db.write(move |tx| orders::sell(tx, &of, &wanted, time::now())).await {
            Ok(order) => {
                let cookie = set_cookie(&office, BUYER, &buyer, BUYER_SECONDS);
                let to = Redirect::to(&format!("/orders/{}", order.code));
                return Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), to).into_response());
            }
            Err(Error::Invalid(wrong)) => {
                let all = wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                form.refuse("", super::sentence(&all));
            }
            Err(Error::Refused(refusal)) => form.refuse("", super::sentence(&refusal.to_string())),
            Err(error) => return Err(error.into()),
        }
    }
    shown(&office, slug, form, StatusCode::UNPROCESSABLE_ENTITY).await
}

#[derive(Template)]
#[template(path = "shop_order.html")]
struct ShopOrder {
    told: &'static str,
    order: Order,
}

/// An order. Its code is the key to it.
pub async fn order(
    State(office): State<Office>,
    Path(code): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer {
    let order = office.db.read(move |tx| orders::order(tx, &code)).await?;
    Ok(page(&ShopOrder { told: told(wanted.done.as_deref().unwrap_or_default()), order }))
}

/// Pays. No money moves: this stands for a provider's page.
pub async fn pay(State(office): State<Office>, Path(code): Path<String>, _: PlainForm) -> Answer {
    let paid = Paid { provider: "test".to_owned(), reference: codes::order(), amount_minor: None };
    let order = office.db.write(move |tx| orders::pay(tx, &code, &paid, time::now())).await?;
    Ok(Redirect::to(&format!("/orders/{}?done=paid", order.code)).into_response())
}

/// Cancels what is not paid.
pub async fn cancel(
    State(office): State<Office>,
    Path(code): Path<String>,
    _: PlainForm,
) -> Answer {
    let order =
        office.db.write(move |tx| orders::cancel(tx, &code, By::Buyer, time::now())).await?;
    Ok(Redirect::to(&format!("/orders/{}", order.code)).into_response())
}
