//! Lookup tables: rows by a key, as `lookup('devices', key, 'column')` finds them.
//!
//! Reading is a function of bytes; who reads the file and when is not known here. A set of tables is swapped as a whole.

mod csv;

use std::sync::Arc;

use hashbrown::HashMap;

use crate::value::Value;

/// The most rows of a table.
const ROWS_MAX: usize = 1_000_000;

/// Why a table cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TableError {
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

impl TableError {
    fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// A table with a key. Of rows with the same key, the last one counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    columns: Vec<String>,
    rows: HashMap<Box<str>, Box<[Value<'static>]>, foldhash::fast::RandomState>,
}

impl Table {
    /// Reads comma-separated values (RFC 4180) whose first line names the columns. Numbers, `true` and `false` are taken
    /// as such if they are written as this program would write them, an empty field is NULL, all else is text.
    ///
    /// # Errors
    /// The first line that is wrong: not UTF-8, a quote that is never closed, too many or too few fields, no key.
    pub fn from_csv(key: &str, bytes: &[u8]) -> Result<Self, TableError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            TableError::new(1 + before.iter().filter(|byte| **byte == b'\n').count(), "this is not UTF-8")
        })?;
        let mut records = csv::Records::new(text.strip_prefix('\u{feff}').unwrap_or(text));
        let header = match records.next() {
            Some(header) => header?.fields,
            None => return Err(TableError::new(1, "the table is empty: its first line names the columns")),
        };
        let columns: Vec<String> = header.into_iter().map(|field| field.text.trim().to_owned()).collect();
        let mut table = Self::with_columns(key, columns)?;
        for record in records {
            let record = record?;
            if record.fields.len() != table.columns.len() {
                let message =
                    format!("{} fields where there are {} columns", record.fields.len(), table.columns.len());
                return Err(TableError::new(record.line, message));
            }
            let values = record.fields.iter().map(|field| match field.quoted {
                true => Value::owned_text(&*field.text),
                false => typed(&field.text),
            });
            table.insert(key, record.line, values.collect())?;
        }
        Ok(table)
    }

    /// Reads JSON lines: an object on each line. The columns are the names of all of them.
    ///
    /// # Errors
    /// The first line that is no object, or has no key.
    pub fn from_json_lines(key: &str, bytes: &[u8]) -> Result<Self, TableError> {
        let mut objects = Vec::new();
        let mut columns: Vec<String> = Vec::new();
        let mut known: HashMap<String, usize, foldhash::fast::RandomState> = HashMap::default();
        for (line, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let value: Value<'_> =
                serde_json::from_slice(bytes).map_err(|error| TableError::new(line, error.to_string()))?;
            let Value::Object(members) = value.into_owned() else {
                return Err(TableError::new(line, "a line has to be an object, as in {\"id\": \"a\"}"));
            };
            for (name, _) in members.iter() {
                known.entry_ref(&**name).or_insert_with(|| {
                    columns.push((**name).to_owned());
                    columns.len() - 1
                });
            }
            objects.push((line, members));
        }
        let mut table = Self::with_columns(key, columns)?;
        for (line, members) in objects {
            let mut values = vec![Value::Null; table.columns.len()];
            for (name, value) in members.iter() {
                if let Some(place) = known.get(&**name).and_then(|at| values.get_mut(*at)) {
                    *place = value.clone();
                }
            }
            table.insert(key, line, values.into())?;
        }
        Ok(table)
    }

    fn with_columns(key: &str, columns: Vec<String>) -> Result<Self, TableError> {
        for (at, column) in columns.iter().enumerate() {
            if columns.iter().take(at).any(|earlier| earlier == column) {
                return Err(TableError::new(1, format!("two columns are named `{column}`")));
            }
        }
        if !columns.is_empty() && !columns.iter().any(|column| column == key) {
            let message =
                format!("there is no column `{key}`, which is the key; there are {}", columns.join(", "));
            return Err(TableError::new(1, message));
        }
        Ok(Self { columns, rows: HashMap::default() })
    }

    fn insert(&mut self, key: &str, line: usize, values: Box<[Value<'static>]>) -> Result<(), TableError> {
        let at = self.columns.iter().position(|column| column == key);
        let value = at.and_then(|at| values.get(at)).unwrap_or(&Value::Null);
        let text: Box<str> = match value.to_text() {
            Ok(text) => (&*text).into(),
            Err(_) => return Err(TableError::new(line, format!("the key `{key}` is missing"))),
        };
        if self.rows.len() >= ROWS_MAX {
            return Err(TableError::new(line, format!("a table cannot have more than {ROWS_MAX} rows")));
        }
        self.rows.insert(text, values);
        Ok(())
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// A number or boolean if the text is what would be written for it; a part number such as 007 stays text.
fn typed(text: &str) -> Value<'static> {
    match text {
        "" => return Value::Null,
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    if let Some(int) = text.parse::<i64>().ok().filter(|int| int.to_string() == text) {
        return Value::Int(int);
    }
    let digits = text.trim_start_matches('-');
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && digits.split_once('.').is_some_and(|(whole, part)| {
            (whole == "0" || !whole.starts_with('0')) && !whole.is_empty() && !part.is_empty()
        });
    match text.parse::<f64>() {
        Ok(float) if plain => Value::Float(float),
        _ => Value::owned_text(text),
    }
}

/// Tables by their names.
#[derive(Debug, Clone, Default)]
pub struct Tables(HashMap<String, Arc<Table>, foldhash::fast::RandomState>);

impl Tables {
    /// No tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a table, or replaces the one of that name.
    pub fn insert(&mut self, name: &str, table: impl Into<Arc<Table>>) {
        self.0.insert(name.to_owned(), table.into());
    }

    pub(crate) fn columns(&self) -> Vec<(String, Vec<String>)> {
        let mut all: Vec<_> =
            self.0.iter().map(|(name, table)| (name.clone(), table.columns.clone())).collect();
        all.sort();
        all
    }

    /// The value of a column in the row of a key; `None` if there is none.
    pub(crate) fn find(&self, table: &str, key: &str, column: &str) -> Option<&Value<'static>> {
        let table = self.0.get(table)?;
        let at = table.columns.iter().position(|each| each == column)?;
        table.rows.get(key)?.get(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(table: Table) -> Tables {
        let mut tables = Tables::new();
        tables.insert("t", table);
        tables
    }

    #[test]
    fn csv() {
        let text = "\u{feff}id, name ,limit,on\r\na,\"Öfen, \"\"old\"\"\",1.5,true\n7,,\"12\",false\r\n7,\"x\ny\",007,\n\n";
        let table = Table::from_csv("id", text.as_bytes()).unwrap();
        assert_eq!(
            (table.len(), table.columns()),
            (2, ["id", "name", "limit", "on"].map(str::to_owned).as_slice())
        );
        let tables = tables(table);
        let of = |key, column| tables.find("t", key, column).cloned();
        assert_eq!(of("a", "name"), Some(Value::text("Öfen, \"old\"")));
        assert_eq!(of("a", "limit"), Some(Value::Float(1.5)));
        assert_eq!(of("a", "on"), Some(Value::Bool(true)));
        assert_eq!(of("7", "id"), Some(Value::Int(7)));
        assert_eq!(of("7", "name"), Some(Value::text("x\ny")), "the last row of a key counts");
        assert_eq!(of("7", "limit"), Some(Value::text("007")));
        assert_eq!(of("7", "on"), Some(Value::Null));
        assert_eq!((of("b", "id"), of("a", "nothing")), (None, None));
    }

    #[test]
    fn json_lines() {
        let table =
            Table::from_json_lines("id", b"{\"id\":1,\"a\":[2]}\n\n {\"b\":null,\"id\":\"x\"}\r\n").unwrap();
        let tables = tables(table);
        assert_eq!(tables.find("t", "1", "a"), Some(&Value::Array([Value::Int(2)].into())));
        assert_eq!(tables.find("t", "x", "a"), Some(&Value::Null));
        assert!(Table::from_json_lines("id", b"").unwrap().is_empty());
    }

    #[test]
    fn mistakes_name_the_line() {
        for (text, line, message) in [
            ("", 1, "the table is empty: its first line names the columns"),
            ("a,b\n", 1, "there is no column `id`, which is the key; there are a, b"),
            ("id,a,a\n", 1, "two columns are named `a`"),
            ("id,a\nx\n", 2, "1 fields where there are 2 columns"),
            ("id,a\n\"x\ny\",1\nz,1,2", 4, "3 fields where there are 2 columns"),
            ("id,a\n,1", 2, "the key `id` is missing"),
            ("id,a\n\"x,1", 2, "this quote is never closed"),
            ("id,a\n\"x\"y,1", 2, "a quote is closed before the end of its field"),
        ] {
            let error = Table::from_csv("id", text.as_bytes()).unwrap_err();
            assert_eq!((error.line, error.message.as_str()), (line, message), "{text}");
        }
        assert_eq!(
            Table::from_csv("id", b"id\na\n\xff").unwrap_err(),
            TableError::new(3, "this is not UTF-8")
        );
        assert_eq!(Table::from_json_lines("id", b"{\"id\":1}\n[1]").unwrap_err().line, 2);
        assert_eq!(Table::from_json_lines("id", b"{\"id\":1}\n{").unwrap_err().line, 2);
        assert_eq!(Table::from_json_lines("id", b"{\"id\":1}\n{\"a\":1}").unwrap_err().line, 2);
    }
}
