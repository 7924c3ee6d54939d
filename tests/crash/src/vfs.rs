//! SQLite's interface to files, put before the one of the system: every operation asks the disk model first.
//!
//! [`Mounted`] ties a folder to a model for as long as it lives; files elsewhere are none of its business. All `unsafe` of the
//! package is here, and it follows <https://sqlite.org/c3ref/vfs.html> and <https://sqlite.org/c3ref/io_methods.html>.

mod methods;

use std::ffi::{CStr, c_char, c_int};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libsqlite3_sys as ffi;

use crate::disk::{Change, Disk, Verdict};

/// The folders that have a model.
static MOUNTS: Mutex<Vec<Arc<Disk>>> = Mutex::new(Vec::new());

/// A folder whose SQLite files are watched by a model.
#[derive(Debug)]
pub struct Mounted {
    disk: Arc<Disk>,
}

impl Mounted {
    /// Watches the folder of the disk; registers the interface with SQLite, as its default, the first time.
    ///
    /// # Errors
    /// SQLite does not take it.
    pub fn new(disk: Arc<Disk>) -> Result<Self, String> {
        register()?;
        MOUNTS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&disk));
        Ok(Self { disk })
    }

    /// The model.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mut mounts = MOUNTS.lock().unwrap_or_else(PoisonError::into_inner);
        mounts.retain(|disk| !Arc::ptr_eq(disk, &self.disk));
    }
}

fn disk_of(path: &Path) -> Option<Arc<Disk>> {
    let mounts = MOUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    mounts.iter().find(|disk| path.parent() == Some(disk.dir())).cloned()
}

/// The system's own interface, found before ours became the default.
struct System(*mut ffi::sqlite3_vfs);

// SAFETY: SQLite's VFS objects are used from every thread by design; this one lives as long as the process.
unsafe impl Send for System {}
// SAFETY: as above.
unsafe impl Sync for System {}

static SYSTEM: OnceLock<System> = OnceLock::new();

fn system() -> *mut ffi::sqlite3_vfs {
    SYSTEM.get().map_or(std::ptr::null_mut(), |system| system.0)
}

fn register() -> Result<(), String> {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if *done {
        return Ok(());
    }
    // SAFETY: a null name asks for the default; SQLite initializes itself.
    let default = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
    if default.is_null() {
        return Err("SQLite has no VFS".to_owned());
    }
    SYSTEM.get_or_init(|| System(default));
    // SAFETY: `default` is a valid object that is never unregistered. All that is not replaced below ignores the object it
    // is called with, or needs `pAppData` of it, which the copy has too.
    let mut vfs = unsafe { *default };
    let own_bytes = c_int::try_from(size_of::<methods::OwnFile>()).map_err(|error| error.to_string())?;
    vfs.szOsFile += own_bytes;
    vfs.zName = c"crash".as_ptr();
    vfs.pNext = std::ptr::null_mut();
    vfs.xOpen = Some(open);
    vfs.xDelete = Some(delete);
    vfs.xAccess = Some(access);
    // SAFETY: the object is leaked, so it lives as long as SQLite may use it.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 1) };
    *done = code == ffi::SQLITE_OK;
    if *done { Ok(()) } else { Err(format!("SQLite does not take the VFS: {code}")) }
}

/// # Safety
/// `name` must be null or end with a zero.
unsafe fn path(name: *const c_char) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    if name.is_null() {
        return None;
    }
    // SAFETY: not null, and ends with a zero, as the caller says.
    let name = unsafe { CStr::from_ptr(name) };
    Some(Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())).to_owned())
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands over a name that ends with a zero, or null for a temporary file.
    let path = unsafe { path(name) };
    let disk = path.as_deref().and_then(disk_of);
    let is_dead = disk.as_deref().is_some_and(|disk| disk.is_cut() || is_new_and_dead(disk, path.as_deref()));
    if is_dead {
        // SAFETY: SQLite hands over a file of at least `szOsFile` bytes; without methods it is not closed.
        unsafe { (*file).pMethods = std::ptr::null() };
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: `file` has room for our part and, behind it, the system's; all pointers are passed on as they came.
    unsafe { methods::open(system(), name, file, (flags, out_flags), disk.zip(path)) }
}

/// Making a file is an operation that can be cut; opening one that is there is not.
fn is_new_and_dead(disk: &Disk, path: Option<&Path>) -> bool {
    path.is_some_and(|path| !path.exists()) && disk.apply(0, &Change::Name) != Verdict::Pass
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    // SAFETY: SQLite hands over a name that ends with a zero.
    let disk = unsafe { path(name) }.as_deref().and_then(disk_of);
    if disk.is_some_and(|disk| disk.apply(0, &Change::Name) != Verdict::Pass) {
        return ffi::SQLITE_IOERR_DELETE;
    }
    // SAFETY: the system's object is valid, and the arguments are passed on as they came.
    unsafe { (*system()).xDelete.map_or(ffi::SQLITE_ERROR, |delete| delete(system(), name, sync_dir)) }
}

unsafe extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    result: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands over a name that ends with a zero.
    let disk = unsafe { path(name) }.as_deref().and_then(disk_of);
    if disk.is_some_and(|disk| disk.is_cut()) {
        return ffi::SQLITE_IOERR_ACCESS;
    }
    // SAFETY: the system's object is valid, and the arguments are passed on as they came.
    unsafe { (*system()).xAccess.map_or(ffi::SQLITE_ERROR, |access| access(system(), name, flags, result)) }
}

#[cfg(test)]
mod tests;
