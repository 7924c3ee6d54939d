//! The facade: the policy under a short lock, the writer and reader threads beside it.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::append::Append;
use crate::boot::{BootId, Clock};
use crate::error::{AppendError, CloseError, OpenError};
use crate::gap::Gap;
use crate::histogram::Histogram;
use crate::incident::Incident;
use crate::options::{ConsumerOptions, Options};
use crate::policy::{GapRow, Limits, Policy, Setup};
use crate::record::{ConsumerId, Priority, Record, Stamp, mono_ms};
use crate::store::{self, OpenedStore, ReadStore, Registered, Reserve};
use crate::usage::{LaneUsage, Usage};
use crate::{reader, writer};

/// What the spool calls when something happened. The calls come from any thread, without the spool's lock
/// held, at most one per batch; they must return at once.
pub trait Listener: Send + Sync {
    /// Receipts wait in `poll_resolved`.
    fn resolved(&self);
    /// The consumer has something to read.
    fn readable(&self, consumer: ConsumerId);
    /// Admission said `Wait`, and there is room again.
    fn room(&self);
    /// Records were evicted: `Spool::gaps` says which. Called after each commit until it was asked.
    fn gap(&self);
    /// Something an operator should hear about.
    fn incident(&self, incident: Incident);
}

/// Whether the next event may be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may; the append will not fail for lack of capacity.
    Open,
    /// Not now: memory is at its bound. `Listener::room` follows.
    Wait,
    /// It cannot be kept: a consumer is away and the disk takes nothing.
    Refuse(Refusal),
}

/// Why an event is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The database is at `max_bytes`.
    DiskFull,
    /// The last commit failed.
    DiskFailing,
}

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadOutcome {
    /// How many records were appended to `out`.
    pub records: usize,
    /// When to read again although nothing is announced: a rate holds the backlog back until then. `None` when it does
    /// not, or when nothing of the backlog is there to be read.
    pub again_in_ms: Option<u64>,
}

/// A freshly opened spool and what was found in it.
#[derive(Debug)]
pub struct Opened {
    /// The spool.
    pub spool: Spool,
    /// The number for the first record the caller appends.
    pub first_seq: u64,
    /// The last durable snapshot.
    pub snapshot: Option<Vec<u8>>,
    /// The durable journal since the snapshot, one item per entry, in order.
    pub journal: Vec<Vec<u8>>,
    /// The durable map: keys and values, in the order of the keys.
    pub map: Vec<(Vec<u8>, Vec<u8>)>,
    /// What was repaired or set aside while opening, and who was not named.
    pub incidents: Vec<Incident>,
    /// Gaps of earlier runs that were not announced.
    pub gaps: Vec<Gap>,
}

/// How often a run salvages its database: what that has not mended by then, it does not mend.
pub(crate) const REBUILDS_MAX: u32 = 3;

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) policy: Policy,
    /// All consumers that the database knows, or will with the next commit.
    pub(crate) consumers: Vec<Registered>,
    /// When the sleeping writer will look by itself; `None` while it is awake.
    pub(crate) writer_sleeps_until_ms: Option<u64>,
    /// The threads end at the next look.
    pub(crate) stopping: bool,
    /// The end is a clean one.
    pub(crate) closing: bool,
    /// The structure of the database is damaged, and why.
    pub(crate) rebuild: Option<String>,
    /// The writer is about to rename the database: the reader has to close its connection and wait.
    pub(crate) rebuilding: bool,
    pub(crate) reader_connected: bool,
    pub(crate) commits: u64,
    pub(crate) commit_times: Histogram,
    pub(crate) rows_written: u64,
    pub(crate) bytes_written: u64,
    pub(crate) clock: Clock,
    /// Pages to limit the database to before the next commit.
    #[cfg(test)]
    pub(crate) page_limit: Option<u64>,
    /// Whether nothing can be written from the next commit on.
    #[cfg(test)]
    pub(crate) read_only: Option<bool>,
}

