//! What settings that come through an uplink cannot have.

use crate::files::Place;
use crate::mistake::Mistake;
use crate::tree::{Node, Table, Value};

/// Keys, and why they are refused.
const REFUSED: [(&str, &str); 2] = [
    ("remote_config", "who may send settings is not decided by those who send them"),
    ("command", "a program that the gateway runs is not named from afar"),
];

/// Reports what a layer cannot have, wherever it stands.
pub(crate) fn check(table: &Table, mistakes: &mut Vec<Mistake>) {
    for (key, entry) in table {
        match REFUSED.iter().find(|(refused, _)| refused == key) {
            Some((_, why)) => mistakes.push(refused(key, &entry.key, why)),
            None => check_node(&entry.node, mistakes),
        }
    }
}

fn check_node(node: &Node, mistakes: &mut Vec<Mistake>) {
    match &node.value {
        Value::Table(table) => check(table, mistakes),
        Value::Array(nodes) => nodes.iter().for_each(|node| check_node(node, mistakes)),
        _ => {}
    }
}

fn refused(key: &str, place: &Place, why: &str) -> Mistake {
    let message = format!("`{key}` cannot be among settings that come through an uplink");
    Mistake::error(place, message).help(format!("{why}; write it into the files of the gateway"))
}
