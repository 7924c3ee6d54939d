//! Files that tests write when they are asked to, and otherwise compare.

use std::path::Path;
use std::{env, fs, io};

/// Holds if the file, named from the package's folder, has this text. With `TIDEGATE_WRITE_DOCS` it is written first.
///
/// # Errors
/// It cannot be written.
///
/// # Panics
/// If it has another.
#[track_caller]
pub(crate) fn assert_written(file: &str, text: &str) -> io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if env::var_os("TIDEGATE_WRITE_DOCS").is_some() {
        fs::write(&path, text)?;
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "write it anew: see above");
    Ok(())
}
