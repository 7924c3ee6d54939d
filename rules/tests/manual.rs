//! The manual says of functions what the compiler knows of them.

use std::path::Path;

const BEGIN: &str = "<!-- functions: begin, written by TIDEGATE_WRITE_DOCS=1 cargo test -p tidegate-rules --test manual -->\n";
const END: &str = "<!-- functions: end -->\n";

#[test]
fn the_manual_has_the_functions_of_the_compiler() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the marker where the functions begin");
    let (known, after) = rest.split_once(END).expect("the marker where the functions end");
    let reference = format!("\n{}\n", tidegate_rules::reference());
    if std::env::var_os("TIDEGATE_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{reference}{END}{after}")).unwrap();
    } else {
        assert!(known == reference, "docs/rules.md is not up to date: run with TIDEGATE_WRITE_DOCS=1");
    }
}
