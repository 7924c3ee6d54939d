//! The rows of the table, and how each fault is brought about while devices publish.

use std::thread;
use std::time::Duration;

use tidegate_tests::LoopDisk;
use tidegate_tests::disk::{self, Disk};

use super::stage::Stage;

const DISK_BYTES: u64 = 64 << 20;
const SLOW: Duration = Duration::from_millis(300);
// How long a fault lasts that lasts.
const LASTING: Duration = Duration::from_millis(700);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    CloudAway,
    LinkCut,
    SlowCloudAndCut,
    CloudKill,
    Term,
    Kill,
    KillTwice,
    PowerCut,
    DiskFull,
    DiskError,
}

/// What the buffer lies on.
pub(super) enum Place {
    Plain,
    Loop(LoopDisk),
    Failing(Disk),
}

impl Fault {
    pub(super) const ALL: [Fault; 10] = [
        Fault::CloudAway,
        Fault::LinkCut,
        Fault::SlowCloudAndCut,
        Fault::CloudKill,
        Fault::Term,
        Fault::Kill,
        Fault::KillTwice,
        Fault::PowerCut,
        Fault::DiskFull,
        Fault::DiskError,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Fault::CloudAway => "cloud away",
            Fault::LinkCut => "link cut, three times",
            Fault::SlowCloudAndCut => "slow cloud, and the link cut twice",
            Fault::CloudKill => "kill -9 of the cloud, twice",
            Fault::Term => "SIGTERM, cloud away",
            Fault::Kill => "kill -9, cloud away",
            Fault::KillTwice => "kill -9 twice in a row, cloud away",
            Fault::PowerCut => "power cut, cloud away",
            Fault::DiskFull => "disk full, cloud away",
            Fault::DiskError => "syncs fail with EIO, cloud away",
        }
    }

    /// Whether the cloud is there while the fault happens.
    pub(super) fn has_cloud(self) -> bool {
        matches!(self, Fault::LinkCut | Fault::SlowCloudAndCut | Fault::CloudKill)
    }

    /// Where the buffer has to lie.
    pub(super) fn place(self, folder: &std::path::Path) -> Place {
        match self {
            Fault::PowerCut | Fault::DiskFull => Place::Loop(LoopDisk::mount(folder, DISK_BYTES)),
            Fault::DiskError => Place::Failing(Disk::mount(&folder.display().to_string())),
            _ => Place::Plain,
        }
    }

    /// Lets it happen. What the subject says when it does not start again is the error.
    pub(super) fn happen(self, stage: &mut Stage<'_>) -> Result<(), String> {
        match self {
            Fault::CloudAway => stage.wait_moment(),
            Fault::LinkCut => (0..3).for_each(|_| {
                stage.wait_moment();
                stage.upstream.drop_connections();
            }),
            Fault::SlowCloudAndCut => {
                stage.upstream.set_ack_delay(SLOW);
                (0..2).for_each(|_| {
                    stage.wait_moment();
                    thread::sleep(SLOW);
                    stage.upstream.drop_connections();
                });
                stage.upstream.set_ack_delay(Duration::ZERO);
            }
            Fault::CloudKill => (0..2).for_each(|_| {
                stage.wait_moment();
                stage.upstream.kill_and_restart();
            }),
            Fault::Term => return stage.restarted(|subject| subject.stop()),
            Fault::Kill => return stage.restarted(|subject| subject.kill()),
            Fault::KillTwice => {
                stage.restarted(|subject| subject.kill())?;
                return stage.restarted_at_once(|subject| subject.kill());
            }
            Fault::PowerCut => return stage.power_cut(),
            Fault::DiskFull => stage.with_place(|place| {
                if let Place::Loop(disk) = place {
                    disk.fill();
                    thread::sleep(LASTING);
                    disk.free();
                }
            }),
            Fault::DiskError => stage.with_place(|place| {
                if let Place::Failing(disk) = place {
                    disk.set(disk::Fault::Sync);
                    thread::sleep(LASTING);
                    disk.set(disk::Fault::None);
                }
            }),
        }
        Ok(())
    }
}
