//! From a record in the stream to the core's event. `lua/log.lua` says how records are made.

use onsale_core::event::{
    EventDefined, HoldPlaced, Line, Lines, OrderPlaced, PaymentOutcome, PaymentRecorded,
    QuotaStock, ShardStarted, Stock, Subject,
};
use onsale_core::view::OrderState;
use onsale_core::{
    CodeKey, CommandStamp, Currency, CustomerId, Event, Fact, HoldId, Id, OrderCode, Reference,
    Time,
};

use crate::pack::{Damaged, Value};
use crate::words::{
    self, KINDS, Kind, ORDER_STATES, OUTCOMES, PROVIDERS, REASONS, SOURCES, STATES,
};

/// What codes are made from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Codes {
    /// The shard.
    pub shard: u16,
    /// The secret.
    pub key: CodeKey,
}

impl Codes {
    /// The code of an order.
    #[must_use]
    pub fn order(&self, generation: u32, sequence: u64) -> OrderCode {
        self.key.order_code(self.shard, generation, sequence)
    }
}

/// The values of a list, each taken once.
pub(crate) struct Values(std::vec::IntoIter<Value>);

impl Values {
    pub(crate) fn of(value: Value) -> Result<Values, Damaged> {
        Ok(Values(value.list()?.into_iter()))
    }

    pub(crate) fn next(&mut self) -> Result<Value, Damaged> {
        self.0.next().ok_or(Damaged { what: "too short" })
    }

    pub(crate) fn int<T: TryFrom<i64>>(&mut self) -> Result<T, Damaged> {
        self.next()?.int()
    }

    pub(crate) fn time(&mut self) -> Result<Time, Damaged> {
        self.int().map(Time)
    }

    pub(crate) fn wide(&mut self) -> Result<u128, Damaged> {
        self.next()?.wide()
    }

    pub(crate) fn id(&mut self) -> Result<Id, Damaged> {
        id(self.next()?.bytes()?)
    }

    pub(crate) fn word<T: Copy>(&mut self, words: words::Words<T>) -> Result<T, Damaged> {
        words::word(words, self.int()?).ok_or(Damaged { what: "an unknown word" })
    }

    pub(crate) fn currency(&mut self) -> Result<Currency, Damaged> {
        let value = self.next()?;
        let text = std::str::from_utf8(value.bytes()?).ok();
        text.and_then(Currency::new).ok_or(Damaged { what: "not a currency" })
    }

    fn customer(&mut self) -> Result<CustomerId, Damaged> {
        CustomerId::from_bytes(self.next()?.bytes()?)
            .map_err(|_| Damaged { what: "not a customer" })
    }

    fn reference(&mut self) -> Result<Reference, Damaged> {
        Reference::from_bytes(self.next()?.bytes()?)
            .map_err(|_| Damaged { what: "not a reference" })
    }

    fn order(&mut self, codes: &Codes) -> Result<OrderCode, Damaged> {
        let sequence = self.int()?;
        Ok(codes.order(self.int()?, sequence))
    }

    /// Lines as a record has them.
    pub(crate) fn lines(&mut self) -> Result<Lines, Damaged> {
        let mut values = Values::of(self.next()?)?;
        let mut lines = Lines::new();
        while values.0.len() > 0 {
            let (ticket_type, quantity) = (values.id()?, values.int()?);
            let (unit_price, version) = (values.int()?, values.int()?);
            // Its slot, which the state needs.
            values.next()?;
            let (stock, components) = (Stock::Counted(quantity), Vec::new());
            let (event, channel) = (None, None);
            lines.push(Line {
                event,
                ticket_type,
                stock,
                unit_price,
                version,
                channel,
                components,
            });
        }
        Ok(lines)
    }
}

fn id(bytes: &[u8]) -> Result<Id, Damaged> {
    Id::from_bytes(bytes).map_err(|_| Damaged { what: "not an id" })
}

/// Organizer and event, with a slash between them.
pub(crate) fn subject(bytes: &[u8]) -> Result<Subject, Damaged> {
    let slash = bytes.iter().position(|byte| *byte == b'/');
    let slash = slash.ok_or(Damaged { what: "not organizer and event" })?;
    Ok(Subject { organizer: id(&bytes[..slash])?, event: id(&bytes[slash + 1..])? })
}

