//! The settings of a gateway: TOML files in, a valid [`Config`] or every mistake with its place out.
//!
//! [`load`] reads `tidegate.toml`, merges `conf.d/*.toml` beside it over it, reads `rules.d/*.toml`, and
//! reports everything that is wrong with all of them at once. A [`Config`] exists only if nothing is: whoever
//! holds one need not check it again.
//!
//! The crate knows TOML, places in files, diagnostics and units. It knows nothing of a running gateway: it
//! opens no socket, starts nothing, and reads no password: only where one is to be found, and the hashes of those of devices.

mod access;
mod config;
mod effective;
mod files;
mod layer;
mod literal;
mod load;
mod merge;
mod mistake;
mod read;
mod report;
mod section;
mod subscription;
mod table;
mod template;
#[cfg(test)]
mod testing;
mod tree;
mod units;

pub use config::{
    Access, AclRule, AclWho, Alerts, Batch, BatchFormat, Bind, Broker, ClockTrust, Config, Destination,
    EventProperties, Expected, Gateway, Given, HashMethod, Identity, Level, Limits, Listener, ListenerTls,
    Log, LogFormat, Login, PasswordHash, Permission, Proxy, Rate, RemoteConfig, Rule, RuleTest, Secret,
    Source, Table, TableFormat, Target, Tls, TlsVersion, Trace, Uplink, Url, Version,
};
pub use effective::{Difference, EffectiveTable, differences, to_toml};
pub use load::{Layer, Loaded, load, load_with};
pub use report::Report;
pub use subscription::{Subscription, SubscriptionError};
pub use template::TopicTemplate;
pub use units::parse_duration;

/// A JSON schema (draft 7) of the main file, for editors.
pub const SCHEMA: &str = include_str!("schema.json");
