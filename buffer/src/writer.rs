//! The writer thread: commits what is due, at once and again as long as something is; while it syncs, more
//! arrives. There is no other timer than what the policy says is due when.

mod disk;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[cfg(feature = "mutations")]
use crate::mutation::{self, Mutation};
use crate::policy::{Committed, Plan};
use crate::record::{millis, mono_ms};
use crate::spool::{REBUILDS_MAX, Shared, State};
use crate::store::{Reserve, Store};
use disk::Disk;

/// How long the writer sleeps at most, so that its progress shows that it is alive.
const BEAT: Duration = Duration::from_secs(1);

/// What the writer does next.
enum Work {
    Commit(Box<Plan>),
    Rebuild(String),
    Idle,
    Stop,
}

/// Runs until the spool stops.
pub(crate) fn run(shared: &Arc<Shared>, mut store: Store, reserve: Reserve) {
    let mut disk = Disk::new(reserve, shared.limits);
    loop {
        let work = next(shared);
        shared.progress.fetch_add(1, Ordering::Relaxed);
        match work {
            Work::Commit(plan) => commit(shared, (&mut store, &mut disk), *plan),
            Work::Rebuild(cause) => rebuild(shared, &mut store, &cause),
            // A failure to give pages back costs nothing now; a real one shows at the next commit.
            Work::Idle => drop(store.vacuum_step()),
            Work::Stop => break,
        }
        save_boot(shared, &mut store);
        if disk.step(&mut store) {
            tell_bound(shared, &disk);
        }
    }
    save_boot(shared, &mut store);
    if shared.lock().closing {
        // The log is whole without it; the next open would do it.
        drop(store.checkpoint());
    }
}

/// What is due next; after a beat with nothing it is idle, however often it was woken.
fn next(shared: &Shared) -> Work {
    let beat_ms = mono_ms() + millis(BEAT);
    let mut state = shared.lock();
    loop {
        if state.stopping {
            return Work::Stop;
        }
        if let Some(cause) = state.rebuild.take() {
            return Work::Rebuild(cause);
        }
        if state.policy.poll_search() {
            return Work::Rebuild("records are counted that are in no row".to_owned());
        }
        if let Some(plan) = state.policy.poll_plan(mono_ms()) {
            return Work::Commit(Box::new(plan));
        }
        if mono_ms() >= beat_ms {
            return Work::Idle;
        }
        state = wait(shared, state, beat_ms);
    }
}

/// Sleeps until something is due, or the beat is over, or somebody wakes it.
fn wait<'a>(
    shared: &'a Shared,
    mut state: std::sync::MutexGuard<'a, State>,
    beat_ms: u64,
) -> std::sync::MutexGuard<'a, State> {
    let until_ms = state.policy.next_due_ms().unwrap_or(u64::MAX).min(beat_ms);
    state.writer_sleeps_until_ms = Some(until_ms);
    let pause = Duration::from_millis(until_ms.saturating_sub(mono_ms()).max(1));
    let mut state = shared.wait_writer(state, pause);
    state.writer_sleeps_until_ms = None;
    state
}

fn commit(shared: &Shared, (store, disk): (&mut Store, &mut Disk), plan: Plan) {
    #[cfg(test)]
    if let Some(pages) = shared.lock().page_limit.take() {
        store.limit_pages(pages);
    }
    #[cfg(feature = "mutations")]
    if mutation::is_planted(Mutation::AckBeforeCommit) {
        let mut state = shared.lock();
        state.policy.resolve_early(&plan);
        shared.finish(state);
    }
    #[cfg(test)]
    if let Some(read_only) = shared.lock().read_only.take() {
        store.set_read_only(read_only);
    }
    let began = Instant::now();
    let result = disk.commit(store, &plan);
    let took = began.elapsed();
    if let Err(error) = &result
        && error.is_corrupt()
    {
        rebuild(shared, store, &error.to_string());
    }
    let mut state = shared.lock();
    let (bytes_max, full) = disk.bound();
    state.policy.set_bytes_max(bytes_max, full);
    match result {
        Ok(done) => {
            note_written(&mut state, &plan, &done);
            state.commit_times.observe(took);
            state.policy.handle_committed(plan, done, mono_ms());
        }
        Err(error) => state.policy.handle_commit_failed(plan, error.to_string(), mono_ms()),
    }
    shared.finish(state);
}

fn tell_bound(shared: &Shared, disk: &Disk) {
    let mut state = shared.lock();
    let (bytes_max, full) = disk.bound();
    state.policy.set_bytes_max(bytes_max, full);
    shared.finish(state);
}

/// What is known of the clock can wait: when it cannot be written, the next beat or commit tries again.
fn save_boot(shared: &Shared, store: &mut Store) {
    let Some(boot) = shared.lock().clock.poll_save() else { return };
    if store.save_boot(&boot).is_err() {
        shared.lock().clock.handle_unsaved();
    }
}

fn note_written(state: &mut State, plan: &Plan, done: &Committed) {
    state.commits += 1;
    state.rows_written += plan.rows.len() as u64;
    state.bytes_written += done.bytes_written;
}

fn rebuild(shared: &Shared, store: &mut Store, cause: &str) {
    if !shared.disconnect_reader() {
        return;
    }
    let consumers = shared.lock().consumers.clone();
    let result = match shared.rebuilds.fetch_add(1, Ordering::Relaxed) {
        0..REBUILDS_MAX => Some(store.rebuild(cause, &consumers).map_err(|error| error.to_string())),
        REBUILDS_MAX => Some(Err("it was salvaged in this run, and that did not help".to_owned())),
        _ => None,
    };
    let mut state = shared.lock();
    shared.reconnect_reader(&mut state);
    state.rebuild = None;
    match result {
        Some(Ok(incident)) => state.policy.handle_rebuilt(incident),
        Some(Err(error)) => state.policy.handle_rebuild_failed(cause, &error),
        // It was told.
        None => {}
    }
    shared.finish(state);
}
