//! Random rules over random events, against an evaluator that is as plain as can be, and against SQLite.
//!
//! A rule is made as a tree, from which come its SQL and, in [`plain`], its meaning by other means than the crate's: values
//! in JSON of their own, three-valued logic spelt out, windows as lists of events. `TIDEGATE_CASES=1000000 cargo test
//! --release -p tidegate-rules --test differential` is the long form.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "differential/plain.rs"]
mod plain;

use plain::{Expr, Op, Scalar};
use tidegate_rules::{
    DestinationSource, Encoding, EventTime, Message, OnError, Options, Output, Payload, Query, Rule, RuleSet,
    Source,
};

/// A generator of numbers that is the same in every run (Steele et al. 2014).
pub(crate) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> usize {
        usize::try_from(self.next() % bound).unwrap()
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64)].clone()
    }
}

fn cases(default: u64) -> u64 {
    std::env::var("TIDEGATE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn rule(sql: &str, options: &Options<'_>) -> Result<Rule, String> {
    let destinations = [DestinationSource { topic: Some("out"), payload: None, encoding: Encoding::Json }];
    let source = Source {
        name: "test",
        query: Query::Sql(sql),
        max_groups: 1_000,
        on_error: OnError::Null,
        destinations: &destinations,
    };
    Rule::compile_with(&source, options).map_err(|mistakes| mistakes[0].message.clone())
}

fn handle(set: &mut RuleSet, payload: &str, at_ms: i64, output: &mut Output) {
    let message = Message {
        topic: "a",
        payload: payload.as_bytes(),
        client_id: "c",
        username: None,
        qos: 0,
        retained: false,
        content_type: None,
        user_properties: &[],
        received_at_ms: at_ms,
        seq: 0,
    };
    set.handle_message(&message, output);
}

fn rows(output: &Output) -> Vec<String> {
    let text = |payload: &Payload| match payload {
        Payload::Owned(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        Payload::Input => "input".to_owned(),
    };
    output.publishes.iter().map(|publish| text(&publish.payload)).collect()
}

const FIELDS: &[&str] = &["a", "b", "c"];

fn scalar(random: &mut Random) -> Scalar {
    match random.below(12) {
        0 => Scalar::Null,
        1 => Scalar::Bool(random.below(2) == 0),
        2 => Scalar::Int(random.pick(&[i64::MAX, i64::MIN + 1, 1 << 53, (1 << 53) + 1])),
        3..=6 => Scalar::Int(i64::try_from(random.below(7)).unwrap() - 3),
        7..=9 => Scalar::Real((random.below(25) as f64 - 12.0) / 4.0),
        _ => Scalar::Text(random.pick(&["", "a", "b", "ab", "é"]).to_owned()),
    }
}

/// An expression; with `typed`, one whose operands have types that SQLite and the language agree on.
fn expr(random: &mut Random, depth: usize) -> Expr {
    if depth == 0 || random.below(6) == 0 {
        return match random.below(3) {
            0 => Expr::Literal(scalar(random)),
            _ => Expr::Field(random.pick(FIELDS)),
        };
    }
    let mut one = || Box::new(expr(random, depth - 1));
    let (left, right, third) = (one(), one(), one());
    match random.below(14) {
        0 => Expr::Not(left),
        1 => Expr::IsNull(left),
        2 => Expr::In(left, vec![*right, *third]),
        3 => Expr::Between(left, right, third),
        4 => Expr::Case(left, right, third),
        5 => Expr::Coalesce(left, right),
        6 => Expr::Negate(left),
        7 | 8 => Expr::Binary(random.pick(&[Op::And, Op::Or]), left, right),
        9..=11 => {
            let ops = [Op::Equal, Op::NotEqual, Op::Less, Op::LessOrEqual, Op::Greater, Op::GreaterOrEqual];
            Expr::Binary(random.pick(&ops), left, right)
        }
        _ => Expr::Binary(
            random.pick(&[Op::Add, Op::Subtract, Op::Multiply, Op::Divide, Op::Remainder]),
            left,
            right,
        ),
    }
}

fn event(random: &mut Random) -> Vec<(&'static str, Scalar)> {
    let mut event = Vec::new();
    for name in FIELDS {
        if random.below(6) > 0 {
            event.push((*name, scalar(random)));
        }
    }
    event
}

fn json_of(event: &[(&str, Scalar)]) -> String {
    let members: Vec<_> = event.iter().map(|(name, value)| format!("\"{name}\":{}", value.json())).collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn scalars_agree_with_the_plain_evaluator() {
    let (mut compared, mut refused) = (0_u64, 0_u64);
    let mut seed = 1;
    let goal = cases(30_000);
    while compared < goal {
        let mut random = Random(seed);
        seed += 1;
        let (condition, column) = (expr(&mut random, 4), expr(&mut random, 4));
        let sql = format!("SELECT {} AS x FROM 'a' WHERE {}", column.sql(), condition.sql());
        // What can be known to be wrong is refused at load; the plain evaluator knows no types.
        let Ok(rule) = rule(&sql, &Options::default()) else {
            refused += 1;
            assert!(refused < 1_000_000 + goal, "nearly all rules are refused");
            continue;
        };
        let mut set = RuleSet::new("gw", vec![rule]);
        for _ in 0..20 {
            let event = event(&mut random);
            let mut output = Output::new();
            handle(&mut set, &json_of(&event), 0, &mut output);
            let expected = match condition.eval(&event) {
                Scalar::Bool(true) => vec![format!("{{\"x\":{}}}", column.eval(&event).json())],
                _ => Vec::new(),
            };
            assert_eq!(rows(&output), expected, "{sql}\n{}", json_of(&event));
            compared += 1;
        }
    }
}

/// Where both mean the same: numbers below 2^53 and NULL, no overflow, and no types that are mixed up. What differs is
/// listed in the manual: `/` of integers, comparison of different types, division by zero is NULL in both.
fn sqlite_expr(random: &mut Random, depth: usize, boolean: bool) -> Expr {
    if boolean {
        let (left, right) = (sqlite_number(random, depth), sqlite_number(random, depth));
        let ops = [Op::Equal, Op::NotEqual, Op::Less, Op::LessOrEqual, Op::Greater, Op::GreaterOrEqual];
        return match random.below(if depth == 0 { 4 } else { 8 }) {
            0..=2 => Expr::Binary(random.pick(&ops), left.into(), right.into()),
            3 => Expr::IsNull(left.into()),
            4 => Expr::Not(sqlite_expr(random, depth - 1, true).into()),
            5 => Expr::Between(left.into(), right.into(), sqlite_number(random, depth).into()),
            6 => Expr::In(left.into(), vec![right, sqlite_number(random, depth)]),
            _ => {
                let (one, two) = (sqlite_expr(random, depth - 1, true), sqlite_expr(random, depth - 1, true));
                Expr::Binary(random.pick(&[Op::And, Op::Or]), one.into(), two.into())
            }
        };
    }
    sqlite_number(random, depth)
}

fn sqlite_number(random: &mut Random, depth: usize) -> Expr {
    if depth == 0 || random.below(4) == 0 {
        return match random.below(3) {
            0 => Expr::Literal(Scalar::Real((random.below(17) as f64 - 8.0) / 4.0)),
            1 => Expr::Literal(Scalar::Int(random.below(9) as i64 - 4)),
            _ => Expr::Field(random.pick(FIELDS)),
        };
    }
    let (left, right) = (sqlite_number(random, depth - 1), sqlite_number(random, depth - 1));
    match random.below(6) {
        0 => Expr::Negate(left.into()),
        1 => Expr::Coalesce(left.into(), right.into()),
        2 => Expr::Case(sqlite_expr(random, depth - 1, true).into(), left.into(), right.into()),
        // Real division in both.
        3 => Expr::Binary(
            Op::Divide,
            Box::new(Expr::Binary(Op::Multiply, left.into(), Box::new(Expr::Literal(Scalar::Real(1.0))))),
            right.into(),
        ),
        _ => Expr::Binary(random.pick(&[Op::Add, Op::Subtract, Op::Multiply]), left.into(), right.into()),
    }
}

#[test]
fn scalars_agree_with_sqlite() {
    let database = rusqlite::Connection::open_in_memory().unwrap();
    let mut compared = 0;
    let mut seed = 1_000_000;
    while compared < cases(5_000) / 5 {
        let mut random = Random(seed);
        seed += 1;
        let (condition, column) = (sqlite_expr(&mut random, 3, true), sqlite_expr(&mut random, 3, false));
        let sql = format!("SELECT {} AS x FROM 'a' WHERE {}", column.sql(), condition.sql());
        let Ok(rule) = rule(&sql, &Options::default()) else { continue };
        let mut set = RuleSet::new("gw", vec![rule]);
        let query = format!(
            "SELECT {} FROM (SELECT ?1 AS a, ?2 AS b, ?3 AS c) WHERE {}",
            column.sql(),
            condition.sql()
        );
        let mut statement = database.prepare_cached(&query).unwrap();
        for _ in 0..5 {
            let value = |random: &mut Random| match random.below(4) {
                0 => Scalar::Null,
                1 => Scalar::Int(random.below(9) as i64 - 4),
                _ => Scalar::Real((random.below(17) as f64 - 8.0) / 4.0),
            };
            let event: Vec<_> = FIELDS.iter().map(|name| (*name, value(&mut random))).collect();
            let bound = event.iter().map(|(_, value)| match value {
                Scalar::Int(int) => rusqlite::types::Value::Integer(*int),
                Scalar::Real(real) => rusqlite::types::Value::Real(*real),
                _ => rusqlite::types::Value::Null,
            });
            let found: Vec<Option<f64>> = statement
                .query_map(rusqlite::params_from_iter(bound), |row| row.get::<_, Option<f64>>(0))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let mut output = Output::new();
            handle(&mut set, &json_of(&event), 0, &mut output);
            let ours: Vec<Option<f64>> = rows(&output)
                .iter()
                .map(|row| row.strip_prefix("{\"x\":").unwrap().strip_suffix('}').unwrap().parse().ok())
                .collect();
            assert_eq!(ours, found, "{sql}\n{}", json_of(&event));
            compared += 1;
        }
    }
}

#[test]
fn windows_agree_with_the_plain_evaluator() {
    let mut compared = 0;
    let mut seed = 7;
    while compared < cases(20_000) {
        let mut random = Random(seed);
        seed += 1;
        let window = plain::Window::random(&mut random);
        let keyed = random.below(2) == 0;
        let stamped = random.below(2) == 0 && window.takes_stamps();
        let lateness_ms = random.pick(&[0, 500, 2_000]);
        let sql = format!(
            "SELECT {} FROM 'a' WHERE x IS NOT NULL GROUP BY {}{}",
            plain::COLUMNS,
            if keyed { "k, " } else { "" },
            window.sql()
        );
        let time = EventTime { lateness_ms, idle_ms: 1_000_000_000, ..EventTime::new("t") };
        let options = Options { time: stamped.then_some(time), ..Options::default() };
        let mut set = RuleSet::new("gw", vec![rule(&sql, &options).unwrap()]);
        let mut plain = plain::Windows::new(window, keyed, stamped.then_some(lateness_ms as i64));
        let mut output = Output::new();
        let mut now_ms = 10_000;
        for id in 0..40 {
            now_ms += if random.below(12) == 0 { 5_000 } else { random.below(700) as i64 };
            let stamp_ms = now_ms - random.below(3_000) as i64;
            let (key, x) = (random.below(3) as i64, random.below(9) as i64 * 2 - 8);
            let x = (random.below(9) > 0).then_some(x);
            let shown = x.map_or("null".to_owned(), |x| x.to_string());
            let payload = format!(r#"{{"id":{id},"k":{key},"x":{shown},"t":{stamp_ms}}}"#);
            handle(&mut set, &payload, now_ms, &mut output);
            plain.event(id, key, x, now_ms, if stamped { stamp_ms } else { now_ms });
            compared += 1;
        }
        // All that is open ends at last: by the clock, or by an event far ahead.
        let end_ms = now_ms + 1_000_000;
        handle(&mut set, &format!(r#"{{"id":99,"k":9,"x":1,"t":{end_ms}}}"#), end_ms, &mut output);
        plain.event(99, 9, Some(1), end_ms, end_ms);
        assert_eq!(rows(&output), plain.rows, "{sql} {lateness_ms} stamped: {stamped}");
    }
}
