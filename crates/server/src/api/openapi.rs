//! The description of the API, OpenAPI 3.1: made from the routes and the shapes, with
//! the problems of each operation from one table.

use std::collections::BTreeSet;

use serde::Deserialize;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Object, OpenApi as Document, PathItem, Ref, RefOr, ResponseBuilder, Schema,
    path::{Operation, Parameter, ParameterIn},
};
use utoipa::{IntoParams, OpenApi};

use crate::problem::{Kind, MEDIA_TYPE, Problem, kind as k};

/// What comes before the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Onsale",
        description = "A selling engine: holds, orders and payments of events with a rush.\n\n\
            Every request but health and readiness carries a key: `Authorization: Bearer KEY`. \
            A key has scopes (`sell`, `pay`, `manage`, `read`) and is bound to one organizer or \
            to none.\n\n\
            Money is whole minor units of an ISO 4217 currency; times are RFC 3339. Errors are \
            `application/problem+json` (RFC 9457) with a stable `type`, which can be read at \
            its path. Each answer of the engine has a receipt: it is sent only once all that it \
            is based on is on the disk.\n\n\
            `Idempotency-Key` is taken by every POST and required where it is about money: the \
            same key with the same request gives the same answer again, with the header \
            `Idempotency-Replayed: true`.",
    ),
    components(schemas(Problem)),
    security(("key" = [])),
    tags(
        (name = "events", description = "What is for sale, and what is left."),
        (name = "holds", description = "Tickets set aside for a buyer."),
        (name = "orders", description = "Claimed holds, and carts bought in one step."),
        (name = "batch", description = "Many commands in one request."),
        (name = "payments", description = "What a provider of money says."),
        (name = "streams", description = "Everything that happened, by cursor."),
        (name = "webhooks", description = "What happened, sent to an address."),
        (name = "system", description = "Health, figures, and this description."),
    ),
)]
struct Head;

/// The document without its routes.
#[must_use]
pub fn head() -> Document {
    let mut document = Head::openapi();
    let scheme = Http::builder().scheme(HttpAuthScheme::Bearer).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("key", SecurityScheme::Http(scheme));
    document
}

/// An organizer's path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only documents")]
pub struct OrganizerPath {
    /// Id of the organizer.
    #[param(example = "river-festival")]
    organizer: String,
}

/// An event's path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only documents")]
pub struct EventPath {
    /// Id of the organizer.
    #[param(example = "river-festival")]
    organizer: String,
    /// Id of the event.
    #[param(example = "spring-concert")]
    event: String,
}

/// A hold's path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only documents")]
pub struct HoldPath {
    /// Id of the organizer.
    organizer: String,
    /// Id of the event.
    event: String,
    /// Id of the hold.
    #[param(format = "uuid")]
    hold: String,
}

/// An order's path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only documents")]
pub struct OrderPath {
    /// Id of the organizer.
    organizer: String,
    /// Id of the event.
    event: String,
    /// Code of the order.
    #[param(example = "EH7K2MXQ4T")]
    code: String,
}

/// A payment's path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only documents")]
pub struct PaymentPath {
    /// Id of the organizer.
    organizer: String,
    /// Id of the event.
    event: String,
    /// Code of the order.
    code: String,
    /// The payment's own key at its provider.
    reference: String,
}

/// A payment's path, by its reference alone.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only documents")]
pub struct ReferencePath {
    /// Id of the organizer.
    organizer: String,
    /// Id of the event.
    event: String,
    /// The payment's own key at its provider.
    reference: String,
}

/// A problem type's path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only documents")]
pub struct ProblemPath {
    /// The type's name.
    #[param(example = "sold-out")]
    name: String,
}

/// The header that makes a request safe to repeat.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only documents")]
pub struct IdempotencyHeader {
    /// 1 to 255 printable ASCII characters, best a UUIDv7. The same key with the same
    /// request gives the same answer again.
    #[param(rename = "Idempotency-Key")]
    idempotency_key: Option<String>,
}

/// The same header where it must be there.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only documents")]
pub struct RequiredIdempotencyHeader {
    /// 1 to 255 printable ASCII characters, best a UUIDv7. The same key with the same
    /// request gives the same answer again.
    #[param(rename = "Idempotency-Key")]
    idempotency_key: String,
}

/// The header by which a client of server-sent events goes on.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only documents")]
pub struct LastEventHeader {
    /// The id of the last event that was received.
    #[param(rename = "Last-Event-ID", example = "4711")]
    last_event_id: Option<String>,
}

