//! `[[table]]`: what rules look up.

use std::sync::Arc;

use super::Input;
use super::buffer::path;
use super::name::{check_name, twice};
use crate::mistake::Mistake;
use crate::section::{Section, Text};
use crate::tree::Node;
use crate::{Table, TableFormat};

/// The most tables.
const TABLES_MAX: usize = 64;

/// Tables as far as they were read.
#[derive(Default)]
pub(super) struct Drafts<'t> {
    names: Vec<Text<'t>>,
    pub(super) tables: Vec<Table>,
}

impl<'t> Drafts<'t> {
    pub(super) fn add(&mut self, input: &Input<'_>, node: &'t Node, mistakes: &mut Vec<Mistake>) {
        let Some(mut section) = Section::open(node, "table", mistakes) else { return };
        let name =
            section.require("name", "write `name = \"…\"`").and_then(|node| section.as_text(node, "name"));
        section.require("file", "write `file = \"devices.csv\"`, or one with JSON lines");
        let file = path(&mut section, "file", input.folder);
        let key = section
            .require("key", "write `key = \"id\"`, the column that rows are found by")
            .and_then(|node| section.as_text(node, "key"));
        let place = section.key("file");
        section.finish();
        let Some(name) = name.and_then(|name| self.named(name, mistakes)) else { return };
        let (Some(file), Some(key), Some(place)) = (file, key, place) else { return };
        let Some(format) = TableFormat::of(&file) else {
            let mistake = Mistake::error(place, "the name of the file does not say what is in it");
            mistakes.push(mistake.help("comma-separated values end in .csv, JSON lines in .jsonl"));
            return;
        };
        let mut table = Table { name, file, key: key.value.to_owned(), format, rows: Arc::default() };
        match table.read() {
            Ok(rows) => table.rows = Arc::new(rows),
            // A gateway has to start, and the file may come later.
            Err(message) => {
                let message = format!("the table `{}` is empty: {message}", table.name);
                mistakes.push(
                    Mistake::warning(place, message).help("`lookup` gives NULL until the file can be read"),
                );
            }
        }
        self.tables.push(table);
    }

    fn named(&mut self, name: Text<'t>, mistakes: &mut Vec<Mistake>) -> Option<String> {
        if let Some(first) = self.names.iter().find(|first| first.value == name.value) {
            mistakes.push(twice("the table", name, *first));
            return None;
        }
        if self.names.len() >= TABLES_MAX {
            mistakes.push(Mistake::error(name.place, format!("there can be at most {TABLES_MAX} tables")));
            return None;
        }
        self.names.push(name);
        check_name(name, mistakes)
    }
}
