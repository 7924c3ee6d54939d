use proptest::prelude::*;

use super::*;
use crate::ast::NodeKind;

/// An expression with parentheses around each operation, and places if wanted.
fn shown(node: &Node) -> String {
    let all = |nodes: &[Node]| nodes.iter().map(shown).collect::<Vec<_>>().join(" ");
    match &node.kind {
        NodeKind::Wrong => "?".to_owned(),
        NodeKind::Literal(value) => value.to_text().map_or("NULL".to_owned(), |text| text.into_owned()),
        NodeKind::Name(name) => name.clone(),
        NodeKind::Member(base, name) => format!("{}.{name}", shown(base)),
        NodeKind::Element(base, index) => format!("{}[{}]", shown(base), shown(index)),
        NodeKind::Not(one) => format!("(not {})", shown(one)),
        NodeKind::Negate(one) => format!("(- {})", shown(one)),
        NodeKind::Logic(logic, many) => format!("({logic:?} {})", all(many)),
        NodeKind::Compare(comparison, two) => format!("({comparison:?} {})", all(&**two)),
        NodeKind::Arithmetic(operator, two) => format!("({operator:?} {})", all(&**two)),
        NodeKind::Concat(many) => format!("(|| {})", all(many)),
        NodeKind::IsNull(one) => format!("(null? {})", shown(one)),
        NodeKind::In(one, many) => format!("(in {} {})", shown(one), all(many)),
        NodeKind::Between(three) => format!("(between {})", all(&**three)),
        NodeKind::Like(two) => format!("(like {})", all(&**two)),
        NodeKind::Case { .. } => {
            let children = node.kind.children();
            format!("(case {})", children.into_iter().map(shown).collect::<Vec<_>>().join(" "))
        }
        NodeKind::Cast(target, one) => format!("(cast {target:?} {})", shown(one)),
        NodeKind::Call(call) if call.star => format!("({} *)", call.name),
        NodeKind::Call(call) => format!("({} {})", call.name, all(&call.arguments)),
    }
}

fn expression(text: &str) -> Result<Node, Mistake> {
    let sql = format!("SELECT {text} AS x FROM 'a'");
    match first(parse(&sql))?.items.pop() {
        Some(Item::Column { expr, .. }) => Ok(expr),
        other => panic!("{other:?}"),
    }
}

/// The tree, or the first mistake.
fn first((select, mistakes): (Option<Select>, Vec<Mistake>)) -> Result<Select, Mistake> {
    match mistakes.into_iter().next() {
        Some(mistake) => Err(mistake),
        None => Ok(select.unwrap()),
    }
}

/// All mistakes: their places and messages.
fn all(sql: &str) -> Vec<(&str, String)> {
    let mistakes = parse(sql).1;
    mistakes.into_iter().map(|mistake| (&sql[mistake.span], mistake.message)).collect()
}

#[test]
fn operators_bind_as_in_sql() {
    for (text, expected) in [
        ("a OR b AND NOT c = d", "(Or a (And b (not (Equal c d))))"),
        ("a AND b AND c OR d OR e", "(Or (And a b c) d e)"),
        ("1 + 2 * 3 - 4", "(Subtract (Add 1 (Multiply 2 3)) 4)"),
        ("a - b - c", "(Subtract (Subtract a b) c)"),
        ("(a - (b - c))", "(Subtract a (Subtract b c))"),
        ("-a.b * 2", "(Multiply (- a.b) 2)"),
        ("a || b + 1 || c = d", "(Equal (|| a (Add b 1) c) d)"),
        ("a IS NOT NULL AND b IS NULL", "(And (not (null? a)) (null? b))"),
        ("a NOT IN (1, 2) OR b IN (3)", "(Or (not (in a 1 2)) (in b 3))"),
        ("a BETWEEN 1 + 1 AND 3 AND b", "(And (between a (Add 1 1) 3) b)"),
        ("a not like 'x%' and b", "(And (not (like a x%)) b)"),
        ("CASE a WHEN 1 THEN 2 ELSE 3 END + 1", "(Add (case a 1 2 3) 1)"),
        ("CASE WHEN a THEN b WHEN c THEN d END", "(case a b c d)"),
        ("CAST(a + 1 AS BigInt)", "(cast Integer (Add a 1))"),
        ("a['b'].c[0][-1]", "a[b].c[0][(- 1)]"),
        ("COUNT(*) % f(x, y())", "(Remainder (count *) (f x (y )))"),
        ("a <> b", "(NotEqual a b)"),
        ("a.from.\"x y\"", "a.from.x y"),
        ("true", "true"),
        ("NULL", "NULL"),
    ] {
        assert_eq!(shown(&expression(text).unwrap()), expected, "{text}");
    }
}

