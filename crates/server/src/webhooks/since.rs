//! Since when a webhook's record fails, on the disk, so that a restart does not give it its whole time anew.
//!
//! ```text
//! DATA/webhook-failures/ORGANIZER/NAME.SHARD    position and time, in microseconds since 1970
//! ```
//!
//! It is not synced: if the machine goes down at the wrong moment a record is tried for longer.

use std::io;
use std::path::{Path, PathBuf};

use onsale_core::Time;
use onsale_core::limits::SHARDS_MAX;

/// Folder in the data folder.
const FOLDER: &str = "webhook-failures";

/// Where a shard of a webhook notes what fails.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Place {
    /// Of this shard of this webhook.
    #[must_use]
    pub fn of(data: &Path, organizer: &str, name: &str, shard: u16) -> Place {
        Place(data.join(FOLDER).join(organizer).join(format!("{name}.{shard}")))
    }

    /// What failed when the server ended, and since when.
    #[must_use]
    pub fn read(&self) -> Option<(u64, Time)> {
        let text = std::fs::read_to_string(&self.0).ok()?;
        let (position, since) = text.trim().split_once(' ')?;
        Some((position.parse().ok()?, Time(since.parse().ok()?)))
    }

    /// Notes that a record fails.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, position: u64, since: Time) -> io::Result<()> {
        let folder = self.0.parent().expect("a file is in a folder");
        std::fs::create_dir_all(folder)?;
        let fresh = self.0.with_added_extension("new");
        std::fs::write(&fresh, format!("{position} {}\n", since.0))?;
        std::fs::rename(&fresh, &self.0)
    }

    /// Notes that nothing fails any more.
    pub fn clear(&self) {
        // Where it was not there, or stays: its position is one that is dealt with.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Forgets what a webhook's record failed for.
pub fn forget(data: &Path, organizer: &str, name: &str) {
    (0..SHARDS_MAX).for_each(|shard| Place::of(data, organizer, name, shard).clear());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_noted_and_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::of(folder.path(), "river", "shop", 3);
        assert_eq!(place.read(), None);
        place.write(7, Time(12)).expect("it is written");
        place.write(8, Time(34)).expect("it is written");
        assert_eq!(place.read(), Some((8, Time(34))));
        assert_eq!(Place::of(folder.path(), "river", "shop", 4).read(), None);
        forget(folder.path(), "river", "shop");
        assert_eq!(place.read(), None);
    }
}
