//! What goes over the owner's socket: frames of a length (4 bytes, little-endian) and a body, a request
//! and its answer in turn. Owner and client are of one version: the first byte says which.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    AppendError, Entry, Error, From, Generation, Lag, Limits, Page, Placed, Position, Record,
    Records, ShardId, ShardInfo, StreamInfo, StreamName,
};

/// The version of this language.
const VERSION: u8 = 1;
/// The longest frame: a page or an append of the largest sort, with what its records cost beside.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// About the most bytes of an append that go into one frame.
pub(super) const APPEND_BYTES_MAX: usize = 4 << 20;
/// The most entries of an append that go into one frame.
pub(super) const APPEND_ENTRIES_MAX: usize = 20_000;

/// What a client asks for.
pub(super) enum Request {
    Create { stream: StreamName, shards: u32 },
    Streams,
    Describe { stream: StreamName },
    Append { stream: StreamName, entries: Vec<Entry> },
    Read { stream: StreamName, shard: ShardId, from: From, limits: Limits },
    Trim { stream: StreamName, shard: ShardId, upto: Position },
}

/// Sends a frame.
pub(super) async fn send(to: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(body.len()).expect("frames are bounded");
    to.write_all(&length.to_le_bytes()).await?;
    to.write_all(body).await?;
    to.flush().await
}

/// Takes a frame; none where the other side has ended between two.
pub(super) async fn receive(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Bytes>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..]).await?;
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(std::io::Error::other(format!(
            "a frame of {length} bytes, at most {FRAME_BYTES_MAX} are taken"
        )));
    }
    let mut body = BytesMut::zeroed(length);
    from.read_exact(&mut body).await?;
    Ok(Some(body.freeze()))
}

/// What a body is written to.
#[derive(Default)]
pub(super) struct Out(BytesMut);

/// What a body is read from. Anything that is not what it should be ends it.
pub(super) struct In(Bytes);

type Read<T> = Result<T, Error>;

fn garbled() -> Error {
    Error::Damaged {
        what: "a frame of the bus' socket".into(),
        why: "it has not the form that it should".into(),
    }
}

impl Out {
    pub(super) fn done(self) -> Bytes {
        self.0.freeze()
    }

    fn u8(&mut self, value: u8) {
        self.0.put_u8(value);
    }

    fn u64(&mut self, value: u64) {
        self.0.put_u64_le(value);
    }