#[test]
fn clauses() {
    let sql = "select a, b.c as d, * except (e, f) -- note
        from \"x/{y}\", 'z''#' where g group by h, tumbling('1m') having i;";
    let select = first(parse(sql)).unwrap();
    assert_eq!(select.items.len(), 3);
    let filters: Vec<_> =
        select.from.iter().map(|name| (name.text.as_str(), &sql[name.span.clone()])).collect();
    assert_eq!(filters, [("x/{y}", "x/{y}"), ("z'#", "z''#")]);
    let Item::Star { span, except } = &select.items[2] else { panic!("no star") };
    assert_eq!((&sql[span.clone()], except.len()), ("* except (e, f)", 2));
    let nodes = select.group_by.iter().chain(&select.condition).chain(&select.having);
    let places: Vec<_> = nodes.map(|node| &sql[node.span.clone()]).collect();
    assert_eq!(places, ["h", "tumbling('1m')", "g", "i"]);
    assert!(select.order_by.is_empty() && select.limit.is_none());
}

#[test]
fn nodes_know_their_place() {
    let sql = "SELECT é + (b * 2) AS x, count(*) FILTER (WHERE (a)) FROM 'a' ORDER BY x DESC, y LIMIT 3";
    let select = first(parse(sql)).unwrap();
    let Item::Column { expr, alias: Some(alias) } = &select.items[0] else { panic!("no column") };
    assert_eq!((&sql[expr.span.clone()], &sql[alias.span.clone()]), ("é + (b * 2)", "x"));
    let places: Vec<_> = expr.kind.children().iter().map(|child| &sql[child.span.clone()]).collect();
    assert_eq!(places, ["é", "(b * 2)"]);
    let Item::Column { expr: Node { kind: NodeKind::Call(call), .. }, .. } = &select.items[1] else {
        panic!("no call")
    };
    assert_eq!(&sql[call.filter.as_ref().unwrap().span.clone()], "(a)");
    assert_eq!(&sql[select.order_span], "ORDER BY x DESC, y LIMIT 3");
    let orders: Vec<_> =
        select.order_by.iter().map(|order| (&sql[order.expr.span.clone()], order.descending)).collect();
    assert_eq!(orders, [("x", true), ("y", false)]);
    assert_eq!(select.limit.unwrap().count, 3);
}

#[test]
fn mistakes_say_what_was_expected() {
    for (sql, place, message) in [
        ("", "", "expected SELECT, found the end"),
        ("SELECT FROM 'a'", "FROM", "expected an expression, found `FROM`"),
        ("SELECT a FORM 'a'", "FORM", "expected FROM, found `FORM`"),
        ("SELECT a FROM b", "b", "expected a topic filter in quotes, found `b`"),
        ("SELECT a FROM b/{c}/+/#, 'd'", "b/{c}/+/#", "expected a topic filter in quotes, found `b/{c}/+/#`"),
        ("SELECT a FROM $SYS/é WHERE b", "$SYS/é", "expected a topic filter in quotes, found `$SYS/é`"),
        ("SELECT a FROM , 'b'", ",", "expected a topic filter in quotes, found `,`"),
        ("SELECT a FROM (SELECT b FROM 'c')", "(", "expected a topic filter in quotes, found `(`"),
        (
            "SELECT a FROM 'a' WHEER b",
            "WHEER",
            "expected WHERE, GROUP BY, ORDER BY, LIMIT or the end, found `WHEER`",
        ),
        ("SELECT a FROM 'a' WHERE b c", "c", "expected GROUP BY, ORDER BY, LIMIT or the end, found `c`"),
        ("SELECT a FROM 'a' GROUP a", "a", "expected BY, found `a`"),
        (
            "SELECT a FROM 'a' GROUP BY a, b 'c'",
            "'c'",
            "expected HAVING, ORDER BY, LIMIT or the end, found the text 'c'",
        ),
        ("SELECT (a FROM 'a'", "FROM", "expected `)`, found `FROM`"),
        ("SELECT a NOT b FROM 'a'", "b", "expected IN, BETWEEN or LIKE, found `b`"),
        ("SELECT a IS 1 FROM 'a'", "1", "expected NULL, found the number 1"),
        ("SELECT CASE a END FROM 'a'", "END", "expected WHEN, found `END`"),
        ("SELECT CASE WHEN a THEN 1 FROM 'a'", "FROM", "expected END, found `FROM`"),
        ("SELECT CAST(a AS uuid) FROM 'a'", "uuid", "`uuid` is not a type"),
        ("SELECT a AS 1 FROM 'a'", "1", "expected a name, found the number 1"),
        ("SELECT * EXCEPT a FROM 'a'", "a", "expected `(`, found `a`"),
        ("SELECT a BETWEEN 1 OR 2 FROM 'a'", "OR", "expected AND, found `OR`"),
        ("SELECT end FROM 'a'", "end", "expected an expression, found `end`"),
        ("SELECT f(a OVER (b FROM 'a'", "OVER", "expected `)`, found `OVER`"),
        ("SELECT f(a) OVER (b FROM 'a'", "b", "expected PARTITION, found `b`"),
        ("SELECT f(a) OVER (PARTITION BY b FROM 'a'", "FROM", "expected `)`, found `FROM`"),
        (
            "SELECT a FROM 'a' 'b'",
            "'b'",
            "expected WHERE, GROUP BY, ORDER BY, LIMIT or the end, found the text 'b'",
        ),
    ] {
        let mistake = first(parse(sql)).unwrap_err();
        assert_eq!((&sql[mistake.span.clone()], mistake.message.as_str()), (place, message), "{sql}");
    }
    let help = |sql| first(parse(sql)).unwrap_err().help;
    assert_eq!(help("SELECT a FORM 'a'").as_deref(), Some("did you mean `FROM`?"));
    assert_eq!(help("SELECT a FROM b/+").as_deref(), Some("write 'b/+' if that is the topic"));
    assert!(help("SELECT end FROM 'a'").unwrap().contains("payload.end"));
}

