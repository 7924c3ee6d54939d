//! Functions through whole expressions: the table says what each gives, and which calls are evaluation errors.

use super::*;
use crate::{
    output::{Output, Payload},
    rule::{DestinationSource, Encoding, OnError, Query, Rule, Source},
    rule_set::RuleSet,
};

/// The JSON of an expression, or `error`. Fields keep it from being folded: `n` is NULL, `t` is "text", `i` is 7, `f` is
/// 2.5, `nan` is NaN, `b` are bytes, `min` and `max` are the bounds of integers.
fn eval(expression: &str) -> String {
    let payload = b"\xa8\x61n\xf6\x61t\x64text\x61i\x07\x61f\xf9\x41\x00\x63nan\xf9\x7e\x00\x61b\x42\x00\xff\
        \x63min\x3b\x7f\xff\xff\xff\xff\xff\xff\xff\x63max\x1b\x7f\xff\xff\xff\xff\xff\xff\xff";
    let sql = format!("SELECT {expression} AS x FROM '#'");
    let destinations = [DestinationSource { topic: None, payload: None, encoding: Encoding::Json }];
    let source = Source {
        name: "test",
        query: Query::Sql(&sql),
        max_groups: 1,
        on_error: OnError::Null,
        destinations: &destinations,
    };
    let rule = Rule::compile(&source).unwrap_or_else(|mistakes| panic!("{expression}: {mistakes:?}"));
    let mut set = RuleSet::new("gw", vec![rule]);
    let mut output = Output::new();
    let message = crate::message::Message {
        topic: "a",
        payload,
        client_id: "",
        username: None,
        qos: 0,
        retained: false,
        content_type: None,
        user_properties: &[],
        received_at_ms: 0,
        seq: 0,
    };
    set.handle_message(&message, &mut output);
    let errors = set.counters().next().unwrap().1.errors;
    let Payload::Owned(row) = &output.publishes[0].payload else { panic!("no row") };
    let row = std::str::from_utf8(row).unwrap();
    let value = row.strip_prefix(r#"{"x":"#).unwrap().strip_suffix('}').unwrap();
    match (errors, value) {
        (0, value) => value.to_owned(),
        (1, "null") => "error".to_owned(),
        (errors, value) => panic!("{expression}: {value} with {errors} errors"),
    }
}

fn check(table: &[(&str, &str)]) {
    for (expression, expected) in table {
        assert_eq!(eval(expression), *expected, "{expression}");
    }
}

#[test]
fn numbers() {
    check(&[
        ("abs(-i)", "7"),
        ("abs(-f)", "2.5"),
        ("abs(min)", "9.223372036854776e+18"),
        ("abs(n)", "null"),
        ("abs(t)", "error"),
        ("sign(-f)", "-1"),
        ("sign(0.0)", "0"),
        ("sign(max)", "1"),
        ("sign(nan)", "error"),
        ("least(i, f, 3)", "2.5"),
        ("greatest(i, f, 3)", "7"),
        ("greatest(t, 'a')", "\"text\""),
        ("least(i)", "7"),
        ("least(i, n)", "null"),
        ("least(n, i)", "null"),
        ("least(i, t)", "error"),
        ("clamp(i, 1, 5)", "5"),
        ("clamp(f, 1, 5)", "2.5"),
        ("clamp(-i, 1, 5)", "1"),
        ("clamp(i, 5, 1)", "error"),
        ("clamp(n, 1, 5)", "null"),
        ("clamp(t, 1, 5)", "error"),
        ("scale(i, 4, 20, 0, 100)", "18.75"),
        ("scale(i, 3, 3, 0, 100)", "error"),
        ("scale(n, 4, 20, 0, 100)", "null"),
        ("scale(24, 4, 20, 0, 160)", "200.0"),
        ("mod(i, 4)", "3"),
        ("mod(-i, 4)", "-3"),
        ("mod(i, 0)", "error"),
        ("mod(f, 2)", "0.5"),
    ]);
}

#[test]
fn rounding() {
    check(&[
        ("round(f)", "3"),
        ("round(-f)", "-3"),
        ("round(i)", "7"),
        ("round(2.345, 2)", "2.35"),
        ("round(i, 2)", "7"),
        ("round(1234, -2)", "1200"),
        ("round(-1250, -2)", "-1300"),
        ("round(1250.5, -2)", "1300.0"),
        ("round(max, -18)", "9000000000000000000"),
        ("round(max, -19)", "1e+19"),
        ("round(max, -400)", "0"),
        ("round(f, 400)", "2.5"),
        ("round(f, -400)", "0.0"),
        ("round(f, f)", "error"),
        ("round(f, n)", "null"),
        ("round(1e300)", "1e+300"),
        ("round(nan)", "error"),
        ("floor(f)", "2"),
        ("floor(-f)", "-3"),
        ("floor(n)", "null"),
        ("floor(t)", "error"),
        ("ceil(f)", "3"),
        ("ceiling(-f)", "-2"),
        ("trunc(-f)", "-2"),
        ("trunc(i)", "7"),
    ]);
}

#[test]
fn real_functions() {
    check(&[
        ("sqrt(16)", "4.0"),
        ("sqrt(-i)", "error"),
        ("sqrt(n)", "null"),
        ("sqrt(nan)", "error"),
        ("power(2, 10)", "1024"),
        ("power(2, 63)", "9.223372036854776e+18"),
        ("power(2, -1)", "0.5"),
        ("pow(f, 2)", "6.25"),
        ("power(10, 400 + i)", "error"),
        ("power(-i, 0.5)", "error"),
        ("power(n, 2)", "null"),
        ("exp(0)", "1.0"),
        ("exp(i * 1000)", "error"),
        ("ln(1)", "0.0"),
        ("ln(i - 7)", "error"),
        ("log10(1000)", "3.0"),
        ("sin(0)", "0.0"),
        ("cos(0)", "1.0"),
        ("tan(0)", "0.0"),
        ("asin(i)", "error"),
        ("acos(1)", "0.0"),
        ("atan(0)", "0.0"),
        ("round(atan2(1, 1), 3)", "0.785"),
        ("atan2(t, 1)", "error"),
    ]);
}

#[test]
fn bits() {
    check(&[
        ("bitand(i, 3)", "3"),
        ("bitor(i, 8)", "15"),
        ("bitxor(i, 2)", "5"),
        ("bitshift(i, 2)", "28"),
        ("bitshift(i, -1)", "3"),
        ("bitshift(-i, -100)", "-1"),
        ("bitshift(i, 64)", "0"),
        ("bitshift(i, min)", "0"),
        ("bitand(i, 2.0)", "2"),
        ("bitand(i, f)", "error"),
        ("bitand(n, i)", "null"),
        ("bitand(i, 1e300)", "error"),
    ]);
}

#[test]
fn texts() {
    check(&[
        ("length('grün')", "4"),
        ("length('')", "0"),
        ("strlen(t)", "4"),
        ("length(b)", "2"),
        ("length(n)", "null"),
        ("length(i)", "error"),
        ("lower('GRÜN')", "\"grün\""),
        ("upper('ß' || t)", "\"SSTEXT\""),
        ("upper(i)", "error"),
        ("trim('  a b ')", "\"a b\""),
        ("ltrim(' a ')", "\"a \""),
        ("rtrim(' a ')", "\" a\""),
        ("trim('xyaxby', 'xy')", "\"axb\""),
        ("trim(t || ' ', n)", "null"),
        ("concat('a', i, f, TRUE)", "\"a72.5true\""),
        ("concat('a', n)", "null"),
        ("t || b", "error"),
        ("i || ''", "\"7\""),
        ("replace('aXbX', 'X', 'yy')", "\"ayybyy\""),
        ("replace(t, '', 'x')", "\"text\""),
        ("replace(t, 't', '')", "\"ex\""),
        ("replace(t, n, '')", "null"),
        ("replace(lpad('', 2000 * i, 'a'), 'a', lpad(t, 2000, 'b'))", "error"),
        ("split('a,b,,c', ',')", "[\"a\",\"b\",\"\",\"c\"]"),
        ("split('a,b', ',')[-1]", "\"b\""),
        ("split('', ',')", "[\"\"]"),
        ("split(t, lower(''))", "error"),
        ("split(n, ',')", "null"),
    ]);
}

#[test]
fn parts_of_texts() {
    check(&[
        ("substr('grün', 3)", "\"ün\""),
        ("substr('grün', 2, 2)", "\"rü\""),
        ("substr('grün', -2)", "\"ün\""),
        ("substr('grün', -9, 2)", "\"gr\""),
        ("substr('grün', 0, 1)", "\"g\""),
        ("substr(t, 9)", "\"\""),
        ("substr(t, 2, -1)", "\"\""),
        ("substr(t, min)", "\"text\""),
        ("substr(t, max, max)", "\"\""),
        ("substr(n, 1)", "null"),
        ("substr(t, n)", "null"),
        ("substr(t, t)", "error"),
        ("substr(t, f)", "error"),
        ("starts_with(t, 'te')", "true"),
        ("starts_with(t, '')", "true"),
        ("endswith(t, 'te')", "false"),
        ("contains(t, 'ex')", "true"),
        ("contains(n, 'ex')", "null"),
        ("contains(t, i)", "error"),
        ("position('grün', 'n')", "4"),
        ("position(t, 'q')", "0"),
        ("position(t, '')", "1"),
        ("lpad('7', 3, '0')", "\"007\""),
        ("lpad('ü', 3)", "\"  ü\""),
        ("lpad(t, 2)", "\"te\""),
        ("rpad('a', 6, 'xyz')", "\"axyzxy\""),
        ("rpad(t, 9, '')", "\"text\""),
        ("rpad(t, -1)", "\"\""),
        ("rpad(t, max)", "error"),
        ("rpad(n, 3)", "null"),
    ]);
}

#[test]
fn regular_expressions() {
    check(&[
        ("regexp_match(t, '^t.*t$')", "true"),
        ("regexp_match(t, 'q')", "false"),
        ("regexp_match(n, 'q')", "null"),
        ("regexp_match(i, 'q')", "error"),
        ("regexp_extract('id=42;', 'id=([0-9]+)')", "\"42\""),
        ("regexp_extract('id=42;', '[0-9]+')", "\"42\""),
        ("regexp_extract('id=42;', 'id=([0-9]+)', 0)", "\"id=42\""),
        ("regexp_extract(t, 'q(.)')", "null"),
        ("regexp_extract(t, '(q)?ext', 1)", "null"),
        ("regexp_match(rpad('', 5000, 'a'), '(a*)*b')", "false"),
    ]);
}

#[test]
fn formats() {
    check(&[
        ("format('%s: %d %%', t, i)", "\"text: 7 %\""),
        ("format('%.2f|%6.1f|%-6.1f|%06.1f', f, f, f, -f)", "\"2.50|   2.5|2.5   |-002.5\""),
        ("format('%04d %x', i, 255)", "\"0007 ff\""),
        ("format('%f', i)", "\"7.000000\""),
        ("format('%5s|%-5s|%.2s', t, t, t)", "\" text|text |te\""),
        ("format('no more', i)", "\"no more\""),
        ("format('ü')", "\"ü\""),
        ("format('%d', t)", "error"),
        ("format('%d', f)", "error"),
        ("format('%s', n)", "null"),
        ("format('%q', i)", "error"),
        ("format('%s %s', i)", "error"),
        ("format('%' || t, i)", "error"),
        ("format(lower('%999D'), i)", "error"),
        ("format(n, i)", "null"),
    ]);
}

#[test]
fn any_values() {
    check(&[
        ("coalesce(n, n, i, 1)", "7"),
        ("coalesce(n)", "null"),
        ("ifnull(n, 'x')", "\"x\""),
        ("nullif(i, 7.0)", "null"),
        ("nullif(i, 8)", "7"),
        ("nullif(n, 8)", "null"),
        ("nullif(i, n)", "7"),
        ("if(i > 1, 'a', 'b')", "\"a\""),
        ("if(n, 'a', 'b')", "\"b\""),
        ("if(t, 'a', 'b')", "error"),
        ("if(i = 7, 1, i / (i - 7))", "1"),
        ("isnull(n)", "true"),
        ("isnull(i)", "false"),
        ("typeof(n)", "\"null\""),
        ("typeof(i)", "\"integer\""),
        ("typeof(f)", "\"real\""),
        ("typeof(t)", "\"text\""),
        ("typeof(b)", "\"bytes\""),
        ("typeof(i > 1)", "\"boolean\""),
        ("typeof(split(t, 'e'))", "\"array\""),
        ("typeof(payload)", "\"object\""),
    ]);
}

#[test]
fn nan_is_unknown() {
    check(&[("nan = nan", "null"), ("nan > 1", "null"), ("nan", "null"), ("nan IS NULL", "false")]);
}

#[test]
fn names_are_unique_and_found() {
    let mut all: Vec<_> = names().collect();
    assert!(all.iter().all(|name| find(name).is_some_and(|function| function.name == *name)));
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(ALIASES.iter().all(|(alias, name)| !all.contains(alias) && all.contains(name)));
    assert_eq!(find("tumbel"), None);
}

#[test]
fn bytes() {
    check(&[
        ("hex(b)", "\"00ff\""),
        ("hex(t)", "\"74657874\""),
        ("hex(concat('ü', lower(t)))", "\"c3bc74657874\""),
        ("hex('')", "\"\""),
        ("hex(n)", "null"),
        ("hex(i)", "error"),
        ("unhex(hex(b)) = b", "true"),
        ("length(unhex(ltrim(t, 'tex')))", "0"),
        ("unhex(t)", "error"),
        ("unhex(concat(t, 'é'))", "error"),
        ("unhex(n)", "null"),
        ("base64(b)", "\"AP8=\""),
        ("unbase64(base64(t)) = x'74657874'", "true"),
        ("unbase64(concat(t, '!'))", "error"),
        ("base64(n)", "null"),
        ("unbase64(n)", "null"),
        ("crc32(t)", "999008199"),
        ("crc32(b)", "1826356594"),
        ("crc32(n)", "null"),
        ("crc32(f)", "error"),
        ("hex(sha256(substr(t, 9)))", "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\""),
        ("sha256(n)", "null"),
        ("sha256(i)", "error"),
        ("get_u8(b, 1)", "255"),
        ("get_u8(b, -2)", "0"),
        ("get_u8(b, 2)", "error"),
        ("get_u8(b, -3)", "error"),
        ("get_u8(b, n)", "null"),
        ("get_u8(n, 0)", "null"),
        ("get_u8(t, 0)", "error"),
        ("get_u8(b, f)", "error"),
        ("get_u8(b, min)", "error"),
        ("get_i8(b, 1)", "-1"),
        ("get_u16_be(b, 0)", "255"),
        ("get_u16_le(b, 0)", "65280"),
        ("get_i16_be(b, 0)", "255"),
        ("get_i16_le(b, 0)", "-256"),
        ("get_u16_be(b, 1)", "error"),
        ("get_u32_be(unhex(concat('ffffffff', substr(t, 9))), 0)", "4294967295"),
        ("get_u32_le(unhex(concat('01000000', substr(t, 9))), 0)", "1"),
        ("get_i32_be(unhex(concat('ffffffff', substr(t, 9))), 0)", "-1"),
        ("get_i32_le(unhex(concat('feffffff', substr(t, 9))), 0)", "-2"),
        ("get_u64_be(unhex(concat('ffffffffffffffff', substr(t, 9))), 0)", "1.8446744073709552e+19"),
        ("get_u64_le(unhex(concat('0100000000000000', substr(t, 9))), 0)", "1"),
        ("get_i64_be(unhex(concat('ffffffffffffffff', substr(t, 9))), 0)", "-1"),
        ("get_i64_le(unhex(concat('0200000000000000', substr(t, 9))), 0)", "2"),
        ("get_f32_be(unhex(concat('40200000', substr(t, 9))), 0)", "2.5"),
        ("get_f32_le(unhex(concat('0000c03f', substr(t, 9))), 0)", "1.5"),
        ("get_f64_be(unhex(concat('4004000000000000', substr(t, 9))), 0)", "2.5"),
        ("get_f64_le(unhex(concat('0000000000000440', substr(t, 9))), 0)", "2.5"),
        ("get_f32_be(unhex(concat('7fc00000', substr(t, 9))), 0)", "null"),
        ("get_u8(raw_payload(), 0)", "168"),
    ]);
}

#[test]
fn encodings() {
    check(&[
        ("to_json(i)", "\"7\""),
        ("to_json(n)", "\"null\""),
        ("to_json(nan)", "\"null\""),
        ("to_json(array(i, t))", "\"[7,\\\"text\\\"]\""),
        ("to_json(b)", "\"\\\"AP8=\\\"\""),
        ("from_json(to_json(array(i, f, t, n)))", "[7,2.5,\"text\",null]"),
        ("from_json(concat('{\"a\":1,\"a\":', i, '}')).a", "7"),
        ("from_json(t)", "error"),
        ("from_json(substr(t, 9))", "error"),
        ("from_json(concat('1', ' 2', substr(t, 9)))", "error"),
        ("from_json(lpad(substr(t, 9), 1000, '['))", "error"),
        ("from_json(n)", "null"),
        ("from_json(i)", "error"),
        ("hex(to_cbor(i))", "\"07\""),
        ("hex(to_cbor(n))", "\"f6\""),
        ("from_cbor(to_cbor(object('k', f)))", "{\"k\":2.5}"),
        ("from_cbor(raw_payload()).i", "7"),
        ("from_cbor(unhex(lpad(substr(t, 9), 2000, '81')))", "error"),
        ("from_cbor(unhex(concat('9bffffffffffffffff', substr(t, 9))))", "error"),
        ("from_cbor(b)", "error"),
        ("from_cbor(n)", "null"),
        ("from_cbor(t)", "error"),
    ]);
}

#[test]
fn times() {
    check(&[
        ("format_time(1709208000000 + i - 7)", "\"2024-02-29T12:00:00Z\""),
        ("format_time(i)", "\"1970-01-01T00:00:00.007Z\""),
        ("format_time(-i, '%Y-%m-%d %H:%M:%S%.3f')", "\"1969-12-31 23:59:59.993\""),
        ("format_time(f)", "\"1970-01-01T00:00:00.002Z\""),
        ("format_time(i, '%H %Z', 'Europe/Berlin')", "\"01 CET\""),
        ("format_time(i, concat('%!', t), 'UTC')", "error"),
        ("format_time(max)", "error"),
        ("format_time(nan)", "error"),
        ("format_time(n)", "null"),
        ("format_time(i, n)", "null"),
        ("format_time(i, '%H', t)", "error"),
        ("format_time(t)", "error"),
        ("parse_time(format_time(i))", "7"),
        ("parse_time(concat('2024-02-29T12:00:00+02:00', trim(' ', t)))", "1709200800000"),
        ("parse_time(t)", "error"),
        ("parse_time(n)", "null"),
        ("parse_time(i)", "error"),
        ("parse_time(concat('29.02.2024', substr(t, 9)), '%d.%m.%Y')", "1709164800000"),
        ("parse_time(concat('29.02.2023', substr(t, 9)), '%d.%m.%Y')", "error"),
        (
            "parse_time(concat('29.02.2024 13', substr(t, 9)), '%d.%m.%Y %H', 'Europe/Berlin')",
            "1709208000000",
        ),
        (
            "parse_time(concat('29.02.2024 13 +0000', substr(t, 9)), '%d.%m.%Y %H %z', 'Asia/Tokyo')",
            "1709211600000",
        ),
        ("date_trunc('second', 1709210096789 + n)", "null"),
        ("date_trunc('second', 1709210096782 + i)", "1709210096000"),
        ("date_trunc('minute', 1709210096782 + i)", "1709210040000"),
        ("date_trunc('HOUR', 1709210096782 + i)", "1709208000000"),
        ("date_trunc('day', 1709210096782 + i)", "1709164800000"),
        ("date_trunc('week', 1709210096782 + i)", "1708905600000"),
        ("date_trunc('month', 1709210096782 + i)", "1706745600000"),
        ("date_trunc('quarter', 1709210096782 + i)", "1704067200000"),
        ("date_trunc('year', 1709210096782 + i)", "1704067200000"),
        ("date_trunc('day', 1709210096782 + i, 'Asia/Tokyo')", "1709132400000"),
        ("date_trunc('day', -i)", "-86400000"),
        ("date_trunc(t, i)", "error"),
        ("date_trunc('day', min)", "error"),
        ("hour_of_day(1709210096782 + i)", "12"),
        ("hour_of_day(1709210096782 + i, 'America/New_York')", "7"),
        ("hour_of_day(n)", "null"),
        ("hour_of_day(t)", "error"),
        ("day_of_week(i)", "4"),
        ("day_of_week(-i)", "3"),
        ("day_of_week(max)", "error"),
    ]);
}

#[test]
fn collections() {
    check(&[
        ("array()", "[]"),
        ("array(i, n, t)", "[7,null,\"text\"]"),
        ("object()", "{}"),
        ("object('ü', i, t, n)", "{\"ü\":7,\"text\":null}"),
        ("object(t, 1, t, 2)", "{\"text\":2}"),
        ("object(i, 1)", "error"),
        ("object(n, 1)", "null"),
        ("array_length(array(i, n))", "2"),
        ("array_length(n)", "null"),
        ("array_length(t)", "error"),
        ("element(array(i, f), 1)", "2.5"),
        ("element(array(i, f), -1)", "2.5"),
        ("element(array(i, f), 2)", "null"),
        ("element(array(i, f), min)", "null"),
        ("element(n, 0)", "null"),
        ("element(array(i), n)", "null"),
        ("element(t, 0)", "error"),
        ("keys(object(t, i, 'b', n))", "[\"text\",\"b\"]"),
        ("values(object(t, i, 'b', n))", "[7,null]"),
        ("keys(n)", "null"),
        ("values(i)", "error"),
        ("merge(object('a', i, 'b', 2), object('a', t))", "{\"b\":2,\"a\":\"text\"}"),
        ("merge(object('a', i), n)", "null"),
        ("merge(object('a', i), t)", "error"),
        ("contains_key(object(t, n), 'text')", "true"),
        ("contains_key(object(t, n), 'Text')", "false"),
        ("contains_key(n, t)", "null"),
        ("contains_key(from_json(t), t)", "error"),
    ]);
}

#[test]
fn what_can_never_be_right_is_found_at_load() {
    for (expression, message) in [
        ("format_time(a, '%H', 'Europe/Berln')", "unknown time zone `Europe/Berln`"),
        ("format_time(a, '%!')", "not a format of times"),
        ("date_trunc('days', a)", "unknown unit `days`"),
        ("object('a', a, 'b')", "this name has no value"),
    ] {
        let sql = format!("SELECT {expression} AS x FROM '#'");
        let source = Source {
            name: "test",
            query: Query::Sql(&sql),
            max_groups: 1,
            on_error: OnError::Null,
            destinations: &[],
        };
        let mistakes = Rule::compile(&source).unwrap_err();
        assert!(mistakes[0].message.starts_with(message), "{expression}: {mistakes:?}");
    }
}

#[test]
fn names_are_unique() {
    let mut all: Vec<_> = names().collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    for (alias, name) in ALIASES {
        assert!(all.contains(name) && !all.contains(alias), "{alias}");
    }
}
