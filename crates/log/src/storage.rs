//! All disk access goes through [`Storage`]: real files here, a fault-injecting disk model in
//! [`crate::testing`].

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

/// One open file. Reads and writes name their position, so that many threads can share it.
#[allow(clippy::len_without_is_empty)] // a file's length, not a collection's
pub trait StorageFile: Send + Sync + 'static {
    /// Writes all of `parts`, one after the other, from `position` on. On an error any part of them may have
    /// been written.
    fn write_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()>;
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Puts the contents (and the length) on stable storage.
    fn sync_data(&self) -> io::Result<()>;
    /// Reserves room for bytes `from..to` without changing the file's length. Does nothing where the system
    /// cannot do it.
    fn reserve(&self, from: u64, to: u64) -> io::Result<()>;
    /// Sets the file's length, and gives reserved room beyond it back.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// The file of the operating system behind it, for `sendfile`; `None` for a model.
    fn os_file(&self) -> Option<&File> {
        None
    }
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; for reading only.
    Read,
    /// Must exist; for reading and writing.
    Write,
    /// Made (mode 0600) if it does not exist; for reading and writing.
    Create,
    /// Made or emptied; for reading and writing.
    Truncate,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// File name.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes, 0 for directories.
    pub len: u64,
}

/// Guards a directory against a second process; released when dropped.
pub trait StorageLock: Send + Sync {}

/// A file system, as little of one as the log needs.
pub trait Storage: Send + Sync + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>>;
    /// Makes a directory and its parents (mode 0700).
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Puts a directory's entries (created, renamed, removed files) on stable storage.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames a file or directory, replacing a file of the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Lists a directory, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Takes the lock file `path`; `WouldBlock` when another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn StorageLock>>;
    /// Whether so many files are open that those nobody uses should be closed.
    fn files_run_short(&self) -> bool;
}

/// One log's way to its files. It is shut when the log is deleted: from then on its paths may be those of another log
/// of the same name. Files that are open stay open.
pub(crate) struct LogStorage {
    storage: Arc<dyn Storage>,
    shut: RwLock<bool>,
}

impl LogStorage {
    pub fn new(storage: &Arc<dyn Storage>) -> Arc<Self> {
        Arc::new(Self { storage: Arc::clone(storage), shut: RwLock::new(false) })
    }

    /// Ends what is under way; nothing else begins.
    pub fn shut(&self) {
        *self.shut.write() = true;
    }

    fn through<T>(&self, work: impl FnOnce(&dyn Storage) -> io::Result<T>) -> io::Result<T> {
        let shut = self.shut.read();
        if *shut {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the log was deleted"));
        }
        work(&*self.storage)
    }
}

