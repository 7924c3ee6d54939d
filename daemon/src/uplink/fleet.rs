//! A fleet after an outage: what many gateways, with the back-off and the pace of this program, do to the cloud that they
//! share. After a wanted change run it with `TIDEGATE_WRITE_DOCS=1`, which draws `docs/fleet.svg` for 100,000 gateways.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write;
use std::time::Duration;

use tidegate_config::{Broker, Rate, Url};

use super::pace::{Pace, hold_ms};
use crate::broker::recovery;
use crate::broker::recovery::End;
use crate::clock::millis;

/// What each gateway has to send after an hour: some 3 events of 200 bytes in 10 s.
const BACKLOG_BYTES: usize = 360_000;
/// What a gateway's line takes.
const LINE_BYTES_PER_S: usize = 125_000;
const OUTAGE_MS: u64 = 3_600_000;
/// How long before the end of the outage the simulation begins; by then pauses are as long as they get.
const BEFORE_MS: u64 = 60_000;
const SECONDS: usize = 600;

/// How gateways behave.
#[derive(Clone, Copy)]
struct Manner {
    jitter: bool,
    spread: Duration,
    rate: Option<Rate>,
}

const IN_STEP: Manner = Manner { jitter: false, spread: Duration::ZERO, rate: None };
const BY_DEFAULT: Manner = Manner { jitter: true, ..IN_STEP };
const GENTLE: Manner = Manner {
    jitter: true,
    spread: Duration::from_secs(300),
    rate: Some(Rate { bytes_per_s: 4096, burst_bytes: 4096 }),
};

/// What the cloud sees in each second from the end of the outage on.
struct Seen {
    connects: Vec<u32>,
    bytes: Vec<u64>,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap()
    }
}

fn simulate(gateways: usize, manner: Manner) -> Seen {
    let mut random = Random(7);
    let mut draw = move || if manner.jitter { random.next() } else { u32::MAX };
    let broker = Broker::new("g", Url::plain("cloud", 8883));
    let mut seen = Seen { connects: vec![0; SECONDS], bytes: vec![0; SECONDS] };
    let mut fleet: Vec<_> = (0..gateways).map(|_| recovery(&broker, 0)).collect();
    let mut attempts = BinaryHeap::new();
    for (gateway, recovery) in fleet.iter_mut().enumerate() {
        // As many failures as it takes for pauses to be as long as they get.
        for _ in 0..10 {
            recovery.handle_end(End::Failure, false, 0, draw());
        }
        let first_ms = OUTAGE_MS - BEFORE_MS;
        let pause = recovery.handle_end(End::Failure, false, first_ms, draw());
        attempts.push(Reverse((first_ms + millis(pause), gateway)));
    }
    while let Some(Reverse((now_ms, gateway))) = attempts.pop() {
        let recovery = &mut fleet[gateway];
        if now_ms < OUTAGE_MS {
            let pause = recovery.handle_end(End::Failure, false, now_ms, draw());
            attempts.push(Reverse((now_ms + millis(pause).max(1), gateway)));
            continue;
        }
        let away_ms = recovery.handle_connected(now_ms, draw());
        let after_ms = now_ms - OUTAGE_MS;
        if let Some(second) = seen.connects.get_mut(usize::try_from(after_ms / 1000).unwrap()) {
            *second += 1;
        }
        drain(after_ms + hold_ms(manner.spread, away_ms, draw()), manner.rate, &mut seen.bytes);
    }
    seen
}

/// One gateway sends its backlog from this moment on.
fn drain(from_ms: u64, rate: Option<Rate>, bytes: &mut [u64]) {
    let (mut pace, mut left, mut now_ms) = (Pace::new(rate, from_ms), BACKLOG_BYTES, from_ms);
    while let Some(second) = bytes.get_mut(usize::try_from(now_ms / 1000).unwrap()) {
        let sent = pace.room(now_ms).unwrap_or(0).min(LINE_BYTES_PER_S).min(left);
        pace.spend(sent);
        *second += sent as u64;
        left -= sent;
        if left == 0 {
            return;
        }
        now_ms += 1000;
    }
}

fn peaks(seen: &Seen) -> (u32, u64) {
    (seen.connects.iter().copied().max().unwrap(), seen.bytes.iter().copied().max().unwrap())
}

