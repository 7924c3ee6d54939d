//! Any text as SQL, as a filter, as a topic and as a payload; and what compiles is run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz_rules::{compile, in_time, show};
use tidegate_rules::{Query, RuleSet};

fuzz_target!(|text: &str| in_time(|| {
    let route = compile(Query::Route(text), None, None, false);
    let topic = compile(Query::Sql("SELECT *, x AS y FROM 'a/{b}'"), Some(text), Some(text), false);
    let sql = [false, true].map(|stamped| compile(Query::Sql(text), Some("out"), None, stamped));
    let rules = [route, topic].into_iter().chain(sql).flatten().collect();
    show(&mut RuleSet::new("gw", rules), br#"{"x":1,"a":"b","b":[2.5,null,{"c":true}]}"#, None);
}));
