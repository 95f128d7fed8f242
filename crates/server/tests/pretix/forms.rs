//! Somebody at pretix' back office: reads a page, changes some fields of its form, and sends all of it, as a browser does.

use std::collections::BTreeMap;

use form_urlencoded::Serializer;
use onsale::http_client::{Client, Response};
use onsale_services::Pretix;

use crate::site::PATIENCE;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Fields of a form and what they are to be: none is a box that is not ticked, a name given twice has both values.
pub type Changes<'a> = &'a [(&'a str, Option<&'a str>)];

/// Somebody who is logged in.
pub struct Desk {
    client: Client,
    cookies: BTreeMap<String, String>,
}

impl Desk {
    pub fn log_in(pretix: &Pretix) -> Desk {
        let client = Client::new(pretix.url(), None).unwrap().with_timeout(PATIENCE);
        let mut desk = Desk { client, cookies: BTreeMap::new() };
        let (email, password) = Pretix::USER;
        let to = desk.save("login", &[("email", Some(email)), ("password", Some(password))]);
        assert_eq!(to, "/control/", "logged in");
        desk
    }

    /// Changes fields of a page's form and sends it; the path that pretix goes on with.
    pub fn save(&mut self, page: &str, changes: Changes<'_>) -> String {
        let path = format!("/control/{page}");
        let answer = self.ask("GET", &path, None);
        assert_eq!(answer.status, 200, "{path}");
        let html = String::from_utf8(answer.body).unwrap();
        let has_it = |form: &&str| {
            changes.first().is_none_or(|(name, _)| form.contains(&format!("name=\"{name}\"")))
        };
        let form = html.split("<form").skip(1).filter_map(|form| form.split("</form>").next());
        let mut form = form.filter(|form| form.contains("method=\"post\"")).filter(has_it);
        let form = form.next().unwrap_or_else(|| panic!("{path} has no form for {changes:?}"));
        let kept = fields(form)
            .into_iter()
            .filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        let mut body = Serializer::new(String::new());
        body.extend_pairs(kept);
        body.extend_pairs(changes.iter().filter_map(|(name, value)| Some((name, (*value)?))));
        let answer = self.ask("POST", &path, Some(&body.finish()));
        let said = String::from_utf8_lossy(&answer.body);
        let wrong = said.split("has-error").skip(1).map(|text| text.chars().take(800));
        let wrong: Vec<String> = wrong.map(Iterator::collect).collect();
        assert_eq!(answer.status, 302, "{path} {changes:?}: {wrong:?}");
        answer.header("location").unwrap().to_owned()
    }

    fn ask(&mut self, method: &str, path: &str, body: Option<&str>) -> Response {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let answer = self.client.request(method, path, &[FORM, ("cookie", &cookies)], body);
        let answer = answer.unwrap();
        for (_, set) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }
}

/// What a browser would send of a form in which nothing was changed.
fn fields(form: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut select = None;
    let mut rest = form;
    while let Some((_, tag)) = rest.split_once('<') {
        rest = tag;
        let Some((kind, attributes, behind)) = read_tag(tag) else { continue };
        rest = behind;
        let has = |name: &str| attributes.contains_key(name);
        let value = |name: &str| attributes.get(name).cloned();
        let of = value("name").filter(|_| !has("disabled"));
        match kind {
            "input" => {
                let kind = value("type").unwrap_or_default();
                let is_sent = match kind.as_str() {
                    "checkbox" | "radio" => has("checked"),
                    "submit" | "button" | "file" | "image" | "reset" => false,
                    _ => true,
                };
                let or = if kind == "checkbox" { "on" } else { "" };
                let value = value("value").unwrap_or_else(|| or.to_owned());
                fields.extend(of.filter(|_| is_sent).map(|of| (of, value)));
            }
            "select" => select = of,
            "/select" => select = None,
            "option" if has("selected") => {
                fields.extend(select.clone().map(|of| (of, value("value").unwrap_or_default())));
            }
            "textarea" => {
                let text = rest.split("</textarea").next().unwrap_or_default();
                rest = &rest[text.len()..];
                let text = plain(text.strip_prefix(['\n', '\r']).unwrap_or(text));
                fields.extend(of.map(|of| (of, text)));
            }
            // Has forms in it that scripts may add.
            "script" => rest = rest.split_once("</script").map_or("", |(_, behind)| behind),
            _ => {}
        }
    }
    fields
}

/// A tag's name and attributes, and what is behind it; none: it is no tag.
fn read_tag(text: &str) -> Option<(&str, BTreeMap<&str, String>, &str)> {
    let end = |text: &str| text.find(|c: char| c.is_whitespace() || "=>".contains(c));
    let (name, mut rest) = text.split_at(end(text)?);
    let mut attributes = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if let Some(behind) = rest.strip_prefix('>') {
            return Some((name, attributes, behind));
        }
        let (attribute, behind) = rest.split_at(end(rest)?);
        let (value, behind) = match behind.strip_prefix("=\"") {
            Some(quoted) => quoted.split_once('"')?,
            None => ("", behind.strip_prefix('=').unwrap_or(behind)),
        };
        attributes.insert(attribute, plain(value));
        rest = behind;
    }
}

/// Text without the signs of HTML.
fn plain(text: &str) -> String {
    let signs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#39;", "'")];
    let text = signs.iter().fold(text.to_owned(), |text, (sign, plain)| text.replace(sign, plain));
    text.replace("&amp;", "&")
}
