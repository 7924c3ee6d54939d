//! GROUP BY, HAVING, ORDER BY and LIMIT.

use super::{
    Compiler,
    expression::{Scope, span},
    window::WINDOWS,
};
use crate::{
    ast::{Node, NodeKind, Select},
    mistake::Mistake,
    rule::{Order, WindowPlan},
    window::{Shape, Tumbling},
};

impl Compiler {
    /// Finds the window and resolves the keys.
    pub(super) fn group_by(&mut self, select: &Select) -> Option<WindowPlan> {
        let mut window: Option<(&Node, Option<Shape>)> = None;
        for node in &select.group_by {
            let call = match &node.kind {
                NodeKind::Call(call) if WINDOWS.contains(&call.name.as_str()) => call,
                _ => {
                    let key = self.expression(node, Scope::GroupBy);
                    self.keys.push(key);
                    continue;
                }
            };
            if let Some((first, _)) = window {
                let mistake = Mistake::new(span(node), "a rule has one window");
                self.mistakes.push(mistake.also(span(first), "the first"));
                continue;
            }
            self.has_window = true;
            window = Some((node, self.window(node, call)));
        }
        if let (None, Some(first), Some(last)) = (window, select.group_by.first(), select.group_by.last()) {
            if !select.group_by.iter().any(|node| matches!(node.kind, NodeKind::Wrong)) {
                let mistake = Mistake::new(first.span.start..last.span.end, "GROUP BY needs a window");
                self.mistakes.push(mistake.help("add one, as in `GROUP BY device, tumbling('1m')`"));
            }
            // So that aggregates are not reported for the same reason.
            self.has_window = true;
        }
        let shape = window?.1.unwrap_or(Shape::Tumbling(Tumbling { size_ms: 1, offset_ms: 0 }));
        let keys = self.keys.iter().map(|key| key.expr.clone()).collect();
        Some(WindowPlan {
            shape,
            event_clock: None,
            keys,
            aggregates: Vec::new(),
            having: None,
            order_by: Vec::new(),
            limit: None,
        })
    }

    /// HAVING, ORDER BY and LIMIT look at what a window has come to.
    pub(super) fn closing(&mut self, select: &Select, window: Option<WindowPlan>) -> Option<WindowPlan> {
        let having = select.having.as_ref().map(|node| self.condition(node, Scope::Having));
        if let (Some(having), false) = (&select.having, self.has_window) {
            let mistake = Mistake::new(having.span.clone(), "HAVING needs a window");
            self.mistakes.push(mistake.help("use WHERE, or add GROUP BY tumbling('1m')"));
        }
        let ordered = !select.order_by.is_empty() || select.limit.is_some();
        let together = match &window {
            Some(window) => matches!(window.shape, Shape::Tumbling(_) | Shape::Hopping { .. }),
            None => self.has_window,
        };
        if ordered && !together {
            let mistake = Mistake::new(
                select.order_span.clone(),
                "ORDER BY and LIMIT need windows that end for all groups at once",
            );
            self.mistakes.push(mistake.help("use tumbling or hopping windows"));
            return window;
        }
        let order = |order: &crate::ast::Order| Order {
            expr: self.expression(&order.expr, Scope::Having).expr,
            descending: order.descending,
        };
        let order_by = select.order_by.iter().map(order).collect();
        let limit = select.limit.as_ref().map(|limit| limit.count);
        window.map(|window| WindowPlan { having, order_by, limit, ..window })
    }
}
