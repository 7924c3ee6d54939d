//! All mistakes of all files, for people to read.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::files::{Files, Place, lines_around};
use crate::mistake::{Mistake, Severity};

/// How many mistakes are shown; of more, only the number is.
const SHOWN_MAX: usize = 100;

/// Everything that is wrong with the files that were read.
#[derive(Debug, Default)]
pub struct Report {
    files: Files,
    /// In the order of the files, and of the places in them.
    mistakes: Vec<Mistake>,
}

impl Report {
    pub(crate) fn new(files: Files, mut mistakes: Vec<Mistake>) -> Self {
        mistakes
            .sort_by_key(|mistake| (mistake.place.file, mistake.place.span.as_ref().map(|span| span.start)));
        mistakes.dedup();
        Self { files, mistakes }
    }

    /// How many mistakes keep a gateway from starting.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// How many mistakes do not.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    /// Whether nothing is wrong at all.
    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// The files that could be read, in the order they were.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.paths()
    }

    /// Writes each mistake with its file, line, column, the line itself and what to do about it; the first 100
    /// of them, then how many more there are. Passwords written in a file are not shown. With `colour`, for a
    /// terminal.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for mistake in self.mistakes.iter().take(SHOWN_MAX) {
            // Writing to a string does not fail.
            let _ = writeln!(out, "{}\n", renderer.render(&[self.group(mistake)]));
        }
        if let Some(more @ 1..) = self.mistakes.len().checked_sub(SHOWN_MAX) {
            let _ = writeln!(out, "… and {more} more\n");
        }
        out
    }

    fn count(&self, severity: Severity) -> usize {
        self.mistakes.iter().filter(|mistake| mistake.severity == severity).count()
    }

    fn group<'a>(&'a self, mistake: &'a Mistake) -> Group<'a> {
        let level = match mistake.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level.primary_title(printable(&mistake.message)).elements(None::<Origin<'_>>);
        group = self.show_place(group, mistake);
        if let Some((place, label)) =
            mistake.also.as_ref().filter(|(place, _)| place.file != mistake.place.file)
        {
            group = match &place.span {
                Some(span) => group.element(self.snippet(
                    place,
                    span.clone(),
                    AnnotationKind::Context,
                    Some(label),
                    None,
                )),
                None => group.element(Origin::path(self.path(place))),
            };
        }
        match &mistake.help {
            Some(help) => group.element(Level::HELP.message(printable(help))),
            None => group,
        }
    }

    /// Adds the lines of the mistake, with the second place if it is in the same file.
    fn show_place<'a>(&'a self, group: Group<'a>, mistake: &'a Mistake) -> Group<'a> {
        let Some(span) = &mistake.place.span else {
            return group.element(Origin::path(self.path(&mistake.place)));
        };
        let also = mistake.also.as_ref().filter(|(place, _)| place.file == mistake.place.file);
        let also = also.and_then(|(place, label)| Some((place.span.clone()?, label.as_str())));
        let label = mistake.label.as_deref();
        group.element(self.snippet(&mistake.place, span.clone(), AnnotationKind::Primary, label, also))
    }

    /// Only the lines in question are handed over, so that the cost does not grow with the file.
    fn snippet<'a>(
        &'a self,
        place: &Place,
        span: Range<usize>,
        kind: AnnotationKind,
        label: Option<&'a str>,
        also: Option<(Range<usize>, &'a str)>,
    ) -> Snippet<'a, Annotation<'a>> {
        let text = self.files.text(place.file);
        let all = also
            .as_ref()
            .map_or(span.clone(), |(other, _)| span.start.min(other.start)..span.end.max(other.end));
        let lines = lines_around(text, &all);
        let line_start = 1 + text.get(..lines.start).map_or(0, |before| before.matches('\n').count());
        let source = text.get(lines.clone()).unwrap_or_default();
        let within = |span: Range<usize>| {
            let start = source.floor_char_boundary(span.start.saturating_sub(lines.start));
            start..source.ceil_char_boundary(span.end.saturating_sub(lines.start)).max(start)
        };
        let first = kind.span(within(span)).label(label.map(printable));
        let second =
            also.map(|(span, label)| AnnotationKind::Context.span(within(span)).label(printable(label)));
        Snippet::source(source)
            .path(self.path(place))
            .line_start(line_start)
            .annotation(first)
            .annotations(second)
    }

    fn path(&self, place: &Place) -> String {
        printable(&self.files.path(place.file).to_string_lossy()).into_owned()
    }
}

/// A file may name things with line ends and terminal controls; a report shows them escaped.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escape = |letter: char| {
        if letter.is_control() { letter.escape_default().to_string() } else { letter.to_string() }
    };
    Cow::Owned(text.chars().map(escape).collect())
}
