//! The results as Markdown: medians over the rounds.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::backlog;
use crate::job::{self, Round, Way};
use crate::listener::{self, Connections, Fate, Kind, Publishes, SHAPES};
use crate::load::Shape;

/// All rounds of each way under one load.
type OfLoad = (Shape, [(Way, Vec<Round>); 3]);

/// Measures the whole job and prints it as the page of the manual.
#[expect(clippy::print_stdout, reason = "the table is what the bench is for")]
pub(crate) fn print(binary: &Path, folder: &str, rounds: usize) {
    let load = load_of_machine();
    let results: Vec<OfLoad> = job::SHAPES
        .into_iter()
        .map(|shape| {
            let mut of_load = Way::ALL.map(|way| (way, Vec::new()));
            for _ in 0..rounds {
                for (way, measured) in &mut of_load {
                    measured.push(job::measure(*way, shape, binary, folder));
                }
            }
            (shape, of_load)
        })
        .collect();
    let (mut alone, mut tidegate, mut rumqttc) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        alone.push(job::measure(Way::Direct, job::ALONE, binary, folder));
        tidegate.push(backlog::tidegate(binary, folder).as_secs_f64());
        rumqttc.push(backlog::rumqttc().as_secs_f64());
    }
    print!("{}", render((binary, load), rounds, &results, &alone, [&tidegate, &rumqttc]));
}

/// Measures two binaries in turns, under the first load.
#[expect(clippy::print_stdout, reason = "the table is what the bench is for")]
pub(crate) fn print_both(binaries: [&Path; 2], folder: &str, rounds: usize) {
    let mut measured = binaries.map(|binary| (binary, Vec::new()));
    for _ in 0..rounds {
        for (binary, rounds) in &mut measured {
            rounds.push(job::measure(Way::Tidegate, job::SHAPES[0], binary, folder));
        }
    }
    println!("| | CPU µs per event | events/s |\n| --- | ---: | ---: |");
    for (binary, rounds) in &measured {
        let of = |value: fn(&Round) -> f64| median(rounds, value);
        println!(
            "| {} | {:.1} | {:.0} |",
            binary.display(),
            of(|round| round.cpu_us_per_event),
            of(|round| round.events_per_s)
        );
    }
}

fn render(
    (binary, load): (&Path, String),
    rounds: usize,
    results: &[OfLoad],
    alone: &[Round],
    backlog: [&[f64]; 2],
) -> String {
    let mut out = format!(
        "# What the whole job costs\n\n\
         Devices publish with QoS 1, a mosquitto is the cloud, and a subscriber there gets what arrives: through tidegate with a rule \
         that looks into each event, through a mosquitto with persistence that bridges (and has no rules), and directly, each device a \
         client of the cloud. The gateway's process alone is counted. tidegate acknowledges once the cloud has the event, or the disk; \
         the bridge when it has it in memory. This page is written by `tests/bench/run {rounds} --write`.\n\n\
         Medians of {rounds} alternating rounds of events of 200 bytes on {}, load {} before the run.\n",
        machine(),
        load,
    );
    for (shape, of_load) in results {
        out.push_str(&of_one_load(*shape, of_load));
    }
    // Writing to a String does not fail.
    let _ = write!(
        out,
        "\n## One connection\n\nA gateway is one connection for the cloud, and four devices are four. One device directly, with the \
         window of an uplink, flat out: {:.0} events/s.\n",
        median(alone, |round| round.events_per_s)
    );
    out.push_str(&starts(binary, results));
    let [tidegate, rumqttc] = backlog.map(|times| median(times, |time| time * 1e3));
    let _ = write!(
        out,
        "\n## A backlog\n\n{} events that have waited on disk, from CONNECT to the last of them at a cloud that acknowledges at \
         once, with a window of 100: tidegate {tidegate:.0} ms, rumqttc alone with the same events in memory {rumqttc:.0} ms \
         (**{:.2}x**).\n",
        backlog::EVENTS,
        tidegate / rumqttc
    );
    out
}

fn of_one_load(shape: Shape, of_load: &[(Way, Vec<Round>); 3]) -> String {
    let mut out = format!(
        "\n## {}, {} events\n\n\
         | | CPU µs per event | events/s | p50 | p99 | written per event | RSS idle | RSS peak | lost | duplicated |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        shape.name, shape.events
    );
    for (way, rounds) in of_load {
        let of = |value: fn(&Round) -> f64| median(rounds, value);
        let own = |text: String| if *way == Way::Direct { "–".to_owned() } else { text };
        let _ = writeln!(
            out,
            "| {} | {} | {:.0} | {:.2} ms | {:.2} ms | {} | {} | {} | {:.0} | {:.0} |",
            way.name(),
            own(format!("{:.1}", of(|r| r.cpu_us_per_event))),
            of(|r| r.events_per_s),
            of(|r| r.p50_ms),
            of(|r| r.p99_ms),
            own(format!("{:.0} B", of(|r| r.written_bytes_per_event))),
            own(format!("{:.1} MiB", of(|r| r.rss_idle_kib) / 1024.0)),
            own(format!("{:.1} MiB", of(|r| r.rss_peak_kib) / 1024.0)),
            of(|r| r.lost),
            of(|r| r.duplicated),
        );
    }
    let [tidegate, bridge, direct] = of_load.each_ref().map(|(_, rounds)| rounds);
    let ratio = |other: &[Round], value: fn(&Round) -> f64| median(tidegate, value) / median(other, value);
    let added = |rounds: &[Round], value: fn(&Round) -> f64| median(rounds, value) - median(direct, value);
    let _ = writeln!(
        out,
        "\ntidegate beside the bridge: CPU **{:.2}x**, rate {:.2}x, RSS idle {:.2}x; rate beside direct {:.2}x. Added to direct: \
         p50 {:.2} ms (bridge {:.2}), p99 {:.2} ms (bridge {:.2}).",
        ratio(bridge, |r| r.cpu_us_per_event),
        ratio(bridge, |r| r.events_per_s),
        ratio(bridge, |r| r.rss_idle_kib),
        ratio(direct, |r| r.events_per_s),
        added(tidegate, |r| r.p50_ms),
        added(bridge, |r| r.p50_ms),
        added(tidegate, |r| r.p99_ms),
        added(bridge, |r| r.p99_ms),
    );
    out
}

fn starts(binary: &Path, results: &[OfLoad]) -> String {
    let mut out = "\n## Start\n\n| | start to first PUBACK | binary |\n| --- | ---: | ---: |\n".to_owned();
    for (way, file) in
        [Way::Tidegate, Way::Bridge].into_iter().zip([binary, Path::new("/usr/sbin/mosquitto")])
    {
        let of_way = |(_, of_load): &OfLoad| -> Vec<Round> {
            of_load.iter().filter(|(other, _)| *other == way).flat_map(|(_, rounds)| rounds.clone()).collect()
        };
        let all: Vec<Round> = results.iter().flat_map(of_way).collect();
        let start = median(&all, |r| r.start_ms);
        let _ = writeln!(out, "| {} | {start:.0} ms | {} |", way.name(), size(file));
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
            println!("| {} | {} | {} | {cpu:.1} | {rate:.0} |", shape.name, fate.name(), kind.name());
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
            kind.name(),
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

/// How many were running or waiting to, in the last minute.
fn load_of_machine() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{cores} cores of {}", model.map_or("an unknown processor", |(_, name)| name))
}
