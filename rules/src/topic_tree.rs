//! A tree of topic filters: which values belong to the filters that match a topic, at a cost that depends on the
//! depth of the topic and not on the number of filters.

use hashbrown::HashMap;

use crate::topic::TopicFilter;

/// A map from topic filters to values; a filter may have several.
#[derive(Debug, Clone)]
pub struct TopicTree<T> {
    root: Node<T>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Node<T> {
    /// Of filters that end here.
    values: Vec<T>,
    /// Of filters that have `#` as the next level.
    rest: Vec<T>,
    /// The next level is `+`.
    any: Option<Box<Node<T>>>,
    children: HashMap<Box<str>, Node<T>, foldhash::fast::RandomState>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { values: Vec::new(), rest: Vec::new(), any: None, children: HashMap::default() }
    }
}

impl<T: PartialEq> TopicTree<T> {
    /// A tree without filters.
    pub fn new() -> Self {
        Self { root: Node::default(), len: 0 }
    }

    /// Adds a value to a filter, even if the filter has an equal value already.
    pub fn insert(&mut self, filter: &TopicFilter, value: T) {
        self.root.insert(filter.as_str().split('/'), value);
        self.len += 1;
    }

    /// Takes one value equal to `value` away from a filter and says whether there was one. Gives memory back.
    pub fn remove(&mut self, filter: &TopicFilter, value: &T) -> bool {
        let removed = self.root.remove(filter.as_str().split('/'), value);
        self.len -= usize::from(removed);
        removed
    }

    /// Calls `found` for each value of each filter that matches a topic name, in no particular order.
    pub fn for_each_match(&self, topic: &str, mut found: impl FnMut(&T)) {
        self.root.for_each_match(topic.split('/'), !topic.starts_with('$'), &mut found);
    }

    /// Says whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many values there are, over all filters.
    pub fn len(&self) -> usize {
        self.len
    }
}

impl<T: PartialEq> Default for TopicTree<T> {
    fn default() -> Self {
        Self::new()
    }
}

// Recursion goes one frame deeper per level, and a filter has at most TOPIC_LEVELS_MAX.
impl<T: PartialEq> Node<T> {
    fn insert<'a>(&mut self, mut levels: impl Iterator<Item = &'a str>, value: T) {
        match levels.next() {
            None => self.values.push(value),
            Some("#") => self.rest.push(value),
            Some("+") => self.any.get_or_insert_default().insert(levels, value),
            Some(level) => self.children.entry(level.into()).or_default().insert(levels, value),
        }
    }

    fn remove<'a>(&mut self, mut levels: impl Iterator<Item = &'a str>, value: &T) -> bool {
        match levels.next() {
            None => take(&mut self.values, value),
            Some("#") => take(&mut self.rest, value),
            Some("+") => {
                let Some(node) = &mut self.any else { return false };
                let removed = node.remove(levels, value);
                if node.is_empty() {
                    self.any = None;
                }
                removed
            }
            Some(level) => self.remove_below(level, levels, value),
        }
    }

    fn remove_below<'a>(&mut self, level: &str, levels: impl Iterator<Item = &'a str>, value: &T) -> bool {
        let Some(node) = self.children.get_mut(level) else { return false };
        let removed = node.remove(levels, value);
        if node.is_empty() {
            self.children.remove(level);
            if self.children.len() * 4 < self.children.capacity() {
                self.children.shrink_to_fit();
            }
        }
        removed
    }

    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.rest.is_empty() && self.any.is_none() && self.children.is_empty()
    }

    fn for_each_match<'a>(
        &self,
        mut levels: impl Iterator<Item = &'a str> + Clone,
        wildcards: bool,
        found: &mut impl FnMut(&T),
    ) {
        // `a/#` matches `a` too, so this comes before asking for another level.
        if wildcards {
            self.rest.iter().for_each(&mut *found);
        }
        let Some(level) = levels.next() else {
            self.values.iter().for_each(found);
            return;
        };
        if let Some(node) = self.any.as_ref().filter(|_| wildcards) {
            node.for_each_match(levels.clone(), true, found);
        }
        if let Some(node) = self.children.get(level) {
            node.for_each_match(levels, true, found);
        }
    }
}

fn take<T: PartialEq>(values: &mut Vec<T>, value: &T) -> bool {
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
        assert!(tree.root.is_empty() && tree.root.children.capacity() == 0);
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
            prop_assert!(tree.is_empty() && tree.root.is_empty());
        }
    }
}
