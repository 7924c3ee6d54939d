//! From trees to a [`Config`]: what settings there are, what they mean and what bounds they have.

mod access;
mod alerts;
mod broker;
mod buffer;
mod combinations;
mod destination;
mod drain;
mod event_time;
mod gateway;
mod limits;
mod listener;
mod loops;
mod name;
mod rule_test;
mod rules;
mod secret;
mod source;
mod table;
mod trace;
mod uplink;
mod url;

use std::path::Path;

use crate::Config;
use crate::access::AccessFiles;
use crate::files::{Files, Place};
use crate::mistake::Mistake;
use crate::section::Section;
use crate::tree::Table;

/// Everything that was read from files.
pub(crate) struct Input<'t> {
    pub(crate) files: &'t Files,
    /// The index of `tidegate.toml`.
    pub(crate) main: usize,
    /// The folder of `tidegate.toml`.
    pub(crate) folder: &'t Path,
    /// `tidegate.toml` with `conf.d` merged over it.
    pub(crate) settings: &'t Table,
    /// The files of `rules.d`.
    pub(crate) rule_files: &'t [(Place, Table)],
    /// The password files and access lists that the settings name.
    pub(crate) access: &'t AccessFiles,
}

/// Reads all settings. `None` only together with an error among the mistakes.
pub(crate) fn config(
    input: &Input<'_>,
    host_name: impl FnOnce() -> Option<String>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Config> {
    let main = Place::whole(input.main);
    let mut root = Section::new(input.settings, &main, mistakes);
    let gateway = gateway::gateway(&mut root, input.folder, host_name);
    let log = gateway::log(&mut root);
    let status = gateway::status(&mut root);
    let alerts = alerts::alerts(&mut root, input.files, &gateway.id);
    let sys = alerts::sys(&mut root);
    let listeners = listener::listeners(&mut root, input);
    let limits = limits::limits(&mut root);
    let buffer = buffer::buffer(&mut root, input.folder);
    let context = uplink::Context { input, gateway: &gateway.id };
    let uplinks = uplink::uplinks(&mut root, &context);
    let names: Vec<_> = uplinks.iter().filter_map(|draft| draft.name).collect();
    let sources = source::sources(&mut root, &context, &names);
    let trace = trace::trace(&mut root);
    for key in ["rule", "route", "table"] {
        root.misplaced(
            key,
            &format!("`{key}` does not belong here"),
            "rules, routes and tables are written in `rules.d/*.toml`",
        );
    }
    root.finish();
    combinations::check(&uplinks, &limits, &buffer, mistakes);
    let (rules, tables) = rules::rules(input, &uplinks, sources.as_deref().unwrap_or_default(), mistakes);
    let uplinks = uplinks.into_iter().map(|draft| draft.uplink).collect::<Option<Vec<_>>>()?;
    let sources = sources?;
    Some(Config {
        gateway,
        log,
        status,
        alerts,
        sys,
        listeners,
        limits,
        buffer,
        uplinks,
        sources,
        rules,
        tables,
        trace,
    })
}

/// Reads the table `key` with `read`, which also says what the settings are if there is none.
fn table<'t, T>(
    root: &mut Section<'t, '_>,
    key: &'static str,
    read: impl FnOnce(&mut Section<'t, '_>) -> T,
) -> Option<T> {
    let node = root.take(key)?;
    let mut section = Section::open(node, key, root.mistakes)?;
    let value = read(&mut section);
    section.finish();
    Some(value)
}
