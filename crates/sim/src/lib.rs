//! What the tests of the other crates stand on: a reference model, a generator
//! of command histories, a disk that fails, and a simulation of all of it.

pub mod coverage;
pub mod disk;
pub mod fuzz;
pub mod generator;
pub mod model;
pub mod mutation;
pub mod rng;
pub mod side_by_side;
pub mod simulation;
