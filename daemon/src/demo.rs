//! `tidegate demo`: the product at work with nothing installed. Ten devices, a gateway as a process of its own, a
//! stand-in cloud whose link is cut, a kill -9 in the middle, and the books at the end.

mod books;
mod cloud;
mod device;
mod screen;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, interval, timeout};

use crate::cli;
use crate::exit::{Exit, Fatal};
use books::Books;
use cloud::{Arrival, Relay};
use device::Device;
use screen::{Picture, Screen};

const DEVICES: usize = 10;
/// When the link is cut, the gateway killed, the link healed, and the measuring ended: seconds from the start.
const CUT_S: u64 = 8;
const KILL_S: u64 = 15;
const HEAL_S: u64 = 24;
const END_S: u64 = 34;
/// How long the last events may take once nothing new comes.
const DRAIN_S: u64 = 15;

/// Runs the demo; the exit code is 0 only if the books balance.
pub(crate) fn run(options: &cli::Demo) -> Result<ExitCode, Fatal> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fatal::new(Exit::Os, format!("cannot start the runtime: {error}")))?;
    let result = LocalSet::new().block_on(&runtime, live(options.keep));
    runtime.shutdown_background();
    result
}

async fn live(keep: bool) -> Result<ExitCode, Fatal> {
    let (cloud_v5, cloud_v4, arrivals) = cloud::start()?;
    let relay = Relay::start(cloud_v5).await?;
    let mut gateway = Gateway::prepare(relay.address)?;
    gateway.start()?;
    let (measure, measuring) = watch::channel(true);
    let books = Rc::new(RefCell::new(Books::default()));
    let started = Instant::now();
    let devices: Vec<_> = (0..DEVICES)
        .map(|number| Device::new(number, gateway.address, Rc::clone(&books), started))
        .map(|device| spawn_local(device.run(measuring.clone())))
        .collect();
    let mut show = Show { relay, gateway, books, screen: Screen::new(), seen: Seen::default(), started };
    show.watch_fans();
    show.introduce(cloud_v4, keep);
    let mut arrivals = arrivals;
    show.play(&mut arrivals, keep).await?;
    let _ = measure.send(false);
    for device in devices {
        let _ = timeout(Duration::from_secs(DRAIN_S), device).await;
    }
    show.drain(&mut arrivals).await;
    Ok(show.close_books())
}

/// The gateway's process, its folder and its address.
struct Gateway {
    folder: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

impl Gateway {
    /// Writes configuration and rules into a new folder below the system's temporary one.
    fn prepare(cloud: SocketAddr) -> Result<Gateway, Fatal> {
        let fail =
            |error: std::io::Error| Fatal::new(Exit::CantCreate, format!("the demo's folder: {error}"));
        let folder = std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("rules.d")).map_err(fail)?;
        let address = gateway_address().map_err(fail)?;
        let config = include_str!("demo/tidegate.toml")
            .replace("{port}", &address.port().to_string())
            .replace("{cloud_port}", &cloud.port().to_string());
        std::fs::write(folder.join("tidegate.toml"), config).map_err(fail)?;
        std::fs::write(folder.join("rules.d/demo.toml"), include_str!("demo/rules.toml")).map_err(fail)?;
        Ok(Gateway { folder, address, child: None })
    }

