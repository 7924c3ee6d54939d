//! From a byte of a string's value to the byte of the file it was written with.
//!
//! Rules say where in their SQL a mistake is; the SQL stands in a TOML string, which may drop its first line
//! end, and hold escapes that are longer than what they mean (TOML 1.1, "String").

use std::ops::Range;

use crate::files::{Files, Place};

/// Where a span of the value of the string at `place` stands.
pub(crate) fn in_literal(files: &Files, place: &Place, span: &Range<usize>) -> Place {
    let Some(literal) = &place.span else { return place.clone() };
    let within = span_in_literal(files.text_at(place), span);
    Place::new(place.file, literal.start + within.start..literal.start + within.end)
}

/// Maps a span of a string's value to a span of its literal, `raw`, quotes included.
///
/// A span that does not fit the literal ends where the literal's text does.
pub(crate) fn span_in_literal(raw: &str, span: &Range<usize>) -> Range<usize> {
    let Some(mut pieces) = Pieces::of(raw) else { return 0..raw.len() };
    let mut start = None;
    while let Some(piece) = pieces.next_piece() {
        if start.is_none() && span.start < piece.value.end {
            start = Some(piece.at(span.start));
        }
        if span.end <= piece.value.end && (span.end > span.start || start.is_some()) {
            let start = start.unwrap_or(piece.raw.start);
            let end = if span.is_empty() { start } else { piece.end_at(span.end) };
            return start..end.max(start);
        }
    }
    let end = pieces.text_end;
    start.unwrap_or(end)..end
}

/// A stretch of a literal, and the bytes of the value it stands for.
struct Piece {
    raw: Range<usize>,
    value: Range<usize>,
    /// Whether it stands for itself, byte by byte.
    verbatim: bool,
}

impl Piece {
    fn at(&self, value: usize) -> usize {
        if self.verbatim { self.raw.start + value.saturating_sub(self.value.start) } else { self.raw.start }
    }

    fn end_at(&self, value: usize) -> usize {
        if self.verbatim { self.at(value) } else { self.raw.end }
    }
}

/// Walks over a literal.
struct Pieces<'a> {
    raw: &'a str,
    escapes: bool,
    /// The next byte of the literal.
    at: usize,
    /// The next byte of the value.
    value: usize,
    /// Where the closing quotes begin.
    text_end: usize,
}

impl<'a> Pieces<'a> {
    /// `None` if this is not a string.
    fn of(raw: &'a str) -> Option<Self> {
        let quote = ["'''", "\"\"\"", "'", "\""].into_iter().find(|quote| raw.starts_with(quote))?;
        let text = raw.get(quote.len()..)?;
        let text_end = quote.len() + text.strip_suffix(quote)?.len();
        let multi_line = quote.len() == 3;
        let line_end = ["\n", "\r\n"].into_iter().find(|end| multi_line && text.starts_with(end));
        let at = quote.len() + line_end.map_or(0, str::len);
        Some(Self { raw, escapes: quote.starts_with('"'), at, value: 0, text_end })
    }

    fn next_piece(&mut self) -> Option<Piece> {
        let rest = self.raw.get(self.at..self.text_end).filter(|rest| !rest.is_empty())?;
        let (raw_length, value_length, verbatim) = match rest.strip_prefix('\\') {
            Some(escaped) if self.escapes => {
                let (raw_length, value_length) = escape(escaped);
                (raw_length + 1, value_length, false)
            }
            _ => {
                let length = if self.escapes { rest.find('\\').unwrap_or(rest.len()) } else { rest.len() };
                (length, length, true)
            }
        };
        let piece = Piece {
            raw: self.at..(self.at + raw_length).min(self.text_end),
            value: self.value..self.value + value_length,
            verbatim,
        };
        self.at = piece.raw.end;
        self.value = piece.value.end;
        Some(piece)
    }
}

/// How long what follows a backslash is, and how long what it means.
fn escape(escaped: &str) -> (usize, usize) {
    let digits = match escaped.bytes().next() {
        Some(b'x') => 2,
        Some(b'u') => 4,
        Some(b'U') => 8,
        Some(b' ' | b'\t' | b'\r' | b'\n') => {
            let white = |letter: char| matches!(letter, ' ' | '\t' | '\r' | '\n');
            return (escaped.len() - escaped.trim_start_matches(white).len(), 0);
        }
        _ => return (escaped.chars().next().map_or(0, char::len_utf8), 1),
    };
    let code = escaped.get(1..=digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    (1 + digits, code.and_then(char::from_u32).map_or(1, char::len_utf8))
}

#[cfg(test)]
mod tests;
