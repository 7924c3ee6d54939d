//! The pages of a database and of its log (<https://sqlite.org/fileformat2.html>, sections 1.3 and 4.1), read by place
//! and not by what leads to them.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::pages::{PAGE_BYTES, Page};
use crate::store::with_suffix;

const LOG_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;
const FRAME_BYTES: u64 = FRAME_HEADER_BYTES + PAGE_BYTES as u64;

/// The two files, open for as long as it lives.
#[derive(Debug)]
pub(super) struct Image {
    database: File,
    pages: u64,
    log: Option<File>,
    /// By number of a page, the place of its newest copy in the log; copies of an earlier round of the log are there
    /// where no newer one is.
    newest: HashMap<u32, u64>,
    frames: u64,
}

impl Image {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let database = File::open(path)?;
        let pages = database.metadata()?.len() / PAGE_BYTES as u64;
        let log = File::open(with_suffix(path, "-wal")).ok();
        let log_bytes = log.as_ref().and_then(|log| log.metadata().ok()).map_or(0, |metadata| metadata.len());
        let frames = log_bytes.saturating_sub(LOG_HEADER_BYTES) / FRAME_BYTES;
        let mut image = Self { database, pages, log, newest: HashMap::new(), frames };
        image.index();
        Ok(image)
    }

    /// Finds the newest copies: those with the salts of the first frame, and in the order that they were written.
    fn index(&mut self) {
        let Some(log) = &self.log else { return };
        let header = |frame: u64| {
            let mut header = [0; 24];
            log.read_exact_at(&mut header, LOG_HEADER_BYTES + frame * FRAME_BYTES).ok()?;
            Some(header)
        };
        let salts = |header: &[u8; 24]| header.get(8..16).map(<[u8]>::to_vec);
        let current = header(0).as_ref().and_then(salts);
        for frame in 0..self.frames {
            let Some(header) = header(frame) else { continue };
            let Some((number, _)) = header.split_first_chunk() else { continue };
            let at = LOG_HEADER_BYTES + frame * FRAME_BYTES + FRAME_HEADER_BYTES;
            if salts(&header) == current {
                self.newest.insert(u32::from_be_bytes(*number), at);
            } else {
                self.newest.entry(u32::from_be_bytes(*number)).or_insert(at);
            }
        }
    }

    /// How many bytes there are in both files.
    pub(super) fn bytes(&self) -> u64 {
        (self.pages + self.frames) * PAGE_BYTES as u64
    }

    /// Every page there is: those of the log, the newest first, then those of the database.
    pub(super) fn all(&self) -> impl Iterator<Item = Page> {
        let frames = (0..self.frames).rev();
        let logged = frames.map(|frame| LOG_HEADER_BYTES + frame * FRAME_BYTES + FRAME_HEADER_BYTES);
        let logged = logged.filter_map(|at| read(self.log.as_ref()?, at));
        logged.chain((0..self.pages).filter_map(|page| read(&self.database, page * PAGE_BYTES as u64)))
    }

    /// The page of this number, as the log has it if it does.
    pub(super) fn newest(&self, number: u32) -> Option<Page> {
        match (self.newest.get(&number), &self.log) {
            (Some(at), Some(log)) => read(log, *at),
            _ => self.stored(number),
        }
    }

    /// The page of this number, as the database has it.
    pub(super) fn stored(&self, number: u32) -> Option<Page> {
        read(&self.database, u64::from(number).checked_sub(1)? * PAGE_BYTES as u64)
    }
}

fn read(file: &File, at: u64) -> Option<Page> {
    let mut page = [0; PAGE_BYTES];
    file.read_exact_at(&mut page, at).ok()?;
    Some(page)
}