/// The header that guards a change.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only documents")]
pub struct MatchHeader {
    /// The ETag of the version to change, or `*` for any.
    #[param(rename = "If-Match", example = "\"7\"")]
    if_match: Option<String>,
}

/// The headers that guard a definition.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only documents")]
pub struct ConditionHeaders {
    /// The ETag of the version to change, or `*` for any. Not needed for a new event.
    #[param(rename = "If-Match", example = "\"7\"")]
    if_match: Option<String>,
    /// `*`: only if the event is not there yet.
    #[param(rename = "If-None-Match", example = "*")]
    if_none_match: Option<String>,
}

/// Which page of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only ids above this one: the `next` of the page before.
    pub after: Option<String>,
    /// At most so many; left out: 50.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    pub limit: Option<String>,
}

/// Which records.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RecordsQuery {
    /// Of this shard.
    #[param(value_type = u16, required = true)]
    pub shard: Option<String>,
    /// Only positions above this one: the `next` of the answer before, or better its `cursor`, by which
    /// another log is noticed; left out: from where the shard begins.
    #[param(value_type = Option<String>, example = "4711")]
    pub after: Option<String>,
    /// Instead of `after`: on from the named cursor, or where it was never committed, from where the shard begins.
    pub cursor: Option<String>,
    /// At most so many; left out: 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1_000)]
    pub limit: Option<String>,
    /// How long to wait for a record, in milliseconds; left out: not at all.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 30_000)]
    pub wait_ms: Option<String>,
}

/// Which records, live.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LiveRecordsQuery {
    /// Of this shard.
    #[param(value_type = u16, required = true)]
    pub shard: Option<String>,
    /// Only positions above this one, as for records; left out: only what comes from now on.
    /// `Last-Event-ID` counts more.
    #[param(value_type = Option<String>, example = "4711")]
    pub after: Option<String>,
}

/// A named cursor's path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only documents")]
pub struct CursorPath {
    /// Name of the cursor: 1 to 64 of a-z, 0-9, `-`, `_` and `.`, a letter first.
    #[param(example = "mailer")]
    name: String,
}

/// The path of a stream that can be written to.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only documents")]
pub struct StreamPath {
    /// `catalogue` or `control`.
    #[param(example = "catalogue")]
    stream: String,
}

/// The path of a parked record.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only documents")]
pub struct ParkedPath {
    /// Its shard.
    shard: u16,
    /// Its position.
    position: u64,
}

/// A webhook's path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only documents")]
pub struct WebhookPath {
    /// Id of the organizer.
    #[param(example = "river-festival")]
    organizer: String,
    /// Name of the webhook: 1 to 40 of a-z, 0-9, `-`, `_` and `.`.
    #[param(example = "shop")]
    name: String,
}

/// The path of a record that a webhook's receiver did not take.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only documents")]
pub struct FailurePath {
    /// Id of the organizer.
    organizer: String,
    /// Name of the webhook.
    name: String,
    /// Its shard.
    shard: u16,
    /// Its position.
    position: u64,
}

/// Which page of parked records.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FailuresQuery {
    /// The `next` of the page before.
    #[param(example = "0.4711")]
    pub after: Option<String>,
    /// At most so many; left out: 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    pub limit: Option<String>,
}

/// Which records of a stream that others write to.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WantedQuery {
    /// Only positions above this one; left out: from where the stream begins.
    #[param(value_type = Option<u64>)]
    pub after: Option<String>,
    /// At most so many; left out: 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    pub limit: Option<String>,
    /// How long to wait for a record, in milliseconds; left out: not at all.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 30_000)]
    pub wait_ms: Option<String>,
}

type Kinds = &'static [&'static Kind];

/// Of every operation with a key.
const KEY: Kinds = &[&k::KEY_MISSING, &k::KEY_UNKNOWN, &k::RATE_LIMIT, &k::BUSY, &k::NOT_ACTIVE];
/// Of every operation that needs a scope.
const SCOPE: Kinds = &[&k::SCOPE_MISSING];
/// Of every operation of an organizer.
const ORGANIZER: Kinds = &[&k::INVALID_ID, &k::INVALID_PATH, &k::OTHER_ORGANIZER];
/// Of every operation of an event.
const EVENT: Kinds = &[&k::UNKNOWN_EVENT, &k::SHARD_STOPPED, &k::STORE_UNREACHABLE];
/// Of every operation with a JSON body.
const JSON: Kinds = &[
    &k::MALFORMED_JSON,
    &k::UNKNOWN_FIELD,
    &k::MISSING_FIELD,
    &k::WRONG_TYPE,
    &k::INVALID_BODY,
    &k::REQUEST_TIMEOUT,
    &k::BODY_TOO_LARGE,
    &k::CONTENT_TYPE,
    &k::CONTENT_ENCODING,
];
/// Of every operation that changes something.
const CHANGE: Kinds =
    &[&k::STORAGE_FULL, &k::OUTCOME_UNKNOWN, &k::COMMAND_TOO_LARGE, &k::LANE_MOVED];
