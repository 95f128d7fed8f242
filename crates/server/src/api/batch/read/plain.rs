//! The plain form of a batch: objects with the known fields once each, texts of
//! printable ASCII without escapes, whole numbers of up to 15 digits, no nulls. What is
//! in any other form is none here, and is left to serde.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::{Sent, Taker};
use crate::api::batch::COMMANDS_MAX;
use crate::api::batch::shapes::{
    BuyCommand, ClaimCommand, CommandRequest, ExtendCommand, HoldCommand, PaymentCommand,
    ReleaseCommand,
};
use crate::api::json::Whole;
use crate::api::shapes::{HoldRequest, ItemRequest};

/// Digits of a number that fits for sure.
const DIGITS_MAX: usize = 15;

/// Reads a body in the plain form; none where it is in another form, which may be seen
/// only after some commands were taken.
pub fn read<'a>(body: &'a [u8], taker: &mut impl Taker<'a>) -> Option<()> {
    let mut reader = Reader { text: std::str::from_utf8(body).ok()?, bytes: body, at: 0 };
    reader.token(b'{')?;
    if reader.text()? != "commands" {
        return None;
    }
    reader.token(b':')?;
    reader.token(b'[')?;
    for _ in 0..COMMANDS_MAX {
        taker.take(reader.command()?);
        match reader.next_token()? {
            b',' => {}
            b']' => {
                reader.token(b'}')?;
                reader.space();
                return (reader.at == body.len()).then_some(());
            }
            _ => return None,
        }
    }
    None
}

/// Reads the body of one hold in the plain form; none where it is in another form.
pub fn hold(body: &[u8]) -> Option<HoldRequest<'_>> {
    let mut reader = Reader { text: std::str::from_utf8(body).ok()?, bytes: body, at: 0 };
    let (mut customer, mut items) = (None, None);
    reader.object(|reader, name| match name {
        "customer" => once(&mut customer, reader.text()),
        "items" => once(&mut items, reader.items()),
        _ => None,
    })?;
    reader.space();
    let whole = reader.at == body.len();
    whole.then_some(HoldRequest { customer: Cow::Borrowed(customer?), items: items? })
}

struct Reader<'a> {
    /// The body; its bytes beside it, since they are what is looked at.
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

/// The fields of all commands.
#[derive(Default)]
struct Fields<'a> {
    op: Option<&'a str>,
    idempotency_key: Option<&'a str>,
    customer: Option<&'a str>,
    hold: Option<&'a str>,
    order: Option<&'a str>,
    currency: Option<&'a str>,
    reference: Option<&'a str>,
    paid_at: Option<&'a str>,
    amount: Option<Whole>,
    items: Option<Vec<ItemRequest<'a>>>,
    /// How many of them are there.
    count: usize,
}

impl<'a> Reader<'a> {
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is no space.
    fn next_token(&mut self) -> Option<u8> {
        self.space();
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn token(&mut self, wanted: u8) -> Option<()> {
        (self.next_token()? == wanted).then_some(())
    }

    fn text(&mut self) -> Option<&'a str> {
        self.token(b'"')?;
        let begin = self.at;
        // Eight at a time, which the processor does at once, then the last ones.
        while let Some(eight) = self.bytes[self.at..].first_chunk::<8>()
            && eight.iter().fold(true, |all, b| all & is_plain(*b))
        {
            self.at += 8;
        }
        self.at += self.bytes[self.at..].iter().position(|b| !is_plain(*b))?;
        let text = self.text.get(begin..self.at)?;
        // The quote itself: a line's end before it would be part of the text.
        if self.bytes[self.at] != b'"' {
            return None;
        }
        self.at += 1;
        Some(text)
    }

