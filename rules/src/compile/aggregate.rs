//! Calls of aggregates.

use super::{
    Compiler,
    expression::{Scope, Typed, span},
};
use crate::{
    aggregate::{Aggregate, AggregateKind, Catalogued},
    ast::{Call, Node, NodeKind},
    expr::Expr,
    mistake::Mistake,
    value::{Kind, Value},
};

impl Compiler {
    pub(super) fn aggregate(
        &mut self,
        node: &Node,
        call: &Call,
        catalogued: &Catalogued,
        scope: Scope,
    ) -> Typed {
        if let Some(mistake) = misplaced(node, call, scope) {
            return self.mistake(mistake);
        }
        if let Some(over) = &call.over {
            let mistake = Mistake::new(over.span.clone(), "an aggregate takes no OVER");
            return self.mistake(mistake.help("GROUP BY says what is aggregated together"));
        }
        let filter = call.filter.as_ref().map(|filter| self.condition(filter, Scope::Argument));
        if call.star && catalogued.kind == AggregateKind::Count {
            let aggregate = match filter {
                None => Aggregate::new(AggregateKind::CountAll, Box::default()),
                Some(filter) => {
                    let counted = only_where(filter, Expr::Constant(Value::Bool(true)));
                    Aggregate::new(AggregateKind::Count, [counted].into())
                }
            };
            return self.add_aggregate(aggregate, Kind::Integer);
        }
        let is_percentile = catalogued.kind == AggregateKind::Percentile;
        let count = catalogued.parameters.len() + usize::from(is_percentile);
        if call.star || call.arguments.len() != count {
            return self.arity(node, call, if count == 2 { "2 arguments" } else { "1 argument" });
        }
        let parameter = if is_percentile { self.share_of(call) } else { 0.5 };
        let typed = self.arguments(call, Scope::Argument, |index| catalogued.parameters.get(index).copied());
        let wrong = typed.iter().any(|argument| argument.wrong);
        let result = catalogued.kind.result(typed.first().map_or(Kind::Any, |argument| argument.kind));
        let kept = typed.into_iter().take(catalogued.parameters.len()).map(|argument| match &filter {
            Some(filter) => only_where(filter.clone(), argument.expr),
            None => argument.expr,
        });
        let aggregate = Aggregate { parameter, ..Aggregate::new(catalogued.kind, kept.collect()) };
        Typed { wrong, ..self.add_aggregate(aggregate, result) }
    }

    /// The p of `percentile(x, p)`.
    fn share_of(&mut self, call: &Call) -> f64 {
        let Some(node) = call.arguments.get(1) else { return 0.5 };
        let share = match &node.kind {
            NodeKind::Literal(value) => value.as_number().map(|number| number.to_float()),
            _ => None,
        };
        share.filter(|share| (0.0..=1.0).contains(share)).unwrap_or_else(|| {
            let mistake = Mistake::new(span(node), "the part has to be a number from 0 to 1, written here");
            self.mistakes.push(mistake.help("percentile(x, 0.95) is what 95 % of the values lie below"));
            0.5
        })
    }

    /// The same aggregate of the same thing is kept once.
    fn add_aggregate(&mut self, aggregate: Aggregate, result: Kind) -> Typed {
        let known = self.aggregates.iter().position(|known| *known == aggregate);
        let index = known.unwrap_or_else(|| {
            self.aggregates.push(aggregate);
            self.aggregates.len() - 1
        });
        Typed::new(Expr::Aggregate(index), result)
    }
}

/// Aggregates ignore NULL, and so what a filter does not let through.
fn only_where(filter: Expr, argument: Expr) -> Expr {
    Expr::Case { operand: None, arms: [(filter, argument)].into(), otherwise: Expr::null().into() }
}

fn misplaced(node: &Node, call: &Call, scope: Scope) -> Option<Mistake> {
    let name = &call.name;
    let (message, help) = match scope {
        Scope::Closing | Scope::Having => return None,
        Scope::Where => (
            format!("the aggregate `{name}` cannot stand in WHERE"),
            "WHERE looks at one event; HAVING looks at a window",
        ),
        Scope::Row => (format!("`{name}` needs a window"), "add GROUP BY tumbling('1m')"),
        Scope::GroupBy => (format!("there is no grouping by the aggregate `{name}`"), "group by a field"),
        Scope::Argument => (
            format!("the aggregate `{name}` cannot be the argument of an aggregate"),
            "aggregate the field itself",
        ),
    };
    Some(Mistake::new(span(node), message).help(help))
}
