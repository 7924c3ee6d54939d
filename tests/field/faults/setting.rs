//! The columns of the table.

use std::path::Path;

use tidegate_tests::gateway::Builder;
use tidegate_tests::subject::Settings;
use tidegate_tests::{Must, Random};

/// A column: who stands in the gateway's place, and how it is set up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) settings: Settings<'static>,
}

/// All columns.
pub(super) const ALL: [Setting; 9] = [
    tidegate("tidegate", "", ""),
    tidegate("`spill_after = \"0ms\"`", "spill_after = \"0ms\"", ""),
    tidegate("`spill_after = \"1s\"`", "spill_after = \"1s\"", ""),
    tidegate("`when_full = \"refuse\"`", "when_full = \"refuse\"", ""),
    tidegate("`when_full = \"evict-newest\"`", "when_full = \"evict-newest\"", ""),
    tidegate("`drain = \"newest-first\"`", "", "drain = \"newest-first\""),
    tidegate("`drain = \"live-first\"`", "", "drain = \"live-first\""),
    Setting { name: "mosquitto bridge", settings: Settings::Bridge { global: "" } },
    Setting {
        name: "mosquitto bridge, `autosave_on_changes`",
        settings: Settings::Bridge { global: "autosave_on_changes true\nautosave_interval 1" },
    },
];

const fn tidegate(name: &'static str, buffer: &'static str, uplink: &'static str) -> Setting {
    Setting { name, settings: Settings::Tidegate { buffer, uplink } }
}

impl Setting {
    /// Whether it is of tidegate.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.settings, Settings::Tidegate { .. })
    }

    /// Whether this binary accepts it.
    pub(super) fn is_built(&self, binary: &Path, folder: &Path) -> bool {
        let Settings::Tidegate { buffer, uplink } = self.settings else { return true };
        let folder = folder.to_str().must("a path in UTF-8");
        let builder = Builder::new(binary.to_owned(), folder).uplink(1883);
        builder.buffer(buffer).uplink_with(uplink).outcome("check", 1884).code == Some(0)
    }

    /// The moment of a fault: when so many events of `total` are acknowledged.
    pub(super) fn moment(random: &mut Random, total: usize) -> usize {
        let total = u64::try_from(total).must("count events");
        usize::try_from(random.within(total / 5..total / 2)).must("count events")
    }
}
