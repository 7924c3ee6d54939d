//! One client of a stand-in, packet by packet: what it says is held against the demands. No I/O.

use super::{Demands, Story};
use crate::must::Must;
use crate::wire::{self, Frame, Introduced, Version};

/// A client, once it is connected.
pub(super) struct Client<'a> {
    demands: &'a Demands,
    version: Option<Version>,
    unacknowledged: usize,
    out: Vec<u8>,
}

/// Bits of CONNECT's will: its QoS and whether it is retained (MQTT 5.0, 3.1.2.3).
const WILL_RETAIN: u8 = 0x20;

impl<'a> Client<'a> {
    pub(super) fn new(demands: &'a Demands) -> Self {
        Self { demands, version: None, unacknowledged: 0, out: Vec::new() }
    }

    /// What is to be sent; all that was taken is acknowledged by it.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        self.unacknowledged = 0;
        std::mem::take(&mut self.out)
    }

    /// Takes a packet of so many bytes; the error is why the connection ends.
    pub(super) fn handle(&mut self, frame: &Frame, bytes: usize, story: &mut Story) -> Result<(), String> {
        if bytes > self.demands.packet_bytes_max {
            return Err(format!("a packet of {bytes} bytes"));
        }
        let Some(version) = self.version else { return self.connect(frame, story) };
        match frame.kind() {
            3 => self.publish(frame, version, story),
            4 => {
                story.commands_acked += 1;
                Ok(())
            }
            8 => self.subscribe(frame, version),
            12 => {
                self.out.extend([0xD0, 0]);
                Ok(())
            }
            14 => Ok(()),
            kind => Err(format!("a packet of type {kind}")),
        }
    }

    fn connect(&mut self, frame: &Frame, story: &mut Story) -> Result<(), String> {
        let said = frame.introduced().ok_or("no CONNECT")?;
        let demands = self.demands;
        if !demands.versions.contains(&said.version) {
            return Err(format!("version: {:?}", said.version));
        }
        if !demands.keep_alive_s.contains(&said.keep_alive) {
            return Err(format!("keep-alive: {} s", said.keep_alive));
        }
        let is_retained = said.flags & WILL_RETAIN != 0;
        if (is_retained && !demands.retains) || said.flags >> 3 & 3 > demands.qos_max {
            return Err("a will that is not taken".to_owned());
        }
        let of_client = demands.logins.iter().find(|login| login.client_id == said.client_id);
        let login = of_client.ok_or_else(|| format!("client id: `{}`", said.client_id))?;
        if credentials(&said) != login.credentials {
            return Err(format!("user name or password of `{}`", said.client_id));
        }
        story.welcomed.push(said.client_id);
        self.version = Some(said.version);
        self.out.extend(connack(demands, said.version));
        Ok(())
    }

    fn publish(&mut self, frame: &Frame, version: Version, story: &mut Story) -> Result<(), String> {
        let publish = frame.publish(version).ok_or("a PUBLISH that cannot be read")?;
        let demands = self.demands;
        let levels = publish.topic.split('/').count();
        self.unacknowledged += usize::from(publish.qos > 0);
        match () {
            () if publish.qos > demands.qos_max => return Err(format!("QoS {}", publish.qos)),
            () if publish.retain && !demands.retains => return Err("a retained message".to_owned()),
            () if levels > demands.levels_max => return Err(format!("a topic of {levels} levels")),
            () if !publish.topic.starts_with(demands.topic_prefix) => {
                return Err(format!("topic: `{}`", publish.topic));
            }
            () if publish.alias.is_some() => return Err("a topic alias, which was not offered".to_owned()),
            () if self.unacknowledged > demands.unacknowledged_max => {
                return Err(format!("{} unacknowledged publishes", self.unacknowledged));
            }
            () => {}
        }
        if publish.qos == 1 {
            self.out.extend(wire::puback(publish.packet_id));
        }
        story.arrivals.push((publish.topic, publish.payload));
        Ok(())
    }

    /// Grants one filter, and sends the command that it is for.
    fn subscribe(&mut self, frame: &Frame, version: Version) -> Result<(), String> {
        let (id, filter, qos) = frame.subscribed(version).ok_or("a SUBSCRIBE that cannot be read")?;
        if qos > self.demands.qos_max {
            return Err(format!("a subscription with QoS {qos}"));
        }
        let mut body = id.to_be_bytes().to_vec();
        body.extend((version == Version::V5).then_some(0));
        body.push(qos);
        self.out.extend(wire::packet(0x90, &body));
        let prefix = filter.trim_end_matches('#');
        if let Some((topic, payload)) = self.demands.command.filter(|(topic, _)| topic.starts_with(prefix)) {
            self.out.extend(wire::publish(version, topic, payload.as_bytes(), 1, 1));
        }
        Ok(())
    }
}

fn credentials(said: &Introduced) -> Option<(&str, &str)> {
    Some((said.username.as_deref()?, said.password.as_deref().unwrap_or_default()))
}

