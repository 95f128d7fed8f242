//! The bytes of requests and the shapes of answers. What is the same for all
//! requests of a kind is made once; what differs is appended.

use std::io::Write;

use serde::Deserialize;

use crate::plan::mix;
use crate::target::Target;

/// 36 characters in the form of a random UUID: what customers and keys look like.
pub(crate) type Token = [u8; 36];

/// A token that only this run (`nonce`), buyer and purpose have.
pub(crate) fn token(nonce: u64, buyer: u32, purpose: u32) -> Token {
    let high = mix(mix(nonce) ^ (u64::from(buyer) << 32 | u64::from(purpose)));
    let low = mix(high ^ nonce.rotate_left(32));
    let mut bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = b"0123456789abcdef"[usize::from(byte >> 4)];
        text[at + 1] = b"0123456789abcdef"[usize::from(byte & 15)];
        at += 2;
    }
    text
}

/// Makes the requests of buyers.
pub(crate) struct Requests {
    /// `POST {event}/`
    start: Vec<u8>,
    /// From behind the path up to and with `Idempotency-Key: `.
    headers: Vec<u8>,
    /// The present body: its length must be known before it is written.
    body: Vec<u8>,
}

impl Requests {
    pub(crate) fn new(target: &Target) -> Self {
        let start = format!("POST {}/", target.event_path).into_bytes();
        let headers = format!(
            " HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nIdempotency-Key: ",
            target.host, target.key
        );
        Self { start, headers: headers.into_bytes(), body: Vec::new() }
    }

    /// A hold, or with `path` `orders` a purchase in one step. `type_json` is quoted.
    pub(crate) fn items(
        &mut self,
        out: &mut Vec<u8>,
        path: &str,
        [customer, key]: [&Token; 2],
        type_json: &str,
        quantity: u32,
        price: Option<i64>,
    ) {
        self.body.clear();
        self.body.extend_from_slice(b"{\"customer\":\"");
        self.body.extend_from_slice(customer);
        self.body.extend_from_slice(b"\",\"items\":[{\"ticket_type\":");
        self.body.extend_from_slice(type_json.as_bytes());
        write_number(&mut self.body, ",\"quantity\":", quantity.into());
        if let Some(price) = price {
            write_number(&mut self.body, ",\"price\":", price);
        }
        self.body.extend_from_slice(b"}]}");
        self.post(out, &[path], key);
    }

    pub(crate) fn claim(
        &mut self,
        out: &mut Vec<u8>,
        [customer, key]: [&Token; 2],
        hold_json: &str,
    ) {
        self.body.clear();
        self.body.extend_from_slice(b"{\"customer\":\"");
        self.body.extend_from_slice(customer);
        self.body.extend_from_slice(b"\",\"hold\":");
        self.body.extend_from_slice(hold_json.as_bytes());
        self.body.push(b'}');
        self.post(out, &["orders"], key);
    }

    /// Pays the order `code` whole; the key serves as the payment's reference too.
    pub(crate) fn payment(
        &mut self,
        out: &mut Vec<u8>,
        key: &Token,
        code: &str,
        amount: i64,
        currency: &str,
    ) {
        self.body.clear();
        write_number(&mut self.body, "{\"amount\":", amount);
        self.body.extend_from_slice(b",\"currency\":\"");
        self.body.extend_from_slice(currency.as_bytes());
        self.body.extend_from_slice(b"\",\"reference\":\"rush-");
        self.body.extend_from_slice(key);
        self.body.extend_from_slice(b"\"}");
        self.post(out, &["orders/", code, "/payments"], key);
    }

    fn post(&self, out: &mut Vec<u8>, path: &[&str], key: &Token) {
        out.clear();
        out.extend_from_slice(&self.start);
        for part in path {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(&self.headers);
        out.extend_from_slice(key);
        write_number(out, "\r\nContent-Length: ", self.body.len() as i64);
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(&self.body);
    }
}

fn write_number(out: &mut Vec<u8>, before: &str, number: i64) {
    write!(out, "{before}{number}").expect("memory takes every write");
}

/// An amount in minor units.
#[derive(Deserialize)]
pub(crate) struct Money {
    pub(crate) amount: i64,
    pub(crate) currency: String,
}

/// To `POST …/holds`.
#[derive(Deserialize)]
pub(crate) struct HoldAnswer {
    pub(crate) id: String,
    pub(crate) total: Money,
}

/// To `POST …/orders` and `GET …/orders/{code}`.
#[derive(Deserialize)]
pub(crate) struct OrderAnswer {
    pub(crate) code: String,
    pub(crate) state: String,
    pub(crate) total: Money,
    #[serde(default)]
    pub(crate) tickets: Vec<TicketAnswer>,
}

#[derive(Deserialize)]
pub(crate) struct TicketAnswer {
    pub(crate) code: String,
}

/// To `POST …/payments`.
#[derive(Deserialize)]
pub(crate) struct PaymentAnswer {
    pub(crate) state: Option<String>,
}

/// RFC 9457, and what a refusal for want of stock says.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) title: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) quota: Option<String>,
    pub(crate) free: Option<u32>,
}

impl Problem {
    /// Reads a body; if it is none, the status has to do for a type.
    pub(crate) fn read(status: u16, body: &[u8]) -> Self {
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_default();
        let kind = problem.kind.rsplit(['/', ':', '#']).next().unwrap_or_default();
        problem.kind = match kind {
            "" | "blank" => format!("status-{status}"),
            kind => kind.to_owned(),
        };
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_look_like_uuids_and_differ() {
        let text = String::from_utf8(token(1, 2, 3).to_vec()).unwrap();
        assert_eq!(text.len(), 36);
        assert_eq!(text.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(text.as_bytes()[14], b'4');
        let mut all = std::collections::HashSet::new();
        for (nonce, buyer, purpose) in (0..20_u64)
            .flat_map(|n| (0..20_u32).flat_map(move |b| (0..20_u32).map(move |p| (n, b, p))))
        {
            assert!(all.insert(token(nonce, buyer, purpose)), "{nonce} {buyer} {purpose}");
        }
    }

    #[test]
    fn problems_are_told_by_the_end_of_their_type() {
        for (body, kind) in [
            (r#"{"type":"https://x.example/problems/sold-out","free":1}"#, "sold-out"),
            (r#"{"type":"urn:onsale:none-free-now"}"#, "none-free-now"),
            (r#"{"type":"about:blank"}"#, "status-409"),
            (r#"{"error":"x"}"#, "status-409"),
            ("no json", "status-409"),
        ] {
            assert_eq!(Problem::read(409, body.as_bytes()).kind, kind, "{body}");
        }
    }
}
