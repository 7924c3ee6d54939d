//! Settings that come from the cloud: checked, tried, and kept only if the cloud still hears the gateway with them.
//!
//! Uplinks bring commands to the [`Desk`] and publish its answers; [`run`] has them checked (`command`), and does what the
//! state machine of trials says (`trial`): stores them (`state`) and has a reload switch to them. What was accepted lies over
//! the files of the gateway, as one more file of `conf.d` and one of `rules.d`, for as long as these let an uplink bring
//! settings at all.

mod command;
mod desk;
mod state;
mod trial;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use tidegate_config::{Layer, Loaded, RemoteConfig};
use tokio::task::spawn_blocking;
use tokio::time::sleep_until;
use tracing::{error, info, warn};

use crate::clock::{Clock, millis};
use crate::reload::Reloader;
use crate::uplinks::Uplinks;
use desk::Said;
pub(crate) use desk::{Answer, Desk, Incoming, Line, Standing};
pub(crate) use state::Address;
use state::{Settings, State, System};
use trial::{Action, Admission, Trials};

/// Reads the configuration with this layer over it, if the files let an uplink bring settings.
pub(crate) fn load(path: &Path, layer: Option<&Layer>) -> Loaded {
    let files = tidegate_config::load(path);
    match layer {
        Some(layer) if takes_settings(&files) => tidegate_config::load_with(path, layer),
        _ => files,
    }
}

/// As [`load`]. If the layer does not fit the files, these count alone, and the second value says what is wrong.
pub(crate) fn load_fitting(path: &Path, layer: Option<&Layer>) -> (Loaded, Option<String>) {
    let files = tidegate_config::load(path);
    let Some(layer) = layer.filter(|_| takes_settings(&files)) else { return (files, None) };
    let laid = tidegate_config::load_with(path, layer);
    if laid.config.is_some() {
        return (laid, None);
    }
    let said = format!(
        "what came through an uplink does not fit the files any more, and is left out:\n{}",
        laid.report.render(false)
    );
    (files, Some(said))
}

/// As [`load_fitting`], with what was accepted.
pub(crate) fn load_accepted(path: &Path) -> (Loaded, Option<String>) {
    let files = tidegate_config::load(path);
    let Some(config) = files.config.as_ref().filter(|_| takes_settings(&files)) else { return (files, None) };
    match state::read(&config.buffer.dir) {
        Ok(state) => load_fitting(path, state.accepted.layer().as_ref()),
        Err(why) => {
            (files, Some(format!("what came through an uplink cannot be read and is left out: {why}\n")))
        }
    }
}

fn takes_settings(files: &Loaded) -> bool {
    let uplinks = files.config.iter().flat_map(|config| &config.uplinks);
    uplinks.into_iter().any(|uplink| uplink.remote_config.is_some())
}

/// What is stored, at the start of a gateway. What cannot be read is kept aside, and the files of the gateway count.
pub(crate) fn stored(dir: &Path) -> State {
    state::read(dir).unwrap_or_else(|why| {
        let kept = state::set_aside(dir);
        let kept = kept.map_or_else(|error| error.to_string(), |path| path.display().to_string());
        error!("what came through an uplink cannot be read and does not count: {why}; kept as {kept}");
        State::default()
    })
}

/// What settings from the cloud need of the gateway.
pub(crate) struct Remote {
    pub(crate) gateway_id: String,
    /// The buffer's folder, where they are stored.
    pub(crate) dir: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) desk: Rc<Desk>,
    pub(crate) uplinks: Rc<Uplinks>,
    pub(crate) reloader: Rc<Reloader>,
}

