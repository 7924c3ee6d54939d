//! From a syntax tree to a plan: names resolved, kinds checked, constants folded. All mistakes of a rule are reported
//! together.

mod aggregate;
mod call;
mod cost;
mod destination;
mod expression;
mod group;
mod memory;
mod time;
mod window;

use std::ops::Range;

pub(crate) use call::REGEXP_CATALOGUE as REGEXPS;
use expression::{Scope, Typed};
pub(crate) use window::CATALOGUE as WINDOW_CATALOGUE;

use crate::{
    aggregate::Aggregate,
    ast::{Item, Name, Node, NodeKind, Select},
    expr::Expr,
    field::Path,
    memory::MemoryPlan,
    mistake::{Mistake, Text},
    parser,
    pattern::Pattern,
    rule::{Column, Columns, Condition, FilterPlan, Options, Plan, Query, Source, WindowPlan},
    value::Kind,
};

/// Compiles a rule.
pub(crate) fn compile(source: &Source<'_>, options: &Options<'_>) -> Result<Plan, Vec<Mistake>> {
    let tables = options.tables.map(crate::table::Tables::columns);
    let mut compiler = Compiler { tables, ..Compiler::default() };
    let select = match source.query {
        Query::Route(filter) => {
            compiler.filter(&Name { text: filter.to_owned(), span: 0..filter.len() });
            None
        }
        Query::Sql(sql) => {
            let (select, mistakes) = parser::parse(sql);
            compiler.torn = !mistakes.is_empty();
            compiler.mistakes = mistakes;
            match select {
                Some(select) => Some(select),
                None => return Err(compiler.mistakes),
            }
        }
    };
    let (conditions, window, columns) = match &select {
        None => (Vec::new(), None, Columns::Passthrough),
        Some(select) => compiler.select(source, select),
    };
    let time = compiler.event_time(options);
    let window = window.map(|window| {
        let event_clock = options.time.as_ref().map(crate::rule::EventTime::clock);
        WindowPlan { event_clock, aggregates: std::mem::take(&mut compiler.aggregates), ..window }
    });
    let mut destinations = compiler.destinations(source, &columns, window.as_ref());
    let results = destinations.len();
    let (late, dead_letters) = compiler.outlets(source, options, window.is_some(), results);
    let late_end = results + late.len();
    destinations.extend(late.into_iter().chain(dead_letters));
    let filters = compiler.filter_plans();
    if !compiler.mistakes.is_empty() {
        return Err(in_order(compiler.mistakes));
    }
    Ok(Plan {
        filters,
        fields: compiler.fields,
        lookups: compiler.lookups,
        conditions,
        memory: compiler.memory,
        time,
        window,
        columns,
        destinations,
        results,
        late_end,
    })
}

/// The mistakes in the order in which somebody reads the rule. A place can be wrong in one way twice, when it is looked
/// at twice.
fn in_order(found: Vec<Mistake>) -> Vec<Mistake> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    for mistake in found {
        if !mistakes.contains(&mistake) {
            mistakes.push(mistake);
        }
    }
    mistakes.sort_by_key(|mistake| match mistake.text {
        Text::Query => (0, 0, mistake.span.start),
        Text::Topic(index) => (1, index, mistake.span.start),
        Text::Payload(index) => (2, index, mistake.span.start),
        Text::Destination(index) => (3, index, 0),
        Text::Time => (4, 0, mistake.span.start),
        Text::Late => (5, 0, 0),
        Text::OnError => (6, 0, 0),
    });
    mistakes
}

/// What is known of a rule so far.
#[derive(Default)]
struct Compiler {
    mistakes: Vec<Mistake>,
    /// There are gaps in what is known: a name that nothing fills may be in one of them.
    torn: bool,
    patterns: Vec<Pattern>,
    /// Names of captures, over all filters, with the place of the first of that name.
    captures: Vec<(String, Range<usize>)>,
    fields: Vec<Path>,
    lookups: Vec<(String, String)>,
    /// GROUP BY, without the window.
    keys: Vec<Typed>,
    aggregates: Vec<Aggregate>,
    memory: MemoryPlan,
    /// The tables there are and their columns, if that is known.
    tables: Option<Vec<(String, Vec<String>)>>,
    /// Columns that HAVING may refer to.
    aliases: Vec<(String, Typed)>,
    has_star: bool,
    has_window: bool,
}

impl Compiler {
    fn select(
        &mut self,
        source: &Source<'_>,
        select: &Select,
    ) -> (Vec<Condition>, Option<WindowPlan>, Columns) {
        select.from.iter().for_each(|filter| self.filter(filter));
        let conditions =
            select.condition.as_ref().map(|node| self.conditions(source, node)).unwrap_or_default();
        let window = self.group_by(select);
        let scope = if self.has_window { Scope::Closing } else { Scope::Row };
        let columns = self.columns(&select.items, scope);
        let window = self.closing(select, window);
        (conditions, window, columns)
    }

