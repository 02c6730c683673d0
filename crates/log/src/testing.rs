//! A disk model for tests: knows what was synced and what was not, and can fail in every way a disk does.
//!
//! Of what was not synced, a crash keeps any part: writes whole, torn at sectors or not at all, in any order;
//! directory entries likewise until their directory was synced. A failed sync drops what it should have written and
//! lets later syncs succeed, as Linux does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

use crate::Clock;
use crate::storage::{DirEntry, OpenMode, Storage, StorageFile, StorageLock};

const SECTOR: usize = 512;
const ROOT: u64 = 0;

/// A small seeded generator (xorshift64*), so that a failure is a seed.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator; equal seeds give equal numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end` (0 for an `end` of 0).
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next_u64() % end }
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock at `now_ms`.
    pub fn new(now_ms: i64) -> Self {
        Self(AtomicI64::new(now_ms))
    }

    /// Moves it on.
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Debug)]
enum FileOp {
    Write { position: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl FileOp {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => contents.resize(*len, 0),
            Self::Write { position, bytes } => {
                let end = position + bytes.len();
                if contents.len() < end {
                    contents.resize(end, 0);
                }
                if let Some(to) = contents.get_mut(*position..end) {
                    to.copy_from_slice(bytes);
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum DirOp {
    Set(String, u64),
    Remove(String),
    Rename(String, String, u64),
}

impl DirOp {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Set(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Inode {
    File { live: Vec<u8>, durable: Vec<u8>, pending: Vec<FileOp>, reserved: usize },
    Dir { live: BTreeMap<String, u64>, durable: BTreeMap<String, u64>, pending: Vec<DirOp> },
}

impl Inode {
    fn file() -> Self {
        Self::File { live: Vec::new(), durable: Vec::new(), pending: Vec::new(), reserved: 0 }
    }

    fn dir() -> Self {
        Self::Dir { live: BTreeMap::new(), durable: BTreeMap::new(), pending: Vec::new() }
    }
}

#[derive(Debug)]
struct Disk {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    locks: BTreeSet<PathBuf>,
    /// Each open file has a copy.
    open: Arc<()>,
    open_max: usize,
    open_limit: usize,
    /// Changing operations left until the crash.
    crash_in: Option<u64>,
    crashed: bool,
    /// Fails syncs of files whose path contains this.
    fail_sync_of: Option<String>,
    /// Bytes the disk holds.
    capacity: Option<usize>,
    operations: u64,
    rng: Rng,
}

/// The disk model. Clones share the disk.
#[derive(Clone)]
pub struct FaultStorage(Arc<Mutex<Disk>>);

struct ModelFile {
    disk: Arc<Mutex<Disk>>,
    inode: u64,
    path: PathBuf,
    writable: bool,
    _open: Arc<()>,
}

struct ModelLock {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
}

impl StorageLock for ModelLock {}

impl Drop for ModelLock {
    fn drop(&mut self) {
        self.disk.lock().locks.remove(&self.path);
    }
}

fn crashed() -> io::Error {
    io::Error::other("the machine has crashed")
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk {
    /// Counts a changing operation; an error once the machine has crashed. `Ok(true)`: this operation is the one
    /// during which it crashes.
    fn tick(&mut self) -> io::Result<bool> {
        if self.crashed {
            return Err(crashed());
        }
        self.operations += 1;
        match &mut self.crash_in {
            Some(0) => {
                self.crashed = true;
                Ok(true)
            }
            Some(left) => {
                *left -= 1;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    fn used(&self) -> usize {
        self.inodes
            .values()
            .map(|inode| match inode {
                Inode::File { live, reserved, .. } => live.len().max(*reserved),
                Inode::Dir { .. } => 0,
            })
            .sum()
    }

    fn room_for(&self, more: usize) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if self.used() + more > capacity => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn names(&self, dir: u64) -> io::Result<&BTreeMap<String, u64>> {
        match self.inodes.get(&dir) {
            Some(Inode::Dir { live, .. }) => Ok(live),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT;
        for part in parts(path) {
            at = *self.names(at)?.get(&part).ok_or_else(not_found)?;
        }
        Ok(at)
    }

    fn parent(&self, path: &Path) -> io::Result<(u64, String)> {
        let mut parts = parts(path);
        let name = parts.pop().ok_or_else(not_found)?;
        let mut at = ROOT;
        for part in parts {
            at = *self.names(at)?.get(&part).ok_or_else(not_found)?;
        }
        Ok((at, name))
    }

    fn change_dir(&mut self, dir: u64, op: DirOp) {
        if let Some(Inode::Dir { live, pending, .. }) = self.inodes.get_mut(&dir) {
            op.apply(live);
            pending.push(op);
        }
    }

    fn change_file(&mut self, file: u64, op: FileOp) {
        if let Some(Inode::File { live, pending, .. }) = self.inodes.get_mut(&file) {
            op.apply(live);
            pending.push(op);
        }
    }

    fn add(&mut self, inode: Inode) -> u64 {
        let number = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(number, inode);
        number
    }
}

fn parts(path: &Path) -> Vec<String> {
    path.components()
        .filter_map(|c| match c {
            Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect()
}

impl FaultStorage {
    /// Files that are open now.
    pub fn open_files(&self) -> usize {
        Arc::strong_count(&self.0.lock().open) - 1
    }

    /// From how many open files on they run short.
    pub fn set_open_files_max(&self, files: usize) {
        self.0.lock().open_max = files;
    }

    /// How many files can be open at once.
    pub fn set_open_files_limit(&self, files: usize) {
        self.0.lock().open_limit = files;
    }

    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            inodes: BTreeMap::from([(ROOT, Inode::dir())]),
            next_inode: ROOT + 1,
            locks: BTreeSet::new(),
            open: Arc::default(),
            open_max: usize::MAX,
            open_limit: usize::MAX,
            crash_in: None,
            crashed: false,
            fail_sync_of: None,
            capacity: None,
            operations: 0,
            rng: Rng::new(seed),
        })))
    }

    /// Lets the machine crash during the changing operation after the next `operations`.
    pub fn crash_in(&self, operations: u64) {
        self.0.lock().crash_in = Some(operations);
    }

    /// Whether the machine has crashed: every access fails.
    pub fn has_crashed(&self) -> bool {
        self.0.lock().crashed
    }

    /// Changing operations so far.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Fails syncs of files whose path contains `part`; `None`: of none.
    pub fn fail_sync_of(&self, part: Option<&str>) {
        self.0.lock().fail_sync_of = part.map(str::to_owned);
    }

    /// Limits the bytes the disk holds.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.0.lock().capacity = bytes;
    }

    /// Bytes in use, reserved ones included.
    pub fn used(&self) -> usize {
        self.0.lock().used()
    }

    /// Flips bits of a byte, as ageing media do.
    pub fn rot(&self, path: &Path, position: usize) {
        let mut disk = self.0.lock();
        let Ok(inode) = disk.find(path) else { return };
        if let Some(Inode::File { live, durable, .. }) = disk.inodes.get_mut(&inode) {
            for contents in [live, durable] {
                if let Some(byte) = contents.get_mut(position) {
                    *byte ^= 0x5a;
                }
            }
        }
    }

    /// Crashes the machine (if that has not happened yet) and starts it again: the disk as it is found then. Handles
    /// of before stay dead.
    pub fn restart(&self) -> Self {
        let mut disk = self.0.lock();
        disk.crashed = true;
        let mut rng = disk.rng.clone();
        rng.next_u64();
        // Some crashes keep (nearly) everything, as a killed process does, some nothing that was not synced.
        let keep = match rng.below(4) {
            0 => 100,
            1 => 0,
            _ => rng.below(101),
        };
        let mut inodes = BTreeMap::new();
        for (number, inode) in &disk.inodes {
            let inode = match inode {
                Inode::Dir { durable, pending, .. } => {
                    let mut names = durable.clone();
                    for op in pending {
                        if rng.chance(keep) {
                            op.apply(&mut names);
                        }
                    }
                    Inode::Dir { live: names.clone(), durable: names, pending: Vec::new() }
                }
                Inode::File { durable, pending, .. } => {
                    let mut contents = durable.clone();
                    for op in pending {
                        keep_some(op, keep, &mut rng, &mut contents);
                    }
                    let reserved = contents.len();
                    Inode::File { live: contents.clone(), durable: contents, pending: Vec::new(), reserved }
                }
            };
            inodes.insert(*number, inode);
        }
        let mut reachable = BTreeSet::from([ROOT]);
        let mut open = vec![ROOT];
        while let Some(at) = open.pop() {
            if let Some(Inode::Dir { live, .. }) = inodes.get(&at) {
                for next in live.values() {
                    if reachable.insert(*next) {
                        open.push(*next);
                    }
                }
            }
        }
        inodes.retain(|number, _| reachable.contains(number));
        Self(Arc::new(Mutex::new(Disk {
            inodes,
            next_inode: disk.next_inode,
            locks: BTreeSet::new(),
            open: Arc::default(),
            open_max: usize::MAX,
            open_limit: usize::MAX,
            crash_in: None,
            crashed: false,
            fail_sync_of: None,
            capacity: disk.capacity,
            operations: 0,
            rng,
        })))
    }
}

fn keep_some(op: &FileOp, keep: u64, rng: &mut Rng, contents: &mut Vec<u8>) {
    match op {
        FileOp::SetLen(_) => {
            if rng.chance(keep) {
                op.apply(contents);
            }
        }
        FileOp::Write { position, bytes } => {
            if rng.chance(keep) {
                op.apply(contents);
            } else if rng.chance(keep) {
                // Torn: some sectors of it.
                let mut at = *position;
                let end = position + bytes.len();
                while at < end {
                    let next = ((at / SECTOR + 1) * SECTOR).min(end);
                    if rng.chance(50) {
                        let part = bytes.get(at - position..next - position).unwrap_or_default().to_vec();
                        FileOp::Write { position: at, bytes: part }.apply(contents);
                    }
                    at = next;
                }
            }
        }
    }
}

impl StorageFile for ModelFile {
    fn write_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let position = usize::try_from(position).map_err(|_| io::Error::other("position"))?;
        let mut bytes = parts.concat();
        let crashes = disk.tick()?;
        if crashes {
            let keep = usize::try_from(disk.rng.below(bytes.len() as u64 + 1)).unwrap_or(0);
            bytes.truncate(keep);
        }
        let (len, reserved) = match disk.inodes.get(&self.inode) {
            Some(Inode::File { live, reserved, .. }) => (live.len(), *reserved),
            _ => return Err(not_found()),
        };
        let end = position + bytes.len();
        if let Err(full) = disk.room_for(end.saturating_sub(len.max(reserved))) {
            // A short write: what fits is written.
            let fits = len.max(reserved).saturating_sub(position).min(bytes.len());
            bytes.truncate(fits);
            disk.change_file(self.inode, FileOp::Write { position, bytes });
            return Err(full);
        }
        disk.change_file(self.inode, FileOp::Write { position, bytes });
        if crashes { Err(crashed()) } else { Ok(()) }
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        let disk = self.disk.lock();
        if disk.crashed {
            return Err(crashed());
        }
        let Some(Inode::File { live, .. }) = disk.inodes.get(&self.inode) else { return Err(not_found()) };
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(live.len());
        let n = buf.len().min(live.len() - from);
        if let (Some(to), Some(bytes)) = (buf.get_mut(..n), live.get(from..from + n)) {
            to.copy_from_slice(bytes);
        }
        Ok(n)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if disk.tick()? {
            return Err(crashed());
        }
        let fails = disk
            .fail_sync_of
            .as_ref()
            .is_some_and(|part| self.path.to_string_lossy().contains(part.as_str()));
        let Some(Inode::File { live, durable, pending, .. }) = disk.inodes.get_mut(&self.inode) else {
            return Err(not_found());
        };
        pending.clear();
        if fails {
            // The pages count as clean now although they never reached the disk.
            return Err(io::Error::from_raw_os_error(5));
        }
        durable.clone_from(live);
        Ok(())
    }

    fn reserve(&self, _from: u64, to: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if disk.tick()? {
            return Err(crashed());
        }
        let to = usize::try_from(to).map_err(|_| io::Error::other("position"))?;
        let (len, held) = match disk.inodes.get(&self.inode) {
            Some(Inode::File { live, reserved, .. }) => (live.len(), *reserved),
            _ => return Err(not_found()),
        };
        disk.room_for(to.saturating_sub(len.max(held)))?;
        if let Some(Inode::File { reserved, .. }) = disk.inodes.get_mut(&self.inode) {
            *reserved = held.max(to);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if disk.tick()? {
            return Err(crashed());
        }
        let len = usize::try_from(len).map_err(|_| io::Error::other("length"))?;
        disk.change_file(self.inode, FileOp::SetLen(len));
        if let Some(Inode::File { reserved, .. }) = disk.inodes.get_mut(&self.inode) {
            *reserved = len;
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let disk = self.disk.lock();
        match disk.inodes.get(&self.inode) {
            _ if disk.crashed => Err(crashed()),
            Some(Inode::File { live, .. }) => Ok(live.len() as u64),
            _ => Err(not_found()),
        }
    }
}

impl Storage for FaultStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let mut disk = self.0.lock();
        if disk.crashed {
            return Err(crashed());
        }
        if Arc::strong_count(&disk.open) > disk.open_limit {
            return Err(io::Error::other("too many open files"));
        }
        let (dir, name) = disk.parent(path)?;
        let existing = disk.names(dir)?.get(&name).copied();
        let inode = match (existing, mode) {
            (Some(inode), OpenMode::Truncate) => {
                if disk.tick()? {
                    return Err(crashed());
                }
                disk.change_file(inode, FileOp::SetLen(0));
                inode
            }
            (Some(inode), _) => inode,
            (None, OpenMode::Read | OpenMode::Write) => return Err(not_found()),
            (None, OpenMode::Create | OpenMode::Truncate) => {
                if disk.tick()? {
                    return Err(crashed());
                }
                let inode = disk.add(Inode::file());
                disk.change_dir(dir, DirOp::Set(name, inode));
                inode
            }
        };
        if matches!(disk.inodes.get(&inode), Some(Inode::Dir { .. })) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let writable = mode != OpenMode::Read;
        let open = Arc::clone(&disk.open);
        Ok(Arc::new(ModelFile {
            disk: Arc::clone(&self.0),
            inode,
            path: path.to_path_buf(),
            writable,
            _open: open,
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        let mut at = ROOT;
        for part in parts(path) {
            at = match disk.names(at)?.get(&part) {
                Some(inode) => *inode,
                None => {
                    if disk.tick()? {
                        return Err(crashed());
                    }
                    let inode = disk.add(Inode::dir());
                    disk.change_dir(at, DirOp::Set(part, inode));
                    inode
                }
            };
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        if disk.tick()? {
            return Err(crashed());
        }
        let dir = disk.find(path)?;
        match disk.inodes.get_mut(&dir) {
            Some(Inode::Dir { live, durable, pending }) => {
                durable.clone_from(live);
                pending.clear();
                Ok(())
            }
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        if disk.tick()? {
            return Err(crashed());
        }
        let (from_dir, from_name) = disk.parent(from)?;
        let (to_dir, to_name) = disk.parent(to)?;
        let inode = *disk.names(from_dir)?.get(&from_name).ok_or_else(not_found)?;
        if from_dir != to_dir {
            return Err(io::Error::other("the model renames within one directory only"));
        }
        disk.change_dir(from_dir, DirOp::Rename(from_name, to_name, inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        if disk.tick()? {
            return Err(crashed());
        }
        let (dir, name) = disk.parent(path)?;
        if !disk.names(dir)?.contains_key(&name) {
            return Err(not_found());
        }
        disk.change_dir(dir, DirOp::Remove(name));
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.remove(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let disk = self.0.lock();
        if disk.crashed {
            return Err(crashed());
        }
        let dir = disk.find(path)?;
        let mut entries = Vec::new();
        for (name, inode) in disk.names(dir)? {
            let (is_dir, len) = match disk.inodes.get(inode) {
                Some(Inode::File { live, .. }) => (false, live.len() as u64),
                _ => (true, 0),
            };
            entries.push(DirEntry { name: name.clone(), is_dir, len });
        }
        Ok(entries)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn StorageLock>> {
        let mut disk = self.0.lock();
        if disk.crashed {
            return Err(crashed());
        }
        if !disk.locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(ModelLock { disk: Arc::clone(&self.0), path: path.to_path_buf() }))
    }

    fn files_run_short(&self) -> bool {
        self.open_files() > self.0.lock().open_max
    }
}
