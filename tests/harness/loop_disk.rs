//! A small ext4 of its own, in a file, mounted through a loop device: it can be filled, and its power can be cut.
//!
//! Mounting needs root. What is mounted is unmounted when the value is dropped, and the loop device goes with the mount.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::must::{Must, fail};
use crate::process::Process;
use crate::wait::wait_for;

const CUT_LIMIT: Duration = Duration::from_secs(10);

/// A mounted ext4.
pub struct LoopDisk {
    dir: TempDir,
}

impl LoopDisk {
    /// Makes a file system of `size_bytes` in a folder below `parent` and mounts it.
    pub fn mount(parent: &Path, size_bytes: u64) -> Self {
        Self::of_image(parent, |image| make_ext4(image, size_bytes))
    }

    /// Mounts the file system that `make` writes into the image it is given.
    pub fn of_image(parent: &Path, make: impl FnOnce(&Path)) -> Self {
        fs::create_dir_all(parent).must("make the folder of temporary folders");
        let dir = TempDir::with_prefix_in("loop-", parent).must("make a temporary folder");
        fs::create_dir(dir.path().join("mount")).must("make a folder");
        let disk = Self { dir };
        make(&disk.image());
        disk.mount_again();
        disk
    }

    /// The mounted folder.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// Unmounts and mounts, as a start after a power cut does: the file system's journal is replayed.
    pub fn remount(&self) {
        unmount(&self.path());
        self.mount_again();
    }

    /// Makes ready to cut the power at the moment that [`Cut::now`] is called.
    pub fn arm(&self) -> Cut {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuts/shutdown.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg("-u").arg(script).arg(self.path()).stdin(Stdio::piped());
        let process = Process::start("shutdown.py", "python3", &mut command);
        wait_line(&process, "armed");
        Cut { process }
    }

    /// Writes a file beside the buffer until not a byte more fits.
    pub fn fill(&self) {
        let path = self.filler();
        let mut file = File::create(path).must("make the filler");
        for portion in [1 << 20, 64 << 10, 4 << 10, 512] {
            let zeros = vec![0; portion];
            while file.write_all(&zeros).and_then(|()| file.sync_data()).is_ok() {}
        }
    }

    /// Removes what [`LoopDisk::fill`] wrote.
    pub fn free(&self) {
        fs::remove_file(self.filler()).must("remove the filler");
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mount_again(&self) {
        mount(&self.image(), &self.path());
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Lazily, so that a file that is still open does not keep it; nothing can be done here if that fails.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// A power cut that waits for its moment.
pub struct Cut {
    process: Process,
}

impl Cut {
    /// From here on the file system takes nothing, and forgets what it had not written (`EXT4_IOC_SHUTDOWN` without
    /// flushing its log). What was read before this call was read before the cut.
    pub fn now(mut self) {
        self.process.feed(b"cut\n".to_vec());
        wait_line(&self.process, "cut");
        self.process.wait_exit(CUT_LIMIT);
    }
}

fn wait_line(process: &Process, line: &str) {
    wait_for(&format!("`{line}` from shutdown.py"), CUT_LIMIT, || {
        process.stdout.lock().iter().any(|said| said == line)
    });
}

/// Makes an ext4 in a sparse file.
pub fn make_ext4(image: &Path, size_bytes: u64) {
    let file = File::create(image).must("make an image");
    file.set_len(size_bytes).must("size an image");
    tool(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image));
}

/// Mounts an image over a folder, through a loop device that goes with the mount.
pub fn mount(image: &Path, folder: &Path) {
    tool(Command::new("mount").args(["-o", "loop"]).arg(image).arg(folder));
}

/// Unmounts a folder, waiting for whoever is just closing a file in it.
pub fn unmount(folder: &Path) {
    let mut said = String::new();
    let mut gone = || {
        let output = tool_output(Command::new("umount").arg(folder));
        said = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success()
    };
    if crate::wait::within(CUT_LIMIT, || gone().then_some(())).is_none() {
        fail(format_args!("cannot unmount: {said}"));
    }
}

fn tool(command: &mut Command) {
    let output = tool_output(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} (needs root): {said}", command.get_program().display());
}

fn tool_output(command: &mut Command) -> std::process::Output {
    // Debian has them in /usr/sbin, which is not on every user's path.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    command.env("PATH", path).output().must("run a tool of util-linux or e2fsprogs")
}
