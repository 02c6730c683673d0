//! Compaction's file steps. At any of them the machine may crash:
//!
//! 1. `N.log.cleaned`, `N.index.cleaned` … are written, synced, and so is the directory. Until here the next start
//!    removes them.
//! 2. They are renamed to `….swap`, the directory is synced. From here on `N.log.swap` says that the rest must happen,
//!    now or at the next start:
//! 3. segments that were taken into it, but for `N` itself, go; the new indexes take `N`'s names; the directory is
//!    synced.
//! 4. `N.log.swap` takes the place of `N.log`; the directory is synced.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Ended;
use crate::log::Log;
use crate::recovery::{BatchReader, Next};
use crate::retention::SEGMENT_FILES;
use crate::segment::{Segment, file_name};
use crate::storage::{OpenMode, Storage};

const INDEX_FILES: [&str; 3] = ["index", "timeindex", "txnindex"];

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Steps 3 and 4 for segment `base`, `retire` doing away with the others.
fn finish(
    storage: &dyn Storage,
    dir: &Path,
    base: i64,
    retire: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    retire()?;
    for kind in INDEX_FILES {
        for suffix in [".swap", ".cleaned"] {
            let new = dir.join(file_name(base, &format!("{kind}{suffix}")));
            unless_missing(storage.rename(&new, &dir.join(file_name(base, kind))))?;
        }
    }
    storage.sync_dir(dir)?;
    storage.rename(&dir.join(file_name(base, "log.swap")), &dir.join(file_name(base, "log")))?;
    storage.sync_dir(dir)
}

/// Finishes what a crash interrupted, and removes what was not past step 2.
pub(crate) fn finish_swaps(storage: &dyn Storage, dir: &Path) -> io::Result<()> {
    let entries = storage.list(dir)?;
    let base_of = |name: &str, suffix: &str| {
        name.strip_suffix(suffix).filter(|base| base.len() == 20)?.parse::<i64>().ok()
    };
    for base in entries.iter().filter_map(|e| base_of(&e.name, ".log.swap")) {
        let file = storage.open(&dir.join(file_name(base, "log.swap")), OpenMode::Read)?;
        let mut reader = BatchReader::new(Arc::clone(&file), 0, file.len()?);
        let mut last_offset = base;
        while let Next::Batch(batch) = reader.next()? {
            if let Some(head) = crate::batch::Head::parse(batch) {
                last_offset = head.last_offset();
            }
        }
        let taken_in = entries
            .iter()
            .filter_map(|e| base_of(&e.name, ".log"))
            .filter(|other| *other > base && *other <= last_offset);
        finish(storage, dir, base, || {
            for other in taken_in {
                for kind in SEGMENT_FILES {
                    unless_missing(storage.remove(&dir.join(file_name(other, kind))))?;
                }
            }
            Ok(())
        })?;
    }
    let mut changed = false;
    for entry in storage.list(dir)? {
        if entry.name.ends_with(".swap") {
            storage.remove(&dir.join(&entry.name))?;
            changed = true;
        }
    }
    if changed { storage.sync_dir(dir) } else { Ok(()) }
}

impl Log {
    /// Removes what was written of a replacement.
    pub(super) fn remove_unfinished(&self, base: i64) {
        for kind in SEGMENT_FILES {
            let path = self.dir.join(file_name(base, &format!("{kind}.cleaned")));
            if let Err(e) = unless_missing(self.storage.remove(&path)) {
                tracing::warn!(file = %path.display(), error = %e, "an unfinished compaction's file not removed");
            }
        }
    }

    /// Puts a written replacement in the place of its originals. Readers at work keep the old files.
    pub(super) fn swap_in(self: &Arc<Self>, new: Arc<Segment>, group: &[Arc<Segment>]) -> Result<(), Ended> {
        let storage = &*self.storage;
        let base = new.base_offset;
        let path = |kind: &str, suffix: &str| self.dir.join(file_name(base, &format!("{kind}{suffix}")));
        storage.sync_dir(&self.dir)?;
        let _files = self.files.lock();
        let list = self.segment_list();
        let at = list.iter().position(|s| group.first().is_some_and(|first| Arc::ptr_eq(s, first)));
        let here = at.and_then(|at| list.get(at..at + group.len())).is_some_and(|present| {
            // One that was cut is open for appends again.
            present
                .iter()
                .zip(group)
                .all(|(present, original)| Arc::ptr_eq(present, original) && present.is_sealed())
        });
        if !here || self.failure().is_some() {
            self.remove_unfinished(base);
            return Err(Ended::Abandoned);
        }
        for original in group {
            original.pin()?;
        }
        let swapped = (|| {
            for kind in SEGMENT_FILES {
                storage.rename(&path(kind, ".cleaned"), &path(kind, ".swap"))?;
            }
            storage.sync_dir(&self.dir)?;
            let due_ms = self.shared.clock.now_ms().saturating_add(self.config().file_delete_delay_ms);
            finish(storage, &self.dir, base, || {
                group.iter().skip(1).try_for_each(|original| self.retire(original, due_ms))
            })?;
            if !new.txns.pin(storage)? {
                unless_missing(storage.remove(&path("txnindex", "")))?;
            }
            Ok(())
        })();
        if let Err(e) = swapped {
            // What the directory holds now is for the next start to find out.
            self.fail_io("compaction", &e);
            return Err(Ended::Io(e));
        }
        new.take_place();
        let mut segments = self.segments.write();
        let mut list = segments.as_ref().clone();
        if let Some(at) = at {
            list.splice(at..at + group.len(), [new]);
        }
        *segments = Arc::new(list);
        Ok(())
    }
}
