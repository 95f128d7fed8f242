//! The forms of an event's parts: its stocks and its ticket types.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::form::Form;
use super::office::{change, to_event};
use super::session::{LoggedIn, Posted};
use super::{Answer, page, page_with};
use crate::accounts::Session;
use crate::catalogue::{self, StockFields, TypeFields, Whole, own_event};
use crate::error::Error;
use crate::money;
use crate::serve::Office;

/// Reads the last part of the address: an id, or `new`.
fn part(id: &str) -> Result<Option<i64>, Error> {
    match id {
        "new" => Ok(None),
        id => id.parse().map(Some).map_err(|_| Error::unknown("part of the event", id)),
    }
}

async fn event(office: &Office, session: &Session, slug: String) -> Result<Whole, Error> {
    let organizer = session.organizer_id;
    office
        .db
        .read(move |tx| {
            let event = own_event(tx, organizer, &slug)?;
            catalogue::whole(tx, event)
        })
        .await
}

#[derive(Template)]
#[template(path = "stock_form.html")]
struct StockForm {
    session: Session,
    whole: Whole,
    /// The id, or `new`.
    id: String,
    sold: i64,
    form: Form,
}

/// A stock's form.
pub async fn edit_stock(
    State(office): State<Office>,
    LoggedIn(session): LoggedIn,
    Path((slug, id)): Path<(String, String)>,
) -> Answer {
    let whole = event(&office, &session, slug).await?;
    let Some(number) = part(&id)? else {
        let form = Form::of(&[("blocked", "0".to_owned())]);
        return Ok(page(&StockForm { session, whole, id, sold: 0, form }));
    };
    let stock = whole
        .stocks
        .iter()
        .find(|stock| stock.id == number)
        .ok_or_else(|| Error::unknown("stock", number))?;
    let form = Form::of(&[
        ("name", stock.name.clone()),
        ("capacity", stock.capacity.to_string()),
        ("blocked", stock.blocked.to_string()),
    ]);
    let sold = stock.sold;
    Ok(page(&StockForm { session, whole, id, sold, form }))
}

/// Makes or changes a stock.
pub async fn save_stock(
    State(office): State<Office>,
    Path((slug, id)): Path<(String, String)>,
    Posted { session, mut form }: Posted,
) -> Answer {
    let number = part(&id)?;
    let fields = StockFields {
        name: form.get("name").to_owned(),
        capacity: form.number("capacity"),
        blocked: form.number("blocked"),
    };
    if form.is_right() {
        let (organizer, of) = (session.organizer_id, slug.clone());
        let saved =
            office.db.write(move |tx| catalogue::save_stock(tx, organizer, &of, number, &fields));
        match saved.await {
            Ok(_) => return Ok(to_event(&slug)),
            Err(error) => form.take(error)?,
        }
    }
    let whole = event(&office, &session, slug).await?;
    let sold =
        whole.stocks.iter().find(|stock| Some(stock.id) == number).map_or(0, |stock| stock.sold);
    Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &StockForm { session, whole, id, sold, form }))
}

/// Takes a stock away.
pub async fn delete_stock(
    State(office): State<Office>,
    Path((slug, id)): Path<(String, i64)>,
    Posted { session, .. }: Posted,
) -> Answer {
    let then = format!("/office/events/{slug}?done=deleted");
    change(
        &office,
        session,
        slug,
        move |tx, organizer, slug| catalogue::delete_stock(tx, organizer, slug, id),
        then,
    )
    .await
}

#[derive(Template)]
#[template(path = "type_form.html")]
struct TypeForm {
    session: Session,
    whole: Whole,
    /// The id, or `new`.
    id: String,
    form: Form,
}

/// A ticket type's form.
pub async fn edit_type(
    State(office): State<Office>,
    LoggedIn(session): LoggedIn,
    Path((slug, id)): Path<(String, String)>,
) -> Answer {
    let whole = event(&office, &session, slug).await?;
    let Some(number) = part(&id)? else {
        let next = whole.types.iter().map(|kind| kind.position + 1).max().unwrap_or(1);
        let form = Form::of(&[("active", "1".to_owned()), ("position", next.to_string())]);
        return Ok(page(&TypeForm { session, whole, id, form }));
    };
    let kind = whole.types.iter().find(|kind| kind.id == number);
    let kind = kind.ok_or_else(|| Error::unknown("ticket type", number))?;
    let form = Form::of(&[
        ("name", kind.name.clone()),
        ("description", kind.description.clone()),
        ("price", money::text(kind.price_minor, &whole.event.currency)),
        ("stock", kind.stock_id.to_string()),
        ("active", if kind.active { "1".to_owned() } else { String::new() }),
        ("position", kind.position.to_string()),
    ]);
    Ok(page(&TypeForm { session, whole, id, form }))
}

/// Makes or changes a ticket type.
pub async fn save_type(
    State(office): State<Office>,
    Path((slug, id)): Path<(String, String)>,
    Posted { session, mut form }: Posted,
) -> Answer {
    let number = part(&id)?;
    let whole = event(&office, &session, slug.clone()).await?;
    let fields = TypeFields {
        // What is no number is no stock of the event.
        stock_id: form.get("stock").parse().unwrap_or(0),
        name: form.get("name").to_owned(),
        description: form.get("description").to_owned(),
        price_minor: form.amount("price", &whole.event.currency),
        active: form.get("active") == "1",
        position: form.number("position"),
    };
    if form.is_right() {
        let (organizer, of) = (session.organizer_id, slug.clone());
        let saved =
            office.db.write(move |tx| catalogue::save_type(tx, organizer, &of, number, &fields));
        match saved.await {
            Ok(_) => return Ok(to_event(&slug)),
            Err(error) => form.take(error)?,
        }
    }
    Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &TypeForm { session, whole, id, form }))
}

/// Takes a ticket type away.
pub async fn delete_type(
    State(office): State<Office>,
    Path((slug, id)): Path<(String, i64)>,
    Posted { session, .. }: Posted,
) -> Answer {
    let then = format!("/office/events/{slug}?done=deleted");
    change(
        &office,
        session,
        slug,
        move |tx, organizer, slug| catalogue::delete_type(tx, organizer, slug, id),
        then,
    )
    .await
}