impl State {
    /// The number of a consumer; of one that nobody knows, the first that is free, which `new` has then.
    fn number(&self, name: &str, new: &mut Vec<Registered>) -> Result<ConsumerId, OpenError> {
        let mut known = self.consumers.iter().chain(new.iter());
        if let Some((_, id)) = known.find(|(known, _)| known == name) {
            return Ok(*id);
        }
        let is_used = |id: ConsumerId| self.consumers.iter().chain(new.iter()).any(|(_, used)| *used == id);
        let id = (0..64).map(ConsumerId).find(|id| !is_used(*id)).ok_or_else(|| OpenError::Consumer {
            name: name.to_owned(),
            reason: "64 consumers are known already; those that nothing waits for make room at the next open",
        })?;
        new.push((name.to_owned(), id));
        Ok(id)
    }

    fn gap(&self, row: GapRow) -> Option<Gap> {
        let (consumer, _) = self.consumers.iter().find(|(_, id)| usize::from(id.0) == row.lane / 3)?;
        Some(Gap {
            id: row.id,
            consumer: consumer.clone(),
            priority: Priority::ALL.get(row.lane % 3).copied()?,
            first_seq: row.first_seq,
            last_seq: row.last_seq,
            records: row.records,
            reason: row.reason,
            first_wall_ms: row.first_wall_ms,
            last_wall_ms: row.last_wall_ms,
        })
    }
}

/// What the facade and the threads share.
pub(crate) struct Shared {
    state: Mutex<State>,
    writer: Condvar,
    reader: Condvar,
    /// Waited for by `flush`.
    settled: Condvar,
    listener: Arc<dyn Listener>,
    pub(crate) limits: Limits,
    pub(crate) progress: AtomicU64,
    /// How often salvage was asked for in this run.
    pub(crate) rebuilds: AtomicU32,
    admission: AtomicU8,
    /// Somebody was told to wait.
    waiting: AtomicBool,
    path: PathBuf,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Admission {
    fn code(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Wait => 1,
            Self::Refuse(Refusal::DiskFull) => 2,
            Self::Refuse(Refusal::DiskFailing) => 3,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Open,
            1 => Self::Wait,
            2 => Self::Refuse(Refusal::DiskFull),
            _ => Self::Refuse(Refusal::DiskFailing),
        }
    }

    /// The answers for all priorities, two bits each.
    fn codes(policy: &Policy) -> u8 {
        let code = |priority: Priority| policy.admission(priority).code() << (2 * priority.rank());
        Priority::ALL.into_iter().map(code).sum()
    }
}

