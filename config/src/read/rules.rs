//! `rules.d/*.toml`, and `forward` of uplinks: rules and routes, compiled.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use tidegate_rules::{DestinationSource, OnError, Options, Query, Source, Tables, Text as RuleText};

use super::destination::{self, Owner, destinations, outlets};
use super::loops::{self, Way};
use super::name::{check_name, twice};
use super::{Input, event_time, rule_test, table, uplink};
use crate::files::Place;
use crate::literal::in_literal;
use crate::mistake::Mistake;
use crate::section::{Section, Text};
use crate::tree::Node;
use crate::{Rule, RuleTest, Table, Target};

/// How many groups the windows of a rule may have at a time, unless it says so.
const GROUPS_DEFAULT: usize = 100_000;

/// The most rules and routes together.
const RULES_MAX: usize = 10_000;

/// The keys of `tidegate.toml`, to say of where they belong.
const SETTINGS: [&str; 10] =
    ["gateway", "listener", "access", "source", "limits", "buffer", "uplink", "status", "log", "trace"];

/// A rule or a route before it is compiled.
struct Draft<'t> {
    /// `None` if it has no good one.
    name: Option<String>,
    /// The SQL of a rule or the filter of a route.
    text: Option<Text<'t>>,
    owner: Owner,
    max_groups: usize,
    on_error: OnError,
    time: Option<event_time::Draft<'t>>,
    destinations: Vec<destination::Draft<'t>>,
    late: Vec<destination::Draft<'t>>,
    dead_letter: Vec<destination::Draft<'t>>,
    /// Where `late` and `on_error` stand.
    late_key: Option<&'t Place>,
    on_error_key: Option<&'t Place>,
    tests: Vec<RuleTest>,
}

/// Reads and compiles everything that `uplinks` and the files of rules say.
pub(super) fn rules(
    input: &Input<'_>,
    uplinks: &[uplink::Draft<'_>],
    sources: &[crate::Source],
    mistakes: &mut Vec<Mistake>,
) -> (Vec<Rule>, Vec<Table>) {
    let mut drafts = Vec::new();
    let mut tables = table::Drafts::default();
    let mut names = Names::default();
    for (place, table) in input.rule_files {
        let mut root = Section::new(table, place, mistakes);
        for node in root.tables("table") {
            tables.add(input, node, root.mistakes);
        }
        for node in root.tables("rule") {
            drafts.extend(rule(input, node, uplinks, &mut names, root.mistakes));
        }
        for node in root.tables("route") {
            drafts.extend(route(node, uplinks, &mut names, root.mistakes));
        }
        for key in SETTINGS {
            let message = format!("`{key}` does not belong here");
            root.misplaced(key, &message, "settings are written in `tidegate.toml` or `conf.d/*.toml`");
        }
        root.finish();
    }
    add_forwards(uplinks, &mut drafts, mistakes);
    warn_of_idle_uplinks(uplinks, &drafts, mistakes);
    if drafts.len() > RULES_MAX {
        let message =
            format!("there can be at most {RULES_MAX} rules and routes; there are {}", drafts.len());
        mistakes.push(Mistake::error(&Place::whole(input.main), message));
        return (Vec::new(), tables.tables);
    }
    let mut looked_up = Tables::new();
    for table in &tables.tables {
        looked_up.insert(&table.name, Arc::clone(&table.rows));
    }
    let (mut rules, mut ways) = (Vec::new(), Vec::new());
    for mut draft in drafts {
        if let Some(rule) = compile(input, &mut draft, &looked_up, mistakes) {
            ways.extend(draft.ways(&rule));
            rules.push(rule);
        }
    }
    loops::check(uplinks, sources, &ways, mistakes);
    (rules, tables.tables)
}

/// Names and where they were first.
#[derive(Default)]
struct Names<'t>(HashMap<(Owner, &'t str), Text<'t>>);

impl<'t> Names<'t> {
    fn add(&mut self, owner: Owner, name: Text<'t>, mistakes: &mut Vec<Mistake>) {
        match self.0.entry((owner, name.value)) {
            Entry::Occupied(first) if owner == Owner::Rule => {
                mistakes.push(twice("the rule", name, *first.get()))
            }
            Entry::Occupied(first) => {
                mistakes.push(
                    twice("the route from", name, *first.get())
                        .help("one route can have several destinations in `to`"),
                );
            }
            Entry::Vacant(place) => {
                place.insert(name);
            }
        }
    }
}

