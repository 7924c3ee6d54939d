//! The syntax tree: what was written, and where.

use std::ops::Range;

use crate::{
    expr::{CastType, Comparison, Logic},
    number::Arithmetic,
    value::Value,
};

/// A place in the text, in bytes.
pub(crate) type Span = Range<usize>;

/// A name or a text with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// A whole rule.
#[derive(Debug)]
pub(crate) struct Select {
    pub(crate) items: Vec<Item>,
    /// Filters as they are between the quotes; their spans are without the quotes.
    pub(crate) from: Vec<Name>,
    pub(crate) condition: Option<Node>,
    pub(crate) group_by: Vec<Node>,
    pub(crate) having: Option<Node>,
    pub(crate) order_by: Vec<Order>,
    pub(crate) limit: Option<Limit>,
    /// ORDER BY and LIMIT as they are written.
    pub(crate) order_span: Span,
}

/// One key of ORDER BY.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) expr: Node,
    pub(crate) descending: bool,
}

/// LIMIT.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limit {
    pub(crate) count: usize,
    pub(crate) span: Span,
}

/// One item of the SELECT list.
#[derive(Debug)]
pub(crate) enum Item {
    Star { span: Span, except: Vec<Name> },
    Column { expr: Node, alias: Option<Name> },
}

/// An expression with its place and its height.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) span: Span,
    /// How many nodes lie between here and the farthest leaf: all later passes recurse that deep.
    pub(crate) height: usize,
}

#[derive(Debug)]
pub(crate) enum NodeKind {
    /// What could not be read, and is reported already.
    Wrong,
    Literal(Value<'static>),
    /// A name on its own: a capture, an alias or a payload field.
    Name(String),
    Member(Box<Node>, String),
    Element(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Logic(Logic, Vec<Node>),
    Compare(Comparison, Box<[Node; 2]>),
    Arithmetic(Arithmetic, Box<[Node; 2]>),
    Concat(Vec<Node>),
    IsNull(Box<Node>),
    In(Box<Node>, Vec<Node>),
    Between(Box<[Node; 3]>),
    Like(Box<[Node; 2]>),
    Case {
        operand: Option<Box<Node>>,
        arms: Vec<(Node, Node)>,
        otherwise: Option<Box<Node>>,
    },
    Cast(CastType, Box<Node>),
    Call(Call),
}

#[derive(Debug)]
pub(crate) struct Call {
    /// In lower case.
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) arguments: Vec<Node>,
    /// `count(*)`
    pub(crate) star: bool,
    /// `FILTER (WHERE …)` after the call.
    pub(crate) filter: Option<Box<Node>>,
    /// `OVER (PARTITION BY …)` after the call.
    pub(crate) over: Option<Over>,
}

/// `OVER (PARTITION BY …)`
#[derive(Debug)]
pub(crate) struct Over {
    pub(crate) partition: Vec<Node>,
    pub(crate) span: Span,
}

impl Node {
    /// A node in the place of what could not be read.
    pub(crate) fn wrong(span: Span) -> Self {
        Self { kind: NodeKind::Wrong, span, height: 0 }
    }
}

impl NodeKind {
    /// The nodes directly below.
    pub(crate) fn children(&self) -> Vec<&Node> {
        match self {
            Self::Wrong | Self::Literal(_) | Self::Name(_) => Vec::new(),
            Self::Member(one, _)
            | Self::Not(one)
            | Self::Negate(one)
            | Self::IsNull(one)
            | Self::Cast(_, one) => {
                vec![one]
            }
            Self::Element(base, index) => vec![base, index],
            Self::Logic(_, many) | Self::Concat(many) => many.iter().collect(),
            Self::Compare(_, two) | Self::Arithmetic(_, two) | Self::Like(two) => two.iter().collect(),
            Self::Between(three) => three.iter().collect(),
            Self::In(one, many) => std::iter::once(&**one).chain(many).collect(),
            Self::Case { operand, arms, otherwise } => {
                let arms = arms.iter().flat_map(|(condition, result)| [condition, result]);
                operand.as_deref().into_iter().chain(arms).chain(otherwise.as_deref()).collect()
            }
            Self::Call(call) => {
                let over = call.over.iter().flat_map(|over| &over.partition);
                call.arguments.iter().chain(call.filter.as_deref()).chain(over).collect()
            }
        }
    }
}
