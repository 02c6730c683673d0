//! Compaction's file steps.

use std::io;
use std::path::Path;

use crate::Storage;

/// Finishes what a crash interrupted: a `.swap` file is a complete replacement of the file it is named after.
pub(crate) fn finish_swaps(storage: &dyn Storage, dir: &Path) -> io::Result<()> {
    let mut changed = false;
    for entry in storage.list(dir)? {
        if let Some(name) = entry.name.strip_suffix(".swap") {
            storage.rename(&dir.join(&entry.name), &dir.join(name))?;
            changed = true;
        }
    }
    if changed { storage.sync_dir(dir) } else { Ok(()) }
}