impl Shared {
    /// The state stays usable when a thread panicked while it held the lock: every method leaves it whole.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn wait_reader<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.reader.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work; also says whether the time was up.
    pub(crate) fn wait_writer<'a>(
        &self,
        state: MutexGuard<'a, State>,
        pause: Duration,
    ) -> MutexGuard<'a, State> {
        self.writer.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(crate) fn wake_writer(&self) {
        self.writer.notify_one();
    }

    /// The reader's pause after a failure; ends early when there is something else to do than to try again.
    pub(crate) fn pause_reader(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        while !state.stopping && !state.rebuilding {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.reader.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has the reader close its connection, for a rebuild; false when the spool stops before it has.
    pub(crate) fn disconnect_reader(&self) -> bool {
        const LOOK_AGAIN: Duration = Duration::from_secs(1);
        let mut state = self.lock();
        state.rebuilding = true;
        self.reader.notify_all();
        while state.reader_connected {
            if state.stopping {
                return false;
            }
            state = self.wait_writer(state, LOOK_AGAIN);
        }
        true
    }

    /// The database is in its place again.
    pub(crate) fn reconnect_reader(&self, state: &mut State) {
        state.rebuilding = false;
        self.reader.notify_all();
    }

    /// Whether salvage may be tried once more in this run: each leaves a file as large as the database behind.
    pub(crate) fn may_rebuild(&self) -> bool {
        self.rebuilds.load(Ordering::Relaxed) < REBUILDS_MAX
    }

    pub(crate) fn request_rebuild(&self, cause: String) {
        self.lock().rebuild.get_or_insert(cause);
        self.writer.notify_one();
    }

    /// Ends a change of the state: publishes the admission, wakes who has work, and tells the listener, without
    /// the lock.
    pub(crate) fn finish(&self, mut state: MutexGuard<'_, State>) {
        let events = state.policy.poll_events();
        let admission = Admission::codes(&state.policy);
        self.admission.store(admission, Ordering::SeqCst);
        let waits = Admission::from_code(admission & 3) == Admission::Wait;
        let wake_reader = state.policy.wants_load();
        let due_ms = state.policy.next_due_ms();
        let wake_writer =
            state.writer_sleeps_until_ms.is_some_and(|until| due_ms.is_some_and(|due| due < until));
        if wake_writer {
            state.writer_sleeps_until_ms = None;
        }
        let settled = state.policy.is_flushing() && state.policy.is_flushed();
        drop(state);
        if wake_writer {
            self.writer.notify_one();
        }
        if wake_reader {
            self.reader.notify_one();
        }
        if settled {
            self.settled.notify_all();
        }
        if !waits && self.waiting.swap(false, Ordering::SeqCst) {
            self.listener.room();
        }
        if events.resolved {
            self.listener.resolved();
        }
        crate::record::bits(events.readable).for_each(|consumer| self.listener.readable(consumer));
        if events.gap {
            self.listener.gap();
        }
        events.incidents.into_iter().for_each(|incident| self.listener.incident(incident));
    }

    fn stop(&self, closing: bool) {
        let mut state = self.lock();
        state.stopping = true;
        state.closing = closing;
        drop(state);
        self.writer.notify_all();
        self.reader.notify_all();
    }
}

/// The durable buffer.
///
/// Dropping it stops its threads without writing what is undurable, as a crash would; [`Spool::close`] is the
/// clean end.
#[derive(Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Keeps other processes out; given back when the spool and its threads are gone.
    _lock: Arc<File>,
}

impl Spool {
    /// Opens or makes the database in `options.dir` and starts the threads. At most 64 consumers; all are away
    /// until `set_online`. A consumer that the database knows and `consumers` has not keeps what waits for it, for when it
    /// is named again; nothing can be appended for it, and it never keeps an event from being admitted.
    ///
    /// # Errors
    /// See [`OpenError`]. Damage is no error: it is set aside and reported in `Opened::incidents`.
    pub fn open(
        options: Options,
        consumers: &[ConsumerOptions],
        listener: Arc<dyn Listener>,
    ) -> Result<Opened, OpenError> {
        Self::open_in_boot(options, consumers, listener, crate::boot::boot_id())
    }

    fn open_in_boot(
        options: Options,
        consumers: &[ConsumerOptions],
        listener: Arc<dyn Listener>,
        boot: BootId,
    ) -> Result<Opened, OpenError> {
        let names: Vec<&str> = consumers.iter().map(|consumer| consumer.name.as_str()).collect();
        let random = options.random.unwrap_or_else(|| RandomState::new().hash_one(0));
        let mut opened = store::open(&options.dir, &names, boot, random)?;
        let limits = Limits::new(&options);
        let configured = consumers.iter().filter_map(|options| {
            let (_, id) = opened.consumers.iter().find(|(name, _)| *name == options.name)?;
            Some((*id, options.clone()))
        });
        let setup = Setup {
            consumers: configured.collect(),
            marks: std::mem::take(&mut opened.marks),
            gaps: std::mem::take(&mut opened.gaps),
            first_seq: opened.first_seq,
            disk_bytes: opened.disk_bytes,
            journal_bytes: opened.journal.iter().map(|item| item.len() as u64).sum(),
        };
        let policy = Policy::new(limits, setup);
        let shared = Arc::new(Shared::new(policy, limits, listener, opened.path.clone()));
        {
            let mut state = shared.lock();
            state.clock = std::mem::take(&mut opened.clock);
            state.consumers = std::mem::take(&mut opened.consumers);
        }
        let reserve = Reserve::new(&options.dir, options.reserve_bytes);
        Self::start(shared, opened, reserve)
    }

