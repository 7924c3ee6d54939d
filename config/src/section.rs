//! A table being read: each setting is taken once by its name, with its type and bounds checked; what nobody
//! took is unknown.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::files::Place;
use crate::mistake::Mistake;
use crate::tree::{Node, Table, Value};
use crate::units::{format_bytes, format_duration, parse_bytes, parse_duration};

/// A string setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'t> {
    pub(crate) value: &'t str,
    pub(crate) place: &'t Place,
}

/// A table being read. A setting that is wrong is reported and counts as not there.
pub(crate) struct Section<'t, 'm> {
    table: &'t Table,
    /// Where the table stands.
    pub(crate) place: &'t Place,
    known: Vec<&'static str>,
    /// Settings that are refused with a reason of their own.
    refused: Vec<&'static str>,
    pub(crate) mistakes: &'m mut Vec<Mistake>,
}

impl<'t, 'm> Section<'t, 'm> {
    pub(crate) fn new(table: &'t Table, place: &'t Place, mistakes: &'m mut Vec<Mistake>) -> Self {
        Self { table, place, known: Vec::new(), refused: Vec::new(), mistakes }
    }

    /// Reads a value as a table, called `name` if it is none.
    pub(crate) fn open(node: &'t Node, name: &str, mistakes: &'m mut Vec<Mistake>) -> Option<Self> {
        match &node.value {
            Value::Table(table) => Some(Self::new(table, &node.place, mistakes)),
            other => {
                let message = format!("`{name}` has to be a table");
                mistakes
                    .push(Mistake::error(&node.place, message).label(format!("this is {}", other.kind())));
                None
            }
        }
    }

