//! The bridge at work: capture and write-back beside each other.