    fn count(&mut self, value: usize) {
        self.0.put_u32_le(u32::try_from(value).expect("frames are bounded"));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.put_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn position(&mut self, position: Position) {
        self.0.put_slice(&position.to_bytes());
    }

    fn optional(&mut self, value: Option<u64>) {
        self.u8(value.is_some().into());
        self.u64(value.unwrap_or(0));
    }

    fn from(&mut self, from: From) {
        let (kind, position, time_us) = match from {
            From::Start => (0, Position::ZERO, 0),
            From::End => (1, Position::ZERO, 0),
            From::After(position) => (2, position, 0),
            From::Record(position) => (3, position, 0),
            From::At(time_us) => (4, Position::ZERO, time_us),
        };
        self.u8(kind);
        self.position(position);
        self.u64(time_us);
    }

    pub(super) fn request(request: &Request) -> Bytes {
        let mut out = Out::default();
        out.u8(VERSION);
        match request {
            Request::Create { stream, shards } => {
                out.u8(0);
                out.text(stream.as_str());
                out.count(*shards as usize);
            }
            Request::Streams => out.u8(1),
            Request::Describe { stream } => {
                out.u8(2);
                out.text(stream.as_str());
            }
            Request::Append { stream, entries } => return Out::append(stream, entries),
            Request::Read { stream, shard, from, limits } => {
                out.u8(4);
                out.text(stream.as_str());
                out.text(shard.as_str());
                out.from(*from);
                out.u64(limits.records as u64);
                out.u64(limits.bytes as u64);
                out.u64(u64::try_from(limits.wait.as_millis()).unwrap_or(u64::MAX));
            }
            Request::Trim { stream, shard, upto } => {
                out.u8(5);
                out.text(stream.as_str());
                out.text(shard.as_str());
                out.position(*upto);
            }
        }
        out.done()
    }

    pub(super) fn append(stream: &StreamName, entries: &[Entry]) -> Bytes {
        let mut out = Out::default();
        out.u8(VERSION);
        out.u8(3);
        out.text(stream.as_str());
        out.count(entries.len());
        for entry in entries {
            out.bytes(&entry.key);
            out.bytes(&entry.payload);
        }
        out.done()
    }

    pub(super) fn error(&mut self, error: &Error) {
        let mut kind = |kind: u8, what: &str, why: &str, asked: Position, limit: Position| {
            self.u8(kind);
            self.text(what);
            self.text(why);
            self.position(asked);
            self.position(limit);
        };
        let number = |number: usize| Position::from(number as u64);
        let zero = Position::ZERO;
        match error {
            Error::NoSuchStream { stream } => kind(1, stream.as_str(), "", zero, zero),
            Error::NoSuchShard { stream, shard } => {
                kind(2, stream.as_str(), shard.as_str(), zero, zero)
            }
            Error::OtherShards { stream, has, asked } => {
                kind(3, stream.as_str(), "", number(*asked), number(*has));
            }
            Error::Gone { stream, shard, asked, begins_at } => {
                kind(4, stream.as_str(), shard.as_str(), *asked, *begins_at);
            }
            Error::Beyond { stream, shard, asked, last } => {
                kind(5, stream.as_str(), shard.as_str(), *asked, *last);
            }
            Error::TooLarge { bytes, max, .. } => kind(6, "", "", number(*bytes), number(*max)),
            Error::Refused { what, why } => kind(7, what, why, zero, zero),
            Error::Damaged { what, why } => kind(8, what, why, zero, zero),
            Error::Unavailable { what, why } => kind(9, what, why, zero, zero),
            other => kind(7, "the owner of the bus", &other.to_string(), zero, zero),
        }
    }

    fn placed(&mut self, placed: &Placed) {
        self.text(placed.shard.as_str());
        self.position(placed.position);
    }

    pub(super) fn appended(&mut self, result: &Result<Vec<Placed>, AppendError>) {
        match result {
            Ok(all) => {
                self.count(all.len());
                for placed in all {
                    self.u8(0);
                    self.placed(placed);
                }
            }
            Err(error) => {
                self.count(error.entries.len());
                for entry in &error.entries {
                    self.u8(entry.is_err().into());
                    match entry {
                        Ok(placed) => self.placed(placed),
                        Err(error) => self.error(error),
                    }
                }
            }
        }
    }

    /// An answer: 0 and what `write` writes, or 1 and the error.
    pub(super) fn answer<T>(result: &Result<T, Error>, write: impl FnOnce(&mut Out, &T)) -> Bytes {
        let mut out = Out::default();
        out.u8(result.is_err().into());
        match result {
            Ok(value) => write(&mut out, value),
            Err(error) => out.error(error),
        }
        out.done()
    }

    pub(super) fn names(&mut self, names: &[StreamName]) {
        self.count(names.len());
        names.iter().for_each(|name| self.text(name.as_str()));
    }

    pub(super) fn info(&mut self, info: &StreamInfo) {
        self.text(info.name.as_str());
        self.u64(info.generation.0);
        self.count(info.shards.len());
        for shard in &info.shards {
            self.text(shard.id.as_str());
            self.position(shard.first);
            self.position(shard.last.unwrap_or(Position::ZERO));
        }
    }

    pub(super) fn page(&mut self, page: &Page) {
        self.from(page.next);
        self.u8(page.ended.into());
        self.optional(page.lag.records);
        self.optional(page.lag.ms);
        self.u64(page.generation.0);
        self.count(page.records.len());
        for record in &page.records {
            self.position(record.position);
            self.u64(record.written_at_us);
            self.bytes(&record.key);
            self.bytes(&record.payload);
        }
    }

    pub(super) fn position_of(&mut self, position: &Position) {
        self.position(*position);
    }
}

impl In {
    pub(super) fn new(body: Bytes) -> In {
        In(body)
    }

    fn need(&self, bytes: usize) -> Read<()> {
        if self.0.len() < bytes { Err(garbled()) } else { Ok(()) }
    }

    fn u8(&mut self) -> Read<u8> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    fn u64(&mut self) -> Read<u64> {
        self.need(8)?;
        Ok(self.0.get_u64_le())
    }

    fn count(&mut self) -> Read<usize> {
        self.need(4)?;
        Ok(self.0.get_u32_le() as usize)
    }

    /// How many things follow, each of so many bytes at least.
    fn count_of(&mut self, bytes: usize) -> Read<usize> {
        let count = self.count()?;
        self.need(count.saturating_mul(bytes))?;
        Ok(count)
    }

    fn bytes(&mut self) -> Read<Bytes> {
        let length = self.count()?;
        self.need(length)?;
        Ok(self.0.split_to(length))
    }

