//! From tokens to a syntax tree: clauses by recursive descent here, expressions by binding power in [`expression`].
//! It stops at the first mistake.

mod expression;

use crate::{
    ast::{Item, Name, Node, Select, Span},
    lexer::{Token, TokenKind, tokens},
    mistake::{Mistake, nearest},
};

/// The longest SQL text, in bytes.
pub(crate) const SQL_BYTES_MAX: usize = 64 * 1024;

/// How high the tree of an expression may grow. `a AND b AND c …` is one node however many there are.
pub(crate) const NESTING_MAX: usize = 64;

/// Words that cannot be names unless they are in quotes or stand after a dot or AS.
const RESERVED: &[&str] = &[
    "select", "from", "where", "group", "having", "order", "limit", "and", "or", "not", "in", "between",
    "like", "is", "null", "true", "false", "case", "when", "then", "else", "end", "as", "except",
];

/// Reads a rule.
pub(crate) fn parse(text: &str) -> Result<Select, Mistake> {
    if text.len() > SQL_BYTES_MAX {
        let message = format!("SQL cannot be longer than {SQL_BYTES_MAX} bytes");
        return Err(Mistake::new(0..0, message).help("split the rule"));
    }
    Parser { tokens: tokens(text)?, at: 0, depth: 0 }.select()
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn select(&mut self) -> Result<Select, Mistake> {
        self.expect_word("select")?;
        let items = self.list(Self::item)?;
        self.expect_word("from")?;
        let from = self.list(Self::filter)?;
        let condition = self.clause("where", Self::expression)?;
        let group_by = match self.accept_word("group") {
            true => {
                self.expect_word("by")?;
                self.list(Self::expression)?
            }
            false => Vec::new(),
        };
        let having = self.clause("having", Self::expression)?;
        let order_by = self.order_by()?;
        self.accept_mark(";");
        if !matches!(self.kind(), TokenKind::End) {
            let next = match (&having, group_by.is_empty(), &condition) {
                (Some(_), ..) => "ORDER BY or the end",
                (None, false, _) => "HAVING, ORDER BY or the end",
                (None, true, Some(_)) => "GROUP BY or the end",
                (None, true, None) => "WHERE, GROUP BY or the end",
            };
            return Err(self.unexpected(next));
        }
        Ok(Select { items, from, condition, group_by, having, order_by })
    }

    fn clause<T>(
        &mut self,
        word: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Mistake>,
    ) -> Result<Option<T>, Mistake> {
        if self.accept_word(word) { read(self).map(Some) } else { Ok(None) }
    }

    /// One or more things with commas between them.
    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, Mistake>) -> Result<Vec<T>, Mistake> {
        let mut list = vec![read(self)?];
        while self.accept_mark(",") {
            list.push(read(self)?);
        }
        Ok(list)
    }

    fn item(&mut self) -> Result<Item, Mistake> {
        let span = self.span();
        if self.accept_mark("*") {
            let mut except = Vec::new();
            if self.accept_word("except") {
                self.expect_mark("(")?;
                except = self.list(Self::name)?;
                self.expect_mark(")")?;
            }
            return Ok(Item::Star { span: span.start..self.end(), except });
        }
        let expr = self.expression()?;
        let alias = self.clause("as", Self::name)?;
        Ok(Item::Column { expr, alias })
    }

    /// A topic filter in single or double quotes.
    fn filter(&mut self) -> Result<Name, Mistake> {
        let span = self.span();
        match self.kind().clone() {
            TokenKind::Text(text) | TokenKind::Quoted(text) => {
                self.at += 1;
                Ok(Name { text, span: span.start + 1..span.end - 1 })
            }
            _ => Err(self.unexpected("a topic filter in quotes")),
        }
    }

    /// Any word, or a name in quotes.
    fn name(&mut self) -> Result<Name, Mistake> {
        let span = self.span();
        match self.kind().clone() {
            TokenKind::Word(text) | TokenKind::Quoted(text) => {
                self.at += 1;
                Ok(Name { text, span })
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    fn order_by(&mut self) -> Result<Option<Span>, Mistake> {
        let span = self.span();
        if self.accept_word("order") {
            self.expect_word("by")?;
            self.list(|parser| {
                parser.expression()?;
                Ok(parser.accept_word("desc") || parser.accept_word("asc"))
            })?;
            self.clause("limit", Self::expression)?;
        } else if self.accept_word("limit") {
            self.expression()?;
        } else {
            return Ok(None);
        }
        Ok(Some(span.start..self.end()))
    }

    fn kind(&self) -> &TokenKind {
        self.tokens.get(self.at).map_or(&TokenKind::End, |token| &token.kind)
    }

    fn peek(&self) -> &TokenKind {
        self.tokens.get(self.at + 1).map_or(&TokenKind::End, |token| &token.kind)
    }

    fn span(&self) -> Span {
        self.tokens.get(self.at).map_or(0..0, |token| token.span.clone())
    }

    /// Where the last token ended.
    fn end(&self) -> usize {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(0, |token| token.span.end)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.kind(), TokenKind::Word(found) if found.eq_ignore_ascii_case(word))
    }

    fn accept_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<(), Mistake> {
        if self.accept_word(word) {
            return Ok(());
        }
        let wanted = word.to_ascii_uppercase();
        let mistake = self.unexpected(&wanted);
        Err(match self.kind() {
            TokenKind::Word(found) if nearest(found, [word]).is_some() => {
                mistake.help(format!("did you mean `{wanted}`?"))
            }
            _ => mistake,
        })
    }

    fn accept_mark(&mut self, mark: &str) -> bool {
        let found = matches!(self.kind(), TokenKind::Mark(found) if *found == mark);
        self.at += usize::from(found);
        found
    }

    fn expect_mark(&mut self, mark: &str) -> Result<(), Mistake> {
        if self.accept_mark(mark) { Ok(()) } else { Err(self.unexpected(&format!("`{mark}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> Mistake {
        Mistake::new(self.span(), format!("expected {wanted}, found {}", self.kind()))
    }

    /// Makes a node, unless the tree grows too high.
    fn node(&self, kind: crate::ast::NodeKind, start: usize) -> Result<Node, Mistake> {
        let height = kind.children().iter().map(|child| child.height + 1).max().unwrap_or(0);
        let span = start..self.end();
        if height > NESTING_MAX { Err(too_deep(span)) } else { Ok(Node { kind, span, height }) }
    }
}

fn too_deep(span: Span) -> Mistake {
    Mistake::new(span, format!("expressions cannot be nested deeper than {NESTING_MAX}"))
}

#[cfg(test)]
mod tests;