    fn whole(&mut self) -> Option<Whole> {
        self.space();
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|b| !b.is_ascii_digit())?;
        let digits = &rest[..length];
        let zeros_in_front = length > 1 && digits[0] == b'0';
        if length == 0 || length > DIGITS_MAX || zeros_in_front {
            return None;
        }
        // A fraction, an exponent.
        if let b'.' | b'e' | b'E' = rest[length] {
            return None;
        }
        self.at += length;
        Some(Whole(digits.iter().fold(0, |number, b| number * 10 + i64::from(b - b'0'))))
    }

    /// Reads an object field by field; `field` takes the value after each name.
    fn object(&mut self, mut field: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.token(b'{')?;
        loop {
            let name = self.text()?;
            self.token(b':')?;
            field(self, name)?;
            match self.next_token()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn command(&mut self) -> Option<Sent<'a>> {
        self.space();
        let begin = self.at;
        let mut fields = Fields::default();
        self.object(|reader, name| {
            fields.count += 1;
            match name {
                "op" => once(&mut fields.op, reader.text()),
                "idempotency_key" => once(&mut fields.idempotency_key, reader.text()),
                "customer" => once(&mut fields.customer, reader.text()),
                "hold" => once(&mut fields.hold, reader.text()),
                "items" => once(&mut fields.items, reader.items()),
                "order" => once(&mut fields.order, reader.text()),
                "amount" => once(&mut fields.amount, reader.whole()),
                "currency" => once(&mut fields.currency, reader.text()),
                "reference" => once(&mut fields.reference, reader.text()),
                "paid_at" => once(&mut fields.paid_at, reader.text()),
                _ => None,
            }
        })?;
        let text = self.text.get(begin..self.at)?;
        Some(Sent { text, command: Ok(fields.command()?) })
    }

    fn items(&mut self) -> Option<Vec<ItemRequest<'a>>> {
        self.token(b'[')?;
        let mut items = Vec::with_capacity(1);
        loop {
            let (mut ticket_type, mut quantity, mut price) = (None, None, None);
            self.object(|reader, name| match name {
                "ticket_type" => once(&mut ticket_type, reader.text()),
                "quantity" => once(&mut quantity, reader.whole()),
                "price" => once(&mut price, reader.whole()),
                _ => None,
            })?;
            let ticket_type = Cow::Borrowed(ticket_type?);
            items.push(ItemRequest { ticket_type, quantity: quantity?, price });
            match self.next_token()? {
                b',' => {}
                b']' => return Some(items),
                _ => return None,
            }
        }
    }
}

/// Whether a byte stands for itself in a text.
fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\')
}

/// Puts a value into its field, if it is there and the field is still empty.
fn once<T>(field: &mut Option<T>, value: Option<T>) -> Option<()> {
    if field.is_some() {
        return None;
    }
    *field = Some(value?);
    Some(())
}

impl<'a> Fields<'a> {
    /// The command that has these fields, and no other.
    fn command(self) -> Option<CommandRequest<'a>> {
        let op = IgnoredAny;
        let idempotency_key = self.idempotency_key.map(Cow::Borrowed);
        let text = |field: Option<&'a str>| field.map(Cow::Borrowed);
        let (customer, hold) = (text(self.customer), text(self.hold));
        let keys = usize::from(idempotency_key.is_some());
        // How many fields it has beside its op and key.
        let (fields, command) = match self.op? {
            "hold" => {
                let (customer, items) = (customer?, self.items?);
                (2, CommandRequest::Hold(HoldCommand { op, idempotency_key, customer, items }))
            }
            "buy" => {
                let (customer, items) = (customer?, self.items?);
                (2, CommandRequest::Buy(BuyCommand { op, idempotency_key, customer, items }))
            }
            "claim" => {
                let (customer, hold) = (customer?, hold?);
                (2, CommandRequest::Claim(ClaimCommand { op, idempotency_key, customer, hold }))
            }
            "release" => {
                let hold = hold?;
                (1, CommandRequest::Release(ReleaseCommand { op, idempotency_key, hold }))
            }
            "extend" => {
                let hold = hold?;
                (1, CommandRequest::Extend(ExtendCommand { op, idempotency_key, hold }))
            }
            "payment" => {
                let paid_at = text(self.paid_at);
                let fields = 4 + usize::from(paid_at.is_some());
                let command = PaymentCommand {
                    op,
                    idempotency_key,
                    order: text(self.order)?,
                    amount: self.amount?,
                    currency: text(self.currency)?,
                    reference: text(self.reference)?,
                    paid_at,
                };
                (fields, CommandRequest::Payment(command))
            }
            _ => return None,
        };
        (self.count == 1 + keys + fields).then_some(command)
    }
}
