//! The files of access: who may connect, and what they may do. Their formats are mosquitto's, so that a site keeps the
//! files it has.

mod acl;
mod passwords;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files::{Files, Place};
use crate::mistake::Mistake;
use crate::{AclRule, Login};

/// How many mistakes of one file are reported; after them its rest is not read.
const MISTAKES_MAX: usize = 100;

/// What the files of access say, by their paths. A file that could not be read is there too, and says nothing.
#[derive(Debug, Default)]
pub(crate) struct AccessFiles {
    logins: BTreeMap<PathBuf, Arc<[Login]>>,
    acls: BTreeMap<PathBuf, Arc<[AclRule]>>,
}

impl AccessFiles {
    /// Whether this password file was read already.
    pub(crate) fn has_logins(&self, path: &Path) -> bool {
        self.logins.contains_key(path)
    }

    /// Whether this access list was read already.
    pub(crate) fn has_acl(&self, path: &Path) -> bool {
        self.acls.contains_key(path)
    }

    /// Takes a password file. What is wrong with it is reported without showing a hash.
    pub(crate) fn add_logins(
        &mut self,
        path: &Path,
        file: usize,
        files: &mut Files,
        mistakes: &mut Vec<Mistake>,
    ) {
        let mut found = Vec::new();
        let logins = passwords::parse(file, files.text(file), &mut found);
        let places = found
            .iter()
            .flat_map(|mistake| [Some(&mistake.place), mistake.also.as_ref().map(|(place, _)| place)]);
        for place in places.flatten() {
            let span = place.span.clone().unwrap_or_default();
            let name_end = files.text_at(place).find(':').map_or(0, |at| at + 1);
            files.hide(&Place::new(file, span.start + name_end..span.end));
        }
        mistakes.append(&mut found);
        self.logins.insert(path.to_owned(), logins.into());
    }

    /// Takes an access list.
    pub(crate) fn add_acl(&mut self, path: &Path, file: usize, files: &Files, mistakes: &mut Vec<Mistake>) {
        let rules = acl::parse(file, files.text(file), mistakes);
        self.acls.insert(path.to_owned(), rules.into());
    }

    /// The users of a password file.
    pub(crate) fn logins(&self, path: &Path) -> Option<Arc<[Login]>> {
        self.logins.get(path).cloned()
    }

    /// The rules of an access list.
    pub(crate) fn acl(&self, path: &Path) -> Option<Arc<[AclRule]>> {
        self.acls.get(path).cloned()
    }
}

/// The lines of a text without blanks around them, with their spans; empty ones and comments are left out.
fn lines(text: &str) -> impl Iterator<Item = (&str, Range<usize>)> {
    let mut start = 0;
    text.split('\n').filter_map(move |line| {
        let at = start + (line.len() - line.trim_start().len());
        start += line.len() + 1;
        let line = line.trim();
        (!line.is_empty() && !line.starts_with('#')).then(|| (line, at..at + line.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn lines_know_where_they_are() {
        let text = "# comment\n\n a b \r\nc";
        let found: Vec<_> = lines(text).map(|(line, span)| (line, &text[span])).collect();
        assert_eq!(found, [("a b", "a b"), ("c", "c")]);
        assert_eq!(lines("").count(), 0);
    }
}
