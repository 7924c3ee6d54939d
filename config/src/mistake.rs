//! What is wrong with a file, and where.

use crate::files::Place;
use tidegate_rules::nearest;

/// Whether a gateway can start in spite of a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// It cannot.
    Error,
    /// It can, though hardly as it was meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) severity: Severity,
    pub(crate) place: Place,
    /// What is wrong.
    pub(crate) message: String,
    /// What stands at the place, if the message does not say it.
    pub(crate) label: Option<String>,
    /// What to do about it.
    pub(crate) help: Option<String>,
    /// A second place that has to do with it, and what it is.
    pub(crate) also: Option<(Place, String)>,
}

impl Mistake {
    pub(crate) fn error(place: &Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place: place.clone(),
            message: message.into(),
            label: None,
            help: None,
            also: None,
        }
    }

    pub(crate) fn warning(place: &Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message) }
    }

    /// A setting of the design that this version does not have.
    pub(crate) fn not_built(place: &Place, what: &str) -> Self {
        Self::error(place, format!("`{what}` is not built yet in this version"))
    }

    pub(crate) fn is_warning(&self) -> bool {
        self.severity == Severity::Warning
    }

    pub(crate) fn label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    pub(crate) fn also(self, place: &Place, label: impl Into<String>) -> Self {
        Self { also: Some((place.clone(), label.into())), ..self }
    }

    /// Adds the name that was most likely meant, or else all there are.
    pub(crate) fn suggest<'a>(self, name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        let candidates: Vec<&str> = candidates.into_iter().collect();
        match nearest(name, candidates.iter().copied()) {
            Some(candidate) => self.help(format!("did you mean `{candidate}`?")),
            None if candidates.is_empty() => self,
            None => self.help(format!("there is {}", list(&candidates))),
        }
    }
}

/// Names as a sentence has them: `a`, `b` and `c`.
pub(crate) fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(list(&[]), "");
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
    }

    #[test]
    fn suggestions() {
        let help = |name: &str, candidates: &[&str]| {
            Mistake::error(&Place::whole(0), "x").suggest(name, candidates.iter().copied()).help
        };
        assert_eq!(help("max_byte", &["dir", "max_bytes"]).unwrap(), "did you mean `max_bytes`?");
        assert_eq!(help("zzz", &["dir", "max_bytes"]).unwrap(), "there is `dir` and `max_bytes`");
        assert_eq!(help("zzz", &[]), None);
    }
}
