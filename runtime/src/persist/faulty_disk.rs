//! For tests: a disk below SQLite that fails at a chosen call, and that knows what a power cut would leave.
//!
//! Between SQLite and its own layer for files: what is written goes through to the real file, and of each file the content
//! at its last sync is kept. A power cut leaves those contents and nothing else.

#![expect(unsafe_code, reason = "SQLite's layer for files is an interface of C")]

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, LazyLock, Once};

use parking_lot::Mutex;
use rusqlite::ffi;

/// The name by which SQLite knows this layer.
pub const NAME: &CStr = c"wfn-faulty-disk";

/// A call that may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Bytes to a file.
    Write,
    /// What was written has to reach the disk.
    Sync,
}

/// What a failing call answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk is broken (EIO).
    Broken,
    /// The disk is full (ENOSPC).
    Full,
}

/// The disk under one folder.
pub struct FaultyDisk {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Calls of that kind until one fails, and how.
    failing: Option<(Call, usize, Fault)>,
    /// Whether it has.
    has_failed: bool,
    synced: HashMap<PathBuf, Vec<u8>>,
}

struct Opened {
    disk: Arc<FaultyDisk>,
    path: PathBuf,
    original: &'static ffi::sqlite3_io_methods,
}

static DISKS: LazyLock<Mutex<Vec<Arc<FaultyDisk>>>> = LazyLock::new(Mutex::default);
static OPENED: LazyLock<Mutex<HashMap<usize, Opened>>> = LazyLock::new(Mutex::default);
/// Tables of functions of SQLite's own layer, with ours in their place.
static TABLES: LazyLock<Mutex<HashMap<usize, usize>>> = LazyLock::new(Mutex::default);
static REGISTER: Once = Once::new();

impl FaultyDisk {
    /// The disk of `folder`, with nothing that fails.
    pub fn new(folder: &Path) -> Arc<Self> {
        REGISTER.call_once(register);
        let disk = Arc::new(Self { folder: folder.to_owned(), state: Mutex::default() });
        DISKS.lock().push(disk.clone());
        disk
    }

    /// Lets the `count`-th call of that kind from now on fail, the first being 0, and none after it.
    pub fn fail(&self, call: Call, count: usize, fault: Fault) {
        self.state.lock().failing = Some((call, count, fault));
    }

    /// Whether the call that was to fail came.
    pub fn has_failed(&self) -> bool {
        self.state.lock().has_failed
    }

    /// Writes what a power cut would leave into another folder.
    pub fn leave(&self, folder: &Path) {
        for (path, content) in &self.state.lock().synced {
            let name = path.file_name().unwrap_or_default();
            fs::write(folder.join(name), content).unwrap();
        }
    }

    /// The code that `call` answers instead of being made.
    fn fault(&self, call: Call) -> Option<c_int> {
        let mut state = self.state.lock();
        let (failing, left, fault) = state.failing.as_mut()?;
        if *failing != call {
            return None;
        }
        if *left > 0 {
            *left -= 1;
            return None;
        }
        let fault = *fault;
        (state.failing, state.has_failed) = (None, true);
        Some(match (fault, call) {
            (Fault::Full, _) => ffi::SQLITE_FULL,
            (Fault::Broken, Call::Write) => ffi::SQLITE_IOERR_WRITE,
            (Fault::Broken, Call::Sync) => ffi::SQLITE_IOERR_FSYNC,
        })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        DISKS.lock().retain(|disk| Arc::strong_count(disk) > 1);
    }
}

fn register() {
    // SAFETY: the layer below is SQLite's own and lives as long as the process, as does its copy here.
    unsafe {
        ffi::sqlite3_initialize();
        let below = ffi::sqlite3_vfs_find(ptr::null());
        let mut ours = *below;
        ours.zName = NAME.as_ptr();
        ours.pNext = ptr::null_mut();
        ours.xOpen = Some(open);
        ours.xDelete = Some(delete);
        assert_eq!(ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 0), ffi::SQLITE_OK);
    }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes a name that ends with 0 or is null, and room for the file of the layer below, whose table of
    // functions is valid as long as the process.
    unsafe {
        let below = ffi::sqlite3_vfs_find(ptr::null());
        let Some(open_below) = (*below).xOpen else { return ffi::SQLITE_CANTOPEN };
        let code = open_below(below, name, file, flags, flags_out);
        if code != ffi::SQLITE_OK || name.is_null() || (*file).pMethods.is_null() {
            return code;
        }
        let path = PathBuf::from(CStr::from_ptr(name).to_string_lossy().into_owned());
        if let Some(disk) = disk_of(&path) {
            let original = &*(*file).pMethods;
            let mut tables = TABLES.lock();
            let table = tables.entry(ptr::from_ref(original) as usize).or_insert_with(|| {
                let mut table = *original;
                table.xWrite = Some(write);
                table.xSync = Some(sync);
                table.xClose = Some(close);
                ptr::from_ref(Box::leak(Box::new(table))) as usize
            });
            (*file).pMethods = *table as *const ffi::sqlite3_io_methods;
            OPENED.lock().insert(file as usize, Opened { disk, path, original });
        }
        code
    }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, syncs_folder: c_int) -> c_int {
    // SAFETY: SQLite passes a name that ends with 0, and the layer below lives as long as the process.
    let (code, path) = unsafe {
        let below = ffi::sqlite3_vfs_find(ptr::null());
        let Some(delete_below) = (*below).xDelete else { return ffi::SQLITE_IOERR_DELETE };
        let path = PathBuf::from(CStr::from_ptr(name).to_string_lossy().into_owned());
        (delete_below(below, name, 0), path)
    };
    // A file whose end has not reached the disk comes back after a power cut.
    if syncs_folder != 0
        && let Some(disk) = disk_of(&path)
    {
        disk.state.lock().synced.remove(&path);
    }
    code
}

fn disk_of(path: &Path) -> Option<Arc<FaultyDisk>> {
    DISKS.lock().iter().find(|disk| path.starts_with(&disk.folder)).cloned()
}

/// The disk and the functions below of a file that is open.
fn opened(
    file: *mut ffi::sqlite3_file,
) -> Option<(Arc<FaultyDisk>, PathBuf, &'static ffi::sqlite3_io_methods)> {
    OPENED
        .lock()
        .get(&(file as usize))
        .map(|opened| (opened.disk.clone(), opened.path.clone(), opened.original))
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let Some((disk, _, original)) = opened(file) else { return ffi::SQLITE_IOERR_WRITE };
    if let Some(code) = disk.fault(Call::Write) {
        return code;
    }
    // SAFETY: the arguments are SQLite's, for the function that they are meant for.
    original.xWrite.map_or(ffi::SQLITE_IOERR_WRITE, |write| unsafe { write(file, bytes, count, offset) })
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    let Some((disk, path, original)) = opened(file) else { return ffi::SQLITE_IOERR_FSYNC };
    if let Some(code) = disk.fault(Call::Sync) {
        return code;
    }
    // The real disk is spared: what it holds after this is what a power cut is to leave.
    let _ = (flags, original.xSync);
    match fs::read(&path) {
        Ok(content) => {
            disk.state.lock().synced.insert(path, content);
            ffi::SQLITE_OK
        }
        Err(_) => ffi::SQLITE_IOERR_FSYNC,
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let opened = OPENED.lock().remove(&(file as usize));
    let close = opened.as_ref().and_then(|opened| opened.original.xClose);
    // SAFETY: as for writing.
    close.map_or(ffi::SQLITE_IOERR_CLOSE, |close| unsafe { close(file) })
}
