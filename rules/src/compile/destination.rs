//! Destinations: what fills the placeholders of their templates.

use super::{Compiler, expression::Typed};
use crate::{
    ast::Name,
    expr::Expr,
    field::Step,
    function,
    mistake::{Mistake, Text},
    pattern::Place,
    rule::{Columns, Destination, DestinationSource, Encoding, Query, Source, WindowPlan},
    template::{Fill, Part, Piece, parse_payload, parse_topic},
};

impl Compiler {
    pub(super) fn destinations(
        &mut self,
        source: &Source<'_>,
        columns: &Columns,
        window: Option<&WindowPlan>,
    ) -> Vec<Destination> {
        let is_route = matches!(source.query, Query::Route(_));
        let mut compiled = Vec::new();
        for (index, destination) in source.destinations.iter().enumerate() {
            self.check_shape(index, destination, columns, window);
            let topic = destination
                .topic
                .map(|topic| self.template(topic, Text::Topic(index), parse_topic, columns, is_route));
            let payload = destination.payload.map(|payload| {
                self.template(payload, Text::Payload(index), parse_payload, columns, is_route)
            });
            compiled.push(Destination { topic, payload, encoding: destination.encoding });
        }
        compiled
    }

    /// Reports what does not go together.
    fn check_shape(
        &mut self,
        index: usize,
        destination: &DestinationSource<'_>,
        columns: &Columns,
        window: Option<&WindowPlan>,
    ) {
        if destination.topic.is_none() && window.is_some() {
            let mistake = Mistake::new(0..0, "a topic is needed here: a window has none of its own");
            let mistake = mistake.help("add it, as in `topic = \"counts\"`");
            self.mistakes.push(Mistake { text: Text::Destination(index), ..mistake });
        }
        match (destination.payload, destination.encoding, columns) {
            (Some(payload), Encoding::Cbor, _) => {
                let mistake = Mistake::new(0..payload.len(), "a payload template is text, and not CBOR");
                let mistake = mistake.help("use the encoding json or raw, or leave the template out");
                self.mistakes.push(Mistake { text: Text::Payload(index), ..mistake });
            }
            (None, Encoding::Raw, Columns::Row(columns)) if !matches!(columns.as_slice(), [column] if column.name.is_some()) =>
            {
                let mistake = Mistake::new(0..0, "the encoding raw takes a rule with exactly one column");
                let mistake = mistake.help("use json or cbor for several");
                self.mistakes.push(Mistake { text: Text::Destination(index), ..mistake });
            }
            _ => {}
        }
    }

    fn template(
        &mut self,
        source: &str,
        text: Text,
        parse: fn(&str) -> Result<Vec<Piece>, Mistake>,
        columns: &Columns,
        is_route: bool,
    ) -> Vec<Part> {
        let pieces = match parse(source) {
            Ok(pieces) => pieces,
            Err(mistake) => {
                self.mistakes.push(Mistake { text, ..mistake });
                return Vec::new();
            }
        };
        let mut parts = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => parts.push(Part::Text(text)),
                Piece::Placeholder(name) => match self.fill(&name, columns, is_route) {
                    Ok(part) => parts.push(part),
                    Err(_) if self.torn => {}
                    Err(mistake) => self.mistakes.push(Mistake { text, ..mistake }),
                },
            }
        }
        parts
    }

    /// What a placeholder stands for: a column, a capture, `topic`, `gateway`, or with `*` a payload field.
    fn fill(&mut self, name: &Name, columns: &Columns, is_route: bool) -> Result<Part, Mistake> {
        if let Some((index, expr)) = column(columns, &name.text) {
            return Ok(Part::Value { source: Fill::Column(index), levels: self.has_levels(expr) });
        }
        if let Some(capture) = self.captures.iter().position(|(capture, _)| *capture == name.text) {
            let expr = self.capture(name, capture)?;
            let levels = self.has_levels(&expr);
            return Ok(Part::Value { source: Fill::Expr(expr), levels });
        }
        let builtin =
            function::find(&name.text).filter(|_| matches!(name.text.as_str(), "topic" | "gateway"));
        if let Some(function) = builtin.filter(|function| !(function.needs_event && self.has_window)) {
            let expr = Expr::Call(function, Box::default());
            return Ok(Part::Value { source: Fill::Expr(expr), levels: function.needs_event });
        }
        if self.has_star && !is_route && !name.text.is_empty() {
            let expr = self.field(vec![Step::Member(name.text.as_str().into())]);
            return Ok(Part::Value { source: Fill::Expr(expr), levels: false });
        }
        Err(self.unfilled(name, columns))
    }

    /// A capture, which in a window has to be one of the keys.
    fn capture(&self, name: &Name, capture: usize) -> Result<Expr, Mistake> {
        if !self.has_window {
            return Ok(Expr::Capture(capture));
        }
        let is_key = |key: &Typed| key.expr == Expr::Capture(capture);
        self.keys.iter().position(is_key).map(Expr::Group).ok_or_else(|| {
            let message = format!("the capture `{}` is not the same for all events of a window", name.text);
            Mistake::new(name.span.clone(), message).help(format!("add `{}` to GROUP BY", name.text))
        })
    }

    fn unfilled(&self, name: &Name, columns: &Columns) -> Mistake {
        let message = format!("nothing fills the placeholder `{}`", name.text);
        let mistake = Mistake::new(name.span.clone(), message);
        let columns = match columns {
            Columns::Passthrough => &[],
            Columns::Row(columns) => columns.as_slice(),
        };
        let names = columns.iter().filter_map(|column| column.name.as_deref());
        let known = names.chain(self.captures.iter().map(|(name, _)| name.as_str()));
        let (builtin, all): (&[&str], _) = match self.has_window {
            true => (&["gateway"], "placeholders are captures in GROUP BY, columns of SELECT, and gateway"),
            false => {
                (&["topic", "gateway"], "placeholders are captures, columns of SELECT, topic and gateway")
            }
        };
        let mistake = mistake.suggest(&name.text, known.chain(builtin.iter().copied()));
        if mistake.help.is_some() { mistake } else { mistake.help(all) }
    }

    /// Whether a value is several levels of a topic: a capture of the rest in each filter that has it, or the topic.
    fn has_levels(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Call(function, arguments) => function.name == "topic" && arguments.is_empty(),
            Expr::Group(group) => self.keys.get(*group).is_some_and(|key| self.has_levels(&key.expr)),
            Expr::Capture(capture) => self.captures.get(*capture).is_some_and(|(name, _)| {
                let captures = self.patterns.iter().flat_map(|pattern| &pattern.captures);
                let mut places =
                    captures.filter(|capture| capture.name == *name).map(|capture| capture.place);
                places.all(|place| matches!(place, Place::Rest(_)))
            }),
            _ => false,
        }
    }
}

/// The column of this name, with its index.
fn column<'c>(columns: &'c Columns, name: &str) -> Option<(usize, &'c Expr)> {
    let Columns::Row(columns) = columns else { return None };
    let mut found = columns.iter().enumerate().filter(|(_, column)| column.name.as_deref() == Some(name));
    found.next().map(|(index, column)| (index, &column.expr))
}
