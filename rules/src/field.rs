//! Taking fields out of a payload in one pass, without a tree of the rest.

use std::{borrow::Cow, fmt};

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::{number::widen, value::Value};

/// One step into a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Member(Box<str>),
    Element(usize),
}

/// The way to a field; empty is the payload itself.
pub(crate) type Path = Vec<Step>;

/// How a payload is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Cbor,
}

impl Format {
    /// Goes by the content type if that says it, else by the first byte.
    pub(crate) fn guess(content_type: Option<&str>, payload: &[u8]) -> Self {
        let says = |word: &str| {
            content_type.is_some_and(|content_type| {
                content_type
                    .as_bytes()
                    .windows(word.len())
                    .any(|each| each.eq_ignore_ascii_case(word.as_bytes()))
            })
        };
        if says("json") {
            return Self::Json;
        }
        if says("cbor") {
            return Self::Cbor;
        }
        match payload.first() {
            Some(
                b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' | b' ' | b'\t' | b'\r' | b'\n',
            ) => Self::Json,
            _ => Self::Cbor,
        }
    }
}

/// The fields that some rules need, as a tree along their paths. Each field has a slot.
#[derive(Debug, Default)]
pub(crate) struct Projection {
    root: Node,
    slots: usize,
}

#[derive(Debug, Default)]
struct Node {
    /// The value here is wanted as a whole.
    slot: Option<usize>,
    members: Vec<(Box<str>, Node)>,
    elements: Vec<(usize, Node)>,
}

/// The payload is not what its format says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undecodable;

impl Projection {
    /// Adds a field and says which slot it gets.
    pub(crate) fn add(&mut self, path: &[Step]) -> usize {
        let slot = self.root.add(path, self.slots);
        self.slots = self.slots.max(slot + 1);
        slot
    }

    /// Fills the slots from a payload. What is missing is NULL; where a key is there twice, the last counts.
    pub(crate) fn extract<'p>(
        &self,
        format: Format,
        payload: &'p [u8],
        slots: &mut Vec<Value<'p>>,
    ) -> Result<(), Undecodable> {
        slots.clear();
        slots.resize(self.slots, Value::Null);
        if self.slots == 0 {
            return Ok(());
        }
        let decoded = match format {
            // JSON is UTF-8 (RFC 8259, 8.1). Checking all of it at once is cheaper than each string on its own.
            Format::Json => std::str::from_utf8(payload).is_ok_and(|text| {
                let mut deserializer = serde_json::Deserializer::from_str(text);
                let seed = NodeSeed { node: &self.root, slots: &mut *slots };
                seed.deserialize(&mut deserializer).and_then(|()| deserializer.end()).is_ok()
            }),
            Format::Cbor => {
                let mut deserializer = serde_cbor::Deserializer::from_slice(payload);
                let seed = NodeSeed { node: &self.root, slots: &mut *slots };
                seed.deserialize(&mut deserializer).and_then(|()| deserializer.end()).is_ok()
            }
        };
        if decoded {
            return Ok(());
        }
        slots.fill(Value::Null);
        Err(Undecodable)
    }
}

impl Node {
    /// Gives the field at the end of the path the slot `next`, unless it has one.
    fn add(&mut self, path: &[Step], next: usize) -> usize {
        match path.split_first() {
            None => *self.slot.get_or_insert(next),
            Some((Step::Member(name), path)) => add_below(&mut self.members, name, path, next),
            Some((Step::Element(index), path)) => add_below(&mut self.elements, index, path, next),
        }
    }

    fn member(&self, name: &str) -> Option<&Self> {
        self.members.iter().find(|(each, _)| **each == *name).map(|(_, node)| node)
    }

    fn element(&self, index: usize) -> Option<&Self> {
        self.elements.iter().find(|(each, _)| *each == index).map(|(_, node)| node)
    }

    /// Forgets what an earlier value under the same key left.
    fn clear(&self, slots: &mut [Value<'_>]) {
        self.slot.and_then(|slot| slots.get_mut(slot)).map(std::mem::take);
        self.members.iter().for_each(|(_, node)| node.clear(slots));
        self.elements.iter().for_each(|(_, node)| node.clear(slots));
    }

    /// Fills the slots from a value that is there as a whole.
    fn fill<'p>(&self, value: Value<'p>, slots: &mut [Value<'p>]) {
        for (name, node) in &self.members {
            node.fill(value.member(name).into_owned(), slots);
        }
        for (index, node) in &self.elements {
            let element = i64::try_from(*index).map_or(Value::Null, |index| value.element(index));
            node.fill(element.into_owned(), slots);
        }
        if let Some(slot) = self.slot.and_then(|slot| slots.get_mut(slot)) {
            *slot = value;
        }
    }
}

fn add_below<K: PartialEq + Clone>(
    children: &mut Vec<(K, Node)>,
    key: &K,
    path: &[Step],
    next: usize,
) -> usize {
    if let Some((_, node)) = children.iter_mut().find(|(each, _)| each == key) {
        return node.add(path, next);
    }
    let mut node = Node::default();
    let slot = node.add(path, next);
    children.push((key.clone(), node));
    slot
}

/// Reads the value at a node.
struct NodeSeed<'n, 's, 'p> {
    node: &'n Node,
    slots: &'s mut [Value<'p>],
}

