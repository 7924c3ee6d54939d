//! Settings that are right each and hardly meant together: warned of, since they may be.

use tidegate_buffer::Options;

use super::uplink::Draft;
use crate::mistake::Mistake;
use crate::units::{format_bytes, format_duration};
use crate::{Limits, Uplink};

/// Warns of uplinks that do not fit each other, or what is set for all.
pub(super) fn check(drafts: &[Draft<'_>], limits: &Limits, buffer: &Options, mistakes: &mut Vec<Mistake>) {
    let read = || drafts.iter().filter_map(|draft| Some((draft.name?, draft.uplink.as_ref()?)));
    for (number, (name, uplink)) in read().enumerate() {
        let of_uplink = of_uplink(uplink, limits, buffer).into_iter();
        mistakes.extend(of_uplink.map(|(message, help)| Mistake::warning(name.place, message).help(help)));
        let twin = |(_, other): &(_, &Uplink)| {
            other.broker.client_id == uplink.broker.client_id && other.broker.url == uplink.broker.url
        };
        if let Some((first, _)) = read().take(number).find(twin) {
            let message =
                format!("the uplinks `{}` and `{}` are one client to one broker", first.value, name.value);
            let mistake = Mistake::warning(name.place, message).also(first.place, "the other one");
            mistakes.push(
                mistake.help("it ends the connection of one for the other; give them a `client_id` each"),
            );
        }
    }
}

/// What is odd about one, and what to do about it.
fn of_uplink(uplink: &Uplink, limits: &Limits, buffer: &Options) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if uplink.packet_bytes_max < limits.packet_bytes_max {
        let [here, devices] =
            [uplink.packet_bytes_max, limits.packet_bytes_max].map(|bytes| format_bytes(bytes as u64));
        found.push((
            format!(
                "devices may send {devices}, and `{}` takes {here}: larger events are set aside",
                uplink.name
            ),
            format!("write `packet_bytes_max = \"{here}\"` in `[limits]`, so that devices are told"),
        ));
    }
    let bytes = uplink.retention.max_bytes.filter(|bytes| *bytes > buffer.max_bytes);
    found.extend(bytes.map(|bytes| {
        let (own, all) = (format_bytes(bytes), format_bytes(buffer.max_bytes));
        let message = format!("`max_bytes` of `{}`, {own}, is beyond that of the buffer, {all}", uplink.name);
        (message, "the buffer's counts; leave this one out, or make the buffer larger".to_owned())
    }));
    let ages = uplink.retention.max_age.zip(buffer.max_age).filter(|(own, all)| own > all);
    found.extend(ages.map(|(own, all)| {
        let (own, all) = (format_duration(own), format_duration(all));
        let message = format!("`max_age` of `{}`, {own}, is beyond that of the buffer, {all}", uplink.name);
        (message, "the smaller counts; leave this one out".to_owned())
    }));
    found
}
