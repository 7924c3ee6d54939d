//! Cuts the power under the buffer, kills it, damages its files, and judges what is left.
//!
//! - [`disk`] and [`vfs`]: a disk that forgets what was not synced, put under the SQLite of this process.
//! - [`workload`]: what a gateway does with its spool, chosen by a seed; receipts are its acknowledgements.
//! - [`crash`]: a workload, a cut, a restart, and the judgement of the oracle; one seed, one run.
//! - [`corrupt`]: a filled buffer, damage to its files, a start, and what came out of it; [`locate`] says what was damaged.
//! - [`campaign`]: many seeds, figures, and the seeds that failed.
//!
//! A seed fixes the workload, the operation that is cut and what the cut leaves. The spool's two threads run as the machine
//! lets them, so a failing seed may need a few runs to fail again; `repeat` does that.

pub mod campaign;
pub mod corrupt;
pub mod crash;
pub mod disk;
pub mod item;
pub mod locate;
pub mod rng;
pub mod spool;
pub mod vfs;
pub mod workload;

pub use tidegate_buffer::mutation;