/// Of every operation that takes an idempotency key.
const IDEMPOTENT: Kinds =
    &[&k::INVALID_IDEMPOTENCY_KEY, &k::IDEMPOTENCY_KEY_REUSED, &k::IDEMPOTENCY_KEY_TOO_OLD];
/// Of every operation that takes no body.
const EMPTY: Kinds = &[&k::BODY_NOT_EXPECTED];
/// Of every change of an event.
const VERSION: Kinds = &[&k::INVALID_CONDITION, &k::VERSION_STALE, &k::VERSION_NOT_SAID];
/// Of every definition.
const DEFINITION: Kinds = &[
    &k::INVALID_TIME,
    &k::UNKNOWN_CURRENCY,
    &k::NAME_LENGTH,
    &k::ENTRY_COUNT,
    &k::DUPLICATE_ID,
    &k::QUOTA_WITHOUT_TICKET_TYPE,
    &k::TICKET_TYPE_WITHOUT_QUOTA,
    &k::UNKNOWN_QUOTA,
    &k::LIMIT_OF_UNKNOWN_TYPE,
    &k::PRICE_BELOW_ZERO,
    &k::OUT_OF_RANGE,
    &k::WINDOW_REVERSED,
    &k::LIMIT_WITHOUT_NUMBER,
    &k::TOO_MANY_EVER,
    &k::QUOTA_BELOW_USE,
    &k::QUOTA_IN_USE,
    &k::TICKET_TYPE_IN_USE,
    &k::CURRENCY_IN_USE,
    &k::SALE_GROUP_FIXED,
];
/// Of every cart.
const CART: Kinds = &[
    &k::PERSONAL_DATA,
    &k::EVENT_NOT_OPEN,
    &k::SALE_NOT_BEGUN,
    &k::SALE_OVER,
    &k::ITEM_COUNT,
    &k::UNKNOWN_TICKET_TYPE,
    &k::QUANTITY,
    &k::TOO_MANY_TICKETS,
    &k::PRICE_BELOW_MINIMUM,
    &k::PRICE_FIXED,
    &k::PRICE_TOO_HIGH,
    &k::ORDER_LIMIT,
    &k::CUSTOMER_LIMIT,
    &k::SOLD_OUT,
    &k::NONE_FREE_NOW,
];
/// Of every operation on something that is kept beside the journal under a name.
const NAMED: Kinds = &[&k::INVALID_ID, &k::INVALID_PATH, &k::STORE_FAILED];
/// Of every operation on a stream that others write to.
const STREAM: Kinds = &[&k::UNKNOWN_STREAM, &k::INVALID_PATH, &k::NO_BUS, &k::STORE_FAILED];
/// Of every read from a position of the stream.
const POSITION: Kinds = &[
    &k::INVALID_QUERY,
    &k::UNKNOWN_SHARD,
    &k::BEYOND_THE_END,
    &k::DIVERGED,
    &k::POSITION_GONE,
    &k::UNREADABLE_RECORD,
    &k::SHARD_STOPPED,
    &k::STORE_UNREACHABLE,
];
/// Of every hold that has ended.
const ENDED: Kinds = &[&k::UNKNOWN_HOLD, &k::HOLD_EXPIRED, &k::HOLD_RELEASED, &k::HOLD_CLAIMED];

