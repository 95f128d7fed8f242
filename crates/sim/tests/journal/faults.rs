//! Calls that fail, one after the other, and a disk without room.
