//! A mistake as a page shows it.

use std::path::Path;

use tidegate_config::Loaded;

/// What is said of a configuration that lies in `folder`, as from inside of it.
pub(crate) fn said(loaded: &Loaded, folder: &Path) -> String {
    loaded.report.render(false).replace(&format!("{}/", folder.display()), "")
}

/// The section of one mistake: what was written, and what is said.
pub(crate) fn section(number: usize, title: &str, written: &str, said: &str) -> String {
    format!(
        "\n## {number}. {title}\n\n```toml\n{}\n```\n\n```text\n{}\n```\n",
        written.trim(),
        said.trim_end()
    )
}