#[test]
fn all_mistakes_are_found() {
    assert_eq!(
        all(
            "SELECT a b, f(1, , 2) + , c AS 3 FORM 'x', y WEHRE (a > ) AND (b < 1 GRUOP BY d, +, ORDER BY z LIMIT 0"
        ),
        [
            ("b", "expected `,`, AS or FROM, found `b`".to_owned()),
            (",", "expected an expression, found `,`".to_owned()),
            (",", "expected an expression, found `,`".to_owned()),
            ("3", "expected a name, found the number 3".to_owned()),
            ("FORM", "expected FROM, found `FORM`".to_owned()),
            ("y", "expected a topic filter in quotes, found `y`".to_owned()),
            ("WEHRE", "expected WHERE, GROUP BY, ORDER BY, LIMIT or the end, found `WEHRE`".to_owned()),
            (")", "expected an expression, found `)`".to_owned()),
            ("GRUOP", "expected `)`, found `GRUOP`".to_owned()),
            ("GRUOP", "expected GROUP BY, ORDER BY, LIMIT or the end, found `GRUOP`".to_owned()),
            (",", "expected an expression, found `,`".to_owned()),
            ("ORDER", "expected an expression, found `ORDER`".to_owned()),
            ("0", "expected a whole number from 1 on, found the number 0".to_owned()),
        ]
    );
}

#[test]
fn nesting_is_bounded() {
    let deep = |open: &str, close: &str, times: usize| {
        let text = format!("{}a{}", open.repeat(times), close.repeat(times));
        expression(&text).err().map(|mistake| mistake.message)
    };
    let refused = Some("expressions cannot be nested deeper than 64".to_owned());
    for (open, close) in [
        ("(", ")"),
        ("- ", ""),
        ("NOT ", ""),
        ("f(", ")"),
        ("", "+1"),
        ("", ".a"),
        ("", "[0]"),
        ("1 - (", ")"),
        ("a[", "]"),
    ] {
        assert_eq!(deep(open, close, 30), None, "{open}a{close}");
        assert_eq!(deep(open, close, 100), refused, "{open}a{close}");
        assert_eq!(deep(open, close, 9_000), refused, "{open}a{close}");
    }
    for operator in [" AND a", " OR a", " || a"] {
        assert_eq!(expression(&format!("a{}", operator.repeat(5_000))).unwrap().height, 1, "{operator}");
    }
    let long = format!("SELECT a FROM '{}'", "x".repeat(SQL_BYTES_MAX));
    assert_eq!(first(parse(&long)).unwrap_err().message, "SQL cannot be longer than 65536 bytes");
}

proptest! {
    #[test]
    fn no_text_does_harm(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_row_of_tokens_does_harm(words in prop::collection::vec(prop::sample::select(vec![
        "SELECT", "FROM", "WHERE", "GROUP", "BY", "'a'", "a", "(", ")", "*", ",", "AND", "NOT", "IN", "CASE", "WHEN",
        "THEN", "END", "1", "-", ".", "[", "]", "x'00'", "BETWEEN", "count", "OVER", "AS", "é", "\"", "LIMIT",
    ]), 0..30)) {
        let text = words.join(" ");
        for mistake in parse(&text).1 {
            prop_assert!(text.get(mistake.span).is_some());
        }
        let _ = parse(&format!("SELECT {text} FROM 'a'"));
    }
}
