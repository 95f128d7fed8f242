//! Logging in and out; who asks, and that the form was ours.

use askama::Template;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse as _, Redirect, Response};

use super::form::Form;
use super::{Answer, Refused, page_with};
use crate::accounts::{self, Session};
use crate::codes;
use crate::serve::Office;

/// The session's secret.
const SESSION: &str = "boxoffice_session";
/// What the log-in's form must carry, too: without a session there is no other token.
const FORM: &str = "boxoffice_form";

/// A cookie of a request.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies =
        lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// A cookie that no script sees and no other site sends along with a form.
pub fn set_cookie(office: &Office, name: &str, value: &str, seconds: i64) -> String {
    let secure = if office.secure_cookies { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// Who asks for a page of the office.
pub struct LoggedIn(pub Session);

impl FromRequestParts<Office> for LoggedIn {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, office: &Office) -> Result<Self, Refused> {
        let Some(secret) = cookie(&parts.headers, SESSION) else { return Err(Refused::LogIn) };
        accounts::session(&office.db, secret).await?.map(LoggedIn).ok_or(Refused::LogIn)
    }
}

/// A form that a page of the office has sent.
pub struct Posted {
    /// Who sent it.
    pub session: Session,
    /// What is in it.
    pub form: Form,
}

impl FromRequest<Office> for Posted {
    type Rejection = Refused;

    async fn from_request(request: Request, office: &Office) -> Result<Self, Refused> {
        let (mut parts, body) = request.into_parts();
        let LoggedIn(session) = LoggedIn::from_request_parts(&mut parts, office).await?;
        let PlainForm(form) =
            PlainForm::from_request(Request::from_parts(parts, body), office).await?;
        if !codes::same(form.get("csrf"), &session.csrf_token) {
            return Err(Refused::forbidden(
                "csrf must be the token of your session. Go back, load the page again, and send the form once more.",
            ));
        }
        Ok(Posted { session, form })
    }
}

/// A form of any page. Browsers say where it came from: another site's is refused.
pub struct PlainForm(pub Form);

impl FromRequest<Office> for PlainForm {
    type Rejection = Refused;

    async fn from_request(request: Request, office: &Office) -> Result<Self, Refused> {
        if request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
            return Err(Refused::forbidden("The form came from another site."));
        }
        let body =
            Bytes::from_request(request, office).await.map_err(|rejection| Refused::Said {
                status: rejection.status(),
                title: "The form can’t be read",
                why: rejection.body_text(),
            })?;
        Ok(PlainForm(Form::read(&body)))
    }
}

#[derive(Template)]
#[template(path = "login.html")]
struct LogIn<'a> {
    form: &'a Form,
    token: &'a str,
}

/// The log-in.
pub async fn show(State(office): State<Office>, logged_in: Result<LoggedIn, Refused>) -> Answer {
    if logged_in.is_ok() {
        return Ok(Redirect::to("/office").into_response());
    }
    Ok(with_token(&office, &Form::default(), StatusCode::OK))
}

fn with_token(office: &Office, form: &Form, status: StatusCode) -> Response {
    let token = codes::secret();
    let cookie = AppendHeaders([(header::SET_COOKIE, set_cookie(office, FORM, &token, 3_600))]);
    (cookie, page_with(status, &LogIn { form, token: &token })).into_response()
}

/// Checks address and password.
pub async fn log_in(
    State(office): State<Office>,
    headers: HeaderMap,
    PlainForm(mut form): PlainForm,
) -> Answer {
    if !cookie(&headers, FORM).is_some_and(|token| codes::same(token, form.get("token"))) {
        return Err(Refused::forbidden(
            "token must be the one that the page gave. Load the log-in again; the browser must take cookies.",
        ));
    }
    let email = form.get("email").trim().to_lowercase();
    if !office.may_try(&email) {
        form.refuse("password", "was wrong too often; try again in a quarter of an hour");
        return Ok(with_token(&office, &form, StatusCode::TOO_MANY_REQUESTS));
    }
    let turn = office.passwords.acquire().await.expect("it is never closed");
    let secret = accounts::log_in(&office.db, &email, form.get("password")).await?;
    drop(turn);
    let Some(secret) = secret else {
        form.refuse("password", "is wrong, or there is no user of that address");
        return Ok(with_token(&office, &form, StatusCode::UNPROCESSABLE_ENTITY));
    };
    office.forget(&email);
    let cookies = AppendHeaders([
        (header::SET_COOKIE, set_cookie(&office, SESSION, &secret, accounts::SESSION_SECONDS)),
        (header::SET_COOKIE, set_cookie(&office, FORM, "", 0)),
    ]);
    Ok((cookies, Redirect::to("/office")).into_response())
}

/// Ends the session.
pub async fn log_out(State(office): State<Office>, Posted { session, .. }: Posted) -> Answer {
    accounts::log_out(&office.db, session.id).await?;
    let cookie = AppendHeaders([(header::SET_COOKIE, set_cookie(&office, SESSION, "", 0))]);
    Ok((cookie, Redirect::to("/office/login")).into_response())
}
