//! A tree of topic filters: which values belong to the filters that match a topic, at a cost that depends on the
//! depth of the topic and not on the number of filters.
//!
//! All nodes are in one block of memory and all edges in another, so that thousands of filters that come and go leave no
//! holes in the heap: a small allocation for each would not come back to the system.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use crate::topic::TopicFilter;

/// A map from topic filters to values; a filter may have several.
#[derive(Debug, Clone)]
pub struct TopicTree<T> {
    nodes: Slab<Node<T>>,
    edges: HashTable<Edge>,
    hasher: RandomState,
    len: usize,
    /// Memory is given back when so few nodes are left.
    nodes_few: usize,
}

/// Where a node is in [`TopicTree::nodes`].
type NodeId = u32;

const ROOT: NodeId = 0;

/// Memory is given back when one node in so many is left: the block that they move to has to come from the heap.
const NODES_FEW: usize = 8;

/// A filter has one value nearly always.
type Values<T> = SmallVec<[T; 1]>;

#[derive(Debug, Clone)]
struct Node<T> {
    /// Of filters that end here.
    values: Values<T>,
    /// Of filters that have `#` as the next level.
    rest: Values<T>,
    /// The next level is `+`.
    any: Option<NodeId>,
    /// How many edges begin here.
    edges: u32,
}

/// The next level has a name.
#[derive(Debug, Clone)]
struct Edge {
    from: NodeId,
    to: NodeId,
    level: SmallVec<[u8; 16]>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { values: Values::new(), rest: Values::new(), any: None, edges: 0 }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.rest.is_empty() && self.any.is_none() && self.edges == 0
    }
}

