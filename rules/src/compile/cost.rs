//! What evaluating an expression costs, roughly: so that cheap conditions are looked at first.

use crate::expr::Expr;

impl Expr {
    /// In units of looking at a field.
    pub(crate) fn cost(&self) -> u32 {
        let own = match self {
            Self::Constant(_) | Self::Field(_) | Self::Memory(_) | Self::Group(_) | Self::Aggregate(_) => 1,
            Self::WindowStart | Self::WindowEnd => 1,
            Self::Capture(_) | Self::Compare(..) | Self::IsNull(_) | Self::Not(_) | Self::Negate(_) => 2,
            Self::Logic(..) | Self::Arithmetic(..) | Self::Between(_) | Self::In(..) | Self::Case { .. } => 2,
            Self::Cast(..) | Self::Member(..) | Self::Element(_) => 8,
            Self::Call(function, _) if function.needs_event => 4,
            Self::Call(..) => 20,
            Self::Like(_) => 30,
            Self::Regex(..) => 200,
        };
        self.children().into_iter().fold(own, |sum: u32, child| sum.saturating_add(child.cost()))
    }

    /// Whether a memory function is in it.
    pub(crate) fn has_memory(&self) -> bool {
        matches!(self, Self::Memory(_)) || self.children().into_iter().any(Self::has_memory)
    }

    /// What it is computed from, one level down; nothing for what is no operation.
    pub(super) fn children(&self) -> Vec<&Self> {
        match self {
            Self::Constant(_)
            | Self::Field(_)
            | Self::Capture(_)
            | Self::Memory(_)
            | Self::Group(_)
            | Self::Aggregate(_)
            | Self::WindowStart
            | Self::WindowEnd => Vec::new(),
            Self::Not(one) | Self::Negate(one) | Self::IsNull(one) | Self::Cast(_, one) => vec![one],
            Self::Member(one, _) | Self::Regex(_, one, _) => vec![one],
            Self::Compare(_, two) | Self::Arithmetic(_, two) => two.iter().collect(),
            Self::Like(two) | Self::Element(two) => two.iter().collect(),
            Self::Between(three) => three.iter().collect(),
            Self::Logic(_, many) | Self::Call(_, many) => many.iter().collect(),
            Self::In(one, many) => std::iter::once(&**one).chain(many).collect(),
            Self::Case { operand, arms, otherwise } => {
                let arms = arms.iter().flat_map(|(condition, result)| [condition, result]);
                operand.as_deref().into_iter().chain(arms).chain([&**otherwise]).collect()
            }
        }
    }
}
