//! Times, formats and zones of any text: each input is three lines, and the first is also a duration.
#![no_main]

use std::{cell::RefCell, thread_local};

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz_rules::{compile, in_time, show};
use tidegate_rules::{Query, Rule, RuleSet};

const SQL: &str =
    "SELECT parse_time(t) AS a, parse_time(t, f) AS b, parse_time(t, f, z) AS c, format_time(n, f) AS d,
    format_time(n, f, z) AS e, date_trunc(t, n, z) AS g, hour_of_day(n, z) AS h, day_of_week(n, z) AS w,
    format_time(parse_time(t, f, z), f, z) AS r FROM '#'";

fn rule() -> Rule {
    compile(Query::Sql(SQL), Some("out"), None, false).expect("a rule without mistakes")
}

thread_local!(static RULES: RefCell<RuleSet> = RefCell::new(RuleSet::new("gw", vec![rule()])));

/// A text in CBOR.
fn put(text: &str, out: &mut Vec<u8>) {
    out.push(0x7a);
    out.extend(u32::try_from(text.len()).unwrap_or(0).to_be_bytes());
    out.extend(text.as_bytes());
}

fuzz_target!(|input: (i64, &str)| {
    let (ms, text) = input;
    let mut lines = text.split('\n');
    let [t, f, z] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let mut payload = vec![0xa4];
    for (name, text) in [("t", t), ("f", f), ("z", z)] {
        put(name, &mut payload);
        put(text, &mut payload);
    }
    put("n", &mut payload);
    payload.push(if ms < 0 { 0x3b } else { 0x1b });
    payload.extend((if ms < 0 { !ms } else { ms }).to_be_bytes());
    let duration = format!("SELECT count(*) AS n FROM '#' GROUP BY tumbling('{}')", t.replace('\'', "''"));
    RULES.with_borrow_mut(|rules| {
        in_time(|| {
            show(rules, &payload, Some("application/cbor"));
            compile(Query::Sql(&duration), Some("out"), None, false);
        });
    });
});
