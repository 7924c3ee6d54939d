//! The rule language of tidegate: topic filters, SQL over payloads, windows.
//!
//! A [`Rule`] is compiled once from its text and reports everything that is wrong with it as [`Mistake`]s.
//! A [`RuleSet`] then takes one [`Message`] after another and puts what the rules produce into an [`Output`]:
//! publishes, and a journal of every change to the state of windows.
//!
//! This crate performs no input or output and reads no clock: time is an argument. It knows topic grammar, SQL,
//! windows and payload encodings, and nothing of where messages come from or go to.

mod aggregate;
mod ast;
mod base64;
mod compile;
mod encode;
mod expr;
mod field;
mod fnv;
mod function;
mod lexer;
mod message;
mod mistake;
mod number;
mod output;
mod parser;
mod pattern;
mod result;
mod rule;
mod rule_set;
mod state;
mod template;
mod topic;
mod topic_tree;
mod value;
mod window;

pub use message::{Message, write_event_id};
pub use mistake::{Mistake, Text, nearest};
pub use output::{Counters, Matched, Output, Payload, Publish, Topic};
pub use rule::{DestinationSource, Encoding, OnError, Query, Rule, Source};
pub use rule_set::RuleSet;
pub use state::StateError;
pub use topic::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX, TopicError, TopicFilter, check_topic_name};
pub use topic_tree::TopicTree;
