//! `[buffer]`: where and how much is stored.

use std::path::Path;
use std::time::Duration;

use tidegate_buffer::{Options, WhenFull};

use super::drain::max_age;
use super::table;
use crate::mistake::Mistake;
use crate::section::Section;

const DIR: &str = "/var/lib/tidegate";

pub(super) fn buffer(root: &mut Section<'_, '_>, folder: &Path) -> Options {
    table(root, "buffer", |section| options(section, folder)).unwrap_or_else(|| Options::new(DIR))
}

fn options(section: &mut Section<'_, '_>, folder: &Path) -> Options {
    let dir = path(section, "dir", folder);
    let mut options = Options::new(dir.unwrap_or_else(|| DIR.into()));
    if let Some(bytes) = section.bytes("max_bytes", 1 << 20..=16 << 40) {
        options.max_bytes = bytes;
    }
    if let Some(bytes) = section.bytes("memory_bytes_max", 64 << 10..=1 << 30) {
        options.memory_bytes_max = bytes;
    }
    if let Some(after) = section.duration("spill_after", Duration::ZERO..=Duration::from_secs(10)) {
        options.spill_after = after;
    }
    let words = [
        ("evict-oldest", Some(WhenFull::EvictOldest)),
        ("evict-newest", Some(WhenFull::EvictNewest)),
        ("refuse", Some(WhenFull::Refuse)),
    ];
    if let Some(when_full) = section.word("when_full", &words) {
        options.when_full = when_full;
    }
    options.max_age = max_age(section);
    if let Some(bytes) = section.bytes("reserve_bytes", 1 << 20..=1 << 30) {
        options.reserve_bytes = bytes;
    }
    options
}

/// Reads a path; a relative one is relative to `folder`.
pub(super) fn path(
    section: &mut Section<'_, '_>,
    key: &'static str,
    folder: &Path,
) -> Option<std::path::PathBuf> {
    let text = section.text(key)?;
    if text.value.is_empty() || text.value.contains('\0') {
        section.mistakes.push(Mistake::error(text.place, format!("`{key}` is no path")));
        return None;
    }
    Some(folder.join(text.value))
}
