//! Whether folders lie in one another, whatever names lead to them.

use std::path::{Component, Path, PathBuf};

/// Whether these are one folder, or one lies in the other. Neither need be there.
#[must_use]
pub fn overlap(a: &Path, b: &Path) -> bool {
    let (a, b) = (real(a), real(b));
    a.starts_with(&b) || b.starts_with(&a)
}

/// A path without links and dots as far as it is there; the rest as it is written.
#[must_use]
pub fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut real = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => drop(real.pop()),
            other => real.push(other),
        }
        real = real.canonicalize().unwrap_or(real);
    }
    real
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_overlap_by_whatever_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        std::fs::create_dir(folder.join("data")).expect("a folder");
        std::os::unix::fs::symlink("data", folder.join("link")).expect("a link");
        let rows = [
            ("data", "data", true),
            ("data", "data/", true),
            ("data", "data/archive", true),
            ("data/to/come", "data", true),
            ("data", "link", true),
            ("link/archive", "data", true),
            ("data", "other/../data/x", true),
            ("data", "link/../data", true),
            ("data", ".", true),
            ("data", "data2", false),
            ("data", "archive", false),
            ("data", "data/../archive", false),
            ("to/come/data", "to/come/archive", false),
        ];
        for (a, b, expected) in rows {
            assert_eq!(overlap(&folder.join(a), &folder.join(b)), expected, "{a} and {b}");
        }
        assert!(overlap(Path::new("data"), Path::new("./data")), "paths from here");
    }
}
