//! Tests of the real files.
