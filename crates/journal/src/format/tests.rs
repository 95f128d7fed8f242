//! Tests of the form on disk.
