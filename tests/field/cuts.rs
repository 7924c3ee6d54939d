//! What both ways to cut the power share: the cloud's weather, the devices, and the sum of what was found.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::oracle::{Account, Findings};
use tidegate_tests::{Cloud, Device, Plan, Random};

use crate::say;

/// How many devices publish.
pub(crate) const DEVICES: usize = 4;
/// More events than a device gets to publish.
const ENDLESS: u64 = 10_000_000;

/// How the cloud is while devices publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Not there: everything waits on disk.
    Away,
    /// Answers later than the buffer waits.
    Slow,
    /// Comes and goes.
    Flapping,
    /// There and quick.
    Fair,
}

impl Weather {
    pub(crate) const ALL: [Weather; 4] = [Weather::Away, Weather::Slow, Weather::Flapping, Weather::Fair];

    /// Lets the cloud be so for a time.
    pub(crate) fn blow(self, cloud: &Cloud, time: Duration, random: &mut Random) {
        let until = Instant::now() + time;
        cloud.set_ack_delay(if self == Weather::Slow { random.millis(100..400) } else { Duration::ZERO });
        if self == Weather::Away {
            cloud.cut();
        } else {
            cloud.heal();
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let pause = if self == Weather::Flapping { random.millis(20..200) } else { left };
            thread::sleep(pause.min(left));
            if self == Weather::Flapping {
                if random.once_in(2) { cloud.cut() } else { cloud.heal() }
            }
        }
    }
}

/// Devices that publish until they are halted.
pub(crate) fn devices(prefix: &str, port: u16, window: usize) -> Vec<Device> {
    let plan = |number| Plan::new(&format!("{prefix}-{number}"), port, 0..ENDLESS).window(window);
    (0..DEVICES).map(|number| Device::raw(plan(number))).collect()
}

/// The obligations of `before`, with what the devices in the end have sent, once or again.
pub(crate) fn with_sent(before: Vec<Account>, devices: &[Device]) -> Vec<Account> {
    before.into_iter().zip(devices).map(|(a, d)| Account { acked: a.acked, ..d.account() }).collect()
}

/// How often a control is cut beside this many cuts of the gateway.
pub(crate) fn control_cuts(cuts: usize) -> usize {
    (cuts / 10).max(5)
}

/// Says what was found. It holds if the gateway lost nothing and each control lost something.
pub(crate) fn verdict(method: &str, tidegate: &Tally, controls: &[(&str, Tally)]) -> bool {
    say(&format!("{method}: tidegate: {tidegate}"));
    for (name, tally) in controls {
        say(&format!("{method}: control, {name}: {tally}"));
    }
    let proves = controls.iter().all(|(_, tally)| tally.lost > 0);
    if !proves {
        say("a control has lost nothing: these cuts prove nothing");
    }
    proves && tidegate.is_clean()
}

/// The sum over all cuts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    cuts: usize,
    obligations: usize,
    lost: usize,
    cuts_with_loss: usize,
    wrong: usize,
    repeated: usize,
    repeated_max: usize,
}

impl Tally {
    /// Adds what one cut did.
    pub(crate) fn add(&mut self, accounts: &[Account], findings: &Findings) {
        self.cuts += 1;
        self.obligations += accounts.iter().map(|account| account.acked.len()).sum::<usize>();
        self.lost += findings.lost.len();
        self.cuts_with_loss += usize::from(!findings.lost.is_empty());
        self.wrong += findings.invented.len() + findings.damaged.len() + findings.misordered.len();
        self.repeated += findings.repeated.len();
        self.repeated_max = self.repeated_max.max(findings.repeated.len());
    }

    // Nothing was lost, invented, damaged or out of order.
    fn is_clean(&self) -> bool {
        self.cuts > 0 && self.lost + self.wrong == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cuts, obligations, lost, cuts_with_loss, wrong, repeated, repeated_max } = self;
        write!(
            f,
            "{cuts} cuts, {obligations} acknowledged before them, {lost} lost in {cuts_with_loss} cuts, {wrong} invented, \
             damaged or out of order, {repeated} repeated (at most {repeated_max} by a cut)"
        )
    }
}
