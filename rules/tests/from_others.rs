//! Rules from the public documentation of EMQX, eKuiper and AWS IoT, and what becomes of them here: printed in
//! `docs/rules-from-others.md`.
//!
//! After a change run this with `TIDEGATE_WRITE_DOCS=1`, and read what it wrote.

#[path = "from_others/cases.rs"]
mod cases;

use std::path::Path;
use std::{env, fs};

use cases::{CASES, Case, Now};
use tidegate_rules::{
    DestinationSource, Encoding, Message, OnError, Output, Payload, Query, Rule, RuleSet, Source,
};

fn compile(sql: &str) -> Result<Rule, String> {
    let destinations = [DestinationSource { topic: Some("out"), payload: None, encoding: Encoding::Json }];
    let source = Source {
        name: "r",
        query: Query::Sql(sql),
        max_groups: 1000,
        on_error: OnError::Null,
        destinations: &destinations,
    };
    let first = |mistakes: Vec<tidegate_rules::Mistake>| mistakes.first().map(|first| first.message.clone());
    Rule::compile(&source).map_err(|mistakes| first(mistakes).unwrap_or_default())
}

/// What the rule makes of the case's events, one each 100 ms, and of a minute after them.
fn outputs(rule: Rule, case: &Case) -> Vec<String> {
    const START_MS: i64 = 1_700_000_000_000;
    let mut rules = RuleSet::new("plant-7", vec![rule]);
    let mut output = Output::new();
    let mut found = Vec::new();
    let mut take = |output: &mut Output, input: &str| {
        for publish in output.publishes.drain(..) {
            found.push(match publish.payload {
                Payload::Input => input.to_owned(),
                Payload::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            });
        }
        output.clear();
    };
    let mut now_ms = START_MS;
    for (seq, (topic, payload)) in (1..).zip(case.given) {
        now_ms += 100;
        let message = Message {
            topic,
            payload: payload.as_bytes(),
            client_id: "c1",
            username: Some("eric"),
            qos: 1,
            retained: false,
            content_type: None,
            user_properties: &[("foo".to_owned(), "bar".to_owned())],
            received_at_ms: now_ms,
            seq,
        };
        rules.handle_message(&message, &mut output);
        take(&mut output, payload);
    }
    while let Some(deadline_ms) = rules.poll_deadline_ms().filter(|deadline| *deadline < now_ms + 3_600_000) {
        rules.handle_time(deadline_ms, &mut output);
        take(&mut output, "");
    }
    found
}

#[test]
fn rules_of_others_do_what_the_page_says() {
    for case in CASES {
        let compiled = compile(case.sql);
        let sql = match case.now {
            Now::AsIs => case.sql,
            Now::Changed(sql) => {
                let is_same = compiled.is_ok_and(|rule| outputs(rule, case) == case.expect);
                assert!(!is_same, "{} runs as it is", case.sql);
                sql
            }
            Now::No => {
                assert!(compiled.is_err(), "{} is accepted", case.sql);
                continue;
            }
        };
        let rule = compile(sql).unwrap_or_else(|message| panic!("{sql}\n{message}"));
        assert_eq!(outputs(rule, case), case.expect, "{sql}");
    }
}

#[test]
fn the_page_shows_them() {
    let mut page = String::from(
        "# Rules from EMQX, eKuiper and AWS IoT\n\nTen rules from the public documentation of each, and what becomes of them here. A \
         test runs them (`cargo test -p tidegate-rules --test\nfrom_others`), and writes this page with `TIDEGATE_WRITE_DOCS=1`. The rules \
         are quoted from the pages named; what is said about them is ours.\n\nWhat to know in general: the whole event of EMQX (`SELECT *` \
         with metadata) is the payload here, and metadata is asked for by function or name;\nFROM takes topics, in \
         quotes: the name of a stream of eKuiper says nothing about its topic, and so is not taken for one; what AWS IoT leaves out as undefined is NULL here.\n",
    );
    let mut product = "";
    for case in CASES {
        if case.product != product {
            product = case.product;
            let of = CASES.iter().filter(|each| each.product == product);
            let as_is = of.clone().filter(|each| matches!(each.now, Now::AsIs)).count();
            let changed = of.clone().filter(|each| matches!(each.now, Now::Changed(_))).count();
            let no = of.count() - as_is - changed;
            page += &format!(
                "\n## {product}\n\n{as_is} run as they are, {changed} need a change, {no} are not supported.\n"
            );
        }
        page += &format!("\n```sql\n{}\n```\n\n[page]({}) · ", case.sql, case.page);
        page += &match case.now {
            Now::AsIs => format!("**runs as it is.** {}", case.why).trim_end().to_owned() + "\n",
            Now::Changed(sql) => format!("**needs a change:** {}\n\n```sql\n{sql}\n```\n", case.why),
            Now::No => format!("**not supported:** {}\n", case.why),
        };
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules-from-others.md");
    if env::var_os("TIDEGATE_WRITE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), page, "write it anew: see above");
}

#[test]
fn there_are_ten_of_each() {
    for product in ["EMQX", "eKuiper", "AWS IoT"] {
        assert_eq!(CASES.iter().filter(|case| case.product == product).count(), 10, "{product}");
    }
}
