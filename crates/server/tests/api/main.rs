//! The API as a client sees it, against a real server on a real socket.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod bad_input;
mod batch;
mod buying;
mod catalogue;
mod catalogue_stream;
mod connections;
mod cursors;
mod events_described;
mod http2;
mod keys;
mod limits;
mod live;
mod retention;
mod streams;
mod streams_live;
mod support;
mod webhooks;
