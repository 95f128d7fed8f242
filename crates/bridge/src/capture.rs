//! From the platform to the engine: what is for sale.
