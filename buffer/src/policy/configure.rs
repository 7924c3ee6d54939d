//! Consumers that come, go and change while the spool is open.

use super::lane::{Lane, LaneMark, Order};
use super::settled::Settled;
use super::{Policy, Reading};
use crate::options::{ConsumerOptions, Drain};
use crate::record::{ConsumerId, bit};
use crate::store::Registered;

impl Policy {
    /// Serves these consumers from now on, and no others. Those of `new` are unknown to the database: the next commit names
    /// them, and has whatever they are owed by then.
    pub(crate) fn configure(&mut self, consumers: &[(ConsumerId, ConsumerOptions)], new: Vec<Registered>) {
        for (id, options) in consumers {
            self.make_lanes(*id);
            self.serve(*id, options);
        }
        self.registered = consumers.iter().fold(0, |mask, (id, _)| mask | bit(*id));
        self.online &= self.registered;
        self.unnamed.extend(new);
        let ages = self.keeps.iter().any(|keep| keep.max_age_ms != u64::MAX);
        self.age_due_ms = ages.then_some(self.age_due_ms.unwrap_or(0));
        // Who is not served any more reads nothing from memory.
        self.urgent = true;
    }

    /// Whether records can be appended for the consumer.
    pub(crate) fn is_served(&self, id: ConsumerId) -> bool {
        self.registered & bit(id) != 0
    }

    /// Makes lanes up to this number, beginning with the next record.
    fn make_lanes(&mut self, id: ConsumerId) {
        while self.readings.len() <= usize::from(id.0) {
            let bit = 1 << (self.readings.len() & 63);
            self.readings.push(Reading::new(Drain::OldestFirst));
            self.keeps.push(self.limits.keep(&ConsumerOptions::new(String::new())));
            let mark = LaneMark {
                settled: Settled::up_to(self.last_seq),
                swept: self.last_seq,
                ..LaneMark::default()
            };
            let lane = || Lane::restore(bit, Order::Oldest, mark.clone(), self.last_seq + 1);
            self.lanes.extend([lane(), lane(), lane()]);
        }
    }

    fn serve(&mut self, id: ConsumerId, options: &ConsumerOptions) {
        let index = usize::from(id.0);
        let reading = Reading::new(options.drain);
        for lane in self.lanes.get_mut(index * 3..index * 3 + 3).unwrap_or_default() {
            lane.set_order(reading.order);
        }
        if let Some(keep) = self.keeps.get_mut(index) {
            *keep = self.limits.keep(options);
        }
        if let Some(known) = self.readings.get_mut(index) {
            *known = reading;
        }
    }
}
