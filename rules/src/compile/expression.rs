//! Expressions: from nodes with names to expressions with numbers.

use super::Compiler;
use crate::{
    ast::{Node, NodeKind, Span},
    expr::{CastType, Env, Expr},
    field::{Path, Step},
    function,
    mistake::Mistake,
    value::{Kind, Value},
};

/// Where an expression stands, and so what it may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Where,
    /// The SELECT list of a rule without a window.
    Row,
    GroupBy,
    /// The argument of an aggregate.
    Argument,
    /// The SELECT list of a rule with a window.
    Closing,
    /// Like `Closing`, and may refer to columns by their name.
    Having,
}

impl Scope {
    /// Whether it is a closed window that is looked at, and not an event.
    pub(super) fn is_closing(self) -> bool {
        matches!(self, Self::Closing | Self::Having)
    }
}

/// Functions of the event that are also called without parentheses, as in rules of EMQX.
const BARE: &[&str] = &["clientid", "username", "qos"];

/// An expression and what is known of its values.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub(super) expr: Expr,
    pub(super) kind: Kind,
    /// A mistake is in it already: what follows from that is not worth reporting.
    pub(super) wrong: bool,
}

impl Typed {
    pub(super) fn new(expr: Expr, kind: Kind) -> Self {
        Self { expr, kind, wrong: false }
    }

    pub(super) fn wrong() -> Self {
        Self { expr: Expr::null(), kind: Kind::Any, wrong: true }
    }
}

impl Compiler {
    pub(super) fn expression(&mut self, node: &Node, scope: Scope) -> Typed {
        if let Some(group) = self.grouped(node, scope) {
            return group;
        }
        let mistakes = self.mistakes.len();
        let typed = match &node.kind {
            NodeKind::Wrong => return Typed::wrong(),
            NodeKind::Literal(value) => return Typed::new(Expr::Constant(value.clone()), value.kind()),
            NodeKind::Name(_) | NodeKind::Member(..) | NodeKind::Element(..) => self.path(node, scope),
            NodeKind::Call(call) => self.call(node, call, scope),
            _ => self.operation(node, scope),
        };
        let wrong = typed.wrong || self.mistakes.len() > mistakes;
        self.fold(node, Typed { wrong, ..typed })
    }

    /// Notes a mistake in the place of an expression.
    pub(super) fn mistake(&mut self, mistake: Mistake) -> Typed {
        self.mistakes.push(mistake);
        Typed::wrong()
    }

    /// Notes a mistake if a value can never be of the kind that is needed.
    pub(super) fn expect(&mut self, node: &Node, typed: &Typed, kind: Kind, what: &str) {
        if !typed.wrong && !typed.kind.may_be(kind) {
            let message = format!("{what} has to be {}, this is {}", kind.describe(), typed.kind.describe());
            self.mistakes.push(Mistake::new(node.span.clone(), message));
        }
    }

    fn operation(&mut self, node: &Node, scope: Scope) -> Typed {
        let nodes = node.kind.children();
        let operands: Vec<Typed> = nodes.iter().map(|child| self.expression(child, scope)).collect();
        let wrong = operands.iter().any(|operand| operand.wrong);
        self.check_operands(node, &nodes, &operands);
        let kind = kind_of(&node.kind, &operands);
        let mut exprs = operands.into_iter().map(|operand| operand.expr);
        let mut next = || exprs.next().unwrap_or_else(Expr::null);
        let expr = match &node.kind {
            NodeKind::Not(_) => Expr::Not(next().into()),
            NodeKind::Negate(_) => Expr::Negate(next().into()),
            NodeKind::IsNull(_) => Expr::IsNull(next().into()),
            NodeKind::Cast(target, _) => Expr::Cast(*target, next().into()),
            NodeKind::Compare(comparison, _) => Expr::Compare(*comparison, Box::new([next(), next()])),
            NodeKind::Arithmetic(operator, _) => Expr::Arithmetic(*operator, Box::new([next(), next()])),
            NodeKind::Like(_) => Expr::Like(Box::new([next(), next()])),
            NodeKind::Between(_) => Expr::Between(Box::new([next(), next(), next()])),
            NodeKind::In(..) => Expr::In(next().into(), exprs.collect()),
            NodeKind::Logic(logic, _) => Expr::Logic(*logic, exprs.collect()),
            NodeKind::Concat(_) => match function::find("concat") {
                Some(concat) => Expr::Call(concat, exprs.collect()),
                None => Expr::null(),
            },
            NodeKind::Case { operand, arms, otherwise } => {
                case(operand.is_some(), arms.len(), otherwise.is_some(), &mut next)
            }
            // These have their own way in `expression`.
            NodeKind::Wrong
            | NodeKind::Literal(_)
            | NodeKind::Name(_)
            | NodeKind::Member(..)
            | NodeKind::Element(..)
            | NodeKind::Call(_) => Expr::null(),
        };
        Typed { expr, kind, wrong }
    }