impl<'p> DeserializeSeed<'p> for NodeSeed<'_, '_, 'p> {
    type Value = ();

    fn deserialize<D: Deserializer<'p>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.node.slot.is_some() {
            self.node.fill(Value::deserialize(deserializer)?, self.slots);
            return Ok(());
        }
        self.node.clear(self.slots);
        deserializer.deserialize_any(self)
    }
}

impl<'p> Visitor<'p> for NodeSeed<'_, '_, 'p> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'p>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(found) = map.next_key_seed(MemberSeed(self.node))? {
            match found {
                Some(node) => map.next_value_seed(NodeSeed { node, slots: self.slots })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'p>>(self, mut seq: A) -> Result<(), A::Error> {
        for index in 0.. {
            let found = match self.node.element(index) {
                Some(node) => seq.next_element_seed(NodeSeed { node, slots: self.slots })?,
                None => seq.next_element::<IgnoredAny>()?.map(drop),
            };
            if found.is_none() {
                break;
            }
        }
        Ok(())
    }

    // Scalars have neither members nor elements: what is below them is missing.
    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_i128<E: Error>(self, _: i128) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_some<D: Deserializer<'p>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_newtype_struct<D: Deserializer<'p>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Reads a key and finds the node below it. A CBOR key need not be text; such a key names no field.
struct MemberSeed<'n>(&'n Node);

impl<'p, 'n> DeserializeSeed<'p> for MemberSeed<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: Deserializer<'p>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(KeyVisitor(|name: &str| self.0.member(name)))
    }
}

/// An owned key; `None` if it is not text.
struct Key(Option<Box<str>>);

impl<'p> Deserialize<'p> for Key {
    fn deserialize<D: Deserializer<'p>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor(|name: &str| Some(name.into()))).map(Self)
    }
}

/// Makes something of a key that is text.
struct KeyVisitor<F>(F);

impl<'p, T, F: FnOnce(&str) -> Option<T>> Visitor<'p> for KeyVisitor<F> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok((self.0)(name))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i128<E: Error>(self, _: i128) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_seq<A: SeqAccess<'p>>(self, seq: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| None)
    }
    fn visit_map<A: MapAccess<'p>>(self, map: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_map(map).map(|_| None)
    }
}

impl<'p> Deserialize<'p> for Value<'p> {
    fn deserialize<D: Deserializer<'p>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'p> Visitor<'p> for ValueVisitor {
    type Value = Value<'p>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value<'p>, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value<'p>, E> {
        Ok(Value::Int(value))
    }
    fn visit_i128<E: Error>(self, value: i128) -> Result<Value<'p>, E> {
        Ok(widen(value).into())
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value<'p>, E> {
        Ok(widen(i128::from(value)).into())
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value<'p>, E> {
        Ok(Value::Float(value))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Value<'p>, E> {
        Ok(Value::owned_text(value))
    }
    fn visit_borrowed_str<E: Error>(self, value: &'p str) -> Result<Value<'p>, E> {
        Ok(Value::text(value))
    }
    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Value<'p>, E> {
        Ok(Value::Bytes(Cow::Owned(value.to_owned())))
    }
    fn visit_borrowed_bytes<E: Error>(self, value: &'p [u8]) -> Result<Value<'p>, E> {
        Ok(Value::Bytes(Cow::Borrowed(value)))
    }
    fn visit_unit<E: Error>(self) -> Result<Value<'p>, E> {
        Ok(Value::Null)
    }
    fn visit_none<E: Error>(self) -> Result<Value<'p>, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'p>>(self, deserializer: D) -> Result<Value<'p>, D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_newtype_struct<D: Deserializer<'p>>(self, deserializer: D) -> Result<Value<'p>, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'p>>(self, mut seq: A) -> Result<Value<'p>, A::Error> {
        // The claimed length is not believed: what is there is pushed one by one.
        let mut elements: Vec<Value<'static>> = Vec::new();
        while let Some(element) = seq.next_element::<Value<'p>>()? {
            elements.push(element.into_owned());
        }
        Ok(Value::Array(elements.into()))
    }

    fn visit_map<A: MapAccess<'p>>(self, mut map: A) -> Result<Value<'p>, A::Error> {
        let mut members: Vec<(Box<str>, Value<'static>)> = Vec::new();
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key(Some(name)) => members.push((name, map.next_value::<Value<'p>>()?.into_owned())),
                Key(None) => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        keep_last(&mut members);
        Ok(Value::Object(members.into()))
    }
}

/// Removes members whose name comes again later.
pub(crate) fn keep_last(members: &mut Vec<(Box<str>, Value<'static>)>) {
    let mut sorted: Vec<(&str, usize)> =
        members.iter().enumerate().map(|(position, (name, _))| (&**name, position)).collect();
    sorted.sort_unstable();
    let mut dead: Vec<usize> = sorted
        .windows(2)
        .filter_map(|pair| match pair {
            [(name, position), (next, _)] if name == next => Some(*position),
            _ => None,
        })
        .collect();
    if dead.is_empty() {
        return;
    }
    dead.sort_unstable();
    let mut position = 0;
    members.retain(|_| {
        position += 1;
        dead.binary_search(&(position - 1)).is_err()
    });
}

#[cfg(test)]
mod tests;