    fn start(&mut self) -> Result<(), Fatal> {
        let fail = |error: std::io::Error| Fatal::new(Exit::Os, format!("cannot start the gateway: {error}"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).map_err(fail)?;
        let child = Command::new(std::env::current_exe().map_err(fail)?)
            .args(["run", "--config"])
            .arg(self.folder.join("tidegate.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("JOURNAL_STREAM")
            .spawn()
            .map_err(fail)?;
        self.child = Some(child);
        Ok(())
    }

    /// SIGKILL: no goodbye, no flush.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("gateway.log")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// 1883 if it is free, so that other clients find the demo by their default.
fn gateway_address() -> std::io::Result<SocketAddr> {
    let usual = SocketAddr::from(([127, 0, 0, 1], 1883));
    if std::net::TcpListener::bind(usual).is_ok() { Ok(usual) } else { cloud::free_address() }
}

/// What was seen at the cloud and on the site beside the readings.
#[derive(Default)]
struct Seen {
    alarms: usize,
    alarms_passed: usize,
    averages: usize,
    fan_commands: Rc<std::cell::Cell<usize>>,
    last_second: (usize, usize),
}

/// The demo while it runs.
struct Show {
    relay: Relay,
    gateway: Gateway,
    books: Rc<RefCell<Books>>,
    screen: Screen,
    seen: Seen,
    started: Instant,
}

impl Show {
    fn introduce(&mut self, cloud: SocketAddr, keep: bool) {
        let port = self.gateway.address.port();
        screen::write(&format!(
            "tidegate demo: {DEVICES} devices -> gateway (127.0.0.1:{port}) -> cloud (stand-in, 127.0.0.1:{})\n\
             The link to the cloud is cut at {CUT_S} s and healed at {HEAL_S} s; the gateway is killed with -9 at {KILL_S} s.\n",
            cloud.port()
        ));
        if keep {
            screen::write(&format!(
                "Publish beside it:  mosquitto_pub -p {port} -q 1 -t sensors/me/climate -m '{{\"n\": 1, \"temp\": 35}}'\n\
                 Watch the cloud:    mosquitto_sub -p {} -t '#' -v\n\
                 Watch the site:     mosquitto_sub -p {port} -t '#' -v\n\
                 Ctrl-C ends it.\n",
                cloud.port()
            ));
        }
        screen::write("\n");
    }

    /// Counts what a fan on the site is told. It is an MQTT client of the gateway like any other.
    fn watch_fans(&self) {
        let mut options = rumqttc::MqttOptions::new("fans", "127.0.0.1", self.gateway.address.port());
        options.set_keep_alive(Duration::from_secs(10));
        let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
        let count = Rc::clone(&self.seen.fan_commands);
        spawn_local(async move {
            use rumqttc::{Event, Packet};
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        let _ = client.try_subscribe("actuators/+/fan", rumqttc::QoS::AtLeastOnce);
                    }
                    Ok(Event::Incoming(Packet::Publish(_))) => count.set(count.get() + 1),
                    Ok(_) => {}
                    // The gateway is down for a moment: that is part of the play.
                    Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                }
            }
        });
    }

    /// Plays the acts; with `keep`, goes on until Ctrl-C.
    async fn play(&mut self, arrivals: &mut UnboundedReceiver<Arrival>, keep: bool) -> Result<(), Fatal> {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.tick().await;
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            tokio::select! {
                Some(arrival) = arrivals.recv() => self.handle_arrival(&arrival),
                _ = seconds.tick() => {
                    let second = self.started.elapsed().as_secs();
                    self.act(second)?;
                    self.show(second);
                    if second >= END_S && !keep {
                        return Ok(());
                    }
                }
                _ = &mut interrupted => return Ok(()),
            }
        }
    }