    /// The operands of WHERE's AND, cheap ones first. Gates are kept apart.
    fn conditions(&mut self, source: &Source<'_>, node: &Node) -> Vec<Condition> {
        let operands = match &node.kind {
            NodeKind::Logic(crate::expr::Logic::And, operands) => operands.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut conditions = Vec::new();
        for operand in operands {
            if self.gate(operand) {
                continue;
            }
            let typed = self.expression(operand, Scope::Where);
            let what = if operands.len() > 1 { "an operand of AND and OR" } else { "a condition" };
            self.expect(operand, &typed, Kind::Boolean, what);
            let Query::Sql(sql) = source.query else { continue };
            let text = sql.get(operand.span.clone()).unwrap_or_default().into();
            conditions.push(Condition { expr: typed.expr, text });
        }
        conditions.sort_by_key(|condition| condition.expr.cost());
        conditions
    }

    fn filter(&mut self, name: &Name) {
        let pattern = match Pattern::parse(&name.text) {
            Ok(pattern) => pattern,
            Err(mistake) => {
                // With a doubled quote inside, places in the text are not places in the SQL.
                let exact = name.span.len() == name.text.len();
                let shift = |span: Range<usize>| match exact {
                    true => span.start + name.span.start..span.end + name.span.start,
                    false => name.span.clone(),
                };
                let also = mistake.also.map(|(span, label)| (shift(span), label));
                self.mistakes.push(Mistake { span: shift(mistake.span), also, ..mistake });
                self.torn = true;
                return;
            }
        };
        for capture in &pattern.captures {
            if !self.captures.iter().any(|(known, _)| *known == capture.name) {
                let place = capture.span.start + name.span.start..capture.span.end + name.span.start;
                self.captures.push((capture.name.clone(), place));
            }
        }
        self.patterns.push(pattern);
    }

    fn filter_plans(&mut self) -> Vec<FilterPlan> {
        let plan = |pattern: Pattern| {
            let find = |name: &str| pattern.captures.iter().find(|capture| capture.name == name).cloned();
            let captures = self.captures.iter().map(|(name, _)| find(name)).collect();
            FilterPlan { filter: pattern.filter, captures }
        };
        std::mem::take(&mut self.patterns).into_iter().map(plan).collect()
    }

    fn condition(&mut self, node: &Node, scope: Scope) -> Expr {
        let typed = self.expression(node, scope);
        self.expect(node, &typed, Kind::Boolean, "a condition");
        typed.expr
    }

    fn columns(&mut self, items: &[Item], scope: Scope) -> Columns {
        if let ([Item::Star { except, .. }], Scope::Row) = (items, scope)
            && except.is_empty()
        {
            self.has_star = true;
            return Columns::Passthrough;
        }
        let mut columns: Vec<Column> = Vec::new();
        let mut names: Vec<Name> = Vec::new();
        for item in items {
            match item {
                Item::Star { span, except } => columns.push(self.star(span, except, scope)),
                Item::Column { expr, alias } => {
                    let typed = self.expression(expr, scope);
                    let name = self.column_name(expr, alias.as_ref(), &typed);
                    self.check_name(&names, &name, alias.is_some(), &typed);
                    self.aliases.push((name.text.clone(), typed.clone()));
                    columns.push(Column {
                        name: Some(name.text.clone()),
                        except: Vec::new(),
                        expr: typed.expr,
                    });
                    names.push(name);
                }
            }
        }
        Columns::Row(columns)
    }

    fn star(&mut self, span: &Range<usize>, except: &[Name], scope: Scope) -> Column {
        if scope == Scope::Closing {
            let mistake = Mistake::new(span.clone(), "`*` cannot be selected from a window");
            self.mistakes.push(mistake.help("name what you want of it, as in `last(temp) AS temp`"));
        }
        if self.has_star {
            self.mistakes.push(Mistake::new(span.clone(), "`*` is there twice"));
        }
        self.has_star = true;
        let except = except.iter().map(|name| name.text.clone()).collect();
        Column { name: None, except, expr: self.field(Vec::new()) }
    }

    /// The alias, or the last part of the path, or the name of the function.
    fn column_name(&mut self, node: &Node, alias: Option<&Name>, typed: &Typed) -> Name {
        if let Some(alias) = alias {
            return alias.clone();
        }
        let mut inner = node;
        while let NodeKind::Element(base, _) = &inner.kind {
            inner = base;
        }
        let text = match &inner.kind {
            NodeKind::Name(name) | NodeKind::Member(_, name) => name.clone(),
            NodeKind::Call(call) => call.name.clone(),
            _ => {
                if !typed.wrong {
                    let mistake = Mistake::new(node.span.clone(), "this column has no name");
                    self.mistakes.push(mistake.help("add one, as in `… AS name`"));
                }
                String::new()
            }
        };
        Name { text, span: node.span.clone() }
    }

    /// Names of columns are unique, and an alias is no capture unless it is that capture.
    fn check_name(&mut self, earlier: &[Name], name: &Name, is_alias: bool, typed: &Typed) {
        if let Some(first) = earlier.iter().find(|first| first.text == name.text && !name.text.is_empty()) {
            let mistake = Mistake::new(name.span.clone(), format!("two columns are named `{}`", name.text));
            self.mistakes.push(mistake.also(first.span.clone(), "the first"));
        }
        let capture = self.captures.iter().position(|(capture, _)| is_alias && *capture == name.text);
        if let Some(capture) = capture.filter(|capture| !self.is_capture(&typed.expr, *capture))
            && let Some((_, place)) = self.captures.get(capture)
        {
            let message = format!("`{}` is both a capture and an alias", name.text);
            let mistake = Mistake::new(name.span.clone(), message).help("give one of them another name");
            self.mistakes.push(mistake.also(place.clone(), "the capture"));
        }
    }

    /// Whether an expression is a capture, or stands for one that windows are grouped by.
    fn is_capture(&self, expr: &Expr, capture: usize) -> bool {
        match expr {
            Expr::Capture(found) => *found == capture,
            Expr::Group(group) => {
                self.keys.get(*group).is_some_and(|key| self.is_capture(&key.expr, capture))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
