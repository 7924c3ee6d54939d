//! What a process has used, as the kernel counts it in `/proc`.

use std::fs;
use std::time::Duration;

use crate::must::Must;

// USER_HZ: fixed at 100 for everything that user space sees on Linux.
const TICK: Duration = Duration::from_millis(10);

/// Resident set size in KiB.
pub fn rss_kib(pid: u32) -> u64 {
    field(&proc_file(pid, "status"), "VmRSS:")
}

/// Highest resident set size so far in KiB.
pub fn rss_peak_kib(pid: u32) -> u64 {
    field(&proc_file(pid, "status"), "VmHWM:")
}

/// Bytes that the process caused to be written to storage (`write_bytes`).
pub fn storage_bytes(pid: u32) -> u64 {
    field(&proc_file(pid, "io"), "write_bytes:")
}

/// User and system time, in steps of 10 ms.
pub fn cpu(pid: u32) -> Duration {
    let stat = proc_file(pid, "stat");
    // The name, in brackets, may hold spaces; utime and stime are the 14th and 15th fields of the whole line.
    let after_name = stat.rsplit_once(')').must("read /proc/PID/stat").1;
    let ticks: u32 =
        after_name.split_whitespace().skip(11).take(2).map(|n| n.parse::<u32>().must("read a time")).sum();
    TICK * ticks
}

/// Time that the threads which run now have spent on a processor, to the nanosecond.
pub fn cpu_of_threads(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).must("list the threads");
    let spent_ns = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).must("read what the scheduler counted");
        text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).must("nanoseconds")
    };
    Duration::from_nanos(threads.map(|thread| spent_ns(thread.must("a thread").path())).sum())
}

/// How long the main thread of a process, and this thread, were ready to run so far and had no processor. On a machine that others
/// use too, who has worked waits longest: what is measured against the clock is to be seen without it.
pub fn waited(pid: u32) -> Duration {
    let of = |path: &str| {
        let text = fs::read_to_string(path).must("read what the scheduler counted");
        let waited_ns = text.split_ascii_whitespace().nth(1).and_then(|field| field.parse().ok());
        Duration::from_nanos(waited_ns.must("nanoseconds"))
    };
    of(&format!("/proc/{pid}/task/{pid}/schedstat")) + of("/proc/thread-self/schedstat")
}

fn proc_file(pid: u32, name: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{name}")).must("read a file of /proc")
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).must(name);
    line.split_whitespace().next().and_then(|n| n.parse().ok()).must(name)
}