impl<T: PartialEq> TopicTree<T> {
    /// A tree without filters.
    pub fn new() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::default());
        Self { nodes, edges: HashTable::new(), hasher: RandomState::default(), len: 0, nodes_few: 0 }
    }

    /// Adds a value to a filter, even if the filter has an equal value already.
    pub fn insert(&mut self, filter: &TopicFilter, value: T) {
        let (mut at, mut rest) = (ROOT, false);
        for level in filter.as_str().split('/') {
            match level {
                "#" => rest = true,
                level => at = self.next(at, level).unwrap_or_else(|| self.grow(at, level)),
            }
        }
        if let Some(node) = self.node_mut(at) {
            if rest {
                node.rest.push(value)
            } else {
                node.values.push(value)
            }
            self.len += 1;
        }
    }

    /// Takes one value equal to `value` away from a filter and says whether there was one. Gives memory back.
    pub fn remove(&mut self, filter: &TopicFilter, value: &T) -> bool {
        let (mut at, mut rest) = (ROOT, false);
        let mut path: SmallVec<[(NodeId, &str); 8]> = SmallVec::new();
        for level in filter.as_str().split('/') {
            if level == "#" {
                rest = true;
                break;
            }
            path.push((at, level));
            let Some(next) = self.next(at, level) else { return false };
            at = next;
        }
        let Some(node) = self.node_mut(at) else { return false };
        if !take(if rest { &mut node.rest } else { &mut node.values }, value) {
            return false;
        }
        self.len -= 1;
        self.prune(at, &path);
        true
    }

    /// Calls `found` for each value of each filter that matches a topic name, in no particular order.
    pub fn for_each_match(&self, topic: &str, mut found: impl FnMut(&T)) {
        self.for_each_below(ROOT, topic.split('/'), !topic.starts_with('$'), &mut found);
    }

    /// Says whether `is_meant` is true of a value of a filter that matches a topic name.
    pub fn any(&self, topic: &str, mut is_meant: impl FnMut(&T) -> bool) -> bool {
        let mut found = false;
        self.for_each_match(topic, |value| found = found || is_meant(value));
        found
    }

    /// Says whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many values there are, over all filters.
    pub fn len(&self) -> usize {
        self.len
    }

    // Recursion goes one frame deeper per level, and only filters' levels count: at most TOPIC_LEVELS_MAX.
    fn for_each_below<'a>(
        &self,
        at: NodeId,
        mut levels: impl Iterator<Item = &'a str> + Clone,
        wildcards: bool,
        found: &mut impl FnMut(&T),
    ) {
        let Some(node) = self.node(at) else { return };
        // `a/#` matches `a` too, so this comes before asking for another level.
        if wildcards {
            node.rest.iter().for_each(&mut *found);
        }
        let Some(level) = levels.next() else {
            node.values.iter().for_each(found);
            return;
        };
        if let Some(any) = node.any.filter(|_| wildcards) {
            self.for_each_below(any, levels.clone(), true, found);
        }
        if node.edges > 0
            && let Some(next) = self.named(at, level)
        {
            self.for_each_below(next, levels, true, found);
        }
    }

    /// Where a level of a filter leads to.
    fn next(&self, at: NodeId, level: &str) -> Option<NodeId> {
        if level == "+" { self.node(at)?.any } else { self.named(at, level) }
    }

    /// Where a level of this name leads to.
    fn named(&self, from: NodeId, level: &str) -> Option<NodeId> {
        let edge = self.edges.find(self.hash(from, level.as_bytes()), |edge| edge.is(from, level))?;
        Some(edge.to)
    }

    /// Makes a way from a node to a new one.
    fn grow(&mut self, from: NodeId, level: &str) -> NodeId {
        // Memory ends before numbers of 32 bits do.
        let to = NodeId::try_from(self.nodes.insert(Node::default())).unwrap_or(NodeId::MAX);
        self.nodes_few = self.nodes_few.max(self.nodes.len() / NODES_FEW);
        let Some(node) = self.node_mut(from) else { return to };
        if level == "+" {
            node.any = Some(to);
            return to;
        }
        node.edges += 1;
        self.link(Edge { from, to, level: level.as_bytes().into() });
        to
    }

    /// Takes away what leads to nothing any more, from the end of a path to its beginning.
    fn prune(&mut self, mut at: NodeId, path: &[(NodeId, &str)]) {
        for (from, level) in path.iter().rev() {
            if !self.node(at).is_some_and(Node::is_empty) {
                break;
            }
            self.nodes.try_remove(index(at));
            self.cut(*from, level);
            at = *from;
        }
        self.shrink();
    }

    fn cut(&mut self, from: NodeId, level: &str) {
        let hash = self.hash(from, level.as_bytes());
        let Some(node) = self.node_mut(from) else { return };
        if level == "+" {
            node.any = None;
        } else if let Ok(edge) = self.edges.find_entry(hash, |edge| edge.is(from, level)) {
            edge.remove();
            if let Some(node) = self.node_mut(from) {
                node.edges -= 1;
            }
        }
    }

    /// Gives memory back once most of it is not needed; so seldom that it costs nothing beside the removals before.
    fn shrink(&mut self) {
        if self.nodes.len() <= self.nodes_few.max(1) {
            self.compact();
            self.nodes_few = self.nodes.len() / NODES_FEW;
        }
    }

    /// Moves the nodes together. The root stays where it is, since it is the first.
    fn compact(&mut self) {
        let mut moved = Vec::new();
        let mut nodes = Slab::with_capacity(self.nodes.len());
        for (old, node) in std::mem::take(&mut self.nodes) {
            moved.resize(old, ROOT);
            moved.push(NodeId::try_from(nodes.insert(node)).unwrap_or(NodeId::MAX));
        }
        let place = |id: NodeId| moved.get(index(id)).copied().unwrap_or(ROOT);
        nodes.iter_mut().for_each(|(_, node)| node.any = node.any.map(place));
        let edges = std::mem::take(&mut self.edges);
        self.nodes = nodes;
        self.edges = HashTable::with_capacity(edges.len());
        for Edge { from, to, level } in edges {
            self.link(Edge { from: place(from), to: place(to), level });
        }
    }

    fn link(&mut self, edge: Edge) {
        let hasher = &self.hasher;
        let hash = |edge: &Edge| hasher.hash_one((edge.from, &*edge.level));
        self.edges.insert_unique(hash(&edge), edge, hash);
    }

    fn hash(&self, from: NodeId, level: &[u8]) -> u64 {
        self.hasher.hash_one((from, level))
    }

    fn node(&self, id: NodeId) -> Option<&Node<T>> {
        self.nodes.get(index(id))
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node<T>> {
        self.nodes.get_mut(index(id))
    }
}

impl<T: PartialEq> Default for TopicTree<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl Edge {
    fn is(&self, from: NodeId, level: &str) -> bool {
        self.from == from && *self.level == *level.as_bytes()
    }
}

fn index(id: NodeId) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

