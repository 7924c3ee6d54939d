//! What is known of settings from the cloud, as it is stored: one small file, replaced as a whole, so that a crash leaves the
//! old one or the new one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidegate_config::Layer;

/// In the buffer's folder.
const FILE: &str = "remote-config.json";
const NEW: &str = "remote-config.json.new";
/// What was there and could not be read.
const DAMAGED: &str = "remote-config.json.damaged";

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The highest number of settings that were tried.
    pub(crate) sequence: u64,
    /// What counts.
    pub(crate) accepted: Settings,
    /// What is tried; a gateway that finds this at its start was ended meanwhile, and leaves it.
    pub(crate) trial: Option<Trial>,
    /// What came of the last ones.
    pub(crate) outcome: Option<Outcome>,
}

/// Settings from the cloud.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) config: String,
    pub(crate) rules: String,
}

impl Settings {
    /// As they are laid over those of the files; `None` if there is nothing in them.
    pub(crate) fn layer(&self) -> Option<Layer> {
        let is_empty = self.config.is_empty() && self.rules.is_empty();
        (!is_empty).then(|| Layer { config: self.config.clone(), rules: self.rules.clone() })
    }
}

/// Settings that have to show that the cloud still hears the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trial {
    pub(crate) settings: Settings,
    pub(crate) to: Address,
}

/// What came of settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) sequence: u64,
    /// Why they were given up; `None` if they were accepted.
    pub(crate) why: Option<String>,
    /// Who is still to be told.
    pub(crate) untold: Option<Address>,
}

/// Where an answer goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) uplink: String,
    pub(crate) topic: String,
    /// What the command had as correlation data (MQTT 5.0, 3.3.2.3.6).
    pub(crate) correlation: Option<Vec<u8>>,
}

/// The few things that are done with files; tests have them fail.
pub(crate) trait Disk {
    /// Writes a file that is there or not, and has it reach the disk.
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Puts a file in the place of another.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Has the names of a folder reach the disk.
    fn sync_folder(&mut self, path: &Path) -> io::Result<()>;
}

/// The real one.
pub(crate) struct System;

impl Disk for System {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Replaces what is stored in the buffer's folder. After an error either may be there.
pub(crate) fn save(disk: &mut impl Disk, dir: &Path, state: &State) -> io::Result<()> {
    let bytes = serde_json::to_vec_pretty(state)?;
    disk.write(&dir.join(NEW), &bytes)?;
    disk.rename(&dir.join(NEW), &dir.join(FILE))?;
    disk.sync_folder(dir)
}

/// What is stored in the buffer's folder; nothing if there is no such file.
///
/// # Errors
/// Why it cannot be read, with its path.
pub(crate) fn read(dir: &Path) -> Result<State, String> {
    let path = dir.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Keeps what could not be read for people to look at; gives where.
pub(crate) fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let aside = dir.join(DAMAGED);
    fs::rename(dir.join(FILE), &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io;
    use std::path::{Path, PathBuf};

    use super::{Address, Disk, FILE, Outcome, Settings, State, System, Trial, read, save, set_aside};

    fn state(sequence: u64) -> State {
        let settings = Settings { config: format!("a = {sequence}"), rules: "b\n".repeat(200) };
        let to = Address { uplink: "cloud".into(), topic: "t".into(), correlation: Some(vec![0, 255]) };
        let outcome = Outcome { sequence, why: Some("because".into()), untold: Some(to.clone()) };
        State {
            sequence,
            accepted: settings.clone(),
            trial: Some(Trial { settings, to }),
            outcome: Some(outcome),
        }
    }

    #[test]
    fn what_was_saved_is_read_and_what_is_damaged_is_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        assert_eq!(read(dir), Ok(State::default()));
        for sequence in 1..3 {
            save(&mut System, dir, &state(sequence)).unwrap();
            assert_eq!(read(dir), Ok(state(sequence)));
        }
        fs::write(dir.join(FILE), "{\"sequence\": 3").unwrap();
        assert!(read(dir).unwrap_err().contains(FILE));
        let aside = set_aside(dir).unwrap();
        assert_eq!(fs::read(aside).unwrap(), b"{\"sequence\": 3");
        assert_eq!(read(dir), Ok(State::default()));
    }

    /// A disk that is cut off after some steps. What a file has is on it once it is synced, or in part; a name is, once its
    /// folder is synced, or earlier.
    struct Failing {
        steps: usize,
        names_are_late: bool,
        files: BTreeMap<PathBuf, Vec<u8>>,
        /// What will be found after the cut.
        durable: BTreeMap<PathBuf, Vec<u8>>,
    }

    impl Failing {
        fn step(&mut self) -> io::Result<()> {
            self.steps = self.steps.checked_sub(1).ok_or_else(|| io::Error::other("cut off"))?;
            Ok(())
        }
    }

    impl Disk for Failing {
        fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            for part in [0, bytes.len() / 2, bytes.len()] {
                self.step()?;
                self.durable.insert(path.into(), bytes[..part].to_vec());
            }
            self.files.insert(path.into(), bytes.to_vec());
            Ok(())
        }

        fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            self.step()?;
            let bytes = self.files.remove(from).unwrap();
            self.files.insert(to.into(), bytes);
            if !self.names_are_late {
                self.durable = self.files.clone();
            }
            Ok(())
        }

        fn sync_folder(&mut self, _: &Path) -> io::Result<()> {
            self.step()?;
            self.durable = self.files.clone();
            Ok(())
        }
    }

    #[test]
    fn wherever_it_is_cut_off_the_old_or_the_new_one_is_whole() {
        for names_are_late in [false, true] {
            let mut found = Vec::new();
            for steps in 0..6 {
                let folder = tempfile::tempdir().unwrap();
                let dir = folder.path();
                let old = serde_json::to_vec_pretty(&state(1)).unwrap();
                let there = BTreeMap::from([(dir.join(FILE), old)]);
                let (files, durable) = (there.clone(), there);
                let mut disk = Failing { steps, names_are_late, files, durable };
                let saved = save(&mut disk, dir, &state(2)).is_ok();
                for (path, bytes) in &disk.durable {
                    fs::write(path, bytes).unwrap();
                }
                let sequence = read(dir).unwrap().sequence;
                assert!(!saved || sequence == 2, "what is saved is there");
                found.push(sequence);
            }
            let expected = if names_are_late { [1, 1, 1, 1, 1, 2] } else { [1, 1, 1, 1, 2, 2] };
            assert_eq!(found, expected);
        }
    }
}
