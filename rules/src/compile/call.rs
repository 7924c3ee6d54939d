//! Calls: of functions, of aggregates, and of what is not built yet.

use regex_lite::Regex;

use super::{
    Compiler,
    expression::{Scope, Typed, span},
};
use crate::{
    aggregate::{AGGREGATES, Aggregate, AggregateKind},
    ast::{Call, Node, NodeKind},
    expr::{Expr, Pattern},
    function,
    mistake::Mistake,
    value::{Kind, Value},
};

/// Functions that belong to the language and are refused so far.
const NOT_BUILT: &[&str] = &[
    "lag",
    "delta",
    "rate",
    "changed",
    "changed_any",
    "since_change",
    "hysteresis",
    "debounce",
    "throttle",
    "dedup",
    "count_true",
    "ewma",
    "zscore",
    "running_min",
    "running_max",
    "lookup",
    "count_distinct",
    "min_by",
    "max_by",
    "stddev",
    "stddev_pop",
    "variance",
    "median",
    "percentile",
    "mode",
    "collect",
    "any_value",
    "bool_and",
    "bool_or",
    "delta_sum",
    "time_weighted_avg",
];

/// Windows, with the spellings of other rule languages.
pub(super) const WINDOWS: &[&str] = &[
    "tumbling",
    "tumblingwindow",
    "hopping",
    "hoppingwindow",
    "sliding",
    "slidingwindow",
    "session",
    "sessionwindow",
    "rows",
    "countwindow",
];

const WINDOW_BOUNDS: &[&str] = &["window_start", "window_end"];

const REGEXPS: &[&str] = &["regexp_match", "regexp_extract"];

impl Compiler {
    pub(super) fn call(&mut self, node: &Node, call: &Call, scope: Scope) -> Typed {
        let name = call.name.as_str();
        if let Some(filter) = &call.filter {
            return self.mistake(Mistake::new(filter.span.clone(), "FILTER is not built yet"));
        }
        if let Some(over) = &call.over {
            return self.mistake(Mistake::new(over.span.clone(), "OVER is not built yet"));
        }
        if let Some((_, kind)) = AGGREGATES.iter().find(|(aggregate, _)| *aggregate == name) {
            return self.aggregate(node, call, *kind, scope);
        }
        if call.star {
            let message = format!("`*` is not an argument of `{name}`");
            return self.mistake(Mistake::new(span(node), message).help("only count(*) takes it"));
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
            None if NOT_BUILT.contains(&name) => {
                self.mistake(Mistake::new(call.name_span.clone(), format!("`{name}` is not built yet")))
            }
            None => {
                let known = AGGREGATES.iter().map(|(name, _)| *name);
                let known = known
                    .chain(function::names())
                    .chain([WINDOWS, WINDOW_BOUNDS, REGEXPS, NOT_BUILT].concat());
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
        Typed { expr: Expr::Call(function, exprs), kind: function.result, wrong }
    }

    fn arity(&mut self, node: &Node, call: &Call, takes: &str) -> Typed {
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
    fn arguments(
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

    fn aggregate(&mut self, node: &Node, call: &Call, kind: AggregateKind, scope: Scope) -> Typed {
        let name = &call.name;
        let refused = match scope {
            Scope::Closing | Scope::Having => None,
            Scope::Where => Some((
                format!("the aggregate `{name}` cannot stand in WHERE"),
                "WHERE looks at one event; HAVING looks at a window",
            )),
            Scope::Row => Some((format!("`{name}` needs a window"), "add GROUP BY tumbling('1m')")),
            Scope::GroupBy => {
                Some((format!("there is no grouping by the aggregate `{name}`"), "group by a field"))
            }
            Scope::Argument => Some((
                format!("the aggregate `{name}` cannot be the argument of an aggregate"),
                "aggregate the field itself",
            )),
        };
        if let Some((message, help)) = refused {
            return self.mistake(Mistake::new(span(node), message).help(help));
        }
        if call.star && kind == AggregateKind::Count {
            return self.add_aggregate(AggregateKind::CountAll, None, Kind::Integer);
        }
        if call.star || call.arguments.len() != 1 {
            return self.arity(node, call, "1 argument");
        }
        let Some(argument) = self.arguments(call, Scope::Argument, |_| Some(kind.parameter())).pop() else {
            return self.arity(node, call, "1 argument");
        };
        let wrong = argument.wrong;
        let result = kind.result(argument.kind);
        Typed { wrong, ..self.add_aggregate(kind, Some(argument.expr), result) }
    }

    /// The same aggregate of the same thing is kept once.
    fn add_aggregate(&mut self, kind: AggregateKind, argument: Option<Expr>, result: Kind) -> Typed {
        let aggregate = Aggregate { kind, argument };
        let known = self.aggregates.iter().position(|known| *known == aggregate);
        let index = known.unwrap_or_else(|| {
            self.aggregates.push(aggregate);
            self.aggregates.len() - 1
        });
        Typed::new(Expr::Aggregate(index), result)
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