fn rule<'t>(
    input: &Input<'_>,
    node: &'t Node,
    uplinks: &[uplink::Draft<'_>],
    names: &mut Names<'t>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Draft<'t>> {
    let mut section = Section::open(node, "rule", mistakes)?;
    let name = section.require("name", "write `name = \"…\"`").and_then(|node| section.as_text(node, "name"));
    if let Some(name) = name {
        names.add(Owner::Rule, name, section.mistakes);
    }
    let name = name.and_then(|name| check_name(name, section.mistakes));
    let text = section
        .require("sql", "write `sql = ''' SELECT … '''`")
        .and_then(|node| section.as_text(node, "sql"));
    let on_errors = [
        ("null", Some(OnError::Null)),
        ("drop", Some(OnError::Drop)),
        ("dead-letter", Some(OnError::DeadLetter)),
    ];
    let on_error = section.word("on_error", &on_errors).unwrap_or(OnError::Null);
    let max_groups = section.number("max_groups", 1..=10_000_000).unwrap_or(GROUPS_DEFAULT);
    let time = event_time::event_time(&mut section);
    let tests = section.tables("test").iter();
    let tests = tests.filter_map(|node| rule_test::test(input, node, section.mistakes)).collect();
    let destinations = destinations(&mut section, Owner::Rule, uplinks);
    let late = outlets(&mut section, "late", Owner::Rule, uplinks);
    let dead_letter = outlets(&mut section, "dead_letter", Owner::Rule, uplinks);
    if let (Some(key), false) = (section.key("dead_letter"), on_error == OnError::DeadLetter) {
        let mistake = Mistake::error(key, "nothing goes to `dead_letter`");
        section.mistakes.push(mistake.help("write `on_error = \"dead-letter\"` too"));
    }
    let (late_key, on_error_key) = (section.key("late"), section.key("on_error"));
    section.finish();
    let draft = Draft::new(name, text, Owner::Rule, destinations);
    Some(Draft { max_groups, on_error, time, late, dead_letter, late_key, on_error_key, tests, ..draft })
}

fn route<'t>(
    node: &'t Node,
    uplinks: &[uplink::Draft<'_>],
    names: &mut Names<'t>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Draft<'t>> {
    let mut section = Section::open(node, "route", mistakes)?;
    let help = "write `from = \"…\"`, a topic filter";
    let text = section.require("from", help).and_then(|node| section.as_text(node, "from"));
    if let Some(text) = text {
        names.add(Owner::Route, text, section.mistakes);
    }
    section.misplaced("name", "a route has no name", "it is called after its filter");
    let destinations = destinations(&mut section, Owner::Route, uplinks);
    section.finish();
    Some(Draft::route(text, destinations))
}

impl<'t> Draft<'t> {
    fn route(text: Option<Text<'t>>, destinations: Vec<destination::Draft<'t>>) -> Self {
        let name = text.map(|text| format!("route:{}", text.value));
        Self::new(name, text, Owner::Route, destinations)
    }

    fn new(
        name: Option<String>,
        text: Option<Text<'t>>,
        owner: Owner,
        destinations: Vec<destination::Draft<'t>>,
    ) -> Self {
        Self {
            name,
            text,
            owner,
            max_groups: GROUPS_DEFAULT,
            on_error: OnError::Null,
            time: None,
            destinations,
            late: Vec::new(),
            dead_letter: Vec::new(),
            late_key: None,
            on_error_key: None,
            tests: Vec::new(),
        }
    }

    /// All of them, in the order in which rules count them.
    fn all_destinations(&self) -> impl Iterator<Item = &destination::Draft<'t>> {
        self.destinations.iter().chain(&self.late).chain(&self.dead_letter)
    }

    /// What it sends up.
    fn ways(&self, rule: &Rule) -> impl Iterator<Item = Way<'t>> {
        let is_route = self.owner == Owner::Route;
        let way = move |each: &destination::Draft<'t>| {
            Way::new(
                rule,
                is_route,
                each.destination.map(|destination| destination.target),
                (each.place, each.topic),
            )
        };
        self.all_destinations().filter_map(way)
    }

    fn is_route_from(&self, filter: &str) -> bool {
        self.owner == Owner::Route && self.text.is_some_and(|text| text.value == filter)
    }
}

