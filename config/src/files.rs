//! The files that were read, and places in them.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// A place in one of the [`Files`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The index of the file.
    pub(crate) file: usize,
    /// The bytes; `None` is the file as a whole.
    pub(crate) span: Option<Range<usize>>,
}

impl Place {
    pub(crate) fn new(file: usize, span: Range<usize>) -> Self {
        Self { file, span: Some(span) }
    }

    pub(crate) fn whole(file: usize) -> Self {
        Self { file, span: None }
    }
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// `None` if it could not be read.
    text: Option<String>,
}

/// All files, in the order they were read.
#[derive(Debug, Default)]
pub(crate) struct Files(Vec<File>);

impl Files {
    /// Adds a file, or with no text one that could not be read, and says its index.
    pub(crate) fn add(&mut self, path: &Path, text: Option<String>) -> usize {
        self.0.push(File { path: path.to_owned(), text });
        self.0.len() - 1
    }

    /// The path of a file.
    pub(crate) fn path(&self, file: usize) -> &Path {
        self.0.get(file).map_or(Path::new(""), |file| &file.path)
    }

    /// The text of a file; empty if it could not be read.
    pub(crate) fn text(&self, file: usize) -> &str {
        self.0.get(file).and_then(|file| file.text.as_deref()).unwrap_or_default()
    }

    /// The text of a place.
    pub(crate) fn text_at(&self, place: &Place) -> &str {
        let text = self.text(place.file);
        place.span.clone().map_or(text, |span| text.get(span).unwrap_or_default())
    }

    /// Covers what stands at a place, so that no report can show it.
    pub(crate) fn hide(&mut self, place: &Place) {
        let text = self.0.get_mut(place.file).and_then(|file| file.text.as_mut());
        if let (Some(text), Some(span)) = (text, place.span.clone())
            && text.get(span.clone()).is_some()
        {
            text.replace_range(span.clone(), &"*".repeat(span.len()));
        }
    }

    /// The paths of what could be read.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter(|file| file.text.is_some()).map(|file| file.path.as_path())
    }
}

/// Widens a span to whole lines, without the last line's end, and keeps it inside the text.
pub(crate) fn lines_around(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start);
    let end = text.ceil_char_boundary(span.end).max(start);
    let before = text.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let after = text.get(end..).and_then(|after| after.find('\n')).map_or(text.len(), |at| end + at);
    before..after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_a_text() {
        let mut files = Files::default();
        let file = files.add(Path::new("a.toml"), Some("one\ntwo".to_owned()));
        let unread = files.add(Path::new("b.toml"), None);
        assert_eq!(files.text_at(&Place::new(file, 4..7)), "two");
        assert_eq!(files.text_at(&Place::new(file, 4..70)), "");
        assert_eq!(files.text_at(&Place::whole(file)), "one\ntwo");
        assert_eq!(files.text_at(&Place::new(unread, 0..1)), "");
        assert_eq!(files.text_at(&Place::whole(9)), "");
        assert_eq!(files.paths().collect::<Vec<_>>(), [Path::new("a.toml")]);
    }

    #[test]
    fn hidden_text_keeps_its_length() {
        let mut files = Files::default();
        let file = files.add(Path::new("a.toml"), Some("p = 'sécret'\nx".to_owned()));
        files.hide(&Place::new(file, 4..13));
        files.hide(&Place::new(file, 4..99));
        assert_eq!(files.text(file), "p = *********\nx");
    }

    #[test]
    fn lines_are_whole_and_inside() {
        let text = "one\ntwö\r\nthree";
        for (span, expected) in [
            (0..0, 0..3),
            (1..2, 0..3),
            (3..3, 0..3),
            (4..5, 4..9),
            (2..5, 0..9),
            (7..7, 4..9),
            (12..14, 10..15),
            (15..15, 10..15),
            (90..99, 10..15),
        ] {
            assert_eq!(lines_around(text, &span), expected, "{span:?}");
        }
        assert_eq!(lines_around("", &(0..0)), 0..0);
    }
}
