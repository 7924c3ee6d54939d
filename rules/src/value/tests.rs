use super::*;
use Value::{Bool, Float, Int, Null};

fn text(text: &str) -> Value<'_> {
    Value::text(text)
}

fn array(elements: &[Value<'static>]) -> Value<'static> {
    Value::Array(elements.into())
}

fn object(members: &[(&str, Value<'static>)]) -> Value<'static> {
    Value::Object(members.iter().map(|(name, value)| ((*name).into(), value.clone())).collect())
}

#[test]
fn equality() {
    for (left, right, expected) in [
        (Null, Null, None),
        (Null, Int(1), None),
        (Int(1), Float(1.0), Some(true)),
        (Int(1), text("1"), Some(false)),
        (Int(1), Bool(true), Some(false)),
        (Float(f64::NAN), Float(1.0), None),
        (text("é"), text("é"), Some(true)),
        (text("a"), Value::Bytes(b"a".as_slice().into()), Some(false)),
        (array(&[Int(1), Null]), array(&[Float(1.0), Null]), Some(true)),
        (array(&[Int(1)]), array(&[Int(1), Int(2)]), Some(false)),
        (object(&[("a", Int(1)), ("b", Null)]), object(&[("b", Null), ("a", Int(1))]), Some(true)),
        (object(&[("a", Int(1))]), object(&[("b", Int(1))]), Some(false)),
        (object(&[("a", Int(1))]), object(&[("a", Int(2))]), Some(false)),
    ] {
        assert_eq!(left.equals(&right), expected, "{left:?} {right:?}");
        assert_eq!(right.equals(&left), expected, "{right:?} {left:?}");
    }
}

#[test]
fn order() {
    for (left, right, expected) in [
        (Null, Int(1), Err(Fault::Null)),
        (Int(1), Float(1.5), Ok(Ordering::Less)),
        (text("b"), text("a"), Ok(Ordering::Greater)),
        (text(""), text("a"), Ok(Ordering::Less)),
        (text("z"), text("é"), Ok(Ordering::Less)),
        (Bool(false), Bool(true), Ok(Ordering::Less)),
        (
            Value::Bytes(b"\x01".as_slice().into()),
            Value::Bytes(b"\x02".as_slice().into()),
            Ok(Ordering::Less),
        ),
        (text("1"), Int(1), Err(Fault::Error)),
        (array(&[]), array(&[]), Err(Fault::Error)),
        (Float(f64::NAN), Int(1), Err(Fault::Null)),
    ] {
        assert_eq!(left.order(&right), expected, "{left:?} {right:?}");
    }
}

#[test]
fn casts_to_integer() {
    for (value, expected) in [
        (Null, Err(Fault::Null)),
        (Bool(true), Ok(1)),
        (Float(-22.9), Ok(-22)),
        (Float(1e19), Err(Fault::Error)),
        (Float(f64::NAN), Err(Fault::Error)),
        (text(" 42 "), Ok(42)),
        (text("42.9"), Ok(42)),
        (text("9223372036854775807"), Ok(i64::MAX)),
        (text("9223372036854775808"), Err(Fault::Error)),
        (text(""), Err(Fault::Error)),
        (text("inf"), Err(Fault::Error)),
        (text("0x10"), Err(Fault::Error)),
        (array(&[]), Err(Fault::Error)),
    ] {
        assert_eq!(value.to_integer(), expected, "{value:?}");
    }
}

#[test]
fn casts_to_real() {
    for (value, expected) in [
        (Null, Err(Fault::Null)),
        (Bool(false), Ok(0.0)),
        (Int(3), Ok(3.0)),
        (text("-1.5e3"), Ok(-1500.0)),
        (text("NaN"), Err(Fault::Error)),
        (text("1e999"), Err(Fault::Error)),
        (text("1,5"), Err(Fault::Error)),
        (object(&[]), Err(Fault::Error)),
    ] {
        assert_eq!(value.to_real(), expected, "{value:?}");
    }
}

#[test]
fn casts_to_boolean() {
    for (value, expected) in [
        (Null, Err(Fault::Null)),
        (Int(0), Ok(false)),
        (Int(-1), Ok(true)),
        (Float(0.0), Ok(false)),
        (Float(f64::NAN), Err(Fault::Error)),
        (text("TRUE"), Ok(true)),
        (text("false"), Ok(false)),
        (text("1"), Ok(true)),
        (text("yes"), Err(Fault::Error)),
        (array(&[]), Err(Fault::Error)),
    ] {
        assert_eq!(value.to_boolean(), expected, "{value:?}");
    }
}

#[test]
fn texts() {
    for (value, expected) in [
        (Null, Err(Fault::Null)),
        (text("ü"), Ok("ü")),
        (Int(-5), Ok("-5")),
        (Float(22.0), Ok("22.0")),
        (Float(0.1), Ok("0.1")),
        (Float(f64::INFINITY), Ok("inf")),
        (Bool(true), Ok("true")),
        (Value::Bytes(b"ok".as_slice().into()), Ok("ok")),
        (Value::Bytes(b"\xff".as_slice().into()), Err(Fault::Error)),
        (array(&[Int(1), text("a").into_owned(), Null]), Ok("[1,\"a\",null]")),
        (object(&[("a", Float(1.0))]), Ok("{\"a\":1.0}")),
    ] {
        assert_eq!(value.to_text().as_deref(), expected.as_ref().copied(), "{value:?}");
    }
}

#[test]
fn members_and_elements() {
    let value = object(&[("list", array(&[Int(1), Int(2), Int(3)]))]);
    let list = value.member("list");
    for (index, expected) in
        [(0, Int(1)), (2, Int(3)), (-1, Int(3)), (-3, Int(1)), (3, Null), (-4, Null), (i64::MIN, Null)]
    {
        assert_eq!(list.element(index), expected, "{index}");
    }
    assert_eq!(value.member("other"), Null);
    assert_eq!(value.element(0), Null);
    assert_eq!(list.member("list"), Null);
}

#[test]
fn kinds() {
    assert!(Kind::Any.may_be(Kind::Text) && Kind::Text.may_be(Kind::Any));
    assert!(Kind::Integer.may_be(Kind::Number) && Kind::Number.may_be(Kind::Integer));
    assert!(!Kind::Text.may_be(Kind::Number) && !Kind::Boolean.may_be(Kind::Integer));
    for (value, kind, name) in [
        (Null, Kind::Any, "null"),
        (Bool(true), Kind::Boolean, "boolean"),
        (Int(1), Kind::Integer, "integer"),
        (Float(1.0), Kind::Number, "real"),
        (text(""), Kind::Text, "text"),
        (Value::Bytes(b"".as_slice().into()), Kind::Bytes, "bytes"),
        (array(&[]), Kind::Array, "array"),
        (object(&[]), Kind::Object, "object"),
    ] {
        assert_eq!((value.kind(), value.type_name()), (kind, name));
    }
}
