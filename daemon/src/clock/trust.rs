//! When the wall clock can be believed: a board without a battery starts with an old time, and learns the right one from
//! the network.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_buffer::{Spool, Stamp};
use tidegate_config::ClockTrust;
use tokio::time::sleep;
use tracing::info;

/// systemd-timesyncd's folder, and the file that it makes when it has set the clock (systemd-timesyncd.service(8)).
const TIMESYNCD: &str = "/run/systemd/timesync";
const SYNCHRONIZED: &str = "synchronized";
/// 2026-01-01: a clock that shows less has not been set.
const NOT_BEFORE_MS: i64 = 1_767_225_600_000;
/// Between looks, while it is not right.
const PERIOD: Duration = Duration::from_secs(5);

/// Tells the spool, and sets `is_set`, as soon as the clock is right.
pub(crate) async fn watch(spool: Arc<Spool>, trust: ClockTrust, is_set: Rc<Cell<bool>>) {
    let mut waited = false;
    while !is_right(&trust, Path::new(TIMESYNCD), Stamp::now().wall_ms) {
        if !std::mem::replace(&mut waited, true) {
            info!("the time of day is not known yet; events are stamped, and corrected when it is");
        }
        sleep(PERIOD).await;
    }
    if waited {
        info!("the time of day is known");
    }
    spool.trust_clock(Stamp::now());
    is_set.set(true);
}

fn is_right(trust: &ClockTrust, timesyncd: &Path, wall_ms: i64) -> bool {
    match trust {
        ClockTrust::Always => true,
        ClockTrust::File(path) => path.exists(),
        ClockTrust::Auto if timesyncd.exists() => timesyncd.join(SYNCHRONIZED).exists(),
        ClockTrust::Auto => wall_ms >= NOT_BEFORE_MS,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tidegate_config::ClockTrust;

    use super::{NOT_BEFORE_MS, is_right};

    #[test]
    fn whom_to_believe() {
        let folder = tempfile::tempdir().unwrap();
        let timesyncd = folder.path().join("timesync");
        let auto = |wall_ms| is_right(&ClockTrust::Auto, &timesyncd, wall_ms);
        assert!(!auto(0) && !auto(NOT_BEFORE_MS - 1), "1970, or before this program was written");
        assert!(auto(NOT_BEFORE_MS), "nothing better is known");
        fs::create_dir(&timesyncd).unwrap();
        assert!(!auto(NOT_BEFORE_MS), "timesyncd runs and has not said so");
        fs::write(timesyncd.join("synchronized"), "").unwrap();
        assert!(auto(NOT_BEFORE_MS));
        assert!(is_right(&ClockTrust::Always, &timesyncd, 0));
        let file = folder.path().join("set");
        assert!(!is_right(&ClockTrust::File(file.clone()), &timesyncd, NOT_BEFORE_MS));
        fs::write(&file, "").unwrap();
        assert!(is_right(&ClockTrust::File(file), &timesyncd, 0));
    }
}
