//! The results as Markdown: medians over the rounds.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::listener::{self, Connections, Fate, Publishes, SHAPES};
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

/// Measures the listeners in alternating rounds, and prints each part as soon as it is known.
#[expect(clippy::print_stdout, reason = "the table is what the bench is for")]
pub(crate) fn print_listener(binary: &Path, folder: &str, rounds: usize) {
    println!("Medians of {rounds} alternating rounds of QoS 1 events of 200 bytes on {}.\n", machine());
    println!(
        "| load | events are | gateway | CPU µs per event | events/s |\n| --- | --- | --- | ---: | ---: |"
    );
    for (shape, fate) in SHAPES.iter().flat_map(|shape| Fate::ALL.map(|fate| (*shape, fate))) {
        let mut measured: [Vec<Publishes>; 2] = Default::default();
        for _ in 0..rounds {
            for (kind, of_kind) in Kind::ALL.into_iter().zip(&mut measured) {
                of_kind.push(listener::publishes(kind, fate, shape, binary, folder));
            }
        }
        for (kind, of_kind) in Kind::ALL.into_iter().zip(&measured) {
            let cpu = median(of_kind, |round| round.cpu_us_per_event);
            let rate = median(of_kind, |round| round.events_per_s);
            println!(
                "| {} | {} | {} | {cpu:.1} | {rate:.0} |",
                shape.name,
                fate.name(),
                kind.listener_name()
            );
        }
    }
    println!(
        "\n| gateway | connections/s, one after the other | CPU µs each | RSS idle | RSS per idle connection | by TLS |\n\
         | --- | ---: | ---: | ---: | ---: | ---: |"
    );
    for kind in Kind::ALL {
        let all: Vec<Connections> =
            (0..rounds).map(|_| listener::connections(kind, binary, folder)).collect();
        println!(
            "| {} | {:.0} | {:.0} | {:.1} MiB | {:.1} KiB | {:.1} KiB |",
            kind.listener_name(),
            median(&all, |round| round.per_s),
            median(&all, |round| round.cpu_us_each),
            median(&all, |round| round.rss_idle_kib / 1024.0),
            median(&all, |round| round.plain_kib_each),
            median(&all, |round| round.tls_kib_each),
        );
    }
}

fn median<T>(rounds: &[T], value: impl Fn(&T) -> f64) -> f64 {
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