/// The problems of an operation, by its id. Nothing else says which there are.
fn problems(operation: &str) -> Option<Vec<Kinds>> {
    let of_event = |more: &[Kinds]| [&[KEY, SCOPE, ORGANIZER, EVENT], more].concat();
    Some(match operation {
        "health" => vec![],
        "readiness" => vec![&[&k::NOT_READY]],
        "figures" | "description" | "streams_description" | "list_problems" => vec![KEY],
        "get_problem" => vec![KEY, &[&k::UNKNOWN_ROUTE]],
        "list_events" => vec![
            KEY,
            SCOPE,
            ORGANIZER,
            &[&k::INVALID_QUERY, &k::SHARD_STOPPED, &k::STORE_UNREACHABLE],
        ],
        "get_event" | "get_availability" => of_event(&[]),
        "follow_availability" => of_event(&[&[&k::TOO_MANY_READERS]]),
        "define_event" => of_event(&[JSON, CHANGE, VERSION, DEFINITION]),
        "set_state" => of_event(&[JSON, CHANGE, VERSION]),
        "place_hold" => {
            of_event(&[JSON, CHANGE, IDEMPOTENT, CART, &[&k::SHARD_FULL, &k::OVERLOADED]])
        }
        "get_hold" => of_event(&[ENDED]),
        "release_hold" => of_event(&[CHANGE, EMPTY, ENDED]),
        "extend_hold" => of_event(&[
            CHANGE,
            IDEMPOTENT,
            EMPTY,
            ENDED,
            &[&k::EXTENDED_BEFORE, &k::EVENT_NOT_OPEN],
        ]),
        "place_order" => of_event(&[
            JSON,
            CHANGE,
            IDEMPOTENT,
            CART,
            ENDED,
            &[&k::HOLD_OR_ITEMS, &k::HOLD_OF_ANOTHER, &k::SHARD_FULL, &k::OVERLOADED],
        ]),
        "get_order" => of_event(&[&[&k::UNKNOWN_ORDER]]),
        "cancel_order" => of_event(&[
            CHANGE,
            IDEMPOTENT,
            EMPTY,
            &[&k::UNKNOWN_ORDER, &k::ORDER_CANCELLED, &k::ORDER_CONFIRMED],
        ]),
        "record_payment" => of_event(&[
            JSON,
            CHANGE,
            IDEMPOTENT,
            &[
                &k::IDEMPOTENCY_KEY_REQUIRED,
                &k::PERSONAL_DATA,
                &k::INVALID_TIME,
                &k::UNKNOWN_CURRENCY,
                &k::UNKNOWN_ORDER,
                &k::NOTHING_TO_PAY,
                &k::PAYMENT_AMOUNT,
                &k::PAYMENT_CURRENCY,
                &k::PAID_AT,
                &k::REFERENCE_USED,
                &k::TOO_MANY_PAYMENTS,
            ],
        ]),
        // What a command is refused for is in its own answer.
        "carry_out_batch" => of_event(&[JSON, &[&k::COMMAND_COUNT, &k::INVALID_IDEMPOTENCY_KEY]]),
        "record_refund" => of_event(&[
            CHANGE,
            IDEMPOTENT,
            EMPTY,
            &[&k::PERSONAL_DATA, &k::UNKNOWN_ORDER, &k::UNKNOWN_PAYMENT, &k::NOT_DUE_BACK],
        ]),
        "record_refund_by_reference" => of_event(&[
            CHANGE,
            IDEMPOTENT,
            EMPTY,
            &[&k::PERSONAL_DATA, &k::UNKNOWN_PAYMENT, &k::NOT_DUE_BACK],
        ]),
        "list_shards" => vec![KEY, SCOPE],
        "read_records" => {
            vec![KEY, SCOPE, POSITION, &[&k::INVALID_ID, &k::UNKNOWN_CURSOR, &k::STORE_FAILED]]
        }
        "list_cursors" => vec![KEY, SCOPE, &[&k::STORE_FAILED]],
        "get_cursor" => vec![KEY, SCOPE, NAMED, &[&k::UNKNOWN_CURSOR]],
        "delete_cursor" => {
            vec![KEY, SCOPE, NAMED, EMPTY, &[&k::UNKNOWN_CURSOR, &k::CURSOR_IN_USE]]
        }
        "put_cursor" => vec![
            KEY,
            SCOPE,
            NAMED,
            JSON,
            POSITION,
            &[&k::CURSOR_BACKWARDS, &k::CURSOR_IN_USE, &k::TOO_MANY_CURSORS],
        ],
        "append_wanted" => vec![
            KEY,
            SCOPE,
            STREAM,
            JSON,
            IDEMPOTENT,
            DEFINITION,
            &[&k::INVALID_ID, &k::PERSONAL_DATA, &k::OTHER_ORGANIZER, &k::UNKNOWN_RECORD_TYPE],
        ],
        "read_wanted" => {
            vec![KEY, SCOPE, STREAM, &[&k::INVALID_QUERY, &k::POSITION_GONE, &k::BEYOND_THE_END]]
        }
        "list_parked" => vec![KEY, SCOPE, &[&k::INVALID_QUERY, &k::NO_BUS, &k::STORE_FAILED]],
        "retry_parked" | "drop_parked" => {
            vec![KEY, SCOPE, NAMED, EMPTY, &[&k::UNKNOWN_SHARD, &k::UNKNOWN_PARKED, &k::NO_BUS]]
        }
        "list_webhooks" => vec![KEY, SCOPE, ORGANIZER, NAMED],
        "get_webhook" => vec![KEY, SCOPE, ORGANIZER, NAMED, &[&k::UNKNOWN_WEBHOOK]],
        "delete_webhook" => {
            vec![KEY, SCOPE, ORGANIZER, NAMED, EMPTY, &[&k::UNKNOWN_WEBHOOK, &k::CURSOR_IN_USE]]
        }
        "put_webhook" => vec![
            KEY,
            SCOPE,
            ORGANIZER,
            NAMED,
            JSON,
            &[
                &k::INVALID_URL,
                &k::UNKNOWN_RECORD_TYPE,
                &k::DUPLICATE_ID,
                &k::TOO_MANY_WEBHOOKS,
                &k::CURSOR_IN_USE,
            ],
        ],
        "list_failures" => {
            vec![KEY, SCOPE, ORGANIZER, NAMED, &[&k::UNKNOWN_WEBHOOK, &k::INVALID_QUERY]]
        }
        "retry_failure" | "drop_failure" => vec![
            KEY,
            SCOPE,
            ORGANIZER,
            NAMED,
            EMPTY,
            &[&k::UNKNOWN_WEBHOOK, &k::UNKNOWN_SHARD, &k::UNKNOWN_PARKED],
        ],
        "follow_records" => vec![KEY, SCOPE, POSITION, &[&k::TOO_MANY_READERS]],
        _ => return None,
    })
}

