//! Comma-separated values (RFC 4180).

use super::TableError;

/// The records of a text.
pub(super) struct Records<'a> {
    rest: &'a str,
    line: usize,
}

pub(super) struct Record {
    pub(super) fields: Vec<Field>,
    /// The line on which it begins.
    pub(super) line: usize,
}

pub(super) struct Field {
    pub(super) text: String,
    pub(super) quoted: bool,
}

impl<'a> Records<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text, line: 1 }
    }

    /// Takes a field and says whether the record goes on after it.
    fn field(&mut self) -> Result<(Field, bool), TableError> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
            let (text, rest) = self.rest.split_at(end);
            self.rest = rest;
            let text = text.strip_suffix('\r').filter(|_| !rest.starts_with(',')).unwrap_or(text).to_owned();
            return Ok((Field { text, quoted: false }, self.separator()));
        };
        let start = self.line;
        let mut text = String::new();
        let mut rest = quoted;
        loop {
            let Some((part, after)) = rest.split_once('"') else {
                return Err(TableError::new(start, "this quote is never closed"));
            };
            self.line += part.matches('\n').count();
            text.push_str(part);
            match after.strip_prefix('"') {
                Some(after) => {
                    text.push('"');
                    rest = after;
                }
                None => {
                    self.rest =
                        after.strip_prefix('\r').filter(|after| after.starts_with('\n')).unwrap_or(after);
                    break;
                }
            }
        }
        if !self.rest.is_empty() && !self.rest.starts_with([',', '\n']) {
            return Err(TableError::new(self.line, "a quote is closed before the end of its field"));
        }
        Ok((Field { text, quoted: true }, self.separator()))
    }

    fn separator(&mut self) -> bool {
        if let Some(rest) = self.rest.strip_prefix(',') {
            self.rest = rest;
            return true;
        }
        if let Some(rest) = self.rest.strip_prefix('\n') {
            self.rest = rest;
            self.line += 1;
        }
        false
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Empty lines are no records.
        while let Some(rest) = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix('\n')) {
            self.rest = rest;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return None;
        }
        let line = self.line;
        let mut fields = Vec::new();
        loop {
            match self.field() {
                Ok((field, goes_on)) => {
                    fields.push(field);
                    if !goes_on {
                        return Some(Ok(Record { fields, line }));
                    }
                }
                Err(error) => {
                    self.rest = "";
                    return Some(Err(error));
                }
            }
        }
    }
}
