//! The pages: the organizer's office, and a plain shop. All are rendered here; none needs JavaScript.

mod export;
mod form;
mod office;
mod orders;
mod parts;
mod session;
mod shop;

use askama::Template;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};

use crate::error::Error;
use crate::serve::Office;

const STYLE: &str = include_str!("../static/style.css");

/// All routes of the pages.
pub fn routes() -> Router<Office> {
    let office = Router::new()
        .route("/login", get(session::show).post(session::log_in))
        .route("/logout", post(session::log_out))
        .route("/events/new", get(office::new_event).post(office::create_event))
        .route("/events/{slug}", get(office::event))
        .route("/events/{slug}/edit", get(office::edit_event).post(office::save_event))
        .route("/events/{slug}/status", post(office::set_status))
        .route("/events/{slug}/delete", post(office::delete_event))
        .route("/events/{slug}/stocks/{id}", get(parts::edit_stock).post(parts::save_stock))
        .route("/events/{slug}/stocks/{id}/delete", post(parts::delete_stock))
        .route("/events/{slug}/types/{id}", get(parts::edit_type).post(parts::save_type))
        .route("/events/{slug}/types/{id}/delete", post(parts::delete_type))
        .route("/orders", get(orders::list))
        .route("/orders.csv", get(export::csv))
        .route("/orders/{code}", get(orders::show))
        .route("/orders/{code}/cancel", post(orders::cancel));
    Router::new()
        .route("/", get(shop::events))
        .route("/events/{slug}", get(shop::event).post(shop::buy))
        .route("/orders/{code}", get(shop::order))
        .route("/orders/{code}/pay", post(shop::pay))
        .route("/orders/{code}/cancel", post(shop::cancel))
        .route("/style.css", get(style))
        .route("/office", get(office::events))
        .nest("/office", office)
        .fallback(async || Refused::from(Error::unknown("page", "at this address")))
}

async fn style() -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=600")];
    (headers, STYLE).into_response()
}

/// A page, or one that says why not.
type Answer = Result<Response, Refused>;

/// What is not done, as a page, or the way to the log-in.
pub enum Refused {
    Said { status: StatusCode, title: &'static str, why: String },
    LogIn,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let why = error.to_string();
        let (status, title) = match &error {
            Error::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "That can’t be"),
            Error::Unknown { .. } => (StatusCode::NOT_FOUND, "Not found"),
            Error::Refused(_) => (StatusCode::CONFLICT, "That can’t be done"),
            Error::Busy | Error::Again(_) => (StatusCode::SERVICE_UNAVAILABLE, "Too much at once"),
            Error::Database(_) => {
                // What exactly is for the operator.
                tracing::error!(%why, "a page failed");
                let why =
                    "The database failed. Look whether the change was made before you try again."
                        .to_owned();
                return Refused::Said {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    title: "Something is broken",
                    why,
                };
            }
        };
        Refused::Said { status, title, why: sentence(&why) }
    }
}

impl Refused {
    fn forbidden(why: &str) -> Self {
        Refused::Said { status: StatusCode::FORBIDDEN, title: "Not allowed", why: why.to_owned() }
    }
}

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Refused::LogIn => Redirect::to("/office/login").into_response(),
            Refused::Said { status, title, why } => {
                let mut response = page(&Problem { title, why });
                *response.status_mut() = status;
                response
            }
        }
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem {
    title: &'static str,
    why: String,
}

fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page can't be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A page with a status of its own.
fn page_with(status: StatusCode, template: &impl Template) -> Response {
    let mut response = page(template);
    *response.status_mut() = status;
    response
}

/// Begins with a capital, ends with a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str().trim_end_matches('.'))
}

/// What was done, for the word in the address that a form sent the browser to.
fn told(word: &str) -> &'static str {
    match word {
        "saved" => "Saved.",
        "deleted" => "Deleted.",
        "cancelled" => "The order is cancelled; its tickets are for sale again.",
        "paid" => "Paid. Have a good time!",
        _ => "",
    }
}
