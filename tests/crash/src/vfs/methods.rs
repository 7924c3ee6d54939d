//! An open file: our part first, as SQLite sees it, the system's behind it.

use std::ffi::{c_int, c_void};
use std::path::PathBuf;
use std::sync::Arc;

use libsqlite3_sys as ffi;

use crate::disk::{Change, Disk, Verdict};

/// What SQLite's `sqlite3_file` is here. The size is a multiple of 8, so that what follows is aligned.
#[repr(C, align(8))]
pub(super) struct OwnFile {
    base: ffi::sqlite3_file,
    /// From `Box::into_raw`; null for a file without a model.
    watch: *mut Watch,
}

/// A file of a folder with a model.
struct Watch {
    disk: Arc<Disk>,
    /// Its number in the file system; `None` for the shared memory and for what is not there.
    inode: Option<u64>,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // 2: shared memory, but no memory-mapped reads, which would pass the model by.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Opens the system's file and puts ours before it.
///
/// # Safety
/// As for `xOpen`; `file` must have room for an `OwnFile` and the system's file behind it.
pub(super) unsafe fn open(
    system: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    (flags, out_flags): (c_int, *mut c_int),
    watched: Option<(Arc<Disk>, PathBuf)>,
) -> c_int {
    let own = file.cast::<OwnFile>();
    // SAFETY: there is room for both, as the caller says; the system's file begins without methods, as SQLite begins it.
    let code = unsafe {
        (*own).base.pMethods = std::ptr::null();
        (*own).watch = std::ptr::null_mut();
        (*inner(file)).pMethods = std::ptr::null();
        (*system).xOpen.map_or(ffi::SQLITE_ERROR, |open| open(system, name, inner(file), flags, out_flags))
    };
    if code != ffi::SQLITE_OK {
        return code;
    }
    let watch = watched.map(|(disk, path)| Box::new(Watch { inode: disk.opened(&path), disk }));
    // SAFETY: as above.
    unsafe {
        (*own).watch = watch.map_or(std::ptr::null_mut(), Box::into_raw);
        (*own).base.pMethods = &raw const METHODS;
    }
    code
}

/// The system's file.
///
/// # Safety
/// `file` must be one of ours.
unsafe fn inner(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: SQLite made room for both, one behind the other: `szOsFile` is their sum.
    unsafe { file.cast::<OwnFile>().add(1).cast() }
}

/// # Safety
/// `file` must be one of ours and open.
unsafe fn watch<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a Watch> {
    // SAFETY: the pointer is null, or from `Box::into_raw` and valid until `close`.
    unsafe { (*file.cast::<OwnFile>()).watch.as_ref() }
}

/// # Safety
/// `file` must be one of ours and open.
unsafe fn is_dead(file: *mut ffi::sqlite3_file) -> bool {
    // SAFETY: as the caller says.
    unsafe { watch(file) }.is_some_and(|watch| watch.disk.is_cut())
}

/// Asks the model.
///
/// # Safety
/// `file` must be one of ours and open.
unsafe fn may(file: *mut ffi::sqlite3_file, change: &Change<'_>) -> bool {
    // SAFETY: as the caller says.
    let watch = unsafe { watch(file) };
    watch.is_none_or(|watch| watch.disk.apply(watch.inode.unwrap_or(0), change) == Verdict::Pass)
}

/// Calls a method of the system's file, if it has it.
macro_rules! pass {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        // SAFETY: `file` is one of ours and open, so the system's file is open too; the arguments come from SQLite.
        unsafe {
            let inner = inner($file);
            (*(*inner).pMethods).$method.map_or(ffi::SQLITE_IOERR, |method| method(inner $(, $argument)*))
        }
    }};
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let own = file.cast::<OwnFile>();
    // SAFETY: the pointer is null or from `Box::into_raw`, and closing happens once.
    unsafe {
        if !(*own).watch.is_null() {
            drop(Box::from_raw((*own).watch));
            (*own).watch = std::ptr::null_mut();
        }
    }
    pass!(file, xClose)
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite calls with an open file.
    if unsafe { is_dead(file) } { ffi::SQLITE_IOERR_READ } else { pass!(file, xRead, to, count, offset) }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let (Ok(len), Ok(at)) = (usize::try_from(count), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: SQLite hands over `count` readable bytes.
    let data = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), len) };
    // SAFETY: SQLite calls with an open file.
    if unsafe { may(file, &Change::Write { offset: at, data }) } {
        pass!(file, xWrite, from, count, offset)
    } else {
        ffi::SQLITE_IOERR_WRITE
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    let Ok(bytes) = u64::try_from(size) else { return ffi::SQLITE_IOERR_TRUNCATE };
    // SAFETY: SQLite calls with an open file.
    if unsafe { may(file, &Change::Truncate(bytes)) } {
        pass!(file, xTruncate, size)
    } else {
        ffi::SQLITE_IOERR_TRUNCATE
    }
}

/// What is synced is the model's business; the memory file system has nothing to do.
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite calls with an open file.
    if unsafe { may(file, &Change::Sync) } { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_FSYNC }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite calls with an open file.
    if unsafe { is_dead(file) } { ffi::SQLITE_IOERR_FSTAT } else { pass!(file, xFileSize, size) }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite calls with an open file.
    if unsafe { is_dead(file) } { ffi::SQLITE_IOERR_LOCK } else { pass!(file, xLock, level) }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass!(file, xUnlock, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, result: *mut c_int) -> c_int {
    pass!(file, xCheckReservedLock, result)
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, code: c_int, argument: *mut c_void) -> c_int {
    pass!(file, xFileControl, code, argument)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xDeviceCharacteristics)
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    bytes: c_int,
    extend: c_int,
    at: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite calls with an open file.
    if unsafe { is_dead(file) } {
        ffi::SQLITE_IOERR_SHMMAP
    } else {
        pass!(file, xShmMap, page, bytes, extend, at)
    }
}

/// Giving a lock back never fails: who holds it must be able to end.
unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: SQLite calls with an open file.
    if flags & ffi::SQLITE_SHM_LOCK != 0 && unsafe { is_dead(file) } {
        ffi::SQLITE_IOERR_LOCK
    } else {
        pass!(file, xShmLock, first, count, flags)
    }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: `file` is one of ours and open, so the system's file is open too.
    unsafe {
        let inner = inner(file);
        if let Some(barrier) = (*(*inner).pMethods).xShmBarrier {
            barrier(inner);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    pass!(file, xShmUnmap, delete)
}
