//! Histories made by hand: right ones, in which nothing is found, and for every
//! rule wrong ones, in which just that is found; and histories that the core made of
//! random commands, in which nothing is found either.

mod history;
mod random;
mod right;
mod wrong;
