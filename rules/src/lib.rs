//! The rule language of tidegate: topic filters, SQL over payloads, windows.
//!
//! A [`Rule`] is compiled once from its text and reports everything that is wrong with it as [`Mistake`]s.
//! A [`RuleSet`] then takes one [`Message`] after another and puts what the rules produce into an [`Output`]:
//! publishes, and a journal of every change to the state of windows.
//!
//! ```
//! use tidegate_rules::{DestinationSource, Encoding, Message, OnError, Output, Payload, Query, Rule, RuleSet, Source};
//!
//! let rule = Rule::compile(&Source {
//!     name: "overheat",
//!     query: Query::Sql(r#"SELECT device, temp FROM "sensors/{device}/climate" WHERE temp > 30"#),
//!     max_groups: 100_000,
//!     on_error: OnError::Null,
//!     destinations: &[DestinationSource {
//!         topic: Some("alerts/{device}/overheat"),
//!         payload: None,
//!         encoding: Encoding::Json,
//!     }],
//! })
//! .expect("a rule without mistakes");
//! let mut rules = RuleSet::new("plant-7", vec![rule]);
//! let mut output = Output::new();
//! let message = Message {
//!     topic: "sensors/a/climate",
//!     payload: br#"{"temp": 31.5, "humidity": 40}"#,
//!     client_id: "a",
//!     username: None,
//!     qos: 1,
//!     retained: false,
//!     content_type: None,
//!     user_properties: &[],
//!     received_at_ms: 1_700_000_000_000,
//!     seq: 1,
//! };
//! assert_eq!(rules.handle_message(&message, &mut output).rules, 1);
//! assert_eq!(output.publishes[0].payload, Payload::Owned(br#"{"device":"a","temp":31.5}"#.to_vec()));
//! ```
//!
//! This crate performs no input or output and reads no clock: time is an argument. It knows topic grammar, SQL,
//! windows and payload encodings, and nothing of where messages come from or go to.

mod aggregate;
mod ast;
mod base64;
mod compile;
mod duration;
mod encode;
mod explain;
mod expr;
mod field;
mod fnv;
mod function;
mod lexer;
mod memory;
mod message;
mod mistake;
mod number;
mod output;
mod parser;
mod pattern;
mod reference;
mod result;
mod rule;
mod rule_set;
mod rule_test;
mod state;
mod table;
mod template;
mod topic;
mod topic_tree;
mod value;
mod window;

pub use message::{Message, write_event_id};
pub use mistake::{Mistake, Text, nearest};
pub use output::{Counters, Matched, Output, Payload, Publish, Step, Topic, Trace};
pub use reference::reference;
pub use rule::{DestinationSource, Encoding, EventTime, OnError, Options, Query, Rule, Source, TimeUnit};
pub use rule_set::RuleSet;
pub use rule_test::{Difference, Expected, Given, RuleTest};
pub use state::StateError;
pub use table::{Table, TableError, Tables};
pub use topic::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX, TopicError, TopicFilter, check_topic_name};
pub use topic_tree::TopicTree;
