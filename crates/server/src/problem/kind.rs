//! The table of all problem types. A type is a promise: its name and status stay.

/// A kind of problem.
#[derive(PartialEq, Eq, Debug)]
pub struct Kind {
    /// The last part of its path: `sold-out`.
    pub name: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// For people; does not vary.
    pub title: &'static str,
    /// What to make of it.
    pub about: &'static str,
    /// Seconds until it is worth another try, where it is.
    pub retry_after: Option<u32>,
}

impl Kind {
    const fn new(
        status: u16,
        name: &'static str,
        title: &'static str,
        about: &'static str,
    ) -> Kind {
        Kind { name, status, title, about, retry_after: None }
    }

    const fn again(mut self, seconds: u32) -> Kind {
        self.retry_after = Some(seconds);
        self
    }

    /// Its type: an absolute path, and where it can be read.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/problems/{}", self.name)
    }

    /// The kind with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Kind> {
        ALL.iter().copied().find(|kind| kind.name == name)
    }
}

/// Makes a constant of each row, and the list of them all.
macro_rules! kinds {
    ($($constant:ident = $kind:expr;)*) => {
        $(#[doc = concat!("`", stringify!($constant), "`; the table says what it means.")]
        pub const $constant: Kind = $kind;)*
        /// Every kind.
        pub const ALL: &[&Kind] = &[$(&$constant),*];
    };
}

