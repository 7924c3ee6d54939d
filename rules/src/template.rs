//! Topic and payload templates: text with placeholders.

use crate::{
    ast::Name,
    encode,
    expr::{Env, Expr},
    mistake::Mistake,
    topic::check_topic_name,
    value::{Fault, Value},
};

/// A piece of a template as it is written.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    Placeholder(Name),
}

/// Takes a topic template apart: `alerts/{device}/overheat`.
pub(crate) fn parse_topic(text: &str) -> Result<Vec<Piece>, Mistake> {
    if text.is_empty() {
        return Err(Mistake::new(0..0, "a topic cannot be empty"));
    }
    if let Some(at) = text.find(['+', '#', '\0']) {
        return Err(Mistake::new(at..at + 1, "a topic to publish to cannot contain `+`, `#` and U+0000"));
    }
    if let Some(at) = text.find('}').filter(|at| text.find('{').is_none_or(|open| open > *at)) {
        return Err(Mistake::new(at..at + 1, "this brace is never opened"));
    }
    parse(text, "{")
}

/// Takes a payload template apart: `{"device": "${device}"}`. `$${` is `${` itself.
pub(crate) fn parse_payload(text: &str) -> Result<Vec<Piece>, Mistake> {
    parse(text, "${")
}

fn parse(text: &str, open: &str) -> Result<Vec<Piece>, Mistake> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some((before, after)) = text.get(at..).and_then(|rest| rest.split_once(open)) {
        let start = at + before.len();
        if let Some(before) = before.strip_suffix('$').filter(|_| open == "${") {
            pieces.push(Piece::Text(format!("{before}{open}")));
            at = start + open.len();
            continue;
        }
        let Some((name, _)) = after.split_once('}') else {
            return Err(Mistake::new(start..start + open.len(), "this placeholder is never closed"));
        };
        let inside = start + open.len();
        let span = inside..inside + name.len();
        at = span.end + 1;
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Placeholder(Name { text: name.trim().to_owned(), span }));
    }
    pieces.push(Piece::Text(text.get(at..).unwrap_or_default().to_owned()));
    pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
    Ok(pieces)
}

/// A part of a compiled template.
#[derive(Debug)]
pub(crate) enum Part {
    Text(String),
    Value {
        source: Fill,
        /// Whether the value may be several levels of a topic.
        levels: bool,
    },
}

/// What fills a placeholder.
#[derive(Debug)]
pub(crate) enum Fill {
    /// The column with this index.
    Column(usize),
    Expr(Expr),
}

impl Fill {
    fn eval<'v>(&'v self, columns: &'v [Value<'v>], env: &Env<'v>) -> Value<'v> {
        match self {
            Self::Column(column) => columns.get(*column).map_or(Value::Null, Value::reborrow),
            Self::Expr(expr) => expr.eval(env),
        }
    }
}

/// Writes a topic. A value that cannot be in a topic at this place is a fault.
pub(crate) fn write_topic(parts: &[Part], columns: &[Value<'_>], env: &Env<'_>) -> Result<String, Fault> {
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Value { source, levels } => {
                let value = source.eval(columns, env);
                let text = value.to_text().map_err(|_| Fault::Error)?;
                if text.is_empty() || (!levels && text.contains('/')) {
                    return Err(Fault::Error);
                }
                out.push_str(&text);
            }
        }
    }
    check_topic_name(&out).map_err(|_| Fault::Error)?;
    Ok(out)
}

/// Writes a payload. In JSON, text is escaped but not quoted: the template has the quotes. NULL is `null` there,
/// and nothing else.
pub(crate) fn write_payload(
    parts: &[Part],
    json: bool,
    columns: &[Value<'_>],
    env: &Env<'_>,
) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    for part in parts {
        let value = match part {
            Part::Text(text) => {
                out.extend_from_slice(text.as_bytes());
                continue;
            }
            Part::Value { source, .. } => source.eval(columns, env),
        };
        match value {
            value if json => write_json(&value, &mut out)?,
            Value::Null => {}
            Value::Bytes(bytes) => out.extend_from_slice(&bytes),
            value => out.extend_from_slice(value.to_text()?.as_bytes()),
        }
    }
    Ok(out)
}

