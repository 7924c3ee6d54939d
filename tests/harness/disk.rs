//! A disk that fails on request: `fuse/failing_fs.c`, built here and mounted over a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::must::Must;
use crate::process::Process;
use crate::wait::wait_for;

/// What the disk does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// EIO for fsync and fdatasync.
    Sync,
    /// EIO for writes, fsync and fdatasync.
    Write,
    /// ENOSPC for writes.
    Full,
}

/// A mounted folder whose faults a test chooses. Mounting needs root and /dev/fuse.
pub struct Disk {
    dir: TempDir,
    process: Process,
}

impl Disk {
    /// Builds and mounts it, with no fault, over a folder of the disk that `parent` is on.
    pub fn mount(parent: &str) -> Self {
        assert!(Path::new("/dev/fuse").exists(), "this test needs /dev/fuse");
        fs::create_dir_all(parent).must("make the folder of temporary folders");
        let dir = TempDir::with_prefix_in("disk-", parent).must("make a temporary folder");
        for name in ["source", "mount"] {
            fs::create_dir(dir.path().join(name)).must("make a folder");
        }
        let program = build(dir.path());
        let [source, control, mount] = ["source", "control", "mount"].map(|name| dir.path().join(name));
        let options = format!("source={},control={}", source.display(), control.display());
        let mut command = Command::new(program);
        command.arg("-f").arg("-o").arg(options).arg(&mount);
        let process = Process::start("failing_fs", "fuse3", &mut command);
        let mut disk = Self { dir, process };
        disk.wait_mounted();
        disk
    }

    /// The mounted folder.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// Sets the fault from now on.
    pub fn set(&self, fault: Fault) {
        let word = match fault {
            Fault::None => "",
            Fault::Sync => "sync",
            Fault::Write => "write",
            Fault::Full => "full",
        };
        let (fresh, control) = (self.dir.path().join("control.new"), self.dir.path().join("control"));
        fs::write(&fresh, word).must("write the order");
        fs::rename(fresh, control).must("give the order");
    }

    fn wait_mounted(&mut self) {
        let marker = self.dir.path().join("source/mounted");
        fs::write(&marker, "").must("write a marker");
        let seen = self.path().join("mounted");
        wait_for("the mount (needs root and /dev/fuse)", Duration::from_secs(10), || {
            assert!(self.process.is_running(), "cannot mount: needs root and /dev/fuse\n{}", self.process);
            seen.exists()
        });
        fs::remove_file(marker).must("remove the marker");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, so that a file that is still open does not keep it; nothing can be done here if that fails.
        let _ = Command::new("fusermount3").arg("-uz").arg(self.path()).status();
    }
}

fn build(dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuse/failing_fs.c");
    let program = dir.join("failing_fs");
    let flags = Command::new("pkg-config").args(["--cflags", "--libs", "fuse3"]).output();
    let flags = flags.must("run pkg-config (apt-get install pkg-config)");
    assert!(flags.status.success(), "libfuse3 is missing: apt-get install libfuse3-dev");
    let flags = String::from_utf8(flags.stdout).must("read the flags of libfuse3");
    let mut command = Command::new("cc");
    command.args(["-O1", "-Wall", "-Wextra", "-o"]).arg(&program).arg(source);
    let output = command.args(flags.split_whitespace()).output().must("run cc (apt-get install gcc)");
    assert!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
    program
}
