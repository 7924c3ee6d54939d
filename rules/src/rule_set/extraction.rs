//! Which fields to take out of a payload, for each set of rules that an event was found to concern.

use hashbrown::HashMap;

use super::Match;
use crate::field::{Path, Projection};

/// How many sets of rules are remembered: far more than there are in practice, but topics come from outside.
const EXTRACTIONS_MAX: usize = 1024;

/// The fields of some rules together.
#[derive(Debug)]
pub(super) struct Extraction {
    pub(super) projection: Projection,
    /// For each of the rules, the slots of its fields.
    pub(super) fields: Vec<Vec<usize>>,
}

/// Extractions, made when they are first needed.
#[derive(Debug, Default)]
pub(super) struct Extractions(HashMap<Vec<Match>, Extraction, foldhash::fast::RandomState>);

impl Extractions {
    /// The extraction for some rules.
    pub(super) fn find<'f>(
        &mut self,
        matches: &[Match],
        fields_of: impl Fn(u32) -> &'f [Path],
    ) -> &Extraction {
        if self.0.len() >= EXTRACTIONS_MAX && !self.0.contains_key(matches) {
            self.0.clear();
        }
        self.0.entry_ref(matches).or_insert_with(|| {
            let mut projection = Projection::default();
            let mut add = |paths: &[Path]| paths.iter().map(|path| projection.add(path)).collect();
            let fields = matches.iter().map(|each| add(fields_of(each.rule))).collect();
            Extraction { projection, fields }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Step;

    fn matches(rules: &[u32]) -> Vec<Match> {
        rules.iter().map(|rule| Match { rule: *rule, filter: 0 }).collect()
    }

    #[test]
    fn rules_share_fields() {
        let path = |name: &str| vec![Step::Member(name.into())];
        let paths = [vec![path("a"), path("b")], vec![path("b"), path("c")]];
        let fields_of = |rule: u32| paths[rule as usize].as_slice();
        let mut extractions = Extractions::default();
        assert_eq!(extractions.find(&matches(&[0, 1]), fields_of).fields, [[0, 1], [1, 2]]);
        assert_eq!(extractions.find(&matches(&[1]), fields_of).fields, [[0, 1]]);
        assert_eq!(extractions.find(&matches(&[0, 1]), |_| &[]).fields, [[0, 1], [1, 2]], "remembered");
    }

    #[test]
    fn they_are_bounded() {
        let mut extractions = Extractions::default();
        for rule in 0..5_000 {
            extractions.find(&matches(&[rule]), |_| &[]);
        }
        assert!(extractions.0.len() <= EXTRACTIONS_MAX);
    }
}
