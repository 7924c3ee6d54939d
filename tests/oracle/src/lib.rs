//! Keeps the books of a test run: what was promised, what arrived, and whether the promise was kept.
//!
//! An acknowledgement to a sender creates an **obligation** towards each receiver of the event; it is discharged when
//! the receiver has settled the event, or when the event was written off for a stated reason. While a run goes on, and
//! while faults come and go, the test only tells the [`Oracle`] what it sees. When the faults have stopped and all that
//! can arrive has arrived, [`Oracle::judge`] says what is wrong:
//!
//! - **lost**: acknowledged to its sender, and neither settled by its receiver nor written off;
//! - **invented**: arrived, though never sent, or sent to others;
//! - **damaged**: arrived with other bytes than were sent;
//! - **misordered**: arrived after a later event of its line (a sender, a topic, a priority: what the test says);
//! - **repeated**: arrived again, though neither a break of its connection nor a crash excuses it;
//! - **unbalanced**: counters of the system under test that do not add up.
//!
//! The oracle knows nothing of what it judges: events, their lines and their receivers are the test's own types.

mod findings;
mod oracle;
mod order;

pub use findings::Findings;
pub use oracle::{Event, Oracle};
pub use order::Order;