    fn start(shared: Arc<Shared>, opened: OpenedStore, reserve: Reserve) -> Result<Opened, OpenError> {
        let OpenedStore { store, lock, path, first_seq, snapshot, journal, map, incidents, boots, .. } =
            opened;
        let database =
            |error: store::StoreError| OpenError::Database { path: path.clone(), message: error.to_string() };
        let read_store = ReadStore::open(&path, boots).map_err(database)?;
        let lock = Arc::new(lock);
        let mut spool = Self { shared: Arc::clone(&shared), threads: Vec::new(), _lock: Arc::clone(&lock) };
        let mut gaps = Vec::new();
        spool.gaps(&mut gaps);
        let (writer_shared, writer_lock) = (Arc::clone(&shared), Arc::clone(&lock));
        spool.spawn("spool-writer", move || {
            writer::run(&writer_shared, store, reserve);
            drop(writer_lock);
        })?;
        spool.spawn("spool-reader", move || reader::run(&shared, read_store))?;
        Ok(Opened { spool, first_seq, snapshot, journal, map, incidents, gaps })
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let thread =
            std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(OpenError::Thread)?;
        self.threads.push(thread);
        Ok(())
    }

    /// The consumer known under this name, served or not.
    pub fn consumer(&self, name: &str) -> Option<ConsumerId> {
        self.shared.lock().consumers.iter().find(|(known, _)| known == name).map(|(_, id)| *id)
    }

    /// The consumer of this name if it is served: if records can be appended for it.
    pub fn served(&self, name: &str) -> Option<ConsumerId> {
        let id = self.consumer(name)?;
        self.shared.lock().policy.is_served(id).then_some(id)
    }

    /// Serves these consumers from now on and no others, as if the spool were opened with them; gives their numbers in the
    /// order of `consumers`. A new one begins with the next record. One that is not named any more keeps what waits for
    /// it, is away, and nothing can be appended for it: what is appended has to have forgotten it before this is called.
    ///
    /// # Errors
    /// [`OpenError::Consumer`]: a name cannot be, or 64 are known already. Nothing has changed then.
    pub fn configure(&self, consumers: &[ConsumerOptions]) -> Result<Vec<ConsumerId>, OpenError> {
        let names: Vec<&str> = consumers.iter().map(|consumer| consumer.name.as_str()).collect();
        store::check_names(&names)?;
        let mut state = self.shared.lock();
        let mut new = Vec::new();
        let served =
            consumers.iter().map(|options| Ok((state.number(&options.name, &mut new)?, options.clone())));
        let served = served.collect::<Result<Vec<_>, OpenError>>()?;
        state.consumers.extend_from_slice(&new);
        state.policy.configure(&served, new);
        self.shared.finish(state);
        Ok(served.into_iter().map(|(id, _)| id).collect())
    }

    /// Whether the next event may be appended, when none of its effects has a higher priority than `highest`: records of
    /// high priority go on inside the reserve. Lock-free; ask before each event.
    pub fn admission(&self, highest: Priority) -> Admission {
        let shift = 2 * highest.rank();
        let now = || Admission::from_code(self.shared.admission.load(Ordering::SeqCst) >> shift & 3);
        if now() == Admission::Wait {
            // Said before looking again, so that room that comes in between is told.
            self.shared.waiting.store(true, Ordering::SeqCst);
        }
        now()
    }

