//! The reader thread: loads and decodes the rows that lanes need next, beside the writer and never in its way.

use std::sync::Arc;
use std::time::Duration;

use crate::batch;
use crate::policy::{Load, Loaded};
use crate::spool::Shared;
use crate::store::{ReadStore, StoreError};

/// The pause after the disk could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until the spool stops.
pub(crate) fn run(shared: &Arc<Shared>, mut store: ReadStore) {
    loop {
        let mut state = shared.lock();
        let load = loop {
            if state.stopping {
                return;
            }
            if let Some(load) = state.policy.poll_load() {
                break load;
            }
            state = shared.wait_reader(state);
        };
        drop(state);
        let loaded = match load_row(&store, &load) {
            Ok(loaded) => loaded,
            Err(error) => handle_failure(shared, &mut store, &error),
        };
        let failed = matches!(loaded, Loaded::Failed { .. });
        let mut state = shared.lock();
        state.policy.handle_loaded(&load, loaded);
        shared.finish(state);
        if failed && shared.pause(RETRY) {
            return;
        }
    }
}

fn load_row(store: &ReadStore, load: &Load) -> Result<Loaded, StoreError> {
    let Some((first_seq, data)) = store.load(load)? else { return Ok(Loaded::End) };
    Ok(match batch::decode(&data, load.priority, store.boot) {
        Ok(records) if records.first().is_some_and(|first| first.record.seq == first_seq) => {
            Loaded::Row { first_seq, records }
        }
        Ok(_) => Loaded::Damaged { first_seq, cause: "the batch has another number than its row".to_owned() },
        Err(error) => Loaded::Damaged { first_seq, cause: error.to_string() },
    })
}

/// A damaged structure is the writer's to salvage; the new file needs a new connection.
fn handle_failure(shared: &Shared, store: &mut ReadStore, error: &StoreError) -> Loaded {
    if error.is_corrupt() {
        shared.request_rebuild(error.to_string());
    }
    if let Ok(fresh) = ReadStore::open(shared.path(), store.boot) {
        *store = fresh;
    }
    Loaded::Failed { message: error.to_string() }
}
