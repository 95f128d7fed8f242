//! The selling service as a library: the binary `onsale` is a thin shell over it.

pub mod admission;
pub mod api;
pub mod audit;
pub mod backup;
pub mod bench;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod demo;
pub mod fuzz;
pub mod http_client;
pub mod import;
pub mod inspect;
pub mod keys;
pub mod listen;
pub mod live;
pub mod metrics;
mod object;
pub mod problem;
pub mod rates;
pub mod refused;
pub mod serve;
pub mod shards;
pub mod slow;
pub mod stream;
mod systemd;
