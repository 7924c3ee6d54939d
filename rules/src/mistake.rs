//! What is wrong with a rule, and where.

use std::ops::Range;

/// Which of a rule's texts a span points into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// The SQL, or the filter of a route.
    Query,
    /// The topic of the destination with this index.
    Topic(usize),
    /// The payload template of the destination with this index.
    Payload(usize),
    /// The destination with this index as a whole; the span says nothing.
    Destination(usize),
    /// The field of the event time.
    Time,
    /// That late events have destinations; the span says nothing.
    Late,
    /// What an evaluation error does; the span says nothing.
    OnError,
}

/// One thing that is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The text that has it.
    pub text: Text,
    /// Where in that text, in bytes.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// A second place in the same text that has to do with it, and what it is.
    pub also: Option<(Range<usize>, String)>,
}

impl Mistake {
    pub(crate) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { text: Text::Query, span, message: message.into(), help: None, also: None }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    pub(crate) fn also(self, span: Range<usize>, label: impl Into<String>) -> Self {
        Self { also: Some((span, label.into())), ..self }
    }

    /// Adds `did you mean` if one of the candidates is near to the name.
    pub(crate) fn suggest<'a>(self, name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(name, candidates) {
            Some(candidate) => self.help(format!("did you mean `{candidate}`?")),
            None => self,
        }
    }
}

/// So many mistakes are looked for in the SQL of one rule: with more, the later ones follow from the earlier ones.
pub(crate) const MISTAKES_MAX: usize = 20;

/// Longer names are not compared: nobody mistypes them, and the cost grows with the square.
const NAME_CHARS_MAX: usize = 64;

/// The candidate that a name was most likely meant to be: at most one change in three characters, or the same
/// beginning, four characters and two thirds of the name at least; case ignored.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = letters(name).take(NAME_CHARS_MAX + 1).collect();
    if name.len() > NAME_CHARS_MAX {
        return None;
    }
    let distance_max = (name.len().max(3)) / 3;
    // Names of very different lengths are told apart without a look at their letters.
    let is_near = |candidate: &str| letters(candidate).count().abs_diff(name.len()) <= distance_max;
    candidates
        .into_iter()
        .filter(|candidate| is_near(candidate) || begins_alike(&name, candidate))
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= distance_max || begins_alike(&name, candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The letters of a name, in lower case.
fn letters(name: &str) -> impl Iterator<Item = char> {
    name.chars().flat_map(char::to_lowercase)
}

fn begins_alike(name: &[char], candidate: &str) -> bool {
    let alike = name.iter().zip(letters(candidate)).take_while(|(ours, theirs)| **ours == *theirs).count();
    alike >= 4 && 3 * alike >= 2 * name.len()
}

/// How many characters have to be inserted, removed, replaced or swapped with their neighbour (optimal string
/// alignment).
fn distance(name: &[char], candidate: &str) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=name.len()).collect();
    let mut current: Vec<usize> = Vec::new();
    let mut above: Option<char> = None;
    for (row, letter) in letters(candidate).take(NAME_CHARS_MAX).enumerate() {
        current.clear();
        current.push(row + 1);
        let mut left: Option<char> = None;
        for (column, other) in name.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&last, column) + usize::from(letter != *other);
            let mut best = replaced.min(at(&last, column + 1) + 1).min(at(&current, column) + 1);
            if column > 0 && left == Some(letter) && above == Some(*other) {
                best = best.min(at(&before_last, column - 1) + 1);
            }
            current.push(best);
            left = Some(*other);
        }
        std::mem::swap(&mut before_last, &mut last);
        std::mem::swap(&mut last, &mut current);
        above = Some(letter);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (name, candidate, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "ABC", 0),
            ("abc", "", 3),
            ("", "abc", 3),
            ("abc", "acb", 1),
            ("tumbel", "tumbling", 4),
            ("kitten", "sitting", 3),
            ("größe", "grösse", 2),
        ] {
            let name: Vec<char> = name.chars().collect();
            assert_eq!(distance(&name, candidate), expected, "{name:?} {candidate}");
        }
    }

    #[test]
    fn nearest_is_near_or_nothing() {
        let names = ["round", "sqrt", "starts_with", "avg"];
        assert_eq!(nearest("roun", names), Some("round"));
        assert_eq!(nearest("STARTWITH", names), Some("starts_with"));
        assert_eq!(nearest("agv", names), Some("avg"));
        assert_eq!(nearest("tumbel", ["round", "tumblingwindow", "tumbling"]), Some("tumbling"));
        assert_eq!(nearest("tumor", ["tumbling"]), None);
        assert_eq!(nearest("voltage", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(nearest(&"x".repeat(10_000), names), None);
        assert_eq!(nearest("x", []), None);
    }
}
