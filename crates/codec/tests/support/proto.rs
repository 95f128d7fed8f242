//! The schema a second time, for prost: what another implementation of protobuf
//! makes of `onsale.proto`.

#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    #[prost(int64, tag = "1")]
    pub at: i64,
    #[prost(bytes = "vec", tag = "2")]
    pub stamp_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub stamp_body: Vec<u8>,
    #[prost(bool, tag = "4")]
    pub stamp_chosen: bool,
    #[prost(string, tag = "5")]
    pub organizer: String,
    #[prost(string, tag = "6")]
    pub event: String,
    #[prost(oneof = "RecordFact", tags = "16, 17, 18, 24, 25, 32, 33, 34, 35, 40, 41, 48, 49")]
    pub fact: Option<RecordFact>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum RecordFact {
    #[prost(message, tag = "16")]
    ShardStarted(ShardStarted),
    #[prost(message, tag = "17")]
    GenerationStarted(GenerationStarted),
    #[prost(message, tag = "18")]
    GroupPlaced(GroupPlaced),
    #[prost(message, tag = "24")]
    EventDefined(EventDefined),
    #[prost(message, tag = "25")]
    StateSet(StateSet),
    #[prost(message, tag = "32")]
    HoldPlaced(HoldPlaced),
    #[prost(message, tag = "33")]
    HoldExtended(HoldExtended),
    #[prost(message, tag = "34")]
    HoldReleased(HoldEnded),
    #[prost(message, tag = "35")]
    HoldExpired(HoldEnded),
    #[prost(message, tag = "40")]
    OrderPlaced(OrderPlaced),
    #[prost(message, tag = "41")]
    OrderCancelled(OrderCancelled),
    #[prost(message, tag = "48")]
    PaymentRecorded(PaymentRecorded),
    #[prost(message, tag = "49")]
    PaymentRefunded(PaymentRefunded),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ShardStarted {
    #[prost(bytes = "vec", tag = "1")]
    pub log: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub shard: u32,
    #[prost(uint32, tag = "3")]
    pub shards: u32,
    #[prost(bytes = "vec", tag = "4")]
    pub key: Vec<u8>,
    #[prost(uint32, tag = "5")]
    pub generation: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GenerationStarted {
    #[prost(uint32, tag = "1")]
    pub generation: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupPlaced {
    #[prost(string, tag = "1")]
    pub sale_group: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct EventDefined {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(message, optional, tag = "2")]
    pub definition: Option<EventDefinition>,
    #[prost(message, repeated, tag = "3")]
    pub stocks: Vec<QuotaStock>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct QuotaStock {
    #[prost(uint32, optional, tag = "1")]
    pub allotment: Option<u32>,
    #[prost(uint32, tag = "2")]
    pub epoch: u32,
    #[prost(int32, tag = "3")]
    pub source: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct EventDefinition {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub currency: String,
    #[prost(int64, optional, tag = "3")]
    pub starts_at: Option<i64>,
    #[prost(message, optional, tag = "4")]
    pub sale: Option<Window>,
    #[prost(message, repeated, tag = "5")]
    pub limits: Vec<Limit>,
    #[prost(uint32, tag = "6")]
    pub hold_seconds: u32,
    #[prost(uint32, tag = "7")]
    pub payment_seconds: u32,
    #[prost(string, tag = "8")]
    pub sale_group: String,
    #[prost(message, repeated, tag = "9")]
    pub quotas: Vec<Quota>,
    #[prost(message, repeated, tag = "10")]
    pub ticket_types: Vec<TicketType>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Window {
    #[prost(int64, optional, tag = "1")]
    pub opens_at: Option<i64>,
    #[prost(int64, optional, tag = "2")]
    pub closes_at: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Limit {
    #[prost(string, repeated, tag = "1")]
    pub ticket_types: Vec<String>,
    #[prost(uint32, optional, tag = "2")]
    pub per_order: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub per_customer: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Quota {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(uint32, optional, tag = "2")]
    pub capacity: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TicketType {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(int64, tag = "3")]
    pub price: i64,
    #[prost(bool, tag = "4")]
    pub free_price: bool,
    #[prost(string, repeated, tag = "5")]
    pub quotas: Vec<String>,
    #[prost(message, optional, tag = "6")]
    pub sale: Option<Window>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StateSet {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(int32, tag = "2")]
    pub state: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HoldPlaced {
    #[prost(bytes = "vec", tag = "1")]
    pub hold: Vec<u8>,
    #[prost(string, tag = "2")]
    pub customer: String,
    #[prost(int64, tag = "3")]
    pub expires_at: i64,
    #[prost(message, repeated, tag = "4")]
    pub lines: Vec<Line>,
    #[prost(int64, tag = "5")]
    pub total: i64,
    #[prost(string, tag = "6")]
    pub currency: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Line {
    #[prost(string, tag = "1")]
    pub event: String,
    #[prost(string, tag = "2")]
    pub ticket_type: String,
    #[prost(oneof = "LineStock", tags = "3, 4")]
    pub stock: Option<LineStock>,
    #[prost(int64, tag = "5")]
    pub unit_price: i64,
    #[prost(uint32, tag = "6")]
    pub version: u32,
    #[prost(string, tag = "7")]
    pub channel: String,
    #[prost(message, repeated, tag = "8")]
    pub components: Vec<Component>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum LineStock {
    #[prost(uint32, tag = "3")]
    Counted(u32),
    #[prost(message, tag = "4")]
    Places(Places),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Places {
    #[prost(string, repeated, tag = "1")]
    pub ids: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Component {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(sint64, tag = "3")]
    pub amount: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HoldExtended {
    #[prost(bytes = "vec", tag = "1")]
    pub hold: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub expires_at: i64,
}

/// `HoldReleased` and `HoldExpired`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HoldEnded {
    #[prost(bytes = "vec", tag = "1")]
    pub hold: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct OrderPlaced {
    #[prost(string, tag = "1")]
    pub order: String,
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub hold: Vec<u8>,
    #[prost(string, tag = "4")]
    pub customer: String,
    #[prost(message, repeated, tag = "5")]
    pub lines: Vec<Line>,
    #[prost(int64, tag = "6")]
    pub total: i64,
    #[prost(string, tag = "7")]
    pub currency: String,
    #[prost(int64, optional, tag = "8")]
    pub payment_due: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct OrderCancelled {
    #[prost(string, tag = "1")]
    pub order: String,
    #[prost(int32, tag = "2")]
    pub reason: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PaymentRecorded {
    #[prost(string, tag = "1")]
    pub order: String,
    #[prost(int32, tag = "2")]
    pub provider: i32,
    #[prost(string, tag = "3")]
    pub reference: String,
    #[prost(int64, tag = "4")]
    pub amount: i64,
    #[prost(string, tag = "5")]
    pub currency: String,
    #[prost(int64, tag = "6")]
    pub paid_at: i64,
    #[prost(int32, tag = "7")]
    pub outcome: i32,
    #[prost(int32, tag = "8")]
    pub refund_reason: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PaymentRefunded {
    #[prost(string, tag = "1")]
    pub order: String,
    #[prost(string, tag = "2")]
    pub reference: String,
}