/// Opens bodies that are parts of answers: what a request may not have beside its fields,
/// an answer has.
pub fn open_parts(document: &mut Document) {
    let Some(components) = &mut document.components else { return };
    let closed = |schema: &RefOr<Schema>| match schema {
        RefOr::T(Schema::Object(object)) if object.additional_properties.is_some() => {
            let mut open = object.clone();
            open.additional_properties = None;
            Some(open)
        }
        _ => None,
    };
    let opened: Vec<(String, Object)> = components
        .schemas
        .iter()
        .filter_map(|(name, schema)| {
            Some((format!("#/components/schemas/{name}"), closed(schema)?))
        })
        .collect();
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::AllOf(all)) = schema else { continue };
        for part in &mut all.items {
            let RefOr::Ref(reference) = part else { continue };
            let found = opened.iter().find(|(location, _)| *location == reference.ref_location);
            if let Some((_, object)) = found {
                *part = RefOr::T(Schema::Object(object.clone()));
            }
        }
    }
}

/// Writes the problems of every operation into the document.
pub fn add_problems(document: &mut Document) {
    for (path, item) in &mut document.paths.paths {
        for (_, operation) in operations(item) {
            let id = operation.operation_id.clone().unwrap_or_default();
            let mut kinds =
                problems(&id).expect("each operation has its row in the table").concat();
            if path.starts_with("/v1/") && !kinds.contains(&&k::INVALID_QUERY) {
                kinds.push(&k::INVALID_QUERY);
            }
            add(operation, kinds);
        }
    }
}

/// The operations that take a query.
pub struct WithQuery(BTreeSet<(&'static str, String)>);

impl WithQuery {
    /// Whether this is one of them.
    #[must_use]
    pub fn contains(&self, method: &str, path: &str) -> bool {
        self.0.iter().any(|(of, on)| *of == method && on == path)
    }
}

/// Finds the operations that take a query.
pub fn with_query(document: &mut Document) -> WithQuery {
    let mut found = BTreeSet::new();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let of_query = |each: &RefOr<Parameter>| match each {
                RefOr::T(parameter) => matches!(parameter.parameter_in, ParameterIn::Query),
                RefOr::Ref(_) => false,
            };
            if operation.parameters.iter().flatten().any(of_query) {
                found.insert((method, path.clone()));
            }
        }
    }
    WithQuery(found)
}

fn add(operation: &mut Operation, mut kinds: Vec<&'static Kind>) {
    kinds.sort_by_key(|kind| (kind.status, kind.name));
    for same in kinds.chunk_by(|a, b| a.status == b.status) {
        let names: Vec<String> = same.iter().map(|kind| format!("`{}`", kind.name)).collect();
        let schema = Ref::from_schema_name("Problem");
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let response = ResponseBuilder::new()
            .description(format!("A problem: {}.", names.join(", ")))
            .content(MEDIA_TYPE, content)
            .build();
        let responses = &mut operation.responses.responses;
        responses.insert(same[0].status.to_string(), RefOr::T(response));
    }
}

/// The operations of a path, with their methods.
pub fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("GET", &mut item.get),
        ("PUT", &mut item.put),
        ("POST", &mut item.post),
        ("DELETE", &mut item.delete),
        ("PATCH", &mut item.patch),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}