/// Takes commands for ever, and does what follows from them.
pub(crate) async fn run(remote: Remote, stored: State) {
    let mut trials = Trials::new(stored);
    let mut online = Vec::new();
    loop {
        // Before what follows from it: who has an answer finds here what it says.
        remote.desk.set_standing(trials.standing());
        if let Some(action) = trials.poll(remote.clock.now_ms()) {
            remote.perform(action, &mut trials, &mut online).await;
            continue;
        }
        let now_ms = remote.clock.now_ms();
        match trials.deadline_ms(now_ms) {
            None => remote.desk.arrived.notified().await,
            Some(deadline_ms) => tokio::select! {
                () = remote.desk.arrived.notified() => {}
                () = sleep_until(remote.clock.instant(deadline_ms)) => {}
            },
        }
        let now_ms = remote.clock.now_ms();
        for (answer, is_taken) in remote.desk.take_told() {
            trials.handle_told(&answer, is_taken, now_ms);
        }
        trials.handle_uplinks(remote.are_back(&online), now_ms);
        while let Some(incoming) = remote.desk.poll_command() {
            remote.take_up(&incoming, &mut trials).await;
        }
    }
}

impl Remote {
    async fn perform(&self, action: Action, trials: &mut Trials, online: &mut Vec<String>) {
        match action {
            Action::Answer(answer) => self.desk.answer(answer),
            Action::Store(state) => {
                let stored = self.store(state).await;
                if let Err(why) = &stored {
                    warn!("what the cloud wants to be set cannot be stored: {why}");
                }
                trials.handle_stored(stored, self.clock.now_ms());
            }
            Action::Switch(settings) => {
                if trials.accepted() == &settings {
                    warn!("settings from the cloud are given up; those before are in effect again");
                } else {
                    *online = self.online();
                }
                let switched = self.reloader.lay(settings.layer()).await;
                let switched = switched.map(|report| report.changed);
                trials.handle_switched(switched, self.clock.now_ms());
            }
        }
    }

    async fn store(&self, state: State) -> Result<(), String> {
        let dir = self.dir.clone();
        let stored = spawn_blocking(move || state::save(&mut System, &dir, &state)).await;
        stored.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// The uplinks that are online.
    fn online(&self) -> Vec<String> {
        self.uplinks.seen().into_iter().filter(|seen| seen.online).map(|seen| seen.name).collect()
    }

    /// Whether each of these is online, if it is still configured.
    fn are_back(&self, names: &[String]) -> bool {
        let seen = self.uplinks.seen();
        seen.iter().filter(|seen| names.contains(&seen.name)).all(|seen| seen.online)
    }

    /// Tries the settings of a command, if nothing is wrong with it; says what is.
    async fn take_up(&self, incoming: &Incoming, trials: &mut Trials) {
        let to = &incoming.to;
        let refuse = |sequence, why: String| {
            warn!(uplink = %to.uplink, "settings from the cloud are refused: {}", why.trim_end());
            self.desk.answer(Answer::new(to.clone(), sequence, Said::Refused { why }));
        };
        // A reload may have taken it away a moment ago.
        let Some(how) = self.how(&to.uplink) else { return };
        let command = match command::read(&incoming.payload, &self.gateway_id, how.public_key.as_deref()) {
            Ok(command) => command,
            Err(why) => return refuse(None, why),
        };
        let sequence = command.sequence;
        match trials.admit(sequence, to) {
            Admission::Yes => {}
            Admission::Again | Admission::Answered => return,
            Admission::No(latest) if trials.is_trying() => {
                return refuse(Some(sequence), format!("those of sequence {latest} are on trial"));
            }
            Admission::No(latest) => {
                let why = format!("its sequence has to be greater than {latest}");
                return refuse(Some(sequence), why);
            }
        }
        let accepted = trials.accepted();
        let settings = Settings {
            config: command.config.unwrap_or_else(|| accepted.config.clone()),
            rules: command.rules.unwrap_or_else(|| accepted.rules.clone()),
        };
        if let Err(why) = self.reloader.check(settings.layer()).await {
            return refuse(Some(sequence), why);
        }
        info!(uplink = %to.uplink, sequence, "settings from the cloud are tried");
        trials.begin(sequence, settings, to.clone(), millis(how.confirm_within));
    }

    fn how(&self, uplink: &str) -> Option<RemoteConfig> {
        let running = self.uplinks.settings();
        running.into_iter().find(|running| running.name == uplink)?.remote_config
    }
}
