use super::*;
use crate::{
    mistake::Text,
    rule::{DestinationSource, Encoding, OnError, Options, Rule},
};

fn compile_with(sql: &str, destinations: &[DestinationSource<'_>]) -> Vec<Mistake> {
    let query = Query::Sql(sql);
    let source = Source { name: "test", query, max_groups: 1, on_error: OnError::Null, destinations };
    Rule::compile(&source).err().unwrap_or_default()
}

fn mistakes(sql: &str) -> Vec<(&str, String)> {
    let mistakes = compile_with(sql, &[]);
    mistakes.into_iter().map(|mistake| (&sql[mistake.span], mistake.message)).collect()
}

/// The only mistake of an expression in the SELECT list of a rule without a window.
fn of(expression: &str) -> (String, String, Option<String>) {
    let sql = format!("SELECT {expression} AS x FROM 's/{{device}}'");
    let mut mistakes = compile_with(&sql, &[]);
    assert_eq!(mistakes.len(), 1, "{expression}: {mistakes:?}");
    let mistake = mistakes.remove(0);
    (sql[mistake.span].to_owned(), mistake.message, mistake.help)
}

#[test]
fn misused_memory_functions() {
    for (expression, place, message, help) in [
        ("lag(a, b)", "b", "a whole number from 1 to 1000 is expected here", None),
        ("ewma(a, 0)", "0", "a number above 0 and up to 1 is expected here", None),
        (
            "debounce(a, 5)",
            "5",
            "a duration is expected here",
            Some("write '500ms', '10s', '1m', '1h30m', '1d' or '1w'"),
        ),
        ("hysteresis(a, 1)", "hysteresis(a, 1)", "`hysteresis` takes 3 arguments, here are 2", None),
        ("rate('x')", "'x'", "argument 1 of `rate` has to be a number, this is text", None),
        (
            "throttle('1s')",
            "throttle('1s')",
            "`throttle` cannot stand here",
            Some("it stands on its own between the ANDs of WHERE, and looks at what passes the rest"),
        ),
        (
            "abs(a) FILTER (WHERE a > 1)",
            "a > 1",
            "`abs` is no aggregate, and takes no FILTER",
            Some("use if(condition, x, NULL)"),
        ),
        (
            "abs(a) OVER (PARTITION BY b)",
            "OVER (PARTITION BY b)",
            "`abs` remembers nothing, and takes no OVER",
            None,
        ),
        (
            "lag(a) OVER (PARTITION BY lag(b))",
            "OVER (PARTITION BY lag(b))",
            "what is partitioned by cannot be a memory function itself",
            None,
        ),
        ("chagned(a)", "chagned", "unknown function `chagned`", Some("did you mean `changed`?")),
    ] {
        let expected = (place.to_owned(), message.to_owned(), help.map(str::to_owned));
        assert_eq!(of(expression), expected, "{expression}");
    }
}

#[test]
fn unknown_and_misused_functions() {
    for (expression, place, message, help) in [
        ("tumbel(1)", "tumbel", "unknown function `tumbel`", Some("did you mean `tumbling`?")),
        ("sqroot(1)", "sqroot", "unknown function `sqroot`", Some("did you mean `sqrt`?")),
        (
            "regex_match(a, 'x')",
            "regex_match",
            "unknown function `regex_match`",
            Some("did you mean `regexp_match`?"),
        ),
        ("agv(a)", "agv", "unknown function `agv`", Some("did you mean `avg`?")),
        ("sqrt()", "sqrt()", "`sqrt` takes 1 argument, here are none", None),
        ("sqrt(1, 2)", "sqrt(1, 2)", "`sqrt` takes 1 argument, here are 2", None),
        ("round()", "round()", "`round` takes 1 to 2 arguments, here are none", None),
        ("coalesce()", "coalesce()", "`coalesce` takes at least 1 argument, here are none", None),
        ("qos(1)", "qos(1)", "`qos` takes no arguments, here is 1", None),
        ("sqrt(*)", "sqrt(*)", "`*` is not an argument of `sqrt`", Some("only count(*) takes it")),
        ("sqrt('x')", "'x'", "argument 1 of `sqrt` has to be a number, this is text", None),
        ("length(upper(1))", "1", "argument 1 of `upper` has to be text, this is an integer", None),
        ("clamp(a, 1, TRUE)", "TRUE", "argument 3 of `clamp` has to be a number, this is a boolean", None),
        ("if(1, a, b)", "1", "argument 1 of `if` has to be a boolean, this is an integer", None),
        ("regexp_match(a, b)", "b", "the pattern has to be a text in single quotes", None),
        (
            "regexp_match(a, 'x', 1)",
            "regexp_match(a, 'x', 1)",
            "`regexp_match` takes 2 arguments, here are 3",
            None,
        ),
        (
            "regexp_extract(a, '(x)', 2)",
            "regexp_extract(a, '(x)', 2)",
            "the group has to be a number from 0 to 1",
            None,
        ),
        ("avg(a)", "avg(a)", "`avg` needs a window", Some("add GROUP BY tumbling('1m')")),
        ("count(*)", "count(*)", "`count` needs a window", Some("add GROUP BY tumbling('1m')")),
        (
            "window_end()",
            "window_end()",
            "`window_end` needs a window",
            Some("it stands in SELECT or HAVING of a rule with GROUP BY tumbling('1m')"),
        ),
        (
            "tumbling('1m')",
            "tumbling('1m')",
            "the window `tumbling` cannot stand here",
            Some("windows stand on their own in GROUP BY"),
        ),
    ] {
        let expected = (place.to_owned(), message.to_owned(), help.map(str::to_owned));
        assert_eq!(of(expression), expected, "{expression}");
    }
    assert!(of("regexp_match(a, '(')").1.starts_with("not a regular expression"));
}

#[test]
fn kinds_that_never_fit() {
    for (expression, place, message) in [
        ("'a' + b", "'a'", "an operand here has to be a number, this is text"),
        ("-topic()", "topic()", "the operand of `-` has to be a number, this is text"),
        ("a AND 1", "1", "an operand of AND and OR has to be a boolean, this is an integer"),
        ("NOT 'x'", "'x'", "the operand of NOT has to be a boolean, this is text"),
        ("1 LIKE a", "1", "an operand of LIKE has to be text, this is an integer"),
        ("topic() = 5", "topic() = 5", "text is never equal to, less or greater than an integer"),
        ("a < b < 3", "a < b < 3", "a boolean is never equal to, less or greater than an integer"),
        ("qos() IN (1, 'x')", "qos() IN (1, 'x')", "an integer is never equal to, less or greater than text"),
        (
            "qos() BETWEEN 'a' AND 2",
            "qos() BETWEEN 'a' AND 2",
            "an integer is never equal to, less or greater than text",
        ),
        (
            "CASE qos() WHEN a THEN 'x' WHEN 'b' THEN 1 END",
            "CASE qos() WHEN a THEN 'x' WHEN 'b' THEN 1 END",
            "an integer is never equal to, less or greater than text",
        ),
        ("CASE WHEN 1 THEN 2 END", "1", "the condition after WHEN has to be a boolean, this is an integer"),
        ("a[TRUE]", "TRUE", "an index is an integer or text, this is a boolean"),
        ("device.x", "device.x", "`device` is a capture, which is text and has no members"),
        ("a + 1 / 0", "1 / 0", "this fails for every event"),
        ("CAST('x' AS INTEGER)", "CAST('x' AS INTEGER)", "this fails for every event"),
        ("coalesce(a, sqrt(-1))", "sqrt(-1)", "this fails for every event"),
    ] {
        let (found, found_message, _) = of(expression);
        assert_eq!((found.as_str(), found_message.as_str()), (place, message), "{expression}");
    }
}

#[test]
fn what_may_be_right_is_let_through() {
    for expression in [
        "a + b",
        "a = 'x' AND a > 1",
        "NULL = 1",
        "coalesce(a, 1) || 'x'",
        "CASE WHEN a THEN 1 ELSE 2.5 END + 1",
        "CASE a WHEN 'x' THEN 1 WHEN 2 THEN 'y' END || ''",
        "if(a, 1, 'x') = 'x'",
        "device = 'x'",
        "payload.device > 1",
        "1 = 1.0 AND TRUE",
    ] {
        assert_eq!(compile_with(&format!("SELECT {expression} AS x FROM 's/{{device}}'"), &[]), []);
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let sql =
        "SELECT foo(a), 'x' + 1 AS y, b AS y FROM 'a/b+', '$share/g/x' WHERE avg(a) > 1 AND 2 ORDER BY a";
    assert_eq!(
        mistakes(sql),
        [
            ("foo", "unknown function `foo`".to_owned()),
            ("'x'", "an operand here has to be a number, this is text".to_owned()),
            ("y", "two columns are named `y`".to_owned()),
            ("+", "a wildcard has to be a whole level, as in `a/+/b` or `a/#`".to_owned()),
            ("$share", "shared subscriptions are not for rules".to_owned()),
            ("avg(a)", "the aggregate `avg` cannot stand in WHERE".to_owned()),
            ("2", "an operand of AND and OR has to be a boolean, this is an integer".to_owned()),
            ("ORDER BY a", "ORDER BY and LIMIT need windows that end for all groups at once".to_owned()),
        ]
    );
}

#[test]
fn groups_and_aggregates() {
    for (sql, place, message) in [
        ("SELECT a FROM 'a' GROUP BY a", "a", "GROUP BY needs a window"),
        ("SELECT a FROM 'a' HAVING a", "a", "HAVING needs a window"),
        ("SELECT * FROM 'a' GROUP BY tumbling('1m')", "*", "`*` cannot be selected from a window"),
        ("SELECT b FROM 'a' GROUP BY a, tumbling('1m')", "b", "this is neither grouped nor aggregated"),
        ("SELECT a.b FROM 'a' GROUP BY a.c, tumbling('1m')", "a.b", "this is neither grouped nor aggregated"),
        (
            "SELECT timestamp() FROM 'a' GROUP BY tumbling('1m')",
            "timestamp()",
            "this is neither grouped nor aggregated",
        ),
        (
            "SELECT 1 AS x FROM 'a/{d}' GROUP BY tumbling('1m') HAVING d = 'x'",
            "d",
            "this is neither grouped nor aggregated",
        ),
        (
            "SELECT max(sum(a)) AS m FROM 'a' GROUP BY tumbling('1m')",
            "sum(a)",
            "the aggregate `sum` cannot be the argument of an aggregate",
        ),
        (
            "SELECT 1 AS x FROM 'a' GROUP BY sum(a), tumbling('1m')",
            "sum(a)",
            "there is no grouping by the aggregate `sum`",
        ),
        (
            "SELECT sum(*) AS x FROM 'a' GROUP BY tumbling('1m')",
            "sum(*)",
            "`sum` takes 1 argument, here are none",
        ),
        (
            "SELECT sum('x') AS x FROM 'a' GROUP BY tumbling('1m')",
            "'x'",
            "argument 1 of `sum` has to be a number, this is text",
        ),
        (
            "SELECT 1 AS x FROM 'a' GROUP BY tumbling('1m') HAVING count(*)",
            "count(*)",
            "a condition has to be a boolean, this is an integer",
        ),
    ] {
        assert_eq!(mistakes(sql), [(place, message.to_owned())], "{sql}");
    }
}

#[test]
fn windows() {
    for (sql, place, message) in [
        (
            "SELECT 1 AS x FROM 'a' GROUP BY tumbling('1m'), tumbling('2m')",
            "tumbling('2m')",
            "a rule has one window",
        ),
        ("SELECT 1 AS x FROM 'a' GROUP BY tumbling(60)", "60", "a duration is expected here"),
        (
            "SELECT 1 AS x FROM 'a' GROUP BY tumbling('0s')",
            "tumbling('0s')",
            "a window lasts from 1 millisecond to 366 days",
        ),
        (
            "SELECT 1 AS x FROM 'a' GROUP BY tumbling('53w')",
            "tumbling('53w')",
            "a window lasts from 1 millisecond to 366 days",
        ),
        (
            "SELECT 1 AS x FROM 'a' GROUP BY tumbling()",
            "tumbling()",
            "`tumbling` does not take these arguments",
        ),
        ("SELECT 1 AS x FROM 'a' GROUP BY TUMBLINGWINDOW(sec, 1)", "sec", "a unit is expected here"),
        ("SELECT 1 AS x FROM 'a' GROUP BY TUMBLINGWINDOW(ss, 1.5)", "1.5", "a whole number is expected here"),
        (
            "SELECT 1 AS x FROM 'a' GROUP BY TUMBLINGWINDOW(ss)",
            "TUMBLINGWINDOW(ss)",
            "`tumblingwindow` does not take these arguments",
        ),
        (
            "SELECT 1 AS x FROM 'a' GROUP BY hopping('1m', '2m')",
            "hopping('1m', '2m')",
            "the hop is longer than the window, so that events between windows would be in none",
        ),
        (
            "SELECT 1 AS x FROM 'a' GROUP BY hopping('1h', '1ms')",
            "hopping('1h', '1ms')",
            "this window overlaps with too many others: it has more than 1000 parts",
        ),
        ("SELECT 1 AS x FROM 'a' GROUP BY rows(0)", "0", "a whole number from 1 to 10000 is expected here"),
        (
            "SELECT 1 AS x FROM 'a' GROUP BY session('1s') LIMIT 1",
            "LIMIT 1",
            "ORDER BY and LIMIT need windows that end for all groups at once",
        ),
        (
            "SELECT lag(a) AS x FROM 'a' GROUP BY tumbling('1s')",
            "lag(a)",
            "`lag` looks at events, and not at windows",
        ),
        (
            "SELECT percentile(a, 2) AS x FROM 'a' GROUP BY tumbling('1s')",
            "2",
            "the part has to be a number from 0 to 1, written here",
        ),
        (
            "SELECT sum(a) OVER (PARTITION BY b) AS x FROM 'a' GROUP BY tumbling('1s')",
            "OVER (PARTITION BY b)",
            "an aggregate takes no OVER",
        ),
        (
            "SELECT 1 AS x FROM 'a' GROUP BY SessionWindow(ss, 1)",
            "SessionWindow(ss, 1)",
            "`sessionwindow` does not take these arguments",
        ),
    ] {
        assert_eq!(mistakes(sql), [(place, message.to_owned())], "{sql}");
    }
}

#[test]
fn columns() {
    for (sql, place, message) in [
        ("SELECT a + 1 FROM 'a'", "a + 1", "this column has no name"),
        ("SELECT *, * FROM 'a'", "*", "`*` is there twice"),
        ("SELECT a, payload.a FROM 'a'", "payload.a", "two columns are named `a`"),
    ] {
        assert_eq!(mistakes(sql), [(place, message.to_owned())], "{sql}");
    }
    let sql = "SELECT temp AS device FROM 'x/{device}'";
    let mistake = &compile_with(sql, &[])[0];
    assert_eq!(mistake.message, "`device` is both a capture and an alias");
    let (place, label) = mistake.also.clone().unwrap();
    assert_eq!(
        (&sql[mistake.span.clone()], &sql[place], label.as_str()),
        ("device", "{device}", "the capture")
    );
    assert_eq!(compile_with("SELECT device, device AS device2 FROM 'x/{device}'", &[]), []);
    let grouped = "SELECT device AS device FROM 'x/{device}' GROUP BY device, tumbling('1m')";
    assert_eq!(compile_with(grouped, &[]), []);
}

#[test]
fn places_of_captures_in_later_filters() {
    let sql = "SELECT * FROM 'a/{x}', \"b/{x}/{x}\"";
    let mistake = &compile_with(sql, &[])[0];
    assert_eq!(
        (mistake.span.clone(), mistake.also.as_ref().map(|also| also.0.clone())),
        (30..33, Some(26..29))
    );
    let quoted = "SELECT * FROM 'it''s/{x'";
    assert_eq!(mistakes(quoted)[0].0, "it''s/{x");
}

fn placeholders(
    sql: &str,
    topic: &str,
    payload: Option<&str>,
) -> Vec<(Text, Range<usize>, String, Option<String>)> {
    let destination = DestinationSource { topic: Some(topic), payload, encoding: Encoding::Json };
    let mistakes = compile_with(sql, &[destination]).into_iter();
    mistakes.map(|mistake| (mistake.text, mistake.span, mistake.message, mistake.help)).collect()
}

#[test]
fn placeholders_have_to_be_filled() {
    let plain = "SELECT temp, a.b AS c FROM 's/{device}/{rest#}'";
    let windowed = "SELECT avg(temp) AS avg FROM 's/{device}/{line}' GROUP BY device, tumbling('1m')";
    for (sql, topic) in [
        (plain, "{temp}/{c}/{device}/{rest}/{topic}/{gateway}"),
        (windowed, "{avg}/{device}/{gateway}"),
        ("SELECT * FROM 'a'", "{anything}/{topic}"),
        ("SELECT *, 1 AS b FROM 'a'", "{anything}/{b}"),
    ] {
        assert_eq!(placeholders(sql, topic, None), [], "{topic}");
    }
    let all = "placeholders are captures, columns of SELECT, topic and gateway";
    let all_windowed = "placeholders are captures in GROUP BY, columns of SELECT, and gateway";
    for (sql, topic, span, message, help) in [
        (plain, "a/{devcie}", 3..9, "nothing fills the placeholder `devcie`", "did you mean `device`?"),
        (plain, "a/{zzz}", 3..6, "nothing fills the placeholder `zzz`", all),
        (
            windowed,
            "a/{line}",
            3..7,
            "the capture `line` is not the same for all events of a window",
            "add `line` to GROUP BY",
        ),
        (windowed, "a/{topic}", 3..8, "nothing fills the placeholder `topic`", all_windowed),
        (windowed, "{temp}", 1..5, "nothing fills the placeholder `temp`", all_windowed),
    ] {
        let expected = (Text::Topic(0), span, message.to_owned(), Some(help.to_owned()));
        assert_eq!(placeholders(sql, topic, None), [expected], "{topic}");
    }
    let found = placeholders(plain, "a/+", Some("x ${tmp}"));
    let places: Vec<_> = found.iter().map(|each| (each.0, each.1.clone())).collect();
    assert_eq!(places, [(Text::Topic(0), 2..3), (Text::Payload(0), 4..7)]);
}

#[test]
fn destinations_have_to_fit() {
    let windowed = "SELECT max(a) AS m FROM 'a' GROUP BY tumbling('1m')";
    let destination = |topic, payload, encoding| DestinationSource { topic, payload, encoding };
    for (sql, destination, message) in [
        (
            windowed,
            destination(None, None, Encoding::Json),
            "a topic is needed here: a window has none of its own",
        ),
        (
            "SELECT a, b FROM 'a'",
            destination(None, None, Encoding::Raw),
            "the encoding raw takes a rule with exactly one column",
        ),
        (
            "SELECT *, b FROM 'a'",
            destination(None, None, Encoding::Raw),
            "the encoding raw takes a rule with exactly one column",
        ),
        (
            "SELECT a FROM 'a'",
            destination(None, Some("x"), Encoding::Cbor),
            "a payload template is text, and not CBOR",
        ),
    ] {
        let found = compile_with(sql, &[destination]);
        let whole = if message.contains("template") { Text::Payload(0) } else { Text::Destination(0) };
        assert!(matches!(&*found, [one] if one.message == message && one.text == whole), "{sql}: {found:?}");
    }
    for (sql, destination) in [
        ("SELECT * FROM 'a'", destination(None, None, Encoding::Raw)),
        ("SELECT a FROM 'a'", destination(None, None, Encoding::Raw)),
        ("SELECT a, b FROM 'a'", destination(None, Some("${a}"), Encoding::Raw)),
    ] {
        assert_eq!(compile_with(sql, &[destination]), [], "{sql}");
    }
}

#[test]
fn routes() {
    let compile = |filter, topic| {
        let destinations =
            [DestinationSource { topic: Some(topic), payload: None, encoding: Encoding::Json }];
        let query = Query::Route(filter);
        let source =
            Source { name: "r", query, max_groups: 1, on_error: OnError::Null, destinations: &destinations };
        Rule::compile(&source)
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|mistake| (mistake.text, mistake.span))
    };
    assert!(compile("a/{b}/#", "x/{b}/{topic}").next().is_none());
    assert!(compile("a/#b", "x").eq([(Text::Query, 2..3)]));
    assert!(compile("a/{b}", "{c}").eq([(Text::Topic(0), 1..2)]));
    assert!(compile("", "").eq([(Text::Query, 0..0), (Text::Topic(0), 0..0)]));
}

#[test]
fn constants_are_folded_and_aggregates_shared() {
    let plan = |sql| {
        let query = Query::Sql(sql);
        let destinations = &[];
        let source = Source { name: "t", query, max_groups: 1, on_error: OnError::Null, destinations };
        compile(&source, &Options::default()).unwrap()
    };
    let folded = plan("SELECT upper('a' || 'b') AS x FROM 'a' WHERE a > 60 * 60");
    let Columns::Row(columns) = &folded.columns else { panic!("no row") };
    assert_eq!(columns[0].expr, Expr::Constant(crate::value::Value::text("AB")));
    let Expr::Compare(_, operands) = &folded.conditions[0].expr else { panic!("no comparison") };
    assert_eq!(operands[1], Expr::Constant(crate::value::Value::Int(3600)));
    let windowed = plan(
        "SELECT avg(a) AS x, avg(payload.a) + avg(b) AS y, a FROM 'a' GROUP BY a, tumbling('1s') HAVING x > avg(a)",
    );
    let window = windowed.window.unwrap();
    assert_eq!((window.aggregates.len(), windowed.fields.len()), (2, 2));
}