#[test]
fn a_fleet_comes_back_spread_out() {
    let written = std::env::var_os("TIDEGATE_WRITE_DOCS").is_some();
    let gateways = if written { 100_000 } else { 5_000 };
    let all = [IN_STEP, BY_DEFAULT, GENTLE].map(|manner| simulate(gateways, manner));
    let count = gateways as u64;
    for seen in &all {
        assert_eq!(
            seen.connects.iter().map(|connects| u64::from(*connects)).sum::<u64>(),
            count,
            "all are back"
        );
        assert_eq!(seen.bytes.iter().sum::<u64>(), count * BACKLOG_BYTES as u64, "with all they had");
    }
    let [in_step, by_default, gentle] = [peaks(&all[0]), peaks(&all[1]), peaks(&all[2])];
    assert_eq!(u64::from(in_step.0), count, "in one second, without jitter");
    assert!(u64::from(by_default.0) < count / 12, "{} of {count} in one second", by_default.0);
    assert!(gentle.1 * 8 < by_default.1, "{} bytes against {}", gentle.1, by_default.1);
    if written {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fleet.svg"), draw(&all)).unwrap();
        println!(
            "peaks (connects/s, bytes/s): in step {in_step:?}, by default {by_default:?}, gentle {gentle:?}"
        );
    }
}

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 160.0;

/// Two pictures, one above the other: connects in a second, megabytes in a second.
fn draw(all: &[Seen; 3]) -> String {
    let connects: Vec<Vec<f64>> =
        all.iter().map(|seen| seen.connects.iter().map(|count| f64::from(*count)).collect()).collect();
    #[expect(clippy::cast_precision_loss, reason = "a picture has some hundred points")]
    let megabytes: Vec<Vec<f64>> =
        all.iter().map(|seen| seen.bytes.iter().map(|bytes| *bytes as f64 / 1e6).collect()).collect();
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 470\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"760\" height=\"470\" fill=\"white\"/>\n",
    );
    panel(&mut svg, 40.0, "connects in a second", &connects);
    panel(&mut svg, 250.0, "megabytes in a second", &megabytes);
    for (number, (name, style)) in LINES.iter().enumerate() {
        let x = 80 + 220 * number;
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"452\" x2=\"{}\" y2=\"452\" {style}/><text x=\"{}\" y=\"456\">{name}</text>",
            x + 30,
            x + 36
        );
    }
    svg + "</svg>\n"
}

/// Told apart by dashes as well as by colour.
const LINES: [(&str, &str); 3] = [
    ("without jitter", "fill=\"none\" stroke=\"#d55e00\" stroke-width=\"2\" stroke-dasharray=\"2 3\""),
    ("by default", "fill=\"none\" stroke=\"#0072b2\" stroke-width=\"2\""),
    (
        "spread = 5m, rate = 4 KiB/s",
        "fill=\"none\" stroke=\"#009e73\" stroke-width=\"2\" stroke-dasharray=\"8 4\"",
    ),
];

fn panel(svg: &mut String, top: f64, title: &str, lines: &[Vec<f64>]) {
    let highest = lines.iter().flatten().copied().fold(1.0, f64::max);
    // Powers of ten, so that a peak and a plain are both to be seen.
    let scale = HEIGHT / (1.0 + highest).log10();
    let y = |value: f64| top + HEIGHT - (1.0 + value).log10() * scale;
    let _ = writeln!(svg, "<text x=\"80\" y=\"{}\">{title}</text>", top - 8.0);
    let mut mark = 1.0;
    while mark <= highest {
        let at = y(mark);
        let _ = writeln!(
            svg,
            "<line x1=\"80\" y1=\"{at:.1}\" x2=\"680\" y2=\"{at:.1}\" stroke=\"#ddd\"/><text x=\"74\" y=\"{:.1}\" text-anchor=\"end\">{mark}</text>",
            at + 4.0
        );
        mark *= 10.0;
    }
    for minute in 0..=10 {
        let x = 80.0 + WIDTH * f64::from(minute) / 10.0;
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{minute} min</text>",
            top + HEIGHT + 16.0
        );
    }
    for (values, (_, style)) in lines.iter().zip(LINES) {
        let points: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(second, value)| {
                let x = 80.0 + WIDTH * f64::from(u32::try_from(second).unwrap()) / 600.0;
                format!("{x:.0},{:.1}", y(*value))
            })
            .collect();
        let _ = writeln!(svg, "<polyline points=\"{}\" {style}/>", points.join(" "));
    }
}
