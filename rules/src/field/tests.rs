use proptest::prelude::*;

use super::*;

fn path(text: &str) -> Path {
    text.split('.')
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().map_or_else(|_| Step::Member(part.into()), Step::Element))
        .collect()
}

fn extract(format: Format, payload: &[u8], paths: &[&str]) -> Result<Vec<Value<'static>>, Undecodable> {
    let mut projection = Projection::default();
    let places: Vec<usize> = paths.iter().map(|text| projection.add(&path(text))).collect();
    let mut slots = Vec::new();
    projection.extract(format, payload, &mut slots)?;
    Ok(places.into_iter().map(|place| slots[place].clone().into_owned()).collect())
}

fn json_text(payload: &str, paths: &[&str]) -> Vec<String> {
    extract(Format::Json, payload.as_bytes(), paths)
        .unwrap()
        .iter()
        .map(|value| {
            let mut out = Vec::new();
            crate::encode::json(value, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        })
        .collect()
}

#[test]
fn fields_of_json() {
    for (payload, paths, expected) in [
        (r#"{"a":1,"b":{"c":2.0}}"#, vec!["a", "b.c", "b.d", "x"], vec!["1", "2.0", "null", "null"]),
        (r#"{"a":[10,{"b":11}]}"#, vec!["a.0", "a.1.b", "a.2"], vec!["10", "11", "null"]),
        (r#"{"a":{"b":1}}"#, vec!["a", "a.b", ""], vec![r#"{"b":1}"#, "1", r#"{"a":{"b":1}}"#]),
        (r#"[1,2]"#, vec!["1", "a"], vec!["2", "null"]),
        ("7", vec!["", "a"], vec!["7", "null"]),
        (r#"{"a":1}"#, vec!["a.b", "a.0"], vec!["null", "null"]),
        (r#"{"a\u0062":"x\ny","é":"ü"}"#, vec!["ab", "é"], vec![r#""x\ny""#, r#""ü""#]),
        (r#"{"a":18446744073709551615}"#, vec!["a"], vec!["1.8446744073709552e+19"]),
        (r#"{"a":-9223372036854775808}"#, vec!["a"], vec!["-9223372036854775808"]),
        (r#"{"a":123456789012345678901234567890}"#, vec!["a"], vec!["1.2345678901234568e+29"]),
        (r#"{"a":1e999,"b":1}"#, vec!["b"], vec!["1"]),
        (r#"{"":{"":1}}"#, vec![""], vec![r#"{"":{"":1}}"#]),
    ] {
        assert_eq!(json_text(payload, &paths), expected, "{payload}");
    }
}

#[test]
fn the_last_of_equal_keys_counts() {
    assert_eq!(json_text(r#"{"a":1,"a":2}"#, &["a", ""]), ["2", r#"{"a":2}"#]);
    assert_eq!(json_text(r#"{"a":{"b":1},"a":{"c":2}}"#, &["a.b", "a.c"]), ["null", "2"]);
    assert_eq!(json_text(r#"{"a":{"b":1},"a":3}"#, &["a.b"]), ["null"]);
    assert_eq!(json_text(r#"{"x":0,"a":1,"b":5,"a":2,"a":3}"#, &[""]), [r#"{"x":0,"b":5,"a":3}"#]);
}

#[test]
fn fields_of_cbor() {
    // {"a": 22.0 as half, "b": h'00ff', 1: "x", "c": -2^64, "d": 2^64-1, [1]: 2, "t": 1("tagged")}
    let payload = b"\xa7\x61a\xf9\x4d\x80\x61b\x42\x00\xff\x01\x61x\x61c\x3b\xff\xff\xff\xff\xff\xff\xff\xff\
        \x61d\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x81\x01\x02\x61t\xc1\x66tagged";
    let values = extract(Format::Cbor, payload, &["a", "b", "c", "d", "t", "1"]).unwrap();
    let power = 18_446_744_073_709_551_616.0;
    assert_eq!(
        values,
        [
            Value::Float(22.0),
            Value::Bytes(b"\x00\xff".as_slice().into()),
            Value::Float(-power),
            Value::Float(power),
            Value::text("tagged"),
            Value::Null
        ]
    );
    let whole = extract(Format::Cbor, payload, &[""]).unwrap();
    let Value::Object(members) = &whole[0] else { panic!("not an object") };
    assert_eq!(members.len(), 5, "keys that are not text are left out");
    // Lengths not given beforehand: {_ "a": (_ "x", "y"), "b": [_ 1, 2]}
    let streamed = b"\xbf\x61a\x7f\x61x\x61y\xff\x61b\x9f\x01\x02\xff\xff";
    assert_eq!(extract(Format::Cbor, streamed, &["a", "b.1"]).unwrap(), [Value::text("xy"), Value::Int(2)]);
}

#[test]
fn scalars_are_borrowed() {
    let mut projection = Projection::default();
    let slot = projection.add(&path("a"));
    let mut slots = Vec::new();
    projection.extract(Format::Json, br#"{"a":"text"}"#, &mut slots).unwrap();
    assert!(matches!(&slots[slot], Value::Text(Cow::Borrowed("text"))));
    projection.extract(Format::Cbor, b"\xa1\x61a\x64text", &mut slots).unwrap();
    assert!(matches!(&slots[slot], Value::Text(Cow::Borrowed("text"))));
}

#[test]
fn what_is_not_the_format_is_refused_and_leaves_nothing() {
    for payload in
        [&b""[..], b"{", b"{\"a\":1", b"{\"a\":1}x", b"{\"a\":1}}", b"nope", b"{\"a\":\"\xff\"}", b"[1,]"]
    {
        assert_eq!(extract(Format::Json, payload, &["a"]), Err(Undecodable), "{payload:?}");
    }
    for payload in [
        &b""[..],
        b"\xa1\x61a",
        b"\xa1\x61a\x01\x00",
        b"\xff",
        b"\x62\xff\xff",
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert_eq!(extract(Format::Cbor, payload, &["a"]), Err(Undecodable), "{payload:?}");
    }
    let mut projection = Projection::default();
    projection.add(&path("a"));
    let mut slots = Vec::new();
    projection.extract(Format::Json, b"{\"a\":1,", &mut slots).unwrap_err();
    assert_eq!(slots, [Value::Null]);
}

#[test]
fn nesting_is_bounded() {
    for (format, open) in [
        (Format::Json, &b"["[..]),
        (Format::Json, b"{\"a\":"),
        (Format::Cbor, b"\x81"),
        (Format::Cbor, b"\xa1\x61a"),
    ] {
        let deep = open.repeat(200_000);
        for wanted in ["a", "", "a.a.a", "0.0"] {
            assert_eq!(extract(format, &deep, &[wanted]), Err(Undecodable), "{open:?} {wanted}");
        }
    }
    let deep_beside = format!(r#"{{"x":{}{},"a":1}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(json_text(&deep_beside, &["a"]), ["1"]);
}

#[test]
fn large_payloads() {
    let list = vec!["1"; 500_000].join(",");
    let payload = format!(r#"{{"list":[{list}],"a":true}}"#);
    assert_eq!(json_text(&payload, &["a", "list.499999", "list.500000"]), ["true", "1", "null"]);
    let keys: Vec<String> = (0..100_000).map(|key| format!(r#""k{key}":{key}"#)).collect();
    let payload = format!("{{{}}}", keys.join(","));
    let whole = extract(Format::Json, payload.as_bytes(), &[""]).unwrap();
    let Value::Object(members) = &whole[0] else { panic!("not an object") };
    assert_eq!(members.len(), 100_000);
    for claimed in
        [&b"\x9b\x0f\xff\xff\xff\xff\xff\xff\xff\x01"[..], b"\x7b\x0f\xff\xff\xff\xff\xff\xff\xffx"]
    {
        assert_eq!(extract(Format::Cbor, claimed, &[""]), Err(Undecodable));
    }
}

#[test]
fn the_format_is_guessed() {
    use Format::{Cbor, Json};
    for (content_type, payload, expected) in [
        (None, &b"{}"[..], Json),
        (None, b" 1", Json),
        (None, b"true", Json),
        (None, b"-1", Json),
        (None, b"\"x\"", Json),
        (None, b"", Cbor),
        (None, b"\xa0", Cbor),
        (None, b"\x01", Cbor),
        (Some("application/cbor"), b"{}", Cbor),
        (Some("application/senml+JSON; charset=utf-8"), b"\xa0", Json),
        (Some("text/plain"), b"[]", Json),
        (Some(""), b"\xa0", Cbor),
    ] {
        assert_eq!(Format::guess(content_type, payload), expected, "{content_type:?} {payload:?}");
    }
}

fn any_value() -> impl Strategy<Value = Value<'static>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-1e9_f64..1e9).prop_map(Value::Float),
        "[a-cé\"\\\\]{0,3}".prop_map(Value::owned_text),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|elements| Value::Array(elements.into())),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().map(|(k, v)| (k.into(), v)).collect())),
        ]
    })
}

fn walk(value: &Value<'static>, path: &[Step]) -> Value<'static> {
    path.iter().fold(value.clone(), |value, step| match step {
        Step::Member(name) => value.member(name).into_owned(),
        Step::Element(index) => value.element(i64::try_from(*index).unwrap()).into_owned(),
    })
}

proptest! {
    #[test]
    fn one_pass_finds_what_walking_a_tree_finds(
        value in any_value(),
        paths in prop::collection::vec(prop::sample::select(vec!["", "a", "b", "a.b", "a.0", "0", "1.a", "a.b.c", "c.1"]), 1..6),
    ) {
        let mut json = Vec::new();
        crate::encode::json(&value, &mut json).unwrap();
        let mut cbor = Vec::new();
        crate::encode::cbor(&value, &mut cbor).unwrap();
        let expected: Vec<_> = paths.iter().map(|text| walk(&value, &path(text))).collect();
        prop_assert_eq!(extract(Format::Json, &json, &paths).unwrap(), expected.clone());
        prop_assert_eq!(extract(Format::Cbor, &cbor, &paths).unwrap(), expected);
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for format in [Format::Json, Format::Cbor] {
            let _ = extract(format, &bytes, &["a", "0.a", ""]);
        }
    }
}