/// Reads a record.
///
/// # Errors
/// The bytes are not one.
pub fn decode(bytes: &[u8], codes: &Codes) -> Result<Event, Damaged> {
    let mut values = Values::of(Value::unpack(bytes)?)?;
    let kind = values.word(KINDS)?;
    let at = values.time()?;
    let of = values.next()?;
    let subject = of.maybe().map(|of| subject(of.bytes()?)).transpose()?;
    let (id, body, chosen) = (values.next()?, values.next()?, values.next()?.is_true());
    let stamp = match id.maybe() {
        None => None,
        Some(id) => {
            let (id, body) = (id.wide()?, body.wide()?);
            Some(CommandStamp { id, body, chosen, made_at: None })
        }
    };
    // The key under which the id is remembered.
    values.next()?;
    let fact = fact(kind, Values::of(values.next()?)?, codes)?;
    Ok(Event { at, stamp, subject, fact })
}

fn fact(kind: Kind, mut values: Values, codes: &Codes) -> Result<Fact, Damaged> {
    Ok(match kind {
        Kind::ShardStarted => Fact::ShardStarted(ShardStarted {
            log: values.wide()?,
            shard: values.int()?,
            shards: values.int()?,
            key: CodeKey(values.wide()?.to_be_bytes()),
            generation: values.int()?,
        }),
        Kind::GenerationStarted => Fact::GenerationStarted { generation: values.int()? },
        Kind::GroupPlaced => Fact::GroupPlaced { sale_group: values.id()? },
        Kind::EventDefined => Fact::EventDefined(Box::new(defined(values)?)),
        Kind::StateSet => Fact::StateSet { version: values.int()?, state: values.word(STATES)? },
        Kind::HoldPlaced => {
            let (hold, customer) = (HoldId(values.wide()?), values.customer()?);
            values.next()?;
            Fact::HoldPlaced(HoldPlaced {
                hold,
                customer,
                expires_at: values.time()?,
                lines: values.lines()?,
                total: values.int()?,
                currency: values.currency()?,
            })
        }
        Kind::HoldExtended => {
            Fact::HoldExtended { hold: HoldId(values.wide()?), expires_at: values.time()? }
        }
        Kind::HoldReleased => Fact::HoldReleased { hold: HoldId(values.wide()?) },
        Kind::HoldExpired => Fact::HoldExpired { hold: HoldId(values.wide()?) },
        Kind::OrderPlaced => Fact::OrderPlaced(order_placed(values, codes)?),
        Kind::PaymentRecorded => Fact::PaymentRecorded(payment(values, codes)?),
        Kind::PaymentRefunded => {
            Fact::PaymentRefunded { order: values.order(codes)?, reference: values.reference()? }
        }
        Kind::OrderCancelled => {
            let order = values.order(codes)?;
            match values.word(ORDER_STATES)? {
                OrderState::Cancelled(reason) => Fact::OrderCancelled { order, reason },
                _ => return Err(Damaged { what: "not a reason" }),
            }
        }
    })
}

fn defined(mut values: Values) -> Result<EventDefined, Damaged> {
    let version = values.int()?;
    let definition = onsale_codec::decode_definition(values.next()?.bytes()?)
        .map_err(|_| Damaged { what: "not a definition" })?;
    let mut stocks = Vec::new();
    for stock in values.next()?.list()? {
        let mut stock = Values::of(stock)?;
        let allotment = stock.next()?.maybe().map(Value::int).transpose()?;
        stocks.push(QuotaStock { allotment, epoch: stock.int()?, source: stock.word(SOURCES)? });
    }
    Ok(EventDefined { version, definition, stocks })
}

fn order_placed(mut values: Values, codes: &Codes) -> Result<OrderPlaced, Damaged> {
    let sequence: u64 = values.int()?;
    let order = codes.order(values.int()?, sequence);
    let hold = values.next()?.maybe().map(Value::wide).transpose()?.map(HoldId);
    let customer = values.customer()?;
    values.next()?;
    Ok(OrderPlaced {
        order,
        sequence,
        hold,
        customer,
        lines: values.lines()?,
        total: values.int()?,
        currency: values.currency()?,
        payment_due: values.next()?.maybe().map(Value::int).transpose()?.map(Time),
    })
}

fn payment(mut values: Values, codes: &Codes) -> Result<PaymentRecorded, Damaged> {
    let order = values.order(codes)?;
    let (provider, reference) = (values.word(PROVIDERS)?, values.reference()?);
    values.next()?;
    let (amount, currency, paid_at) = (values.int()?, values.currency()?, values.time()?);
    let outcome = match values.word(OUTCOMES)? {
        PaymentOutcome::RefundDue(_) => PaymentOutcome::RefundDue(values.word(REASONS)?),
        outcome => outcome,
    };
    Ok(PaymentRecorded { order, provider, reference, amount, currency, paid_at, outcome })
}
