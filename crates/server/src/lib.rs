//! The selling service as a library: the binary `onsale` is a thin shell over it.

pub mod catalogue;
pub mod http_client;
pub mod import;
pub mod keys;