    /// Reports operands that can never be right.
    fn check_operands(&mut self, node: &Node, nodes: &[&Node], operands: &[Typed]) {
        let (kind, what) = match &node.kind {
            NodeKind::Logic(..) => (Kind::Boolean, "an operand of AND and OR"),
            NodeKind::Not(_) => (Kind::Boolean, "the operand of NOT"),
            NodeKind::Negate(_) => (Kind::Number, "the operand of `-`"),
            NodeKind::Arithmetic(..) => (Kind::Number, "an operand here"),
            NodeKind::Like(_) => (Kind::Text, "an operand of LIKE"),
            NodeKind::Case { operand: None, arms, .. } => {
                for ((condition, _), typed) in arms.iter().zip(operands.iter().step_by(2)) {
                    self.expect(condition, typed, Kind::Boolean, "the condition after WHEN");
                }
                return;
            }
            NodeKind::Compare(..) | NodeKind::In(..) | NodeKind::Between(_) => {
                return self.check_comparable(node, operands.iter());
            }
            NodeKind::Case { operand: Some(_), arms, .. } => {
                let compared =
                    operands.iter().take(1).chain(operands.iter().skip(1).step_by(2).take(arms.len()));
                return self.check_comparable(node, compared);
            }
            _ => return,
        };
        for (child, typed) in nodes.iter().zip(operands) {
            self.expect(child, typed, kind, what);
        }
    }

    /// The first operand is compared with each of the others.
    fn check_comparable<'t>(&mut self, node: &Node, mut operands: impl Iterator<Item = &'t Typed>) {
        let Some(first) = operands.next() else { return };
        if let Some(other) = operands.find(|other| !first.kind.may_be(other.kind)) {
            let message = format!(
                "{} is never equal to, less or greater than {}",
                first.kind.describe(),
                other.kind.describe()
            );
            let mistake = Mistake::new(node.span.clone(), message);
            self.mistakes.push(mistake.help("use CAST if one of them can be read as the other"));
        }
    }

    /// A name, or a way into a value.
    fn path(&mut self, node: &Node, scope: Scope) -> Typed {
        if let Some((root, steps)) = static_path(node) {
            return self.resolve(node, root, steps, scope);
        }
        match &node.kind {
            NodeKind::Member(base, name) => {
                let base = self.expression(base, scope);
                let expr = Expr::Member(base.expr.into(), name.as_str().into());
                Typed { expr, kind: Kind::Any, wrong: base.wrong }
            }
            NodeKind::Element(base, index) => {
                let (base, at) = (self.expression(base, scope), self.expression(index, scope));
                if !at.kind.may_be(Kind::Integer) && !at.kind.may_be(Kind::Text) {
                    let message = format!("an index is an integer or text, this is {}", at.kind.describe());
                    return self.mistake(Mistake::new(index.span.clone(), message));
                }
                let wrong = base.wrong || at.wrong;
                Typed { expr: Expr::Element(Box::new([base.expr, at.expr])), kind: Kind::Any, wrong }
            }
            _ => Typed::wrong(),
        }
    }

    /// What a name means: an alias, a capture, or a payload field.
    fn resolve(&mut self, node: &Node, root: &str, steps: Path, scope: Scope) -> Typed {
        if scope == Scope::Having
            && let Some((_, typed)) = self.aliases.iter().find(|(alias, _)| alias == root)
        {
            let typed = typed.clone();
            let kind = if steps.is_empty() { typed.kind } else { Kind::Any };
            return Typed { expr: walk(typed.expr, steps), kind, wrong: typed.wrong };
        }
        if let Some(capture) = self.captures.iter().position(|(capture, _)| capture == root) {
            if !steps.is_empty() {
                let message = format!("`{root}` is a capture, which is text and has no members");
                let help = format!("the payload field is `payload.{root}`");
                return self.mistake(Mistake::new(node.span.clone(), message).help(help));
            }
            return self.of_event(node, Typed::new(Expr::Capture(capture), Kind::Text), scope);
        }
        if BARE.contains(&root)
            && steps.is_empty()
            && let Some(function) = function::find(root)
        {
            let call = Typed::new(Expr::Call(function, Box::default()), function.result);
            return self.of_event(node, call, scope);
        }
        let path = match root {
            "payload" => steps,
            _ => std::iter::once(Step::Member(root.into())).chain(steps).collect(),
        };
        let field = Typed::new(self.field(path), Kind::Any);
        self.of_event(node, field, scope)
    }

    /// What only an event has is not there when a window closes.
    pub(super) fn of_event(&mut self, node: &Node, typed: Typed, scope: Scope) -> Typed {
        if !scope.is_closing() {
            return typed;
        }
        let mistake = Mistake::new(node.span.clone(), "this is neither grouped nor aggregated");
        self.mistake(
            mistake.help("add it to GROUP BY, or say which value of the window: `last(…)`, `max(…)`"),
        )
    }

    /// The expression of a payload field.
    pub(super) fn field(&mut self, path: Path) -> Expr {
        let known = self.fields.iter().position(|field| *field == path);
        Expr::Field(known.unwrap_or_else(|| {
            self.fields.push(path);
            self.fields.len() - 1
        }))
    }

    /// What is the same as an expression of GROUP BY is known when the window closes.
    fn grouped(&mut self, node: &Node, scope: Scope) -> Option<Typed> {
        if !scope.is_closing() || self.keys.is_empty() || matches!(node.kind, NodeKind::Literal(_)) {
            return None;
        }
        // A try: what it notes on the way is forgotten.
        let (mistakes, fields, sites) = (self.mistakes.len(), self.fields.len(), self.memory.sites.len());
        let typed = self.expression(node, Scope::Argument);
        let clean = self.mistakes.len() == mistakes;
        self.mistakes.truncate(mistakes);
        self.fields.truncate(fields);
        self.memory.sites.truncate(sites);
        for partition in &mut self.memory.partitions {
            partition.sites.retain(|site| *site < sites);
        }
        // Only the last ones can have been added.
        while self.memory.partitions.last().is_some_and(|partition| partition.sites.is_empty()) {
            self.memory.partitions.pop();
        }
        let group = self.keys.iter().position(|key| clean && key.expr == typed.expr)?;
        Some(Typed::new(Expr::Group(group), typed.kind))
    }

    /// Evaluates what looks at nothing but constants. If that fails now, it would fail for each event.
    fn fold(&mut self, node: &Node, typed: Typed) -> Typed {
        if typed.wrong || !typed.expr.is_constant_operation() {
            return typed;
        }
        let env = Env::default();
        let value = typed.expr.eval(&env).into_owned();
        if env.errors.get() > 0 {
            let mistake = Mistake::new(node.span.clone(), "this fails for every event");
            return self.mistake(
                mistake.help("a division by zero, a wrong type or a bad cast would only give NULL"),
            );
        }
        Typed { kind: value.kind(), expr: Expr::Constant(value), wrong: false }
    }
}