fn write_json(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let start = out.len();
    encode::json(value, out)?;
    if matches!(value, Value::Text(_) | Value::Bytes(_)) {
        out.pop();
        out.remove(start);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(pieces: Result<Vec<Piece>, Mistake>) -> String {
        match pieces {
            Err(mistake) => format!("{:?} {}", mistake.span, mistake.message),
            Ok(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.clone(),
                    Piece::Placeholder(name) => format!("<{}@{:?}>", name.text, name.span),
                })
                .collect(),
        }
    }

    #[test]
    fn topics() {
        for (text, expected) in [
            ("a/b", "a/b"),
            ("a/{d}/b{ e }", "a/<d@3..4>/b<e@8..11>"),
            ("{d}{e}", "<d@1..2><e@4..5>"),
            ("é/{ü}", "é/<ü@4..6>"),
            ("", "0..0 a topic cannot be empty"),
            ("a/{d", "2..3 this placeholder is never closed"),
            ("a/d}", "3..4 this brace is never opened"),
            ("a/#", "2..3 a topic to publish to cannot contain `+`, `#` and U+0000"),
        ] {
            assert_eq!(show(parse_topic(text)), expected, "{text}");
        }
    }

    #[test]
    fn payloads() {
        for (text, expected) in [
            ("", ""),
            (r#"{"a": {}}"#, r#"{"a": {}}"#),
            (r#"{"a": "${d}"}"#, r#"{"a": "<d@9..10>"}"#),
            ("$${d} $", "${d} $"),
            ("${d", "0..2 this placeholder is never closed"),
        ] {
            assert_eq!(show(parse_payload(text)), expected, "{text}");
        }
    }

    fn part(value: Value<'static>, levels: bool) -> Part {
        Part::Value { source: Fill::Expr(Expr::Constant(value)), levels }
    }

    #[test]
    fn values_in_topics() {
        for (value, levels, expected) in [
            (Value::text("d"), false, Ok("a/d")),
            (Value::Int(7), false, Ok("a/7")),
            (Value::Bool(true), false, Ok("a/true")),
            (Value::text("b/c"), true, Ok("a/b/c")),
            (Value::text("b/c"), false, Err(Fault::Error)),
            (Value::text(""), true, Err(Fault::Error)),
            (Value::Null, false, Err(Fault::Error)),
            (Value::text("x+"), true, Err(Fault::Error)),
            (Value::text("#"), true, Err(Fault::Error)),
            (Value::text("\0"), true, Err(Fault::Error)),
            (Value::owned_text("x".repeat(65_534)), true, Err(Fault::Error)),
        ] {
            let parts = [Part::Text("a/".to_owned()), part(value, levels)];
            let topic = write_topic(&parts, &[], &Env::default());
            assert_eq!(topic.as_deref(), expected.as_ref().copied());
        }
    }

    #[test]
    fn values_in_payloads() {
        for (value, json, raw) in [
            (Value::text("a\"b"), "a\\\"b", "a\"b"),
            (Value::Null, "null", ""),
            (Value::Float(1.0), "1.0", "1.0"),
            (Value::Bytes(b"\x01".as_slice().into()), "AQ==", "\x01"),
            (Value::Array([Value::Int(1)].into()), "[1]", "[1]"),
        ] {
            let parts = [Part::Text("<".to_owned()), part(value, false), Part::Text(">".to_owned())];
            for (is_json, expected) in [(true, json), (false, raw)] {
                let payload = write_payload(&parts, is_json, &[], &Env::default()).unwrap();
                assert_eq!(String::from_utf8(payload).unwrap(), format!("<{expected}>"));
            }
        }
        let column = [Part::Value { source: Fill::Column(1), levels: false }];
        let columns = [Value::Null, Value::Int(5)];
        assert_eq!(write_payload(&column, true, &columns, &Env::default()), Ok(b"5".to_vec()));
    }
}