    /// Appends all entries of the builder and drains it, keeping its capacity.
    ///
    /// # Errors
    /// A mistake of the caller; then nothing was appended, and the builder is as it was.
    pub fn append(&self, append: &mut Append) -> Result<(), AppendError> {
        let mut state = self.shared.lock();
        let result = state.policy.append(append, mono_ms());
        self.shared.finish(state);
        result
    }

    /// Moves the tags of resolved receipts to `tags`, each once, in any order.
    pub fn poll_resolved(&self, tags: &mut Vec<u64>) {
        self.shared.lock().policy.poll_resolved(tags);
    }

    /// Appends the consumer's next records to `out`, in the order of its [`Drain`](crate::Drain): at most `max_records`,
    /// and no more bytes than `max_bytes` unless the first record alone has more. Never blocks and never reads the disk.
    ///
    /// Nothing is read while the consumer is away. `Listener::readable` follows a read that returned fewer
    /// records than asked for because there were no more; after one cut short by a bound, read again.
    pub fn read(
        &self,
        consumer: ConsumerId,
        max_records: usize,
        max_bytes: usize,
        out: &mut Vec<Record>,
    ) -> ReadOutcome {
        let mut state = self.shared.lock();
        let before = out.len();
        let outcome = state.policy.read(consumer, (max_records, max_bytes), Stamp::now(), out);
        out.iter_mut().skip(before).for_each(|record| state.clock.correct(record));
        self.shared.finish(state);
        outcome
    }

    /// The consumer has these records, in any order. Others than those in flight are ignored.
    pub fn ack(&self, consumer: ConsumerId, acks: &[(Priority, u64)]) {
        let mut state = self.shared.lock();
        state.policy.ack(consumer, acks, mono_ms());
        self.shared.finish(state);
    }

    /// The connection was lost: unacknowledged records are read again, in order, without those acknowledged.
    pub fn rewind(&self, consumer: ConsumerId) {
        let mut state = self.shared.lock();
        state.policy.rewind(consumer);
        self.shared.finish(state);
    }

    /// Whether the consumer is there to read. What is appended for one that is away is written at once.
    pub fn set_online(&self, consumer: ConsumerId, online: bool) {
        let mut state = self.shared.lock();
        state.policy.set_online(consumer, online);
        self.shared.finish(state);
    }

    /// Sets a record in flight aside: it is durably written with its cause, and only then leaves its lane.
    pub fn quarantine(&self, consumer: ConsumerId, at: (Priority, u64), record: &Record, cause: &str) {
        let mut state = self.shared.lock();
        state.policy.quarantine(consumer, at, record, cause);
        self.shared.finish(state);
    }

    /// The wall clock is right: at `now`, and from now on. Stamps taken earlier in this boot are corrected when they are
    /// read, in this run and in later ones, also after a reboot (of the last 64 boots). Called again, for a clock that
    /// was set once more, it corrects them anew; stamps taken between the calls stay as they are.
    pub fn trust_clock(&self, now: Stamp) {
        self.shared.lock().clock.trust(now);
    }

    /// Settles all that waits for the consumer, in one lane or in all, without its having read it; returns how many
    /// records that were. Durable within the next commits.
    pub fn purge(&self, consumer: ConsumerId, priority: Option<Priority>) -> u64 {
        let mut state = self.shared.lock();
        let purged = state.policy.purge(consumer, priority, mono_ms());
        self.shared.finish(state);
        purged
    }

    /// Deletes quarantined items, by the ids that the inspector gives; those that do not exist are ignored. Durable
    /// with the writer's next commit.
    pub fn drop_quarantined(&self, ids: &[i64]) {
        let mut state = self.shared.lock();
        state.policy.drop_quarantined(ids);
        self.shared.finish(state);
    }

    /// Appends the gaps that were not given before to `gaps`. Each is durable, and given again after a restart until it
    /// was `announced`. While 256 given ones are not announced, the others wait and grow.
    pub fn gaps(&self, gaps: &mut Vec<Gap>) {
        let mut state = self.shared.lock();
        let rows = state.policy.poll_gaps();
        gaps.extend(rows.into_iter().filter_map(|row| state.gap(row)));
    }

