//! Groups by window and key, in the order in which they were last touched.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// What belongs to the events with the same key, and with windows that do not overlap, of the same window.
#[derive(Debug, PartialEq)]
pub(crate) struct Group<T> {
    pub(crate) start_ms: i64,
    pub(crate) key: Box<[u8]>,
    pub(crate) content: T,
    /// When its timer rings; never if it has none.
    pub(crate) timer_ms: i64,
}

impl<T> Group<T> {
    pub(crate) fn new(start_ms: i64, key: Box<[u8]>, content: T) -> Self {
        Self { start_ms, key, content, timer_ms: i64::MAX }
    }
}

/// A hash table over slots that are also linked from the oldest to the newest.
#[derive(Debug)]
pub(crate) struct Groups<T> {
    hasher: RandomState,
    table: HashTable<SlotId>,
    slots: Vec<Slot<T>>,
    free: Vec<SlotId>,
    oldest: SlotId,
    newest: SlotId,
}

/// The place of a slot; 32 bits, since a hundred thousand groups have three of them each.
pub(crate) type SlotId = u32;
/// No slot: looking it up finds none.
const NONE: SlotId = SlotId::MAX;
/// Places for so many groups, and for no more.
pub(crate) const GROUPS_MAX: usize = (SlotId::MAX - 1) as usize;

#[derive(Debug)]
struct Slot<T> {
    group: Option<Group<T>>,
    older: SlotId,
    newer: SlotId,
}

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
        }
    }
}

impl<T> Groups<T> {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn find(&self, start_ms: i64, key: &[u8]) -> Option<SlotId> {
        let hash = self.hasher.hash_one((start_ms, key));
        self.table
            .find(hash, |slot| {
                self.group(*slot).is_some_and(|group| group.start_ms == start_ms && *group.key == *key)
            })
            .copied()
    }

    pub(crate) fn group(&self, slot: SlotId) -> Option<&Group<T>> {
        get(&self.slots, slot)?.group.as_ref()
    }

    pub(crate) fn group_mut(&mut self, slot: SlotId) -> Option<&mut Group<T>> {
        self.slot_mut(slot)?.group.as_mut()
    }

    fn slot_mut(&mut self, slot: SlotId) -> Option<&mut Slot<T>> {
        self.slots.get_mut(slot as usize)
    }

