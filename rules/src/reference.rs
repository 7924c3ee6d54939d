//! The reference of all functions for the manual, from the tables that the compiler uses.

use std::fmt::Write;

use crate::{aggregate, compile, function, memory};

/// The reference as Markdown: a table for each group of functions.
///
/// `docs/rules.md` has it between two markers; a test compares them, and rewrites the page with
/// `TIDEGATE_WRITE_DOCS=1 cargo test -p tidegate-rules --test manual`.
pub fn reference() -> String {
    let mut out = String::new();
    for (group, functions) in function::GROUPS {
        head(&mut out, group, Some("of NULL"));
        for function in *functions {
            let nulls = match function.parameters.is_empty() {
                true => "",
                false => function.nulls,
            };
            row(&mut out, &[&code(function.signature), function.doc, nulls]);
        }
        if *group == "text" {
            for (signature, doc) in compile::REGEXPS {
                row(&mut out, &[&code(signature), doc, "NULL if the text is NULL"]);
            }
        }
    }
    head(&mut out, "per-source memory", None);
    memory::MEMORY.iter().for_each(|each| row(&mut out, &[&code(each.signature), each.doc]));
    head(&mut out, "aggregate", None);
    aggregate::AGGREGATES.iter().for_each(|each| row(&mut out, &[&code(each.signature), each.doc]));
    head(&mut out, "window", None);
    compile::WINDOW_CATALOGUE.iter().for_each(|each| row(&mut out, &[&code(each.signature), each.doc]));
    out
}

fn head(out: &mut String, group: &str, nulls: Option<&str>) {
    let gap = if out.is_empty() { "" } else { "\n" };
    let (name, line) = nulls.map_or(("", ""), |_| (" NULL |", " --- |"));
    // Writing to a String cannot fail.
    let _ = write!(out, "{gap}| {group} | |{name}\n| --- | --- |{line}\n");
}

fn row(out: &mut String, cells: &[&str]) {
    out.push('|');
    for cell in cells {
        let _ = write!(out, " {} |", cell.replace('|', "\\|"));
    }
    out.push('\n');
}

fn code(signature: &str) -> String {
    format!("`{signature}`")
}
