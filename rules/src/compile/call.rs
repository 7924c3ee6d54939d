//! Calls of functions.

use regex_lite::Regex;

use super::{
    Compiler,
    expression::{Scope, Typed, span},
    window::WINDOWS,
};
use crate::{
    aggregate,
    ast::{Call, Node, NodeKind},
    expr::{Expr, Pattern},
    function, memory,
    mistake::Mistake,
    value::{Kind, Value},
};

const WINDOW_BOUNDS: &[&str] = &["window_start", "window_end"];

/// Functions whose pattern is compiled with the rule, for the manual.
pub(crate) const REGEXP_CATALOGUE: &[(&str, &str)] = &[
    ("regexp_match(text, 'pattern')", "Whether the pattern is found in a text, in linear time."),
    (
        "regexp_extract(text, 'pattern'[, group])",
        "What the first group of the pattern matches, or the whole; NULL if it is not found.",
    ),
];

const REGEXPS: &[&str] = &["regexp_match", "regexp_extract"];

impl Compiler {
    pub(super) fn call(&mut self, node: &Node, call: &Call, scope: Scope) -> Typed {
        let name = call.name.as_str();
        if let Some(catalogued) = aggregate::find(name) {
            return self.aggregate(node, call, catalogued, scope);
        }
        if let Some(filter) = &call.filter {
            let mistake =
                Mistake::new(span(filter), format!("`{name}` is no aggregate, and takes no FILTER"));
            return self.mistake(mistake.help("use if(condition, x, NULL)"));
        }
        if call.star {
            let message = format!("`*` is not an argument of `{name}`");
            return self.mistake(Mistake::new(span(node), message).help("only count(*) takes it"));
        }
        if let Some(catalogued) = memory::find(name) {
            return self.memory_call(node, call, catalogued, scope);
        }
        if let Some(over) = &call.over {
            let message = format!("`{name}` remembers nothing, and takes no OVER");
            return self.mistake(Mistake::new(over.span.clone(), message));
        }
        if WINDOWS.contains(&name) {
            let message = format!("the window `{name}` cannot stand here");
            return self
                .mistake(Mistake::new(span(node), message).help("windows stand on their own in GROUP BY"));
        }
        if WINDOW_BOUNDS.contains(&name) {
            return self.window_bound(node, call, scope);
        }
        if REGEXPS.contains(&name) {
            return self.regexp(node, call, scope);
        }
        match function::find(name) {
            Some(function) => self.function(node, call, function, scope),
            None => {
                let known = aggregate::AGGREGATES.iter().map(|each| each.name);
                let known = known.chain(memory::MEMORY.iter().map(|each| each.name));
                let known = known.chain(function::names()).chain([WINDOWS, WINDOW_BOUNDS, REGEXPS].concat());
                let mistake = Mistake::new(call.name_span.clone(), format!("unknown function `{name}`"));
                self.mistake(mistake.suggest(name, known))
            }
        }
    }

    fn function(
        &mut self,
        node: &Node,
        call: &Call,
        function: &'static function::Function,
        scope: Scope,
    ) -> Typed {
        let most = if function.variadic { usize::MAX } else { function.parameters.len() };
        if !(function.required..=most).contains(&call.arguments.len()) {
            return self.arity(node, call, &function.arity());
        }
        if function.needs_event && scope.is_closing() {
            let typed = Typed::new(Expr::null(), function.result);
            return self.of_event(node, typed, scope);
        }
        let arguments = self.arguments(call, scope, |index| function.parameter(index));
        let wrong = arguments.iter().any(|argument| argument.wrong);
        let exprs: Box<[Expr]> = arguments.into_iter().map(|argument| argument.expr).collect();
        if let Some((Err((index, message)), false)) = function.check.map(|check| (check(&exprs), wrong)) {
            let place = call.arguments.get(index).map_or_else(|| span(node), span);
            return self.mistake(Mistake::new(place, message));
        }
        if function.name == "lookup" {
            self.check_lookup(call, &exprs);
        }
        Typed { expr: Expr::Call(function, exprs), kind: function.result, wrong }
    }

    pub(super) fn arity(&mut self, node: &Node, call: &Call, takes: &str) -> Typed {
        let message = format!(
            "`{}` takes {takes}, here {}",
            call.name,
            match call.arguments.len() {
                0 => "are none".to_owned(),
                1 => "is 1".to_owned(),
                count => format!("are {count}"),
            }
        );
        self.mistake(Mistake::new(span(node), message))
    }

