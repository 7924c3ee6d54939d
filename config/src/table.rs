//! The file of a lookup table: read when a gateway starts, and again when it has changed.

use std::fs::{self, File};
use std::io::Read as _;

use crate::{Table, TableFormat};

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

impl Table {
    /// Reads the file anew.
    ///
    /// # Errors
    /// Why it cannot be used, with the line where that is known.
    pub fn read(&self) -> Result<tidegate_rules::Table, String> {
        let bytes = bytes(&self.file).map_err(|error| format!("the file cannot be read: {error}"))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err("the file of a table may have at most 64 MiB".to_owned());
        }
        let table = match self.format {
            TableFormat::Csv => tidegate_rules::Table::from_csv(&self.key, &bytes),
            TableFormat::JsonLines => tidegate_rules::Table::from_json_lines(&self.key, &bytes),
        };
        table.map_err(|error| error.to_string())
    }
}

fn bytes(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("this is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl TableFormat {
    /// What a file of this name has in it, if its ending says so.
    pub(crate) fn of(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" | "json" => Some(Self::JsonLines),
            _ => None,
        }
    }
}