fn take<T: PartialEq>(values: &mut Values<T>, value: &T) -> bool {
    let Some(at) = values.iter().position(|each| each == value) else { return false };
    values.swap_remove(at);
    if values.len() * 4 < values.capacity() {
        values.shrink_to_fit();
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text).unwrap()
    }

    fn matches(tree: &TopicTree<u32>, topic: &str) -> Vec<u32> {
        let mut found = Vec::new();
        tree.for_each_match(topic, |value| found.push(*value));
        found.sort_unstable();
        found
    }

    #[test]
    fn one_value_per_insert() {
        let mut tree = TopicTree::new();
        assert!(tree.is_empty());
        tree.insert(&filter("a/+"), 1);
        tree.insert(&filter("a/+"), 1);
        assert_eq!(matches(&tree, "a/b"), [1, 1]);
        assert!(tree.remove(&filter("a/+"), &1));
        assert_eq!(tree.len(), 1);
        assert!(!tree.remove(&filter("a/+"), &2));
        assert!(!tree.remove(&filter("a/b"), &1));
        assert!(!tree.remove(&filter("+/b"), &1));
        assert!(tree.remove(&filter("a/+"), &1));
        assert!(tree.is_empty());
    }

    #[test]
    fn wildcards_first_do_not_see_dollar_topics() {
        let mut tree = TopicTree::new();
        for (value, text) in (0..).zip(["#", "+/x", "$SYS/#", "$SYS/+", "$SYS/x"]) {
            tree.insert(&filter(text), value);
        }
        assert_eq!(matches(&tree, "$SYS/x"), [2, 3, 4]);
        assert_eq!(matches(&tree, "a/x"), [0, 1]);
    }

    #[test]
    fn removing_gives_nodes_back() {
        let mut tree = TopicTree::new();
        let deep = filter(&vec!["x"; 128].join("/"));
        tree.insert(&deep, 7);
        tree.insert(&filter("+/a/#"), 8);
        assert_eq!(matches(&tree, deep.as_str()), [7]);
        assert!(tree.remove(&deep, &7));
        assert!(tree.remove(&filter("+/a/#"), &8));
        assert!(is_bare(&tree));
    }

    #[test]
    fn many_that_go_leave_no_memory_behind_in_whatever_order() {
        let filters: Vec<TopicFilter> = (0..5000).map(|n| filter(&format!("site/{n}/+/x"))).collect();
        for backwards in [false, true] {
            let mut tree = TopicTree::new();
            filters.iter().for_each(|filter| tree.insert(filter, 1));
            let remove = |filter: &TopicFilter| assert!(tree.remove(filter, &1));
            if backwards {
                filters.iter().rev().for_each(remove)
            } else {
                filters.iter().for_each(remove)
            }
            assert!(is_bare(&tree));
        }
    }

    #[test]
    fn most_that_go_give_most_of_the_memory_back() {
        let mut tree = TopicTree::new();
        let filters: Vec<TopicFilter> = (0..5000).map(|n| filter(&format!("site/{n}"))).collect();
        filters.iter().for_each(|filter| tree.insert(filter, 1));
        filters.iter().skip(100).for_each(|filter| assert!(tree.remove(filter, &1)));
        let (nodes, edges) = (tree.nodes.capacity(), tree.edges.capacity());
        assert!(nodes <= 1300 && edges <= 2600, "{nodes} nodes, {edges} edges");
        assert_eq!(matches(&tree, "site/99"), [1]);
    }

    /// Nothing but the root, and next to no memory.
    fn is_bare(tree: &TopicTree<u32>) -> bool {
        tree.is_empty()
            && tree.nodes.len() == 1
            && tree.node(ROOT).is_some_and(Node::is_empty)
            && tree.nodes.capacity() < 8
            && tree.edges.is_empty()
            && tree.edges.capacity() < 8
    }

    fn level() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["a", "b", "", "$a", "é"])
    }

    fn any_topic() -> impl Strategy<Value = String> {
        prop::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/"))
    }

    fn any_filter() -> impl Strategy<Value = String> {
        let levels = prop::collection::vec(prop_oneof![2 => level(), 1 => Just("+")], 0..4);
        (levels, any::<bool>()).prop_map(|(mut levels, rest)| {
            if rest || levels.is_empty() {
                levels.push("#");
            }
            levels.join("/")
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(
            changes in prop::collection::vec((any_filter(), 0_u32..4, any::<bool>()), 0..40),
            topics in prop::collection::vec(any_topic(), 1..10),
        ) {
            let mut tree = TopicTree::new();
            let mut list: Vec<(TopicFilter, u32)> = Vec::new();
            for (text, value, insert) in changes {
                let Ok(filter) = TopicFilter::parse(&text) else { continue };
                let entry = (filter, value);
                if insert {
                    tree.insert(&entry.0, value);
                    list.push(entry);
                } else {
                    let at = list.iter().position(|each| *each == entry);
                    prop_assert_eq!(tree.remove(&entry.0, &value), at.is_some());
                    at.map(|at| list.remove(at));
                }
                prop_assert_eq!(tree.len(), list.len());
            }
            for topic in topics {
                let mut expected: Vec<u32> =
                    list.iter().filter(|(filter, _)| filter.matches(&topic)).map(|(_, value)| *value).collect();
                expected.sort_unstable();
                prop_assert_eq!(matches(&tree, &topic), expected);
            }
            for (filter, value) in list {
                prop_assert!(tree.remove(&filter, &value));
            }
            prop_assert!(is_bare(&tree));
        }
    }
}