    /// The arguments, each of the kind it has to have.
    pub(super) fn arguments(
        &mut self,
        call: &Call,
        scope: Scope,
        parameter: impl Fn(usize) -> Option<Kind>,
    ) -> Vec<Typed> {
        let mut arguments = Vec::new();
        for (index, node) in call.arguments.iter().enumerate() {
            let typed = self.expression(node, scope);
            let what = format!("argument {} of `{}`", index + 1, call.name);
            self.expect(node, &typed, parameter(index).unwrap_or(Kind::Any), &what);
            arguments.push(typed);
        }
        arguments
    }

    /// Tables and columns that are named in the rule have to be there, if it is known which are.
    fn check_lookup(&mut self, call: &Call, arguments: &[Expr]) {
        let constant = |index: usize| match arguments.get(index) {
            Some(Expr::Constant(Value::Text(text))) => Some(&**text),
            _ => None,
        };
        if let (Some(table), Some(column)) = (constant(0), constant(2)) {
            self.lookups.push((table.to_owned(), column.to_owned()));
        }
        let (Some(tables), Some(name)) = (&self.tables, constant(0)) else { return };
        let place = |index: usize| call.arguments.get(index).map_or(0..0, span);
        let found = tables.iter().find(|(table, _)| table == name);
        let mistake = match (found, constant(2)) {
            (None, _) => Mistake::new(place(0), format!("there is no table `{name}`"))
                .suggest(name, tables.iter().map(|(table, _)| table.as_str())),
            // A table without columns could not be read yet, or is empty.
            (Some((_, columns)), Some(column))
                if !columns.is_empty() && !columns.iter().any(|each| each == column) =>
            {
                Mistake::new(place(2), format!("the table `{name}` has no column `{column}`"))
                    .suggest(column, columns.iter().map(String::as_str))
            }
            _ => return,
        };
        self.mistakes.push(mistake);
    }

    fn window_bound(&mut self, node: &Node, call: &Call, scope: Scope) -> Typed {
        if !call.arguments.is_empty() {
            return self.arity(node, call, "no arguments");
        }
        if !scope.is_closing() {
            let mistake = Mistake::new(span(node), format!("`{}` needs a window", call.name));
            return self.mistake(
                mistake.help("it stands in SELECT or HAVING of a rule with GROUP BY tumbling('1m')"),
            );
        }
        let expr = if call.name == "window_start" { Expr::WindowStart } else { Expr::WindowEnd };
        Typed::new(expr, Kind::Integer)
    }

    /// `regexp_match(text, pattern)` and `regexp_extract(text, pattern[, group])`; the pattern is compiled here.
    fn regexp(&mut self, node: &Node, call: &Call, scope: Scope) -> Typed {
        let extract = call.name == "regexp_extract";
        let (text, pattern, group) = match (call.arguments.as_slice(), extract) {
            ([text, pattern], _) => (text, pattern, None),
            ([text, pattern, group], true) => (text, pattern, Some(group)),
            _ => return self.arity(node, call, if extract { "2 to 3 arguments" } else { "2 arguments" }),
        };
        let typed = self.expression(text, scope);
        self.expect(text, &typed, Kind::Text, &format!("argument 1 of `{}`", call.name));
        let NodeKind::Literal(Value::Text(source)) = &pattern.kind else {
            return self
                .mistake(Mistake::new(span(pattern), "the pattern has to be a text in single quotes"));
        };
        let regex = match Regex::new(source) {
            Ok(regex) => regex,
            Err(error) => {
                return self
                    .mistake(Mistake::new(span(pattern), format!("not a regular expression: {error}")));
            }
        };
        // Without a number: the first group if there is one, else what matched as a whole.
        let default = usize::from(regex.captures_len() > 1);
        let group = match group.map(|group| &group.kind) {
            None => default,
            Some(NodeKind::Literal(Value::Int(number))) => usize::try_from(*number).unwrap_or(usize::MAX),
            Some(_) => usize::MAX,
        };
        if group >= regex.captures_len() {
            let message = format!("the group has to be a number from 0 to {}", regex.captures_len() - 1);
            return self.mistake(Mistake::new(span(node), message));
        }
        let kind = if extract { Kind::Text } else { Kind::Boolean };
        let expr = Expr::Regex(Pattern(regex), typed.expr.into(), extract.then_some(group));
        Typed { expr, kind, wrong: typed.wrong }
    }
}
