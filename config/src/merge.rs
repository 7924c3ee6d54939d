//! A tree laid over another, for `conf.d`.

use crate::tree::{Node, Table, Value};

/// Settings whose tables hold alternatives, not things that add up: they are replaced as a whole.
const ALTERNATIVES: [&str; 1] = ["password"];

/// Lays `over` on `base`: tables key by key, tables of arrays after those that are there, except that an
/// `[[uplink]]` with a known name is laid on that one. Everything else is replaced.
pub(crate) fn merge(base: &mut Table, over: Table) {
    for (key, entry) in over {
        let Some(below) = base.get_mut(&key) else {
            base.insert(key, entry);
            continue;
        };
        match (&mut below.node.value, entry.node.value) {
            (Value::Table(below), Value::Table(above)) if !ALTERNATIVES.contains(&key.as_str()) => {
                merge(below, above)
            }
            (Value::Array(below), Value::Array(above)) if are_tables(below) && are_tables(&above) => {
                merge_arrays(below, above, key == "uplink");
            }
            (_, value) => {
                below.key = entry.key;
                below.node = Node { place: entry.node.place, value };
            }
        }
    }
}

fn are_tables(nodes: &[Node]) -> bool {
    !nodes.is_empty() && nodes.iter().all(|node| matches!(node.value, Value::Table(_)))
}

/// A name that `above` has twice is merged once, so that the second is seen to be there twice.
fn merge_arrays(below: &mut Vec<Node>, above: Vec<Node>, by_name: bool) {
    let mut unmerged: Vec<usize> = (0..below.len()).collect();
    for node in above {
        let same = |index: &usize| {
            by_name && name(&node).is_some() && below.get(*index).and_then(name) == name(&node)
        };
        match unmerged
            .iter()
            .position(same)
            .map(|at| unmerged.remove(at))
            .and_then(|index| below.get_mut(index))
        {
            Some(Node { value: Value::Table(below), .. }) => {
                if let Value::Table(above) = node.value {
                    merge(below, above);
                }
            }
            _ => below.push(node),
        }
    }
}

fn name(node: &Node) -> Option<&str> {
    let Value::Table(table) = &node.value else { return None };
    match &table.get("name")?.node.value {
        Value::Text(name) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Files;
    use crate::tree::parse;
    use std::path::Path;

    /// The tree without its places.
    fn plain(value: &Value) -> String {
        match value {
            Value::Text(text) => text.clone(),
            Value::Integer(integer) => integer.unwrap().to_string(),
            Value::Float(float) => float.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Array(nodes) => {
                format!("[{}]", nodes.iter().map(|node| plain(&node.value)).collect::<Vec<_>>().join(" "))
            }
            Value::Table(table) => plain_table(table),
            Value::Other(kind) => (*kind).to_owned(),
        }
    }

    fn plain_table(table: &Table) -> String {
        let entries = table.iter().map(|(key, entry)| format!("{key}={}", plain(&entry.node.value)));
        format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn merged() {
        for (base, over, expected) in [
            ("a = 1", "b = 2", "{a=1 b=2}"),
            ("a = 1", "a = 2", "{a=2}"),
            ("[t]\na = 1\nb = 2", "[t]\nb = 3\nc = 4", "{t={a=1 b=3 c=4}}"),
            ("t = { a = 1 }", "t = 5", "{t=5}"),
            ("t = 5", "t = { a = 1 }", "{t={a=1}}"),
            ("l = [1, 2]", "l = [3]", "{l=[3]}"),
            ("l = []", "[[l]]\na = 1", "{l=[{a=1}]}"),
            ("[[listener]]\nbind = 'a'", "[[listener]]\nbind = 'b'", "{listener=[{bind=a} {bind=b}]}"),
            ("[[other]]\nname = 'a'", "[[other]]\nname = 'a'", "{other=[{name=a} {name=a}]}"),
            (
                "[[uplink]]\nname = 'a'\nx = 1\n[[uplink]]\nname = 'b'",
                "[[uplink]]\nname = 'c'\n[[uplink]]\nname = 'a'\nx = 2\ny = 3",
                "{uplink=[{name=a x=2 y=3} {name=b} {name=c}]}",
            ),
            (
                "[[uplink]]\nname = 'a'",
                "[[uplink]]\nname = 'a'\nx = 1\n[[uplink]]\nname = 'a'\nx = 2",
                "{uplink=[{name=a x=1} {name=a x=2}]}",
            ),
            ("[[uplink]]\nx = 1", "[[uplink]]\nx = 2", "{uplink=[{x=1} {x=2}]}"),
            (
                "[[uplink]]\nname = 'a'\npassword = { env = 'X' }",
                "[[uplink]]\nname = 'a'\npassword = { file = 'y' }",
                "{uplink=[{name=a password={file=y}}]}",
            ),
        ] {
            let mut files = Files::default();
            let mut trees = [base, over].map(|text| {
                let file = files.add(Path::new("x"), Some(text.to_owned()));
                parse(&files, file, &mut Vec::new())
            });
            let over = std::mem::take(&mut trees[1]);
            merge(&mut trees[0], over);
            assert_eq!(plain_table(&trees[0]), expected, "{base}\n---\n{over}", over = "");
        }
    }
}