    fn act(&mut self, second: u64) -> Result<(), Fatal> {
        match second {
            CUT_S => {
                self.relay.set_up(false);
                self.screen.say(format!("{second:>3} s  the link to the cloud is cut; devices publish on"));
            }
            KILL_S => {
                self.gateway.kill();
                self.gateway.start()?;
                self.screen.say(format!(
                    "{second:>3} s  kill -9 of the gateway, and a new start on the same buffer"
                ));
            }
            HEAL_S => {
                self.relay.set_up(true);
                self.screen.say(format!(
                    "{second:>3} s  the link is back; alarms come first, then the backlog in order"
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn handle_arrival(&mut self, arrival: &Arrival) {
        let mut levels = arrival.topic.split('/').skip(2);
        match (levels.next(), levels.next()) {
            (Some("sensors"), Some(device)) => {
                let device = device.strip_prefix('d').and_then(|number| number.parse().ok());
                if let (Some(device), Some(n)) = (device, number_after(&arrival.payload, "\"n\": ")) {
                    self.books.borrow_mut().arrived((device, n));
                }
            }
            (Some("alarms"), Some(device)) => self.handle_alarm(device),
            (Some("averages"), _) => self.seen.averages += 1,
            _ => {}
        }
    }

    fn handle_alarm(&mut self, device: &str) {
        self.seen.alarms += 1;
        let waiting = self.books.borrow().sums().missing;
        if waiting > 100 {
            self.seen.alarms_passed += 1;
            if self.seen.alarms_passed == 1 {
                let second = self.started.elapsed().as_secs();
                let line = format!(
                    "{second:>3} s  the alarm of {device} is at the cloud; {waiting} readings before it still wait"
                );
                self.screen.say(line);
            }
        }
    }

    fn show(&mut self, second: u64) {
        let books = self.books.borrow();
        let sums = books.sums();
        let devices = (0..DEVICES).map(|device| books.device(device)).collect();
        drop(books);
        let (acknowledged, arrived) =
            std::mem::replace(&mut self.seen.last_second, (sums.acknowledged, sums.arrived));
        self.screen.show(&Picture {
            seconds: second,
            phase: phase(second),
            cloud_is_up: self.relay.is_up(),
            sums,
            arrived_per_s: sums.arrived - arrived,
            acknowledged_per_s: sums.acknowledged - acknowledged,
            alarms: self.seen.alarms,
            averages: self.seen.averages,
            fan_commands: self.seen.fan_commands.get(),
            devices,
        });
    }

    /// Waits for what is still on its way.
    async fn drain(&mut self, arrivals: &mut UnboundedReceiver<Arrival>) {
        let deadline = Instant::now() + Duration::from_secs(DRAIN_S);
        while self.books.borrow().sums().missing > 0 {
            match tokio::time::timeout_at(deadline, arrivals.recv()).await {
                Ok(Some(arrival)) => self.handle_arrival(&arrival),
                _ => return,
            }
        }
    }

    /// The last word: the books, and what they mean.
    fn close_books(&self) -> ExitCode {
        let sums = self.books.borrow().sums();
        screen::write(&format!(
            "\nsent {}   acknowledged {}   arrived {}   duplicates {}   out of order {}   lost {}\n\
             alarms {} ({} ahead of waiting readings)   averages {}   fan commands on the site {}\n",
            sums.sent,
            sums.acknowledged,
            sums.arrived,
            sums.duplicates,
            sums.disordered,
            sums.missing,
            self.seen.alarms,
            self.seen.alarms_passed,
            self.seen.averages,
            self.seen.fan_commands.get(),
        ));
        if sums.balance() {
            screen::write("The books balance: everything acknowledged has arrived.\n");
            return ExitCode::SUCCESS;
        }
        screen::write("The books do NOT balance. The gateway's log:\n");
        screen::write(&tail(&self.gateway.log()));
        Exit::Data.into()
    }
}

fn phase(second: u64) -> &'static str {
    match second {
        0..CUT_S => "online",
        CUT_S..KILL_S => "offline, storing",
        KILL_S..HEAL_S => "killed, up again, storing",
        HEAL_S..=28 => "back, draining",
        _ => "online",
    }
}

/// The whole number that follows `key` in a payload which this program has written.
fn number_after(payload: &[u8], key: &str) -> Option<u64> {
    let text = str::from_utf8(payload).ok()?;
    let (_, rest) = text.split_once(key)?;
    let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.len().saturating_sub(30);
    lines.get(start..).unwrap_or_default().join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::number_after;

    #[test]
    fn numbers_are_found_or_not() {
        assert_eq!(number_after(br#"{"n": 12, "temp": 3}"#, "\"n\": "), Some(12));
        assert_eq!(number_after(br#"{"n": 12"#, "\"n\": "), Some(12));
        assert_eq!(number_after(br#"{"temp": 3}"#, "\"n\": "), None);
        assert_eq!(number_after(br#"{"n": x}"#, "\"n\": "), None);
    }
}
