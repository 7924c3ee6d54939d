//! Writing values and rows as JSON and CBOR.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::{
    base64,
    value::{Fault, Value},
};

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            // JSON has no NaN and no infinity; serde_json writes null for them.
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Bytes(value) if serializer.is_human_readable() => {
                serializer.serialize_str(&base64::encode(value))
            }
            Self::Bytes(value) => serializer.serialize_bytes(value),
            Self::Array(elements) => serializer.collect_seq(elements.iter()),
            Self::Object(members) => {
                serializer.collect_map(members.iter().map(|(name, value)| (&**name, value)))
            }
        }
    }
}

/// Names and values in the order in which they are written.
pub(crate) struct Row<'r>(pub(crate) Vec<(&'r str, &'r Value<'r>)>);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Appends JSON.
pub(crate) fn json(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), Fault> {
    serde_json::to_writer(out, value).map_err(|_| Fault::Error)
}

/// Appends CBOR: lengths known beforehand, floats in the shortest form that keeps them.
pub(crate) fn cbor(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), Fault> {
    serde_cbor::to_writer(out, value).map_err(|_| Fault::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let float = |value| Value::Float(value);
        for (value, json_text, cbor_hex) in [
            (Value::Null, "null", "f6"),
            (Value::Bool(true), "true", "f5"),
            (Value::Int(22), "22", "16"),
            (Value::Int(i64::MIN), "-9223372036854775808", "3b7fffffffffffffff"),
            (float(22.0), "22.0", "f94d80"),
            (float(0.1), "0.1", "fb3fb999999999999a"),
            (float(f64::NAN), "null", "f97e00"),
            (float(f64::INFINITY), "null", "f97c00"),
            (Value::text("é\"\n"), r#""é\"\n""#, "64c3a9220a"),
            (Value::Bytes(b"\x00\xff".as_slice().into()), "\"AP8=\"", "4200ff"),
            (Value::Array([Value::Int(1), Value::Null].into()), "[1,null]", "8201f6"),
            (Value::Object([("a".into(), Value::Int(1))].into()), r#"{"a":1}"#, "a1616101"),
        ] {
            let mut out = Vec::new();
            json(&value, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), json_text);
            let mut out = Vec::new();
            cbor(&value, &mut out).unwrap();
            let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, cbor_hex, "{value:?}");
        }
    }

    #[test]
    fn rows_keep_their_order() {
        let (one, two) = (Value::Int(1), Value::text("x"));
        let row = Row(vec![("z", &one), ("a", &two)]);
        let mut out = b"row: ".to_vec();
        json(&row, &mut out).unwrap();
        assert_eq!(out, br#"row: {"z":1,"a":"x"}"#);
        let mut out = Vec::new();
        cbor(&row, &mut out).unwrap();
        assert_eq!(out, b"\xa2\x61z\x01\x61a\x61x");
    }
}