#[rustfmt::skip]
kinds! {
    // --- the form of a request
    MALFORMED_JSON = Kind::new(400, "malformed-json", "Malformed JSON",
        "The body is not JSON. `line` and `column` say where.");
    UNKNOWN_FIELD = Kind::new(400, "unknown-field", "Unknown field",
        "The body has a field that does not exist here; it may be a typing error.");
    MISSING_FIELD = Kind::new(400, "missing-field", "Missing field",
        "A field that must be there is not.");
    WRONG_TYPE = Kind::new(400, "wrong-type", "Value of the wrong type",
        "A field has a value of another type than it must have, or is there twice.");
    BODY_NOT_EXPECTED = Kind::new(400, "body-not-expected", "No body expected",
        "This request takes no body, or an empty object.");
    HOLD_OR_ITEMS = Kind::new(400, "hold-or-items", "Either a hold or items",
        "An order is made of a hold or of items: say one of them.");
    INVALID_ID = Kind::new(400, "invalid-id", "Id in the wrong form",
        "An id, a code or a reference does not have the form that it must have.");
    PERSONAL_DATA = Kind::new(400, "personal-data", "Personal data",
        "Customers and payments are known by opaque ids here: nothing with an @.");
    INVALID_TIME = Kind::new(400, "invalid-time", "Not a time",
        "A time is not as in RFC 3339, such as 2027-03-20T19:30:00Z, or not within 1970 to 2255.");
    UNKNOWN_CURRENCY = Kind::new(400, "unknown-currency", "Unknown currency",
        "A currency is not one of ISO 4217, such as EUR.");
    INVALID_QUERY = Kind::new(400, "invalid-query", "Invalid query parameter",
        "A parameter after the ? is unknown or out of range.");
    INVALID_PATH = Kind::new(400, "invalid-path", "Invalid path",
        "The path is not valid UTF-8 once decoded.");
    INVALID_BODY = Kind::new(400, "invalid-body", "The body could not be read",
        "The connection broke, or the framing of the body is wrong.");
    MALFORMED_HEAD = Kind::new(400, "malformed-head", "Malformed head",
        "The request's line or headers are not HTTP/1.1.");
    INVALID_CONDITION = Kind::new(400, "invalid-condition", "Invalid condition",
        "If-Match takes * or one ETag as it was given; If-None-Match takes *; never both.");
    INVALID_IDEMPOTENCY_KEY = Kind::new(400, "invalid-idempotency-key", "Invalid idempotency key",
        "Idempotency-Key takes 1 to 255 printable ASCII characters, with or without quotes.");
    IDEMPOTENCY_KEY_REQUIRED = Kind::new(400, "idempotency-key-required", "Idempotency key required",
        "A payment must have an Idempotency-Key, so that it can be sent again safely.");

    // --- keys
    KEY_MISSING = Kind::new(401, "key-missing", "Key missing",
        "Send a key: Authorization: Bearer KEY. `onsale keys create` makes one.");
    KEY_UNKNOWN = Kind::new(401, "key-unknown", "Key unknown",
        "The key is not known here, or was revoked.");
    SCOPE_MISSING = Kind::new(403, "scope-missing", "Scope missing",
        "The key is good, but not for this: it needs one of `scopes`.");
    OTHER_ORGANIZER = Kind::new(403, "other-organizer", "Another organizer's",
        "The key is bound to another organizer.");

    // --- what is not there
    UNKNOWN_ROUTE = Kind::new(404, "unknown-route", "No such path",
        "There is nothing at this path. /openapi.json lists what there is.");
    UNKNOWN_EVENT = Kind::new(404, "unknown-event", "No such event",
        "The organizer has no such event here.");
    UNKNOWN_HOLD = Kind::new(404, "unknown-hold", "No such hold",
        "The event has no such hold, or it ended so long ago that it is forgotten.");
    UNKNOWN_ORDER = Kind::new(404, "unknown-order", "No such order",
        "The event has no such order.");
    UNKNOWN_PAYMENT = Kind::new(404, "unknown-payment", "No such payment",
        "The order has no payment with this reference.");
    UNKNOWN_SHARD = Kind::new(404, "unknown-shard", "No such shard",
        "The stream has no such shard; /v1/streams/sales/shards lists them.");
    UNKNOWN_STREAM = Kind::new(404, "unknown-stream", "No such stream",
        "There is no such stream, or none that can be used this way.");
    UNKNOWN_CURSOR = Kind::new(404, "unknown-cursor", "No such cursor",
        "The key's organizer has no cursor with this name.");
    UNKNOWN_WEBHOOK = Kind::new(404, "unknown-webhook", "No such webhook",
        "The organizer has no webhook with this name.");
    UNKNOWN_PARKED = Kind::new(404, "unknown-parked-record", "No such parked record",
        "Nothing is parked there, or it is no longer.");
    METHOD_NOT_ALLOWED = Kind::new(405, "method-not-allowed", "Method not allowed",
        "The path is there, but not for this method. Allow lists those it takes.");

    // --- what the state forbids
    EVENT_NOT_OPEN = Kind::new(409, "event-not-open", "The event does not sell now",
        "The event is paused or closed. Claims and payments go on; new holds do not.");
    SALE_NOT_BEGUN = Kind::new(409, "sale-not-begun", "The sale has not begun",
        "The sale of the event, or of the ticket type of `field`, opens later: at `opens_at`.");
    SALE_OVER = Kind::new(409, "sale-over", "The sale is over",
        "The sale of the event, or of the ticket type of `field`, closed at `closed_at`.");
    SOLD_OUT = Kind::new(409, "sold-out", "Sold out",
        "Fewer are left than were asked for, those on hold counted as left: waiting does not help.");
    NONE_FREE_NOW = Kind::new(409, "none-free-now", "None free now",
        "Fewer are free than were asked for, but some are on hold and may come back: try again.")
        .again(1);
    HOLD_CLAIMED = Kind::new(409, "hold-claimed", "The hold was claimed",
        "The hold has become the order `order`.");
    HOLD_ID_TAKEN = Kind::new(409, "hold-id-taken", "Hold id taken",
        "A hold with this id is there already. Ids are made by the server: try again.").again(0);
    EXTENDED_BEFORE = Kind::new(409, "hold-extended-before", "The hold was extended before",
        "A hold can be extended once.");
    ORDER_CANCELLED = Kind::new(409, "order-cancelled", "The order was cancelled",
        "Nothing more can be done with it; `cancel_reason` says why it was cancelled.");
    ORDER_CONFIRMED = Kind::new(403, "order-confirmed", "The order is confirmed",
        "Only a key with the scope manage can cancel a confirmed order.");
    NOTHING_TO_PAY = Kind::new(409, "nothing-to-pay", "Nothing to pay",
        "The order costs nothing.");
    REFERENCE_USED = Kind::new(409, "payment-reference-used", "Payment reference used",
        "The reference stands for another payment, of the order `order`.");
    NOT_DUE_BACK = Kind::new(409, "payment-not-due-back", "The payment is not due back",
        "The payment confirmed its order. Cancel the order first; then it is due back.");
    QUOTA_BELOW_USE = Kind::new(409, "quota-below-use", "Quota below its use",
        "A quota may not shrink below what is sold and held.");
    QUOTA_IN_USE = Kind::new(409, "quota-in-use", "Quota in use",
        "A quota with tickets sold or held can't be taken out.");
    TICKET_TYPE_IN_USE = Kind::new(409, "ticket-type-in-use", "Ticket type in use",
        "A ticket type with tickets sold or held can't be taken out.");
    CURRENCY_IN_USE = Kind::new(409, "currency-in-use", "Currency in use",
        "The currency can't change once tickets were held or sold.");
    SALE_GROUP_FIXED = Kind::new(409, "sale-group-fixed", "Sale group fixed",
        "The sale group of an event never changes.");
    LANE_MOVED = Kind::new(409, "lane-moved", "Another lane sells the event",
        "The event is sold by `lane`, since `epoch`.");
    BEYOND_THE_END = Kind::new(409, "position-beyond-the-end", "Position beyond the end",
        "The log ends before the position in `after`: it is not the log that the cursor was for.");
    CURSOR_BACKWARDS = Kind::new(409, "cursor-backwards", "The cursor would move backwards",
        "A cursor is moved forwards only; say `reset`, with the scope manage, to move it back.");
    CURSOR_IN_USE = Kind::new(409, "cursor-in-use", "The cursor is in use",
        "A worker has the cursor just now.").again(10);
    DIVERGED = Kind::new(409, "log-diverged", "The log is another one now",
        "The cursor is of another log or generation: records that it counts may be other ones now. Read anew from the beginning, or from where you know.");
    POSITION_GONE = Kind::new(410, "position-gone", "The position is past retention",
        "The records after this position are gone; the stream begins at `begins_at` now.");
    HOLD_EXPIRED = Kind::new(410, "hold-expired", "The hold has expired",
        "It ran out at `at`; its tickets are free again.");
    HOLD_RELEASED = Kind::new(410, "hold-released", "The hold was released",
        "It was given back at `at`.");
    VERSION_STALE = Kind::new(412, "version-stale", "Stale version",
        "The event has changed since; `version` is the one that is there. Read it again.");
    VERSION_NOT_SAID = Kind::new(428, "version-not-said", "If-Match required",
        "A change of an event must say which version it changes: send its ETag in If-Match, or *.");

    // --- what a rule forbids
    COMMAND_COUNT = Kind::new(422, "command-count", "Too few or too many commands",
        "A batch has at least one command, and not more than `max`.");
    ITEM_COUNT = Kind::new(422, "item-count", "Too few or too many items",
        "A cart has at least one item, and not more than `max`.");
    UNKNOWN_TICKET_TYPE = Kind::new(422, "unknown-ticket-type", "No such ticket type",
        "The event has no such ticket type.");
    QUANTITY = Kind::new(422, "quantity-out-of-range", "Quantity out of range",
        "An item has at least one ticket, and not more than `max`.");
    TOO_MANY_TICKETS = Kind::new(422, "too-many-tickets", "Too many tickets",
        "All items together may have `max` tickets.");
    PRICE_BELOW_MINIMUM = Kind::new(422, "price-below-minimum", "Price below the minimum",
        "The buyer may choose the price, but not below `expected_amount`.");
    PRICE_FIXED = Kind::new(422, "price-fixed", "Price fixed",
        "The price of this ticket type is not the buyer's choice: it is `expected_amount`.");
    PRICE_TOO_HIGH = Kind::new(422, "price-too-high", "Price too high",
        "No ticket may cost more than `max`.");
    ORDER_LIMIT = Kind::new(422, "order-limit", "Limit per order",
        "More than the event's limit `limit` allows in one order: `max`.");
    CUSTOMER_LIMIT = Kind::new(422, "customer-limit", "Limit per customer",
        "More than the event's limit `limit` allows one customer: `max`, and `has` are there.");
    HOLD_OF_ANOTHER = Kind::new(422, "hold-of-another-customer", "Another customer's hold",
        "A hold can be claimed for the customer that it was placed for.");
    PAYMENT_AMOUNT = Kind::new(422, "payment-amount", "Another amount",
        "Only the exact amount is taken: `expected_amount`.");
    PAYMENT_CURRENCY = Kind::new(422, "payment-currency", "Another currency",
        "Only the order's currency is taken: `expected_currency`.");
    PAID_AT = Kind::new(422, "paid-at-in-the-future", "Paid in the future",
        "A payment can't be made later than now.");
    TOO_MANY_PAYMENTS = Kind::new(422, "too-many-payments", "Too many payments",
        "An order may have `max` payments.");
    IDEMPOTENCY_KEY_REUSED = Kind::new(422, "idempotency-key-reused", "Idempotency key reused",
        "The Idempotency-Key was used for another request. A new request needs a new key.");
    IDEMPOTENCY_KEY_TOO_OLD = Kind::new(422, "idempotency-key-too-old", "Idempotency key too old",
        "The key was made before `since`, and what was done then is not remembered.");

    // --- rules of a definition
    NAME_LENGTH = Kind::new(422, "name-length", "Name empty or too long",
        "A name has at least one byte, and not more than `max`.");
    ENTRY_COUNT = Kind::new(422, "entry-count", "Too few or too many entries",
        "A list has `min` to `max` entries.");
    DUPLICATE_ID = Kind::new(422, "duplicate-id", "Duplicate id",
        "The same id is there twice.");
    QUOTA_WITHOUT_TICKET_TYPE = Kind::new(422, "quota-without-ticket-type", "Quota without ticket type",
        "No ticket type draws on the quota.");
    TICKET_TYPE_WITHOUT_QUOTA = Kind::new(422, "ticket-type-without-quota", "Ticket type without quota",
        "A ticket type draws on one quota at least; one without a capacity is unlimited.");
    UNKNOWN_QUOTA = Kind::new(422, "unknown-quota", "No such quota",
        "A ticket type draws on a quota that is not defined.");
    LIMIT_OF_UNKNOWN_TYPE = Kind::new(422, "limit-of-unknown-ticket-type", "Limit of an unknown ticket type",
        "A limit is over a ticket type that is not defined.");
    PRICE_BELOW_ZERO = Kind::new(422, "price-below-zero", "Price below zero",
        "A price is zero or more.");
    OUT_OF_RANGE = Kind::new(422, "out-of-range", "Number out of range",
        "A number must be `min` to `max`.");
    WINDOW_REVERSED = Kind::new(422, "window-ends-before-it-begins", "Window ends before it begins",
        "closes_at must be later than opens_at.");
    LIMIT_WITHOUT_NUMBER = Kind::new(422, "limit-without-number", "Limit without number",
        "A limit must have per_order or per_customer.");
    TOO_MANY_EVER = Kind::new(422, "too-many-over-time", "Too many over time",
        "Over its whole life an event has at most `max` quotas and as many ticket types.");

    // --- rules of streams and webhooks
    INVALID_URL = Kind::new(422, "invalid-url", "URL not taken",
        "A webhook leads to https, or to http on the server's own machine, and only where the configuration allows.");
    UNKNOWN_RECORD_TYPE = Kind::new(422, "unknown-record-type", "No such type of records",
        "Records of this type are not in the stream, or are not taken there.");
    TOO_MANY_CURSORS = Kind::new(422, "too-many-cursors", "Too many cursors",
        "An organizer may have `max` named cursors.");
    TOO_MANY_WEBHOOKS = Kind::new(422, "too-many-webhooks", "Too many webhooks",
        "There may be `max` webhooks.");

    // --- limits of the server, and its troubles
    REQUEST_TIMEOUT = Kind::new(408, "request-timeout", "Request timeout",
        "The head or the body of the request did not come in time.");
    BODY_TOO_LARGE = Kind::new(413, "body-too-large", "Body too large",
        "The body is larger than `max` bytes.");
    COMMAND_TOO_LARGE = Kind::new(413, "command-too-large", "Too large for one record",
        "What the request asks for does not fit into the journal as one record.");
    CONTENT_TYPE = Kind::new(415, "content-type", "Content-Type not supported",
        "Bodies are JSON: send Content-Type: application/json.");
    CONTENT_ENCODING = Kind::new(415, "content-encoding", "Content-Encoding not supported",
        "Bodies are sent as they are, uncompressed: leave Content-Encoding out.");
    RATE_LIMIT = Kind::new(429, "rate-limit", "Too many requests",
        "The key made more requests than it may: `max` per second. Retry-After says when to go on.")
        .again(1);
    HEAD_TOO_LARGE = Kind::new(431, "head-too-large", "Head too large",
        "The request's line and headers are too many or too large.");
    STORAGE_FULL = Kind::new(503, "storage-full", "No room on the disk",
        "Nothing was changed. Payments, releases and cancellations still work; sales go on once there is room.")
        .again(10);
    SHARD_STOPPED = Kind::new(503, "shard-stopped", "The shard has stopped",
        "Nothing was changed. The shard stopped after a fault; it takes a restart.").again(30);
    SHARD_FULL = Kind::new(503, "shard-full", "The shard has given all its order numbers",
        "Nothing was changed. New events go to other shards.").again(3_600);
    STORE_UNREACHABLE = Kind::new(503, "store-unreachable", "The store can't be reached",
        "Nothing was changed. The Redis that keeps the sale does not serve now, or not in time.").again(1);
    OUTCOME_UNKNOWN = Kind::new(503, "outcome-unknown", "Outcome unknown",
        "It may or may not have been done. Ask again with the same Idempotency-Key.").again(5);
    BUSY = Kind::new(503, "busy", "Too busy",
        "Nothing was changed. Too many requests or connections are waiting.").again(1);
    OVERLOADED = Kind::new(503, "overloaded", "Overloaded",
        "Nothing was changed. Requests wait too long just now, so some new holds and carts are turned away; claims, releases and payments go on.")
        .again(1);
    TOO_MANY_READERS = Kind::new(503, "too-many-readers", "Too many readers",
        "As many follow live as the server lets: `max`. A single look still works.")
        .again(5);
    NOT_READY = Kind::new(503, "not-ready", "Not ready",
        "Not every shard takes commands; the detail says which one does not, and why.").again(1);
    NOT_ACTIVE = Kind::new(503, "not-active", "Not the active server",
        "Nothing was changed. Another server is at work on this log: `active` says where, as far as that is known.").again(1);
    NO_BUS = Kind::new(503, "no-bus", "The bus is not open",
        "The streams catalogue and control can't be used; the detail says why. Sales go on.").again(30);
    STORE_FAILED = Kind::new(500, "store-failed", "What is kept beside the journal could not be read or kept",
        "A cursor, a webhook or a stream could not be read or kept; the log says more.");
    UNREADABLE_RECORD = Kind::new(500, "unreadable-record", "A record could not be read",
        "What was asked for stands in a record that could not be read; the log says more.");
    INTERNAL = Kind::new(500, "internal", "Internal error",
        "This should not happen; the log says more.");
}