    fn text(&mut self) -> Read<String> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| garbled())
    }

    fn stream(&mut self) -> Read<StreamName> {
        StreamName::new(&self.text()?)
    }

    fn shard(&mut self) -> Read<ShardId> {
        ShardId::new(&self.text()?)
    }

    pub(super) fn position(&mut self) -> Read<Position> {
        self.need(24)?;
        let bytes = self.0.split_to(24);
        Ok(Position::from_bytes(&bytes[..].try_into().expect("24 bytes")))
    }

    fn optional(&mut self) -> Read<Option<u64>> {
        let is_some = self.u8()? == 1;
        let value = self.u64()?;
        Ok(is_some.then_some(value))
    }

    fn from(&mut self) -> Read<From> {
        let (kind, position, time_us) = (self.u8()?, self.position()?, self.u64()?);
        Ok(match kind {
            0 => From::Start,
            1 => From::End,
            2 => From::After(position),
            3 => From::Record(position),
            4 => From::At(time_us),
            _ => return Err(garbled()),
        })
    }

    pub(super) fn request(&mut self) -> Read<Request> {
        if self.u8()? != VERSION {
            let what = "the owner of the bus".into();
            return Err(Error::Refused { what, why: "it is of another version".into() });
        }
        Ok(match self.u8()? {
            0 => {
                let stream = self.stream()?;
                let shards = u32::try_from(self.count()?).map_err(|_| garbled())?;
                Request::Create { stream, shards }
            }
            1 => Request::Streams,
            2 => Request::Describe { stream: self.stream()? },
            3 => {
                let stream = self.stream()?;
                let count = self.count_of(8)?;
                let entry = |_| Ok(Entry { key: self.bytes()?, payload: self.bytes()? });
                Request::Append { stream, entries: (0..count).map(entry).collect::<Read<_>>()? }
            }
            4 => Request::Read {
                stream: self.stream()?,
                shard: self.shard()?,
                from: self.from()?,
                limits: Limits {
                    records: usize::try_from(self.u64()?).map_err(|_| garbled())?,
                    bytes: usize::try_from(self.u64()?).map_err(|_| garbled())?,
                    wait: std::time::Duration::from_millis(self.u64()?),
                },
            },
            5 => Request::Trim {
                stream: self.stream()?,
                shard: self.shard()?,
                upto: self.position()?,
            },
            _ => return Err(garbled()),
        })
    }

    fn error(&mut self) -> Read<Error> {
        let (kind, what, why) = (self.u8()?, self.text()?, self.text()?);
        let (asked, limit) = (self.position()?, self.position()?);
        let number =
            |position: Position| usize::try_from(position.as_u64().unwrap_or(0)).unwrap_or(0);
        let stream = || StreamName::new(&what);
        let shard = || ShardId::new(&why);
        Ok(match kind {
            1 => Error::NoSuchStream { stream: stream()? },
            2 => Error::NoSuchShard { stream: stream()?, shard: shard()? },
            3 => Error::OtherShards { stream: stream()?, has: number(limit), asked: number(asked) },
            4 => Error::Gone { stream: stream()?, shard: shard()?, asked, begins_at: limit },
            5 => Error::Beyond { stream: stream()?, shard: shard()?, asked, last: limit },
            6 => Error::TooLarge { field: "entry", bytes: number(asked), max: number(limit) },
            7 => Error::Refused { what, why },
            8 => Error::Damaged { what, why },
            _ => Error::Unavailable { what, why },
        })
    }

    pub(super) fn appended(&mut self) -> Read<Vec<Result<Placed, Error>>> {
        let count = self.count_of(25)?;
        let entry = |_| match self.u8()? {
            0 => Ok(Ok(Placed { shard: self.shard()?, position: self.position()? })),
            _ => Ok(Err(self.error()?)),
        };
        (0..count).map(entry).collect()
    }

    /// What an answer holds, or the error that it is.
    pub(super) fn answer<T>(&mut self, read: impl FnOnce(&mut In) -> Read<T>) -> Read<T> {
        if self.u8()? == 0 { read(self) } else { Err(self.error()?) }
    }

    pub(super) fn names(&mut self) -> Read<Vec<StreamName>> {
        let count = self.count_of(5)?;
        (0..count).map(|_| self.stream()).collect()
    }

    pub(super) fn info(&mut self) -> Read<StreamInfo> {
        let (name, generation) = (self.stream()?, Generation(self.u64()?));
        let count = self.count_of(53)?;
        let shard = |_| {
            Ok(ShardInfo {
                id: self.shard()?,
                parents: Vec::new(),
                first: self.position()?,
                last: Some(self.position()?),
                ended: false,
            })
        };
        let shards = (0..count).map(shard).collect::<Read<_>>()?;
        Ok(StreamInfo { name, generation, shards })
    }

    pub(super) fn page(&mut self) -> Read<Page> {
        let next = self.from()?;
        let ended = self.u8()? == 1;
        let lag = Lag { records: self.optional()?, ms: self.optional()? };
        let generation = Generation(self.u64()?);
        let count = self.count_of(40)?;
        let record = |_| {
            Ok(Record {
                position: self.position()?,
                written_at_us: self.u64()?,
                key: self.bytes()?,
                payload: self.bytes()?,
            })
        };
        let records: Vec<Record> = (0..count).map(record).collect::<Read<_>>()?;
        Ok(Page { records: Records::from(records), next, ended, lag, generation })
    }
}
