//! Expressions, by the binding power of their operators.

use super::{NESTING_MAX, Parser, RESERVED, too_deep};
use crate::{
    ast::{Call, Node, NodeKind, Over, Span},
    expr::{CastType, Comparison, Logic},
    lexer::TokenKind,
    mistake::Mistake,
    number::Arithmetic,
    value::Value,
};

/// How strongly an operator binds its operands, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Power {
    None,
    Or,
    And,
    Not,
    Compare,
    Concat,
    Add,
    Multiply,
    Sign,
}

/// An operator between two operands.
#[derive(Debug, Clone, Copy)]
enum Infix {
    Logic(Logic),
    Compare(Comparison),
    Concat,
    Arithmetic(Arithmetic),
    /// IS, IN, BETWEEN, LIKE and their negations.
    Predicate,
}

impl Infix {
    fn power(self) -> Power {
        match self {
            Self::Logic(Logic::Or) => Power::Or,
            Self::Logic(Logic::And) => Power::And,
            Self::Compare(_) | Self::Predicate => Power::Compare,
            Self::Concat => Power::Concat,
            Self::Arithmetic(Arithmetic::Add | Arithmetic::Subtract) => Power::Add,
            Self::Arithmetic(_) => Power::Multiply,
        }
    }
}

/// Names of types in CAST.
const CAST_TYPES: &[(&str, CastType)] = &[
    ("integer", CastType::Integer),
    ("real", CastType::Real),
    ("text", CastType::Text),
    ("boolean", CastType::Boolean),
    ("int", CastType::Integer),
    ("bigint", CastType::Integer),
    ("float", CastType::Real),
    ("double", CastType::Real),
    ("string", CastType::Text),
    ("bool", CastType::Boolean),
];

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Node, Mistake> {
        self.binary(Power::None)
    }

    /// An expression of operators that bind more strongly than `floor`.
    fn binary(&mut self, floor: Power) -> Result<Node, Mistake> {
        if self.depth > NESTING_MAX {
            return Err(too_deep(self.span()));
        }
        self.depth += 1;
        let result = self.binary_inside(floor);
        self.depth -= 1;
        result
    }

    fn binary_inside(&mut self, floor: Power) -> Result<Node, Mistake> {
        let mut left = self.prefix()?;
        while let Some(operator) = self.infix().filter(|operator| operator.power() > floor) {
            left = match operator {
                Infix::Predicate => self.predicate(left)?,
                Infix::Logic(logic) => {
                    self.chain(left, operator.power(), |operands| NodeKind::Logic(logic, operands))?
                }
                Infix::Concat => self.chain(left, Power::Concat, NodeKind::Concat)?,
                Infix::Compare(comparison) => {
                    self.pair(left, Power::Compare, |operands| NodeKind::Compare(comparison, operands))?
                }
                Infix::Arithmetic(arithmetic) => {
                    self.pair(left, operator.power(), |operands| NodeKind::Arithmetic(arithmetic, operands))?
                }
            };
        }
        Ok(left)
    }

    fn infix(&self) -> Option<Infix> {
        Some(match self.kind() {
            TokenKind::Mark(mark) => match *mark {
                "=" | "==" => Infix::Compare(Comparison::Equal),
                "<>" | "!=" => Infix::Compare(Comparison::NotEqual),
                "<" => Infix::Compare(Comparison::Less),
                "<=" => Infix::Compare(Comparison::LessOrEqual),
                ">" => Infix::Compare(Comparison::Greater),
                ">=" => Infix::Compare(Comparison::GreaterOrEqual),
                "||" => Infix::Concat,
                "+" => Infix::Arithmetic(Arithmetic::Add),
                "-" => Infix::Arithmetic(Arithmetic::Subtract),
                "*" => Infix::Arithmetic(Arithmetic::Multiply),
                "/" => Infix::Arithmetic(Arithmetic::Divide),
                "%" => Infix::Arithmetic(Arithmetic::Remainder),
                _ => return None,
            },
            TokenKind::Word(word) => match word.to_ascii_lowercase().as_str() {
                "or" => Infix::Logic(Logic::Or),
                "and" => Infix::Logic(Logic::And),
                "is" | "in" | "between" | "like" | "not" => Infix::Predicate,
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Operands of one and the same operator in a row, as one node.
    fn chain(
        &mut self,
        first: Node,
        power: Power,
        make: impl Fn(Vec<Node>) -> NodeKind,
    ) -> Result<Node, Mistake> {
        let start = first.span.start;
        let mut operands = vec![first];
        while self.infix().is_some_and(|operator| operator.power() == power) {
            self.at += 1;
            operands.push(self.binary(power)?);
        }
        self.node(make(operands), start)
    }

    fn pair(
        &mut self,
        left: Node,
        power: Power,
        make: impl Fn(Box<[Node; 2]>) -> NodeKind,
    ) -> Result<Node, Mistake> {
        let start = left.span.start;
        self.at += 1;
        let right = self.binary(power)?;
        self.node(make(Box::new([left, right])), start)
    }

    /// `IS [NOT] NULL`, `[NOT] IN (…)`, `[NOT] BETWEEN … AND …`, `[NOT] LIKE …`
    fn predicate(&mut self, left: Node) -> Result<Node, Mistake> {
        let start = left.span.start;
        if self.accept_word("is") {
            let negated = self.accept_word("not");
            self.expect_word("null")?;
            return self.negated(NodeKind::IsNull(Box::new(left)), negated, start);
        }
        let negated = self.accept_word("not");
        let kind = if self.accept_word("in") {
            self.expect_mark("(")?;
            let list = self.closed(
                |parser| Ok(parser.list(|parser| Ok(parser.expression_or_wrong()))),
                |span| vec![Node::wrong(span)],
            )?;
            NodeKind::In(Box::new(left), list)
        } else if self.accept_word("between") {
            let low = self.binary(Power::Compare)?;
            self.expect_word("and")?;
            NodeKind::Between(Box::new([left, low, self.binary(Power::Compare)?]))
        } else if self.accept_word("like") {
            NodeKind::Like(Box::new([left, self.binary(Power::Compare)?]))
        } else {
            return Err(self.unexpected("IN, BETWEEN or LIKE"));
        };
        self.negated(kind, negated, start)
    }

    fn negated(&mut self, kind: NodeKind, negated: bool, start: usize) -> Result<Node, Mistake> {
        let node = self.node(kind, start)?;
        if negated { self.node(NodeKind::Not(Box::new(node)), start) } else { Ok(node) }
    }

    fn prefix(&mut self) -> Result<Node, Mistake> {
        let start = self.span().start;
        if self.accept_word("not") {
            let operand = self.binary(Power::Not)?;
            return self.node(NodeKind::Not(Box::new(operand)), start);
        }
        if self.accept_mark("+") {
            return self.binary(Power::Sign);
        }
        if self.accept_mark("-") {
            let operand = self.binary(Power::Sign)?;
            return self.node(NodeKind::Negate(Box::new(operand)), start);
        }
        let primary = self.primary()?;
        self.postfix(primary)
    }

    /// `.name` and `[index]` after a value.
    fn postfix(&mut self, mut node: Node) -> Result<Node, Mistake> {
        let start = node.span.start;
        loop {
            if self.accept_mark(".") {
                let name = self.name()?.text;
                node = self.node(NodeKind::Member(Box::new(node), name), start)?;
            } else if self.accept_mark("[") {
                let index = self.expression()?;
                self.expect_mark("]")?;
                node = self.node(NodeKind::Element(Box::new(node), Box::new(index)), start)?;
            } else {
                return Ok(node);
            }
        }
    }

    fn primary(&mut self) -> Result<Node, Mistake> {
        let span = self.span();
        let literal = match self.kind().clone() {
            TokenKind::Int(int) => Value::Int(int),
            TokenKind::Float(float) => Value::Float(float),
            TokenKind::Text(text) => Value::owned_text(text),
            TokenKind::Bytes(bytes) => Value::Bytes(bytes.into()),
            TokenKind::Quoted(name) => {
                self.at += 1;
                return self.node(NodeKind::Name(name), span.start);
            }
            TokenKind::Mark("(") => {
                self.at += 1;
                let inner = self.closed(Self::expression, Node::wrong)?;
                return Ok(Node { span: span.start..self.end(), ..inner });
            }
            TokenKind::Word(word) => return self.word(&word, span),
            TokenKind::Mark(_) | TokenKind::Wrong | TokenKind::End => {
                return Err(self.unexpected("an expression"));
            }
        };
        self.at += 1;
        self.node(NodeKind::Literal(literal), span.start)
    }

    fn word(&mut self, word: &str, span: Span) -> Result<Node, Mistake> {
        let lower = word.to_ascii_lowercase();
        let literal = match lower.as_str() {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "case" => return self.case(),
            _ if *self.peek() == TokenKind::Mark("(") && !RESERVED.contains(&lower.as_str()) => {
                self.at += 2;
                return if lower == "cast" { self.cast(span) } else { self.call(lower, span) };
            }
            _ if RESERVED.contains(&lower.as_str()) => {
                return Err(self.unexpected("an expression").help(format!(
                    "if `{word}` is the name of a field, write \"{word}\" or payload.{word}"
                )));
            }
            _ => {
                self.at += 1;
                return self.node(NodeKind::Name(word.to_owned()), span.start);
            }
        };
        self.at += 1;
        self.node(NodeKind::Literal(literal), span.start)
    }

    fn case(&mut self) -> Result<Node, Mistake> {
        let start = self.span().start;
        self.at += 1;
        let operand = match self.is_word("when") {
            true => None,
            false => Some(Box::new(self.expression()?)),
        };
        let mut arms = Vec::new();
        self.expect_word("when")?;
        loop {
            let condition = self.expression()?;
            self.expect_word("then")?;
            arms.push((condition, self.expression()?));
            if !self.accept_word("when") {
                break;
            }
        }
        let otherwise = if self.accept_word("else") { Some(Box::new(self.expression()?)) } else { None };
        self.expect_word("end")?;
        self.node(NodeKind::Case { operand, arms, otherwise }, start)
    }

    /// After `CAST(`.
    fn cast(&mut self, span: Span) -> Result<Node, Mistake> {
        let start = span.start;
        self.closed(|parser| parser.cast_inside(start), Node::wrong)
            .map(|node| Node { span: start..self.end(), ..node })
    }

    fn cast_inside(&mut self, start: usize) -> Result<Node, Mistake> {
        let operand = self.expression()?;
        self.expect_word("as")?;
        let name = self.name()?;
        let lower = name.text.to_ascii_lowercase();
        let Some((_, target)) = CAST_TYPES.iter().find(|(each, _)| *each == lower) else {
            return Err(Mistake::new(name.span, format!("`{}` is not a type", name.text))
                .help("the types are INTEGER, REAL, TEXT and BOOLEAN"));
        };
        self.node(NodeKind::Cast(*target, Box::new(operand)), start)
    }

    /// After the name of a function and `(`.
    fn call(&mut self, name: String, name_span: Span) -> Result<Node, Mistake> {
        let mut star = false;
        let arguments = self.closed(
            |parser| {
                star = parser.accept_mark("*");
                Ok(match star || *parser.kind() == TokenKind::Mark(")") {
                    true => Vec::new(),
                    false => parser.list(|parser| Ok(parser.expression_or_wrong())),
                })
            },
            |span| vec![Node::wrong(span)],
        )?;
        let start = name_span.start;
        let filter = self.call_clause("filter", Self::filter_inside)?.map(|(node, _)| Box::new(node));
        let over = self.call_clause("over", Self::over_inside)?;
        let over = over.map(|(partition, span)| Over { partition, span });
        self.node(NodeKind::Call(Call { name, name_span, arguments, star, filter, over }), start)
    }

    /// `FILTER (…)` or `OVER (…)` and its place.
    fn call_clause<T>(
        &mut self,
        word: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Mistake>,
    ) -> Result<Option<(T, Span)>, Mistake> {
        let start = self.span().start;
        if !self.is_word(word) || *self.peek() != TokenKind::Mark("(") {
            return Ok(None);
        }
        self.at += 2;
        let inner = read(self)?;
        self.expect_mark(")")?;
        Ok(Some((inner, start..self.end())))
    }

    fn filter_inside(&mut self) -> Result<Node, Mistake> {
        self.expect_word("where")?;
        self.expression()
    }

    fn over_inside(&mut self) -> Result<Vec<Node>, Mistake> {
        self.expect_word("partition")?;
        self.expect_word("by")?;
        Ok(self.list(|parser| Ok(parser.expression_or_wrong())))
    }
}