    /// The notice of this gap is durable, or with the cloud: it is forgotten in one of the next commits.
    pub fn announced(&self, gap_id: u64) {
        let mut state = self.shared.lock();
        state.policy.handle_announced(gap_id, mono_ms());
        self.shared.finish(state);
    }

    /// All counters.
    pub fn usage(&self) -> Usage {
        let state = self.shared.lock();
        let lanes = state.policy.lane_usage().enumerate().filter_map(|(at, lane)| {
            let (name, _) = state.consumers.iter().find(|(_, id)| usize::from(id.0) == at / 3)?;
            Some(LaneUsage { consumer: name.clone(), ..lane })
        });
        let oldest_ms = state.policy.oldest_ms().map(|appended| mono_ms().saturating_sub(appended));
        Usage {
            lanes: lanes.collect(),
            commits: state.commits,
            commit_times: state.commit_times.clone(),
            rows_written: state.rows_written,
            bytes_written: state.bytes_written,
            disk_bytes: state.policy.disk_bytes(),
            memory_bytes: state.policy.memory_bytes() as u64,
            oldest_ms,
            receipts_open: state.policy.receipts_open(),
        }
    }

    /// Journal bytes since the last snapshot: the caller's measure of when the next one is worth it.
    pub fn journal_bytes(&self) -> u64 {
        self.shared.lock().policy.journal_bytes()
    }

    /// Rises at least once a second while the writer works or is idle and healthy; stands still while it hangs.
    pub fn progress(&self) -> u64 {
        self.shared.progress.load(Ordering::Relaxed)
    }

    /// Commits all that is undurable now; whether that was done within the time.
    pub fn flush(&self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        let mut state = self.shared.lock();
        state.policy.set_flushing(true);
        self.shared.writer.notify_one();
        while !state.policy.is_flushed() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.policy.set_flushing(false);
        state.policy.is_flushed()
    }

    /// Flushes, persists the cursors, moves the log into the database and stops the threads.
    ///
    /// # Errors
    /// When the time was not enough; what was durable before stays so.
    pub fn close(mut self, deadline: Duration) -> Result<(), CloseError> {
        let until = Instant::now() + deadline;
        let flushed = self.flush(deadline);
        let undurable = self.shared.lock().policy.undurable();
        self.shared.stop(true);
        for thread in std::mem::take(&mut self.threads) {
            // Joining cannot time out, so it is only done with a thread that has ended.
            while !thread.is_finished() {
                if Instant::now() >= until + CLOSE_GRACE {
                    return Err(CloseError::ThreadHangs);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(thread.join());
        }
        if flushed { Ok(()) } else { Err(CloseError::NotFlushed(undurable)) }
    }
}

/// The time for the checkpoint, beyond the deadline of the flush.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

impl Drop for Spool {
    fn drop(&mut self) {
        self.shared.stop(false);
        for thread in std::mem::take(&mut self.threads) {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn new(policy: Policy, limits: Limits, listener: Arc<dyn Listener>, path: PathBuf) -> Self {
        let admission = AtomicU8::new(Admission::codes(&policy));
        let state = State {
            policy,
            consumers: Vec::new(),
            writer_sleeps_until_ms: None,
            stopping: false,
            closing: false,
            rebuild: None,
            rebuilding: false,
            reader_connected: true,
            commits: 0,
            commit_times: Histogram::default(),
            rows_written: 0,
            bytes_written: 0,
            clock: Clock::default(),
            #[cfg(test)]
            page_limit: None,
            #[cfg(test)]
            read_only: None,
        };
        Self {
            state: Mutex::new(state),
            writer: Condvar::new(),
            reader: Condvar::new(),
            settled: Condvar::new(),
            listener,
            limits,
            progress: AtomicU64::new(0),
            rebuilds: AtomicU32::new(0),
            admission,
            waiting: AtomicBool::new(false),
            path,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
