//! Calls of memory functions.

use super::{
    Compiler,
    expression::{Scope, Typed, span},
};
use crate::{
    ast::{Call, Node, NodeKind},
    expr::Expr,
    function,
    memory::{Catalogued, Parameter, Partition, Site},
    mistake::Mistake,
    value::{Kind, Value},
};

impl Compiler {
    pub(super) fn memory_call(
        &mut self,
        node: &Node,
        call: &Call,
        catalogued: &Catalogued,
        scope: Scope,
    ) -> Typed {
        if scope.is_closing() {
            let message = format!("`{}` looks at events, and not at windows", call.name);
            let help = format!("say which of the window: last({}(…))", call.name);
            return self.mistake(Mistake::new(span(node), message).help(help));
        }
        if catalogued.kind.is_gate() {
            let message = format!("`{}` cannot stand here", call.name);
            let help = "it stands on its own between the ANDs of WHERE, and looks at what passes the rest";
            return self.mistake(Mistake::new(span(node), message).help(help));
        }
        match self.site(node, call, catalogued) {
            Ok((site, argument)) => {
                let kind = if catalogued.result == Kind::Any { argument } else { catalogued.result };
                Typed::new(Expr::Memory(site), kind)
            }
            Err(wrong) => wrong,
        }
    }

    /// A gate, if the node is one. It is noted in the plan.
    pub(super) fn gate(&mut self, node: &Node) -> bool {
        let NodeKind::Call(call) = &node.kind else { return false };
        let Some(catalogued) = crate::memory::find(&call.name).filter(|found| found.kind.is_gate()) else {
            return false;
        };
        if let Ok((site, _)) = self.site(node, call, catalogued) {
            self.memory.gates.push(site);
        }
        true
    }

    /// The number of the site of a call, and the kind of those of its arguments that can be of any.
    fn site(&mut self, node: &Node, call: &Call, catalogued: &Catalogued) -> Result<(usize, Kind), Typed> {
        let most = if catalogued.variadic { usize::MAX } else { catalogued.parameters.len() };
        if !(catalogued.required..=most).contains(&call.arguments.len()) || call.star {
            return Err(self.arity(node, call, &arity(catalogued)));
        }
        let mistakes = self.mistakes.len();
        let mut kind = None;
        let mut arguments = Vec::new();
        for (index, node) in call.arguments.iter().enumerate() {
            let typed = self.memory_argument(call, index, node, catalogued.parameter(index));
            if catalogued.parameter(index) == Some(Parameter::Of(Kind::Any)) {
                kind = Some(if kind.is_none_or(|kind| kind == typed.kind) { typed.kind } else { Kind::Any });
            }
            arguments.push(typed.expr);
        }
        let key = self.partition_key(call);
        if self.mistakes.len() > mistakes {
            return Err(Typed::wrong());
        }
        let partition = self.partition(key);
        let cells = self.memory.partitions.get(partition).map_or(0, |partition| partition.sites.len());
        let site = Site { kind: catalogued.kind, arguments: arguments.into(), partition, cell: cells };
        let known = self.memory.sites.iter().position(|known| {
            known.kind == site.kind && known.arguments == site.arguments && known.partition == partition
        });
        let number = known.filter(|_| !site.kind.is_gate()).unwrap_or_else(|| {
            self.memory.sites.push(site);
            let number = self.memory.sites.len() - 1;
            if let Some(partition) = self.memory.partitions.get_mut(partition) {
                partition.sites.push(number);
            }
            number
        });
        Ok((number, kind.unwrap_or(Kind::Any)))
    }

    fn memory_argument(
        &mut self,
        call: &Call,
        index: usize,
        node: &Node,
        parameter: Option<Parameter>,
    ) -> Typed {
        let literal = match &node.kind {
            NodeKind::Literal(value) => Some(value),
            _ => None,
        };
        let number = literal.and_then(Value::as_number).map(|number| number.to_float());
        let message = match parameter {
            Some(Parameter::Duration) => {
                let Some(duration_ms) = self.duration(node) else { return Typed::wrong() };
                return Typed::new(Expr::Constant(Value::Int(duration_ms)), Kind::Integer);
            }
            Some(Parameter::Count) => match literal {
                Some(Value::Int(1..=1_000)) => None,
                _ => Some("a whole number from 1 to 1000 is expected here"),
            },
            Some(Parameter::Share) => match number {
                Some(share) if share > 0.0 && share <= 1.0 => None,
                _ => Some("a number above 0 and up to 1 is expected here"),
            },
            _ => None,
        };
        if let Some(message) = message {
            return self.mistake(Mistake::new(span(node), message));
        }
        let typed = self.expression(node, Scope::Where);
        if let Some(Parameter::Of(kind)) = parameter {
            self.expect(node, &typed, kind, &format!("argument {} of `{}`", index + 1, call.name));
        }
        typed
    }

    /// PARTITION BY, or the topic.
    fn partition_key(&mut self, call: &Call) -> Box<[Expr]> {
        match &call.over {
            Some(over) => {
                let keys: Vec<Typed> =
                    over.partition.iter().map(|node| self.expression(node, Scope::Where)).collect();
                if keys.iter().any(|key| key.expr.has_memory()) {
                    let message = "what is partitioned by cannot be a memory function itself";
                    self.mistakes.push(Mistake::new(over.span.clone(), message));
                }
                keys.into_iter().map(|key| key.expr).collect()
            }
            None => {
                let topic = function::find("topic").map(|topic| Expr::Call(topic, Box::default()));
                topic.into_iter().collect()
            }
        }
    }

    fn partition(&mut self, key: Box<[Expr]>) -> usize {
        let partitions = &mut self.memory.partitions;
        partitions.iter().position(|known| known.key == key).unwrap_or_else(|| {
            partitions.push(Partition { key, sites: Vec::new() });
            partitions.len() - 1
        })
    }
}

fn arity(catalogued: &Catalogued) -> String {
    let count =
        |count: usize| if count == 1 { "1 argument".to_owned() } else { format!("{count} arguments") };
    match (catalogued.required, catalogued.parameters.len(), catalogued.variadic) {
        (required, _, true) => format!("at least {}", count(required)),
        (required, most, _) if required == most => count(required),
        (required, most, _) => format!("{required} to {}", count(most)),
    }
}
