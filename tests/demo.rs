//! `tidegate demo` shows the gateway at work and ends with books that balance.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tidegate_tests::binary;
use tidegate_tests::process::Process;

#[test]
fn the_demo_ends_with_balanced_books() {
    let mut command = Command::new::<PathBuf>(binary!());
    command.arg("demo").stdin(Stdio::null());
    let mut process = Process::start("tidegate demo", "(build it)", &mut command);
    let status = process.wait_exit(Duration::from_secs(100));
    let shown = process.stdout.lock().join("\n");
    assert_eq!(status.code(), Some(0), "{shown}\n{process}");
    assert!(!shown.contains('\u{1b}'), "without a terminal there are plain lines");
    for word in ["sent", "acknowledged", "arrived", "duplicates", "lost"] {
        assert!(shown.to_lowercase().contains(word), "no `{word}` in the books:\n{shown}");
    }
}