    /// Adds a group that is not there, as the newest. There are fewer than [`GROUPS_MAX`].
    pub(crate) fn insert(&mut self, group: Group<T>) -> SlotId {
        let hash = self.hasher.hash_one((group.start_ms, &*group.key));
        let filled = Slot { group: Some(group), older: NONE, newer: NONE };
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(slot) = self.slot_mut(id) {
                    *slot = filled;
                }
                id
            }
            None => {
                self.slots.push(filled);
                SlotId::try_from(self.slots.len() - 1).unwrap_or(NONE)
            }
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.table.insert_unique(hash, id, |id| hash_of(slots, hasher, *id));
        self.link(id);
        id
    }

    /// Makes a group the newest and gives it.
    pub(crate) fn touch(&mut self, slot: SlotId) -> Option<&mut Group<T>> {
        if self.newest != slot {
            self.unlink(slot);
            self.link(slot);
        }
        self.group_mut(slot)
    }

    pub(crate) fn pop_oldest(&mut self) -> Option<Group<T>> {
        self.remove(self.oldest)
    }

    pub(crate) fn remove(&mut self, slot: SlotId) -> Option<Group<T>> {
        let hash = hash_of(&self.slots, &self.hasher, slot);
        let group = self.slot_mut(slot)?.group.take()?;
        if let Ok(entry) = self.table.find_entry(hash, |id| *id == slot) {
            entry.remove();
        }
        self.unlink(slot);
        self.free.push(slot);
        Some(group)
    }

    /// Removes the groups that a test holds for. Gives the memory back if that are all.
    pub(crate) fn remove_where(&mut self, test: impl Fn(&Group<T>) -> bool) -> Vec<Group<T>> {
        if self.slots.iter().all(|slot| slot.group.as_ref().is_none_or(&test)) {
            let all = std::mem::take(self);
            // Next window, as many groups again: the table need not grow step by step.
            self.table = HashTable::with_capacity(all.len());
            return all.slots.into_iter().filter_map(|slot| slot.group).collect();
        }
        let ids = (0..).take(self.slots.len());
        let matching: Vec<SlotId> = ids.filter(|id| self.group(*id).is_some_and(&test)).collect();
        matching.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = &Group<T>> {
        let next = |slot: &&Slot<T>| get(&self.slots, slot.newer);
        std::iter::successors(get(&self.slots, self.oldest), next).filter_map(|slot| slot.group.as_ref())
    }

    fn link(&mut self, id: SlotId) {
        let older = std::mem::replace(&mut self.newest, id);
        if let Some(slot) = self.slot_mut(id) {
            (slot.older, slot.newer) = (older, NONE);
        }
        match self.slot_mut(older) {
            Some(older) => older.newer = id,
            None => self.oldest = id,
        }
    }

    fn unlink(&mut self, id: SlotId) {
        let Some(slot) = self.slot_mut(id) else { return };
        let (older, newer) = (slot.older, slot.newer);
        match self.slot_mut(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match self.slot_mut(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
    }
}

fn get<T>(slots: &[Slot<T>], id: SlotId) -> Option<&Slot<T>> {
    slots.get(id as usize)
}

fn hash_of<T>(slots: &[Slot<T>], hasher: &RandomState, id: SlotId) -> u64 {
    let group = get(slots, id).and_then(|slot| slot.group.as_ref());
    group.map_or(0, |group| hasher.hash_one((group.start_ms, &*group.key)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(start_ms: i64, key: u8) -> Group<()> {
        Group::new(start_ms, [key].into(), ())
    }

    #[derive(Debug, Clone)]
    enum Step {
        Touch(i64, u8),
        PopOldest,
        RemoveUpTo(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_i64..4, 0_u8..6).prop_map(|(start_ms, key)| Step::Touch(start_ms, key)),
            2 => Just(Step::PopOldest),
            1 => (-1_i64..5).prop_map(Step::RemoveUpTo),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(steps in prop::collection::vec(step(), 0..80)) {
            let mut groups = Groups::default();
            let mut list: Vec<(i64, u8)> = Vec::new();
            for step in steps {
                match step {
                    Step::Touch(start_ms, key) => {
                        let found = groups.find(start_ms, &[key]);
                        prop_assert_eq!(found.is_some(), list.contains(&(start_ms, key)));
                        let slot = found.unwrap_or_else(|| groups.insert(group(start_ms, key)));
                        prop_assert_eq!(groups.touch(slot).map(|group| &*group), Some(&group(start_ms, key)));
                        list.retain(|each| *each != (start_ms, key));
                        list.push((start_ms, key));
                    }
                    Step::PopOldest => {
                        let expected = if list.is_empty() { None } else { Some(list.remove(0)) };
                        prop_assert_eq!(groups.pop_oldest(), expected.map(|(start, key)| group(start, key)));
                    }
                    Step::RemoveUpTo(start_ms) => {
                        let mut removed: Vec<_> = groups
                            .remove_where(|group| group.start_ms <= start_ms)
                            .iter()
                            .map(|group| (group.start_ms, group.key[0]))
                            .collect();
                        removed.sort_unstable();
                        let (mut expected, kept): (Vec<_>, Vec<_>) =
                            list.into_iter().partition(|each| each.0 <= start_ms);
                        expected.sort_unstable();
                        prop_assert_eq!(removed, expected);
                        list = kept;
                    }
                }
                let order: Vec<_> = groups.oldest_first().map(|group| (group.start_ms, group.key[0])).collect();
                prop_assert_eq!(&order, &list);
                prop_assert_eq!(groups.len(), list.len());
            }
        }
    }
}