/// Adds the filters of `forward` as routes, or as destinations to the routes that are there.
fn add_forwards<'t>(uplinks: &[uplink::Draft<'t>], drafts: &mut Vec<Draft<'t>>, mistakes: &mut Vec<Mistake>) {
    for (index, uplink) in uplinks.iter().enumerate() {
        for filter in &uplink.forward {
            let destination = destination::Draft::forward(filter.place, index);
            let Some(route) = drafts.iter_mut().find(|draft| draft.is_route_from(filter.value)) else {
                drafts.push(Draft::route(Some(*filter), vec![destination]));
                continue;
            };
            let same = |other: &&destination::Draft<'_>| {
                other.goes_to(Target::Uplink(index)) && other.topic.is_none()
            };
            if let Some(first) = route.destinations.iter().find(same) {
                let message = format!("`{}` goes to this uplink twice", filter.value);
                mistakes.push(
                    Mistake::error(filter.place, message).label("again here").also(first.place, "first here"),
                );
                continue;
            }
            route.destinations.push(destination);
        }
    }
}

/// Not if anything is wrong: that may be what was meant to use the uplink.
fn warn_of_idle_uplinks(uplinks: &[uplink::Draft<'_>], drafts: &[Draft<'_>], mistakes: &mut Vec<Mistake>) {
    if !mistakes.iter().all(Mistake::is_warning) {
        return;
    }
    for (index, uplink) in uplinks.iter().enumerate() {
        let used =
            drafts.iter().flat_map(Draft::all_destinations).any(|each| each.goes_to(Target::Uplink(index)));
        if let Some(name) = uplink.name.filter(|_| !used) {
            let mistake =
                Mistake::warning(name.place, format!("nothing goes to the uplink `{}`", name.value));
            mistakes.push(
                mistake.help("add `forward = [\"#\"]` for everything, or a rule or a route with it in `to`"),
            );
        }
    }
}

fn compile(
    input: &Input<'_>,
    draft: &mut Draft<'_>,
    tables: &Tables,
    mistakes: &mut Vec<Mistake>,
) -> Option<Rule> {
    let text = draft.text?;
    let [results, late, dead_letter] = [&draft.destinations, &draft.late, &draft.dead_letter]
        .map(|drafts| drafts.iter().map(destination::Draft::source).collect::<Vec<DestinationSource<'_>>>());
    let source = Source {
        // A rule with no good name cannot be used, but can be checked.
        name: draft.name.as_deref().unwrap_or_default(),
        query: if draft.owner == Owner::Rule { Query::Sql(text.value) } else { Query::Route(text.value) },
        max_groups: draft.max_groups,
        on_error: draft.on_error,
        destinations: &results,
    };
    let options = Options {
        time: draft.time.as_ref().map(event_time::Draft::source),
        late: &late,
        dead_letter: &dead_letter,
        tables: Some(tables),
    };
    match tidegate_rules::Rule::compile_with(&source, &options) {
        Ok(rule) => {
            let destinations =
                draft.all_destinations().map(|each| each.destination).collect::<Option<_>>()?;
            Some(Rule { rule, destinations, tests: std::mem::take(&mut draft.tests) })
        }
        Err(found) => {
            mistakes.extend(found.into_iter().map(|mistake| placed(input, draft, text, mistake)));
            None
        }
    }
}

/// A mistake of a rule's text as one of the file.
fn placed(
    input: &Input<'_>,
    draft: &Draft<'_>,
    query: Text<'_>,
    mistake: tidegate_rules::Mistake,
) -> Mistake {
    let destination = |index: usize| draft.all_destinations().nth(index);
    let place =
        match mistake.text {
            RuleText::Query => query.place,
            RuleText::Topic(index) => destination(index)
                .map_or(query.place, |each| each.topic.map_or(each.place, |text| text.place)),
            RuleText::Payload(index) => destination(index)
                .map_or(query.place, |each| each.payload.map_or(each.place, |text| text.place)),
            RuleText::Destination(index) => {
                let place = destination(index).map_or(query.place, |each| each.place);
                return Mistake { help: mistake.help, ..Mistake::error(place, mistake.message) };
            }
            RuleText::Time => draft.time.as_ref().map_or(query.place, |time| time.field.place),
            RuleText::Late | RuleText::OnError => {
                let key = if mistake.text == RuleText::Late { draft.late_key } else { draft.on_error_key };
                let place = key.unwrap_or(query.place);
                return Mistake { help: mistake.help, ..Mistake::error(place, mistake.message) };
            }
        };
    let in_file = |span: &std::ops::Range<usize>| in_literal(input.files, place, span);
    let also = mistake.also.map(|(span, label)| (in_file(&span), label));
    Mistake { help: mistake.help, also, ..Mistake::error(&in_file(&mistake.span), mistake.message) }
}
