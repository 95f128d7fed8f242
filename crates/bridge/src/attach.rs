//! What the bridge adds to a platform's database, and takes away again.