/// CONNACK, with what MQTT 5 has to say of the demands (3.2.2.3).
fn connack(demands: &Demands, version: Version) -> Vec<u8> {
    let mut body = vec![0, 0];
    if version == Version::V5 {
        let mut properties = vec![0x21];
        let unacknowledged_max = u16::try_from(demands.unacknowledged_max).must("a receive maximum");
        properties.extend(unacknowledged_max.to_be_bytes());
        // A maximum of 2 is said by saying nothing.
        properties.extend([0x24, demands.qos_max].iter().take(if demands.qos_max < 2 { 2 } else { 0 }));
        properties.extend([0x25, u8::from(demands.retains), 0x27]);
        let packet_bytes_max = u32::try_from(demands.packet_bytes_max).must("a packet size");
        properties.extend(packet_bytes_max.to_be_bytes());
        wire::put_length(&mut body, properties.len());
        body.extend(properties);
    }
    wire::packet(0x20, &body)
}

#[cfg(test)]
mod tests {
    use super::Client;
    use crate::stand_in::{Demands, Login, Story};
    use crate::wire::{self, Connect, Frame, Version};

    const LOGINS: &[Login] = &[Login { client_id: "a", credentials: Some(("user", "secret")) }];

    fn demands() -> Demands {
        Demands {
            versions: &[Version::V311],
            keep_alive_s: 1..=60,
            packet_bytes_max: 200,
            levels_max: 3,
            topic_prefix: "a/",
            qos_max: 1,
            retains: false,
            unacknowledged_max: 2,
            command: Some(("cmd/x", "on")),
            ..Demands::new(&["cloud.test"], LOGINS)
        }
    }

    /// What becomes of these packets of one read.
    fn said(packets: &[Vec<u8>]) -> Result<Vec<u8>, String> {
        let (demands, mut story) = (demands(), Story::default());
        let mut client = Client::new(&demands);
        for bytes in packets {
            let frame = Frame::take(bytes, &mut 0).unwrap();
            client.handle(&frame, bytes.len(), &mut story)?;
        }
        Ok(client.take_output())
    }

    fn connect(change: impl FnOnce(&mut Connect<'static>)) -> Vec<u8> {
        let mut connect = Connect::new(Version::V311, "a");
        (connect.keep_alive, connect.login) = (30, Some(("user", "secret")));
        change(&mut connect);
        connect.encode()
    }

    #[test]
    fn who_fits_is_served() {
        let publish = wire::publish(Version::V311, "a/b/c", b"x", 1, 7);
        let answers = said(&[connect(|_| {}), publish]).unwrap();
        assert_eq!(answers, [b"\x20\x02\0\0".as_slice(), b"\x40\x02\0\x07"].concat());
        let answers = said(&[connect(|_| {}), wire::subscribe(Version::V311, 3, &[("cmd/#", 1)])]).unwrap();
        let command = wire::publish(Version::V311, "cmd/x", b"on", 1, 1);
        assert_eq!(answers, [b"\x20\x02\0\0\x90\x03\0\x03\x01".as_slice(), &command].concat());
    }

    #[test]
    fn each_demand_refuses_what_does_not_fit() {
        let publish = |topic, qos| wire::publish(Version::V311, topic, b"x", qos, 7);
        let retained = wire::retained(publish("a/b", 1));
        let large = wire::publish(Version::V311, "a/b", &[b'x'; 200], 1, 7);
        let v5 = Connect { keep_alive: 30, ..Connect::new(Version::V5, "a") }.encode();
        let subscribe = wire::subscribe(Version::V311, 3, &[("cmd/#", 2)]);
        for (why, first, then) in [
            ("client id", connect(|connect| connect.client_id = "b"), vec![]),
            ("password", connect(|connect| connect.login = Some(("user", "guess"))), vec![]),
            ("password", connect(|connect| connect.login = None), vec![]),
            ("keep-alive", connect(|connect| connect.keep_alive = 0), vec![]),
            ("version", v5, vec![]),
            ("no CONNECT", publish("a/b", 1), vec![]),
            ("QoS 2", connect(|_| {}), vec![publish("a/b", 2)]),
            ("retained", connect(|_| {}), vec![retained]),
            ("4 levels", connect(|_| {}), vec![publish("a/b/c/d", 1)]),
            ("topic", connect(|_| {}), vec![publish("b/b", 1)]),
            ("bytes", connect(|_| {}), vec![large]),
            ("3 unacknowledged", connect(|_| {}), vec![publish("a/b", 1); 3]),
            ("subscription", connect(|_| {}), vec![subscribe]),
            ("type 1", connect(|_| {}), vec![connect(|_| {})]),
        ] {
            let refusal = said(&[vec![first], then].concat()).unwrap_err();
            assert!(refusal.contains(why), "{refusal}, not {why}");
        }
    }
}
