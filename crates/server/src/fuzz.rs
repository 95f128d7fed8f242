//! What reads bytes from outside, as functions of any bytes: for fuzzers, and for the tests
//! that replay what fuzzers found. Each panics where a promise is broken.

use crate::api::shapes::{HoldRequest, OrderRequest, PaymentRequest};
use crate::api::{batch, json};
use crate::catalogue::{EventBody, read_catalogue};
use crate::import;

/// What parts the files of an export.
const BETWEEN_FILES: u8 = 0;

/// The body of a request. Whatever is refused is refused with a status of the client's fault,
/// and says why.
///
/// # Panics
/// It is not.
pub fn body(bytes: &[u8]) {
    fn check<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) {
        if let Err(problem) = json::parse::<T>(bytes) {
            let answer = problem.render();
            assert!((400..500).contains(&answer.status.as_u16()), "{problem:?}");
            assert!(!answer.body.is_empty());
        }
    }
    check::<HoldRequest<'_>>(bytes);
    check::<OrderRequest<'_>>(bytes);
    check::<PaymentRequest<'_>>(bytes);
    check::<EventBody>(bytes);
}

/// The body of a batch: read fast or slowly, it is the same.
///
/// # Panics
/// It is not.
pub fn batch_body(bytes: &[u8]) {
    batch::check_both_ways(bytes);
}

/// A catalogue file: an event that is taken is written as the body of its PUT, which is
/// taken as the same.
///
/// # Panics
/// It is not.
pub fn catalogue(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match read_catalogue(text) {
        Ok(events) => {
            for event in events {
                let body = EventBody::from_definition(&event.definition);
                let text = serde_json::to_vec(&body).expect("a body is JSON");
                let again: EventBody = json::parse(&text).expect("what was written is read");
                assert_eq!(again.to_definition(&event.id).as_ref(), Ok(&event.definition));
            }
        }
        Err(why) => assert!(!why.is_empty()),
    }
}

/// An export of pretix, its files one after the other with a zero byte between them.
///
/// # Panics
/// A file is refused without a reason, or an event that is taken breaks the core's rules.
pub fn pretix(bytes: &[u8]) {
    let files: Vec<&[u8]> = bytes.split(|byte| *byte == BETWEEN_FILES).collect();
    match import::export_of(&files) {
        Ok(import) => {
            for event in import.events {
                assert_eq!(event.definition.validate(), Ok(()), "{event:?}");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
