//! Bits flipped at rest, and batches whose write was cut short anywhere.
