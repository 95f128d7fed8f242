//! The pages over plain HTTP: logging in, tokens, forms that are wrong, the export.

use crate::support::{Answer, EMAIL, PASSWORD, Site};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn log_in(site: &Site, email: &str, password: &str) -> Answer {
    let page = site.get("/office/login");
    let (cookie, token) = (page.cookie(), page.hidden("token"));
    let body = format!("token={token}&email={email}&password={}", password.replace(' ', "+"));
    site.send("POST", "/office/login", &[FORM, ("Cookie", &cookie)], &body)
}

/// A browser that is logged in: its cookie and its token.
fn logged_in(site: &Site) -> (String, String) {
    let answer = log_in(site, EMAIL, PASSWORD);
    assert_eq!((answer.status, answer.header("location")), (303, Some("/office")), "{answer:?}");
    let set = answer.header("set-cookie").unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
    let cookie = answer.cookie();
    let token = site.send("GET", "/office", &[("Cookie", &cookie)], "").hidden("csrf");
    (cookie, token)
}

#[test]
fn only_the_right_password_opens_and_tries_run_out() {
    let site = Site::start(1, None);
    let sent = site.get("/office");
    assert_eq!((sent.status, sent.header("location")), (303, Some("/office/login")));
    for (email, password) in [(EMAIL, "a wrong password"), ("bob@example.org", PASSWORD)] {
        let answer = log_in(&site, email, password);
        assert_eq!(answer.status, 422);
        assert!(
            answer.body.contains("is wrong, or there is no user of that address"),
            "{}",
            answer.body
        );
    }
    let (cookie, token) = logged_in(&site);
    let answer =
        site.send("POST", "/office/logout", &[FORM, ("Cookie", &cookie)], &format!("csrf={token}"));
    assert_eq!(answer.header("location"), Some("/office/login"));
    assert_eq!(
        site.send("GET", "/office", &[("Cookie", &cookie)], "").status,
        303,
        "the session is over"
    );
    let tried: Vec<u16> = (0..11).map(|_| log_in(&site, "eve@example.org", "x").status).collect();
    assert_eq!(tried, [[422; 10].as_slice(), &[429]].concat());
}

#[test]
fn a_form_without_its_token_changes_nothing() {
    let site = Site::start(1, None);
    let (cookie, token) = logged_in(&site);
    let status = "/office/events/concert/status";
    for csrf in ["", "csrf=", "csrf=0123"] {
        let answer = site.send(
            "POST",
            status,
            &[FORM, ("Cookie", &cookie)],
            &format!("{csrf}&status=closed"),
        );
        assert_eq!(answer.status, 403, "{csrf}");
        assert!(answer.body.contains("csrf must be the token of your session"), "{}", answer.body);
    }
    let body = format!("csrf={token}&status=closed");
    let elsewhere = [FORM, ("Cookie", cookie.as_str()), ("Sec-Fetch-Site", "cross-site")];
    assert_eq!(site.send("POST", status, &elsewhere, &body).status, 403);
    assert_eq!(site.get("/api/events/concert").json()["status"], "on_sale");
    assert_eq!(site.send("POST", status, &[FORM, ("Cookie", &cookie)], &body).status, 303);
    assert_eq!(site.get("/api/events/concert").json()["status"], "closed");
    // The log-in has a token, too.
    let answer = site.send("POST", "/office/login", &[FORM], &format!("email={EMAIL}&password=x"));
    assert_eq!(answer.status, 403);
}

#[test]
fn a_form_that_is_wrong_is_shown_again_with_the_reasons() {
    let site = Site::start(5, None);
    let (cookie, token) = logged_in(&site);
    let post = |path: &str, body: &str| {
        site.send("POST", path, &[FORM, ("Cookie", &cookie)], &format!("csrf={token}&{body}"))
    };
    let (stock, seat) = (site.sale.stock, site.sale.paid);
    for (path, body, says) in [
        (
            format!("/office/events/concert/types/{seat}"),
            format!("name=Seat&price=-1&stock={stock}&position=1"),
            "must not be below zero",
        ),
        (
            format!("/office/events/concert/types/{seat}"),
            format!("name=Seat&price=1.234&stock={stock}&position=1"),
            "must have at most 2 decimals",
        ),
        (
            "/office/events/concert/types/new".to_owned(),
            "name=X&price=1&stock=99&position=1".to_owned(),
            "must be one of the event’s stocks",
        ),
        (
            format!("/office/events/concert/stocks/{stock}"),
            "name=Hall&capacity=few&blocked=0".to_owned(),
            "must be a whole number",
        ),
        (
            "/office/events/new".to_owned(),
            "name=Fair&slug=fair&starts_at=someday&currency=EUR&payment_minutes=15".to_owned(),
            "must be a date and a time",
        ),
    ] {
        let answer = post(&path, &body);
        assert_eq!(answer.status, 422, "{path}: {}", answer.body);
        let says = says.replace('’', "&#39;");
        assert!(answer.body.contains(&says), "{path}: {}", answer.body);
        assert!(answer.body.contains("role=\"alert\"") && answer.body.contains("aria-invalid"));
    }
    for path in
        ["/office/events/nowhere", "/office/orders/NOSUCH", "/office/nothing", "/events/nowhere"]
    {
        assert_eq!(site.send("GET", path, &[("Cookie", &cookie)], "").status, 404, "{path}");
    }
}

#[test]
fn the_export_has_every_order_and_no_formula() {
    let site = Site::start(700, None);
    let free = site.sale.free;
    site.wait(async {
        for number in 0..600 {
            let customer = if number == 0 { "=1+1".to_owned() } else { format!("c-{number}") };
            crate::support::buy(&site.db, crate::support::wanted(&customer, free, 1))
                .await
                .unwrap();
        }
    });
    let (cookie, _) = logged_in(&site);
    let answer = site.send("GET", "/office/orders.csv?event=concert", &[("Cookie", &cookie)], "");
    let lines: Vec<&str> = answer.body.lines().collect();
    assert_eq!((answer.status, lines.len()), (200, 601), "more than is read at once");
    assert!(lines[1].contains(",'=1+1,paid,1,0.00,EUR,test,"), "{}", lines[1]);
    // What a page shows is escaped, and a page of a list is bounded.
    assert!(site.get("/events/concert").body.contains("With &#60;b&#62;strings"));
    let list = site.send("GET", "/office/orders?q=c-59", &[("Cookie", &cookie)], "");
    assert!(list.body.contains("11 orders"), "{}", list.body);
    let page = site.send("GET", "/office/orders?page=12", &[("Cookie", &cookie)], "");
    assert!(page.body.contains("Page 12 of 12"));
}
