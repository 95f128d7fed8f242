//! What the tests of the other crates stand on: a reference model, a generator
//! of command histories, and a disk that fails.

pub mod coverage;
pub mod disk;
pub mod fuzz;
pub mod generator;
pub mod model;
pub mod mutation;
pub mod rng;
pub mod side_by_side;
