//! A TOML file as a tree of values that know their places.
//!
//! Unlike the tree of the TOML parser it owns what it holds, so that trees of several files can become one.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::files::{Files, Place};
use crate::mistake::Mistake;

/// Deeper values are refused: nothing we read is, and code that walks a tree may recurse.
const DEPTH_MAX: usize = 64;

/// How many mistakes of one file's syntax are reported.
const SYNTAX_MISTAKES_MAX: usize = 1000;

/// A value and where it stands. That of a table with a header is the header.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// A TOML value, as far as settings need it.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    /// `None` does not fit 64 bits.
    Integer(Option<i64>),
    Float(f64),
    Flag(bool),
    Array(Vec<Node>),
    Table(Table),
    /// A date: no setting is one.
    Other(&'static str),
}

impl Value {
    /// What a reader calls such a value.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number with a fraction",
            Self::Flag(_) => "a boolean",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// A value with its key.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Place,
    pub(crate) node: Node,
}

/// Values by key.
pub(crate) type Table = BTreeMap<String, Entry>;

/// Parses a file. What cannot be read of it is reported and left out.
pub(crate) fn parse(files: &Files, file: usize, mistakes: &mut Vec<Mistake>) -> Table {
    let (root, errors) = DeTable::parse_recoverable(files.text(file));
    mistakes.extend(errors.iter().take(SYNTAX_MISTAKES_MAX).map(|error| {
        let place = error.span().map_or(Place::whole(file), |span| Place::new(file, span));
        Mistake::error(&place, error.message())
    }));
    Reader { file, mistakes }.table(root.get_ref(), DEPTH_MAX)
}

struct Reader<'m> {
    file: usize,
    mistakes: &'m mut Vec<Mistake>,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, depth: usize) -> Table {
        let mut entries = Table::new();
        for (key, value) in table {
            let place = Place::new(self.file, key.span());
            if let Some(node) = self.node(value, depth) {
                entries.insert(key.get_ref().clone().into_owned(), Entry { key: place, node });
            }
        }
        entries
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>, depth: usize) -> Option<Node> {
        let place = Place::new(self.file, value.span());
        let Some(depth) = depth.checked_sub(1) else {
            self.mistakes.push(Mistake::error(&place, "values cannot be nested this deep"));
            return None;
        };
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(integer) => Value::Integer(whole(integer)),
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Array(items) => {
                Value::Array(items.iter().filter_map(|item| self.node(item, depth)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, depth)),
            DeValue::Float(float) => {
                float.as_str().parse().map_or(Value::Other("a number with a fraction"), Value::Float)
            }
            DeValue::Datetime(_) => Value::Other("a date"),
        };
        Some(Node { place, value })
    }
}

fn whole(integer: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parsed(text: &str) -> (Files, Table, Vec<Mistake>) {
        let mut files = Files::default();
        let file = files.add(Path::new("x.toml"), Some(text.to_owned()));
        let mut mistakes = Vec::new();
        let table = parse(&files, file, &mut mistakes);
        (files, table, mistakes)
    }

    #[test]
    fn places_are_those_of_the_file() {
        let (files, table, mistakes) =
            parsed("[buffer]\ndir = 'a'\n[[uplink]]\nname = \"b\"\nwindow = 0x10\ntls = { ca = '''c''' }\n");
        assert!(mistakes.is_empty());
        let buffer = &table["buffer"];
        assert_eq!(files.text_at(&buffer.key), "buffer");
        assert_eq!(files.text_at(&buffer.node.place), "[buffer]");
        let Value::Table(buffer) = &buffer.node.value else { panic!() };
        assert_eq!(files.text_at(&buffer["dir"].node.place), "'a'");
        let Value::Array(uplinks) = &table["uplink"].node.value else { panic!() };
        assert_eq!(files.text_at(&uplinks[0].place), "[[uplink]]");
        let Value::Table(uplink) = &uplinks[0].value else { panic!() };
        assert!(matches!(uplink["window"].node.value, Value::Integer(Some(16))));
        assert_eq!(files.text_at(&uplink["tls"].node.place), "{ ca = '''c''' }");
        let Value::Table(tls) = &uplink["tls"].node.value else { panic!() };
        assert_eq!(files.text_at(&tls["ca"].node.place), "'''c'''");
    }

    #[test]
    fn all_syntax_mistakes_and_the_rest() {
        let (files, table, mistakes) = parsed("a = 1\nb = = 2\nc = 3\na = 4\nd = \"x\ne = 5\n");
        let places: Vec<_> = mistakes.iter().map(|each| each.place.span.clone().unwrap().start).collect();
        assert!(mistakes.len() >= 3, "{mistakes:?}");
        assert!(places.iter().any(|at| (6..13).contains(at)), "{places:?}");
        assert!(places.iter().any(|at| (20..26).contains(at)), "{places:?}");
        assert!(places.iter().any(|at| (26..33).contains(at)), "{places:?}");
        assert_eq!(files.text_at(&table["c"].node.place), "3");
        assert_eq!(files.text_at(&table["e"].node.place), "5");
    }

    #[test]
    fn integers_have_64_bits() {
        for (text, expected) in [
            ("1_000", Some(1000)),
            ("+5", Some(5)),
            ("-5", Some(-5)),
            ("0b11", Some(3)),
            ("0o17", Some(15)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
        ] {
            let (_, table, _) = parsed(&format!("x = {text}"));
            let Value::Integer(value) = table["x"].node.value else { panic!("{text}") };
            assert_eq!(value, expected, "{text}");
        }
    }

    #[test]
    fn deep_values_are_refused() {
        let keys = vec!["a"; 75].join(".");
        let (_, _, mistakes) = parsed(&format!("{keys} = 1"));
        assert!(mistakes[0].message.contains("deep"), "{mistakes:?}");
        // As deep as the TOML parser lets anything be: 79 tables in each other, with keys of 79 parts.
        let key = vec!["a"; 79].join(".");
        let text = format!("x = {}1{}", format!("{{ {key} = ").repeat(79), " }".repeat(79));
        assert!(!parsed(&text).2.is_empty());
        assert!(!parsed(&format!("x = {}", "[".repeat(100_000))).2.is_empty());
        assert!(!parsed(&format!("{} = 1", vec!["a"; 100_000].join("."))).2.is_empty());
    }
}
