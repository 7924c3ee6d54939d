//! Subscriptions come and go, and bring retained messages (MQTT 5.0, sections 3.8 to 3.11).

use tidegate_buffer::Stamp;

use super::key::Key;
use super::session::{Replay, SessionState};
use super::subscriptions::{self, Subscription};
use super::{Bus, Delivery, Handle, index};
use crate::durable::Durable;
use crate::mqtt::{SubscriptionOptions, reason};

/// How many retained messages are queued for a session at a time.
const REPLAY_EVENTS: usize = 16;

impl Bus {
    /// Adds or replaces a subscription; returns its code for SUBACK (section 3.9.3): the QoS granted, or why not. After
    /// the last of a packet, [`Bus::store_subscriptions`] keeps them.
    pub(crate) fn subscribe(
        &mut self,
        handle: Handle,
        text: &str,
        options: SubscriptionOptions,
        identifier: u32,
    ) -> u8 {
        let subscriptions_max = self.bounds.subscriptions_max;
        let Some((filter, shared)) = subscriptions::parse(text) else { return reason::TOPIC_FILTER_INVALID };
        let subscription = Subscription { text: text.into(), options, identifier };
        let Some(state) = self.session_mut(handle) else { return reason::UNSPECIFIED_ERROR };
        let known = state.subscriptions.iter().position(|known| known.text == subscription.text);
        if known.is_none() && state.subscriptions.len() >= subscriptions_max {
            return reason::QUOTA_EXCEEDED;
        }
        // A subscription that is replaced has its retained messages sent anew, from the first.
        state.replays.retain(|replay| replay.filter != filter);
        let wants_retained = match options.retain_handling() {
            0 => !shared,
            1 => !shared && known.is_none(),
            _ => false,
        };
        if wants_retained {
            state.replays.push_back(Replay { filter, options, identifier, after: None });
        }
        let old = match known.and_then(|at| state.subscriptions.get_mut(at)) {
            Some(old) => Some(std::mem::replace(old, subscription.clone())),
            None => {
                state.subscriptions.push(subscription.clone());
                None
            }
        };
        // A group changes its member in place, so that its turn stays.
        if let Some(old) = old.filter(|_| !shared) {
            self.subscriptions.remove(handle.session, &old);
        }
        self.subscriptions.insert(handle.session, &subscription);
        options.qos()
    }

    /// Takes a subscription away; returns its code for UNSUBACK (section 3.11.3).
    pub(crate) fn unsubscribe(&mut self, handle: Handle, filter: &str) -> u8 {
        let Some(state) = self.session_mut(handle) else { return reason::NO_SUBSCRIPTION_EXISTED };
        let Some(at) = state.subscriptions.iter().position(|known| &*known.text == filter) else {
            return reason::NO_SUBSCRIPTION_EXISTED;
        };
        let subscription = state.subscriptions.swap_remove(at);
        state.replays.retain(|replay| replay.filter.as_str() != filter);
        self.subscriptions.remove(handle.session, &subscription);
        reason::SUCCESS
    }

    /// Stores the subscriptions of a session that is kept.
    pub(crate) fn store_subscriptions(&self, handle: Handle, now: Stamp, durable: &mut dyn Durable) {
        if let Some(state) = self.session(handle).filter(|state| state.is_kept()) {
            durable.put(Key::Session(&state.client_id).encode(), state.write(now));
        }
    }

    /// Queues some retained messages that new subscriptions are still to be sent; says whether there were any.
    pub(super) fn replay(&mut self, handle: Handle, now: Stamp, durable: &mut dyn Durable) -> bool {
        let (mut queued, queue) = (0, self.bounds.queue);
        while queued < REPLAY_EVENTS {
            let Some(state) = self.sessions.get_mut(index(handle.session)) else { break };
            let Some(replay) = state.replays.front_mut() else { break };
            let Some(event) = self.retained.next(&replay.filter, replay.after.as_deref()) else {
                state.replays.pop_front();
                continue;
            };
            let event = event.clone();
            if queued > 0 && !state.outbox.has_room(&event, queue) {
                break;
            }
            replay.after = Some(event.topic.clone());
            let (qos, identifier) = (replay.options.qos().min(event.qos), replay.identifier);
            if event.is_expired(now.mono_ms) {
                self.retained.remove(&event.topic);
                self.retained.settle(&event.topic);
                durable.delete(Key::Retained(&event.topic).encode());
                continue;
            }
            let identifiers = (identifier > 0).then(|| [identifier].into());
            let delivery =
                Delivery { to: handle.session, event: &event, qos, retain: true, identifiers, share: None };
            self.deliver(delivery, now, durable);
            queued += 1;
        }
        queued > 0
    }
}

impl SessionState {
    /// Whether retained messages wait for nothing but their turn.
    pub(super) fn can_replay(&self) -> bool {
        !self.replays.is_empty() && self.outbox.queue_len() == 0
    }
}