    /// Takes a value of any type.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<&'t Node> {
        self.known.push(key);
        self.table.get(key).map(|entry| &entry.node)
    }

    /// Takes a value, or reports that it is missing.
    pub(crate) fn require(&mut self, key: &'static str, help: &str) -> Option<&'t Node> {
        let node = self.take(key);
        if node.is_none() {
            self.mistakes.push(Mistake::error(self.place, format!("`{key}` is missing")).help(help));
        }
        node
    }

    /// Where a key stands, if it is there.
    pub(crate) fn key(&self, key: &str) -> Option<&'t Place> {
        self.table.get(key).map(|entry| &entry.key)
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Option<Text<'t>> {
        let node = self.take(key)?;
        self.as_text(node, key)
    }

    pub(crate) fn as_text(&mut self, node: &'t Node, key: &str) -> Option<Text<'t>> {
        match &node.value {
            Value::Text(value) => Some(Text { value, place: &node.place }),
            _ => self.wrong_type(node, key, "a string"),
        }
    }

    /// An array of strings, `help` being how it is written.
    pub(crate) fn texts(
        &mut self,
        key: &'static str,
        count: RangeInclusive<usize>,
        help: &str,
    ) -> Option<Vec<Text<'t>>> {
        let node = self.take(key)?;
        let wrong = |node: &Node, message: String| {
            let mistake =
                Mistake::error(&node.place, message).label(format!("this is {}", node.value.kind()));
            mistake.help(help)
        };
        let Value::Array(nodes) = &node.value else {
            self.mistakes.push(wrong(node, format!("`{key}` has to be an array of strings")));
            return None;
        };
        if !count.contains(&nodes.len()) {
            let message = format!("`{key}` can have {} to {} items", count.start(), count.end());
            self.mistakes.push(Mistake::error(&node.place, message).help(help));
        }
        let mut texts = Vec::new();
        for node in nodes.iter().take(*count.end()) {
            match &node.value {
                Value::Text(value) => texts.push(Text { value, place: &node.place }),
                _ => self.mistakes.push(wrong(node, format!("an item of `{key}` has to be a string"))),
            }
        }
        Some(texts)
    }

    pub(crate) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let node = self.take(key)?;
        match node.value {
            Value::Flag(flag) => Some(flag),
            _ => self.wrong_type(node, key, "true or false"),
        }
    }

    pub(crate) fn number<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        let node = self.take(key)?;
        let Value::Integer(number) = node.value else { return self.wrong_type(node, key, "an integer") };
        let number = number.and_then(|number| u64::try_from(number).ok());
        self.within(node, key, number, &range, |bound| bound.to_string())
            .and_then(|number| number.try_into().ok())
    }

    /// A size in bytes.
    pub(crate) fn bytes<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        let node = self.take(key)?;
        let bytes = match &node.value {
            Value::Integer(number) => number.and_then(|number| u64::try_from(number).ok()),
            Value::Text(text) => match parse_bytes(text) {
                Ok(bytes) => Some(bytes),
                Err(help) => return self.not_a(node, key, "a size, such as \"64 KiB\"", help),
            },
            _ => return self.wrong_type(node, key, "a size, such as \"64 KiB\""),
        };
        self.within(node, key, bytes, &range, |bound| format_bytes(*bound))
            .and_then(|bytes| bytes.try_into().ok())
    }

    pub(crate) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let node = self.take(key)?;
        match &node.value {
            Value::Text(text) => match parse_duration(text) {
                Ok(duration) => {
                    self.within(node, key, Some(duration), &range, |bound| format_duration(*bound))
                }
                Err(help) => self.not_a(node, key, "a duration, such as \"5s\"", help),
            },
            Value::Integer(Some(number)) => {
                let help =
                    format!("the unit is missing: \"{number}s\" is seconds, \"{number}ms\" milliseconds");
                self.not_a(node, key, "a duration, such as \"5s\"", help)
            }
            _ => self.wrong_type(node, key, "a duration, such as \"5s\""),
        }
    }

    /// One of a few words. Those that stand for nothing are not built yet.
    pub(crate) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, Option<T>)]) -> Option<T> {
        let text = self.text(key)?;
        let built = || words.iter().filter(|(_, meaning)| meaning.is_some()).map(|(word, _)| *word);
        match words.iter().find(|(word, _)| *word == text.value) {
            Some((_, Some(meaning))) => return Some(*meaning),
            Some((word, None)) => {
                let what = format!("{key} = \"{word}\"");
                self.mistakes.push(Mistake::not_built(text.place, &what).suggest("", built()));
            }
            None => {
                let message = format!("`{key}` cannot be \"{}\"", text.value);
                self.mistakes.push(Mistake::error(text.place, message).suggest(text.value, built()));
            }
        }
        None
    }

    /// Takes the tables of `[[key]]`.
    pub(crate) fn tables(&mut self, key: &'static str) -> &'t [Node] {
        let Some(node) = self.take(key) else { return &[] };
        match &node.value {
            Value::Array(nodes) => nodes,
            other => {
                let message = format!("`{key}` has to be an array of tables");
                let mistake = Mistake::error(&node.place, message).label(format!("this is {}", other.kind()));
                self.mistakes.push(mistake.help(format!("write `[[{key}]]`")));
                &[]
            }
        }
    }

    /// Refuses a setting that belongs elsewhere.
    pub(crate) fn misplaced(&mut self, key: &'static str, message: &str, help: &str) {
        self.refused.push(key);
        if let Some(entry) = self.table.get(key) {
            self.mistakes.push(Mistake::error(&entry.key, message).help(help));
        }
    }

    /// Reports what nobody took.
    pub(crate) fn finish(self) {
        for (key, entry) in self.table {
            if self.known.contains(&key.as_str()) || self.refused.contains(&key.as_str()) {
                continue;
            }
            let mistake = Mistake::error(&entry.key, format!("unknown setting `{key}`"));
            self.mistakes.push(mistake.suggest(key, self.known.iter().copied()));
        }
    }

    fn within<T: PartialOrd>(
        &mut self,
        node: &Node,
        key: &str,
        value: Option<T>,
        range: &RangeInclusive<T>,
        format: impl Fn(&T) -> String,
    ) -> Option<T> {
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let message = format!("`{key}` has to be {} to {}", format(range.start()), format(range.end()));
            self.mistakes.push(Mistake::error(&node.place, message));
        }
        value
    }

    fn wrong_type<T>(&mut self, node: &Node, key: &str, expected: &str) -> Option<T> {
        let mistake = Mistake::error(&node.place, format!("`{key}` has to be {expected}"));
        self.mistakes.push(mistake.label(format!("this is {}", node.value.kind())));
        None
    }

    fn not_a<T>(&mut self, node: &Node, key: &str, expected: &str, help: String) -> Option<T> {
        self.mistakes.push(Mistake::error(&node.place, format!("`{key}` has to be {expected}")).help(help));
        None
    }
}
