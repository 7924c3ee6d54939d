//! `tidegate-crash power|process|corrupt COUNT [SEED]`: that many runs from this seed on. See the library.

use std::io::{self, Write as _};
use std::ops::Range;
use std::process::ExitCode;

use tidegate_crash::campaign::{self, Kind};

const USAGE: &str = "usage: tidegate-crash power|process|corrupt COUNT [SEED]
       tidegate-crash repeat power|process|corrupt SEED     one seed 20 times: threads run as they like
";
const REPEATS: u64 = 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["repeat", kind, seed] => chosen(kind, "1", seed).map(|(kind, seeds)| repeat(kind, seeds.start)),
        [kind, count] => chosen(kind, count, "0").map(|(kind, seeds)| run(kind, seeds)),
        [kind, count, seed] => chosen(kind, count, seed).map(|(kind, seeds)| run(kind, seeds)),
        _ => None,
    };
    match result {
        Some(Ok(true)) => ExitCode::SUCCESS,
        Some(Ok(false)) => ExitCode::FAILURE,
        Some(Err(error)) => {
            say(&error);
            ExitCode::FAILURE
        }
        None => {
            say(&USAGE);
            ExitCode::from(64)
        }
    }
}

fn say(text: &impl std::fmt::Display) {
    // If nobody listens, nobody can be told.
    drop(writeln!(io::stdout(), "{text}"));
}

fn chosen(kind: &str, count: &str, seed: &str) -> Option<(Kind, Range<u64>)> {
    let (count, seed): (u64, u64) = (count.parse().ok()?, seed.parse().ok()?);
    Some((Kind::named(kind)?, seed..seed.checked_add(count)?))
}

/// Whether no promise was broken.
fn run(kind: Kind, seeds: Range<u64>) -> io::Result<bool> {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let tally = campaign::run(kind, seeds, threads, |tally| say(&tally))?;
    say(&tally);
    Ok(tally.is_faultless())
}

fn repeat(kind: Kind, seed: u64) -> io::Result<bool> {
    let mut is_faultless = true;
    for _ in 0..REPEATS {
        let tally = campaign::run(kind, seed..seed + 1, 1, |_| ())?;
        say(&tally);
        is_faultless &= tally.is_faultless();
    }
    Ok(is_faultless)
}
