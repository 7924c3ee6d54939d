//! The results as Markdown: medians over the rounds.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::load::{EVENTS, Load};
use crate::{Kind, Round};

/// All rounds of both gateways under one load.
pub(crate) type OfLoad = (Load, [(Kind, Vec<Round>); 2]);

/// Prints the tables.
#[expect(clippy::print_stdout, reason = "the table is what the bench is for")]
pub(crate) fn print(binary: &Path, rounds: usize, results: &[OfLoad]) {
    println!("{}", render(binary, rounds, results));
}

fn render(binary: &Path, rounds: usize, results: &[OfLoad]) -> String {
    let mut out = format!(
        "Medians of {rounds} alternating rounds of {EVENTS} QoS 1 events of 200 bytes on {}.\n\n\
         | load | gateway | CPU µs per event | events/s, device to subscriber | RSS idle | RSS peak | lost | duplicated |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        machine()
    );
    for (load, of_load) in results {
        for (kind, rounds) in of_load {
            // Writing to a String does not fail.
            let _ = writeln!(
                out,
                "| {} | {} | {:.1} | {:.0} | {:.1} MiB | {:.1} MiB | {:.0} | {:.0} |",
                load.name(),
                kind.name(),
                median(rounds, |r| r.cpu_us_per_event),
                median(rounds, |r| r.events_per_s),
                median(rounds, |r| r.rss_idle_kib / 1024.0),
                median(rounds, |r| r.rss_peak_kib / 1024.0),
                median(rounds, |r| r.lost),
                median(rounds, |r| r.duplicated),
            );
        }
    }
    out.push_str("\n| gateway | start to first PUBACK | binary |\n| --- | ---: | ---: |\n");
    let binaries = [binary, Path::new("/usr/sbin/mosquitto")];
    for (kind, file) in Kind::ALL.iter().zip(binaries) {
        let of_kind = |of_load: &OfLoad| -> Vec<Round> {
            of_load.1.iter().filter(|(k, _)| k == kind).flat_map(|(_, rounds)| rounds.clone()).collect()
        };
        let all: Vec<Round> = results.iter().flat_map(of_kind).collect();
        let start = median(&all, |r| r.start_ms);
        let _ = writeln!(out, "| {} | {start:.0} ms | {} |", kind.name(), size(file));
    }
    out
}

fn median(rounds: &[Round], value: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn size(file: &Path) -> String {
    let bytes = fs::metadata(file).ok().and_then(|m| u32::try_from(m.len()).ok());
    bytes.map_or_else(|| "?".to_owned(), |bytes| format!("{:.1} MiB", f64::from(bytes) / 1_048_576.0))
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{cores} cores of {}", model.map_or("an unknown processor", |(_, name)| name))
}
