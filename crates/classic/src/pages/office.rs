//! The organizer's events: the list, an event's page, and its form.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::form::Form;
use super::session::{LoggedIn, Posted};
use super::{Answer, page, page_with, told};
use crate::accounts::Session;
use crate::catalogue::{self, Event, EventFields, Listed, Page, Status, Whole, own_event};
use crate::error::Error;
use crate::serve::Office;
use crate::{money, time};

/// What stands behind a page's address.
#[derive(Deserialize)]
pub struct Wanted {
    page: Option<i64>,
    done: Option<String>,
}

#[derive(Template)]
#[template(path = "events.html")]
struct Events {
    session: Session,
    told: &'static str,
    events: Page<Listed>,
}

/// The list.
pub async fn events(
    State(office): State<Office>,
    LoggedIn(session): LoggedIn,
    Query(wanted): Query<Wanted>,
) -> Answer {
    let (organizer, number) = (session.organizer_id, wanted.page.unwrap_or(1).clamp(1, 10_000));
    let events = office.db.read(move |tx| catalogue::own_events(tx, organizer, number)).await?;
    Ok(page(&Events { session, told: told(wanted.done.as_deref().unwrap_or_default()), events }))
}

#[derive(Template)]
#[template(path = "event.html")]
struct OneEvent {
    session: Session,
    told: &'static str,
    refused: String,
    whole: Whole,
    sells: Option<String>,
}

/// An event.
pub async fn event(
    State(office): State<Office>,
    LoggedIn(session): LoggedIn,
    Path(slug): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer {
    let told = told(wanted.done.as_deref().unwrap_or_default());
    show(&office, session, slug, told, String::new(), StatusCode::OK).await
}

async fn show(
    office: &Office,
    session: Session,
    slug: String,
    told: &'static str,
    refused: String,
    status: StatusCode,
) -> Answer {
    let organizer = session.organizer_id;
    let whole = office.db.read(move |tx| {
        let event = own_event(tx, organizer, &slug)?;
        catalogue::whole(tx, event)
    });
    let whole = whole.await?;
    let sells = whole.event.closed_since(time::now());
    Ok(page_with(status, &OneEvent { session, told, refused, whole, sells }))
}

/// Carries a change to an event out; what forbids it is said on the event's page.
pub async fn change(
    office: &Office,
    session: Session,
    slug: String,
    change: impl Fn(&mut crate::database::Tx<'_>, i64, &str) -> Result<(), Error> + Send + 'static,
    then: String,
) -> Answer {
    let (organizer, of) = (session.organizer_id, slug.clone());
    match office.db.write(move |tx| change(tx, organizer, &of)).await {
        Ok(()) => Ok(Redirect::to(&then).into_response()),
        Err(error @ (Error::Invalid(_) | Error::Refused(_))) => {
            show(
                office,
                session,
                slug,
                "",
                super::sentence(&error.to_string()),
                StatusCode::CONFLICT,
            )
            .await
        }
        Err(error) => Err(error.into()),
    }
}

/// Puts it on sale, pauses or closes it.
pub async fn set_status(
    State(office): State<Office>,
    Path(slug): Path<String>,
    Posted { session, form }: Posted,
) -> Answer {
    let Some(status) = Status::from_word(form.get("status")) else {
        return Err(Error::field("status", "must be draft, on_sale, paused or closed").into());
    };
    let then = format!("/office/events/{slug}?done=saved");
    change(
        &office,
        session,
        slug,
        move |tx, organizer, slug| catalogue::set_status(tx, organizer, slug, status),
        then,
    )
    .await
}

/// Takes it away.
pub async fn delete_event(
    State(office): State<Office>,
    Path(slug): Path<String>,
    Posted { session, .. }: Posted,
) -> Answer {
    change(&office, session, slug, catalogue::delete_event, "/office?done=deleted".to_owned()).await
}

#[derive(Template)]
#[template(path = "event_form.html")]
struct EventForm {
    session: Session,
    /// The slug of the event that is changed; empty: a new one.
    slug: String,
    form: Form,
}

/// An empty form.
pub async fn new_event(LoggedIn(session): LoggedIn) -> Answer {
    let form = Form::of(&[("currency", "EUR".to_owned()), ("payment_minutes", "15".to_owned())]);
    Ok(page(&EventForm { session, slug: String::new(), form }))
}

/// A form with what the event is.
pub async fn edit_event(
    State(office): State<Office>,
    LoggedIn(session): LoggedIn,
    Path(slug): Path<String>,
) -> Answer {
    let organizer = session.organizer_id;
    let event = office.db.read(move |tx| own_event(tx, organizer, &slug)).await?;
    let form = filled(&event);
    Ok(page(&EventForm { session, slug: event.slug, form }))
}

fn filled(event: &Event) -> Form {
    let at = |at: Option<jiff::Timestamp>| at.map(time::for_field).unwrap_or_default();
    Form::of(&[
        ("name", event.name.clone()),
        ("slug", event.slug.clone()),
        ("description", event.description.clone()),
        ("venue", event.venue.clone()),
        ("starts_at", time::for_field(event.starts_at)),
        ("sale_opens_at", at(event.sale_opens_at)),
        ("sale_closes_at", at(event.sale_closes_at)),
        ("currency", event.currency.clone()),
        ("customer_limit", event.customer_limit.map(|limit| limit.to_string()).unwrap_or_default()),
        ("payment_minutes", event.payment_minutes.to_string()),
    ])
}

/// Makes an event.
pub async fn create_event(State(office): State<Office>, posted: Posted) -> Answer {
    save(&office, posted, String::new()).await
}

/// Changes an event.
pub async fn save_event(
    State(office): State<Office>,
    Path(slug): Path<String>,
    posted: Posted,
) -> Answer {
    save(&office, posted, slug).await
}

async fn save(office: &Office, Posted { session, mut form }: Posted, old: String) -> Answer {
    let fields = EventFields {
        slug: form.get("slug").trim().to_owned(),
        name: form.get("name").to_owned(),
        description: form.get("description").to_owned(),
        venue: form.get("venue").to_owned(),
        starts_at: form.time("starts_at"),
        sale_opens_at: form.maybe_time("sale_opens_at"),
        sale_closes_at: form.maybe_time("sale_closes_at"),
        currency: form.get("currency").trim().to_uppercase(),
        customer_limit: form.maybe_number("customer_limit"),
        payment_minutes: form.number("payment_minutes"),
    };
    if form.is_right() {
        let (organizer, of, new) = (session.organizer_id, old.clone(), fields.clone());
        let saved = office.db.write(move |tx| {
            let of = Some(of.as_str()).filter(|slug| !slug.is_empty());
            catalogue::save_event(tx, organizer, of, &new)
        });
        match saved.await {
            Ok(()) => return Ok(to_event(&fields.slug)),
            Err(error) => form.take(error)?,
        }
    }
    Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &EventForm { session, slug: old, form }))
}

/// To an event's page, which says that it is saved.
pub fn to_event(slug: &str) -> Response {
    Redirect::to(&format!("/office/events/{slug}?done=saved")).into_response()
}
