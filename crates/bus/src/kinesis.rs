//! The bus on Kinesis, at any endpoint.

use crate::{
    AppendError, Entry, Error, From, Limits, Page, Placed, Position, ShardId, StreamInfo,
    StreamName,
};

/// Streams on Kinesis.
#[derive(Clone, Debug)]
pub struct KinesisBus {}

impl KinesisBus {
    pub(crate) async fn create(&self, stream: &StreamName, shards: u32) -> Result<(), Error> {
        let _ = (stream, shards);
        Err(not_yet())
    }

    pub(crate) async fn streams(&self) -> Result<Vec<StreamName>, Error> {
        Err(not_yet())
    }

    pub(crate) async fn describe(&self, stream: &StreamName) -> Result<StreamInfo, Error> {
        let _ = stream;
        Err(not_yet())
    }

    pub(crate) async fn append(
        &self,
        stream: &StreamName,
        entries: &[Entry],
    ) -> Result<Vec<Placed>, AppendError> {
        let _ = stream;
        Err(AppendError::all(entries.len(), &not_yet()))
    }

    pub(crate) async fn read(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        from: From,
        limits: Limits,
    ) -> Result<Page, Error> {
        let _ = (stream, shard, from, limits);
        Err(not_yet())
    }

    pub(crate) async fn trim(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        upto: Position,
    ) -> Result<Position, Error> {
        let _ = (stream, shard, upto);
        Err(not_yet())
    }

    pub(crate) async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn not_yet() -> Error {
    Error::Unavailable { what: "the Kinesis back end".into(), why: "it is not written yet".into() }
}