impl Storage for LogStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        self.through(|storage| storage.open(path, mode))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.through(|storage| storage.create_dir_all(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.through(|storage| storage.sync_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.through(|storage| storage.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.through(|storage| storage.remove(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.through(|storage| storage.remove_dir_all(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.through(|storage| storage.list(path))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn StorageLock>> {
        self.through(|storage| storage.lock(path))
    }

    fn files_run_short(&self) -> bool {
        self.storage.files_run_short()
    }
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealStorage;

/// Open [`RealFile`]s of this process, whose limit they share.
static OPEN_FILES: AtomicUsize = AtomicUsize::new(0);

struct RealFile {
    file: File,
}

impl RealFile {
    fn new(file: File) -> Self {
        OPEN_FILES.fetch_add(1, Ordering::Relaxed);
        Self { file }
    }
}

impl Drop for RealFile {
    fn drop(&mut self) {
        OPEN_FILES.fetch_sub(1, Ordering::Relaxed);
    }
}

struct RealLock {
    _file: File,
}

impl StorageLock for RealLock {}

impl StorageFile for RealFile {
    #[cfg(unix)]
    fn write_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        if let [part] = parts {
            return self.file.write_all_at(part, position);
        }
        write_all_vectored(&self.file, position, parts)
    }

    #[cfg(windows)]
    fn write_at(&self, mut position: u64, parts: &[&[u8]]) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        for part in parts {
            let mut rest: &[u8] = part;
            while !rest.is_empty() {
                let n = self.file.seek_write(rest, position)?;
                if n == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                position += n as u64;
                rest = rest.get(n..).unwrap_or_default();
            }
        }
        Ok(())
    }

    fn read_at(&self, mut position: u64, buf: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        use std::os::unix::fs::FileExt;
        #[cfg(windows)]
        use std::os::windows::fs::FileExt;
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            #[cfg(unix)]
            let got = self.file.read_at(rest, position);
            #[cfg(windows)]
            let got = self.file.seek_read(rest, position);
            match got {
                Ok(0) => break,
                Ok(n) => {
                    done += n;
                    position += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        if to <= from {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, from, to - from) {
            Ok(()) => Ok(()),
            // The file system cannot reserve: a full disk then shows at the write.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn reserve(&self, _from: u64, _to: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn os_file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

#[cfg(unix)]
fn write_all_vectored(file: &File, mut position: u64, parts: &[&[u8]]) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    /// Linux takes at most 1024 parts in one call.
    const PARTS_MAX: usize = 1024;
    for group in parts.chunks(PARTS_MAX) {
        let slices: Vec<io::IoSlice<'_>> = group.iter().map(|p| io::IoSlice::new(p)).collect();
        let total: usize = group.iter().map(|p| p.len()).sum();
        let mut done = loop {
            match rustix::io::pwritev(file, &slices, position) {
                Ok(n) => break n,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        };
        if done < total {
            // A short write: finish part by part.
            let mut at = position;
            for part in group {
                let skip = done.min(part.len());
                done -= skip;
                if let Some(rest) = part.get(skip..).filter(|r| !r.is_empty()) {
                    file.write_all_at(rest, at + skip as u64)?;
                }
                at += part.len() as u64;
            }
        }
        position += total as u64;
    }
    Ok(())
}

impl Storage for RealStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let mut options = std::fs::OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::Create => {
                options.write(true).create(true);
            }
            OpenMode::Truncate => {
                options.write(true).create(true).truncate(true);
            }
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        Ok(Arc::new(RealFile::new(options.open(path)?)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt;
            builder.mode(0o700);
        }
        builder.create(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        #[cfg(unix)]
        {
            File::open(path)?.sync_all()
        }
        #[cfg(not(unix))]
        {
            let _ = path;
            Ok(())
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let is_dir = meta.is_dir();
            entries.push(DirEntry { name, is_dir, len: if is_dir { 0 } else { meta.len() } });
        }
        entries.sort();
        Ok(entries)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn StorageLock>> {
        let file = open_lock_file(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(std::fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(std::fs::TryLockError::Error(e)) => Err(e),
        }
    }

    fn files_run_short(&self) -> bool {
        // The other half is for connections.
        #[cfg(unix)]
        let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        #[cfg(not(unix))]
        let allowed = None;
        allowed.is_some_and(|allowed| OPEN_FILES.load(Ordering::Relaxed) as u64 > allowed / 2)
    }
}

fn open_lock_file(path: &Path) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

/// Replaces `path` as one step that survives a crash: writes `path.tmp`, syncs it, renames it, syncs the
/// directory.
pub(crate) fn replace_file(storage: &dyn Storage, path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    let tmp = PathBuf::from(tmp);
    let file = storage.open(&tmp, OpenMode::Truncate)?;
    file.write_at(0, &[contents])?;
    file.sync_data()?;
    storage.rename(&tmp, path)?;
    match path.parent() {
        Some(dir) => storage.sync_dir(dir),
        None => Ok(()),
    }
}

/// Reads a whole small file; `None` when there is none. Refuses files above 256 MiB.
pub(crate) fn read_file(storage: &dyn Storage, path: &Path) -> io::Result<Option<Vec<u8>>> {
    const BYTES_MAX: u64 = 256 << 20;
    let file = match storage.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let len = file.len()?;
    if len > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "file is too large"));
    }
    let mut buf = vec![0; usize::try_from(len).unwrap_or(0)];
    let n = file.read_at(0, &mut buf)?;
    buf.truncate(n);
    Ok(Some(buf))
}
