//! Any bytes as JSON, to rules of every kind.
#![no_main]

use std::{cell::RefCell, thread_local};

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz_rules::{fixed, in_time, show};

thread_local!(static RULES: RefCell<tidegate_rules::RuleSet> = RefCell::new(fixed()));

fuzz_target!(|payload: &[u8]| RULES.with_borrow_mut(|rules| in_time(|| show(
    rules,
    payload,
    Some("application/json")
))));
