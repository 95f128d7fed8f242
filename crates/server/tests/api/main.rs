//! The API as a client sees it, against a real server on a real socket.

mod bad_input;
mod buying;
mod catalogue;
mod connections;
mod keys;
mod streams;
mod support;
