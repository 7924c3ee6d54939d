//! The reader thread: loads and decodes the rows that lanes need next, beside the writer and never in its way.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::{self, BatchError};
use crate::boot::Boots;
use crate::policy::{Load, Loaded};
use crate::spool::Shared;
use crate::store::{ReadStore, StoreError};

/// The pause after the disk could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until the spool stops.
pub(crate) fn run(shared: &Arc<Shared>, store: ReadStore) {
    let boots = store.boots.clone();
    let mut store = Some(store);
    while let Some(load) = next(shared, &mut store) {
        let loaded = match load_row(shared, &mut store, &boots, &load) {
            Ok(loaded) => loaded,
            Err(error) => handle_failure(shared, &mut store, &error),
        };
        let failed = matches!(loaded, Loaded::Failed { .. });
        let mut state = shared.lock();
        state.policy.handle_loaded(&load, loaded);
        shared.finish(state);
        if failed {
            shared.pause_reader(RETRY);
        }
    }
}

/// Waits for the next row to load; `None` when the spool stops. While the writer renames the database, the connection is
/// closed: one that outlives the renaming would take the new database's log for its own, and delete it
/// (https://sqlite.org/howtocorrupt.html, section 2.5).
fn next(shared: &Shared, store: &mut Option<ReadStore>) -> Option<Load> {
    let mut state = shared.lock();
    loop {
        if state.stopping {
            return None;
        }
        if state.rebuilding {
            drop(store.take());
            state.reader_connected = false;
            shared.wake_writer();
        } else if let Some(load) = state.policy.poll_load() {
            state.reader_connected = true;
            return Some(load);
        }
        state = shared.wait_reader(state);
    }
}

fn load_row(
    shared: &Shared,
    store: &mut Option<ReadStore>,
    boots: &Boots,
    load: &Load,
) -> Result<Loaded, StoreError> {
    let store = match store {
        Some(store) => store,
        None => store.insert(ReadStore::open(shared.path(), boots.clone())?),
    };
    store.checks_order = shared.may_rebuild();
    let Some((first_seq, data)) = store.load(load)? else { return Ok(Loaded::End) };
    Ok(match batch::decode_with(&data, load.priority, boots) {
        Ok(records) => Loaded::Row { first_seq, records },
        // Salvage puts it where it belongs.
        Err(BatchError::Misplaced(_)) if store.checks_order => return Err(StoreError::Order),
        Err(error) => Loaded::Damaged { first_seq, cause: error.to_string() },
    })
}

/// A damaged structure is the writer's to salvage; after any other failure a new connection is tried.
fn handle_failure(shared: &Shared, store: &mut Option<ReadStore>, error: &StoreError) -> Loaded {
    if error.is_corrupt() {
        shared.request_rebuild(error.to_string());
    } else {
        *store = None;
    }
    Loaded::Failed { message: error.to_string() }
}
