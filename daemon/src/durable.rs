//! The small durable map beside the spool's records: what sessions, retained messages and wills are rebuilt from.
//!
//! A put or a delete belongs to the entry that is being made, and that entry's receipt resolves only once it is durable.
//! Entries that put or delete become durable in the order in which they were made; an insert whose delete comes before it was
//! written never touches the disk. At start all pairs come back, in the order of their keys.

/// Where changes of the map go: into the entry that is being made.
pub(crate) trait Durable {
    /// Sets the value of a key.
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>);
    /// As [`Durable::put`], for a key that is not there: it never was, or its deletion is durable.
    fn insert(&mut self, key: Vec<u8>, value: Vec<u8>);
    /// Takes a key away, if it is there.
    fn delete(&mut self, key: Vec<u8>);
}