/// A name followed by constant steps only.
fn static_path(node: &Node) -> Option<(&str, Path)> {
    let (base, step) = match &node.kind {
        NodeKind::Name(name) => return Some((name, Path::new())),
        NodeKind::Member(base, name) => (base, Step::Member(name.as_str().into())),
        NodeKind::Element(base, index) => match &index.kind {
            NodeKind::Literal(Value::Int(index)) => (base, Step::Element(usize::try_from(*index).ok()?)),
            NodeKind::Literal(Value::Text(name)) => (base, Step::Member((&**name).into())),
            _ => return None,
        },
        _ => return None,
    };
    let (root, mut steps) = static_path(base)?;
    steps.push(step);
    Some((root, steps))
}

/// Steps into a value that is computed.
fn walk(base: Expr, steps: Path) -> Expr {
    steps.into_iter().fold(base, |base, step| match step {
        Step::Member(name) => Expr::Member(base.into(), name),
        Step::Element(index) => {
            let index = Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
            Expr::Element(Box::new([base, Expr::Constant(index)]))
        }
    })
}

fn case(has_operand: bool, arms: usize, has_otherwise: bool, next: &mut impl FnMut() -> Expr) -> Expr {
    let operand = has_operand.then(|| next().into());
    let arms = (0..arms).map(|_| (next(), next())).collect();
    let otherwise = if has_otherwise { next() } else { Expr::null() };
    Expr::Case { operand, arms, otherwise: otherwise.into() }
}

fn kind_of(node: &NodeKind, operands: &[Typed]) -> Kind {
    match node {
        NodeKind::Negate(_) | NodeKind::Arithmetic(..) | NodeKind::Cast(CastType::Real, _) => Kind::Number,
        NodeKind::Cast(CastType::Integer, _) => Kind::Integer,
        NodeKind::Cast(CastType::Text, _) | NodeKind::Concat(_) => Kind::Text,
        NodeKind::Case { operand, otherwise, .. } => {
            let skip = usize::from(operand.is_some());
            let (arms, last) = operands.split_at(operands.len() - usize::from(otherwise.is_some()));
            let mut kinds = arms.iter().skip(skip + 1).step_by(2).chain(last).map(|result| result.kind);
            let first = kinds.next().unwrap_or(Kind::Any);
            if kinds.all(|kind| kind == first) { first } else { Kind::Any }
        }
        _ => Kind::Boolean,
    }
}

impl Expr {
    /// Whether it is an operation on constants only.
    fn is_constant_operation(&self) -> bool {
        let children = self.children();
        let is_operation = match self {
            Self::Call(function, _) => function.pure,
            _ => !children.is_empty(),
        };
        is_operation && children.iter().all(|child| matches!(child, Self::Constant(_)))
    }
}

/// The place of a node.
pub(super) fn span(node: &Node) -> Span {
    node.span.clone()
}
