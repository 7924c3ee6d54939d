//! From tokens to a syntax tree: clauses by recursive descent here, expressions by binding power in [`expression`].
//!
//! After a mistake it goes on where that makes sense, as [`recovery`] says, so that all mistakes are found at once.

mod expression;
mod recovery;

use crate::{
    ast::{Item, Limit, Name, Node, Order, Select, Span},
    lexer::{Token, TokenKind, tokens},
    mistake::Mistake,
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

/// Reads a rule: the tree, with gaps where there are mistakes, and the mistakes. There is no tree without SELECT.
pub(crate) fn parse(text: &str) -> (Option<Select>, Vec<Mistake>) {
    if text.len() > SQL_BYTES_MAX {
        let message = format!("SQL cannot be longer than {SQL_BYTES_MAX} bytes");
        return (None, vec![Mistake::new(0..0, message).help("split the rule")]);
    }
    let (tokens, mistakes) = tokens(text);
    let mut parser = Parser { text, tokens, at: 0, depth: 0, mistakes };
    let select = parser.select();
    (select, parser.mistakes)
}

/// Reads an expression that stands on its own.
pub(crate) fn parse_expression(text: &str) -> Result<Node, Mistake> {
    let (tokens, mistakes) = tokens(text);
    let mut parser = Parser { text, tokens, at: 0, depth: 0, mistakes };
    let node = parser.expression();
    parser.expect_end(&["the end"]);
    match (node, parser.mistakes.into_iter().next()) {
        (Err(mistake), _) | (Ok(_), Some(mistake)) => Err(mistake),
        (Ok(node), None) => Ok(node),
    }
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    mistakes: Vec<Mistake>,
}

impl Parser<'_> {
    fn select(&mut self) -> Option<Select> {
        if let Err(mistake) = self.expect_word("select") {
            self.mistakes.push(mistake);
            return None;
        }
        let items = self.list(Self::item);
        let from = match self.clause_word("from", &["FROM"]) {
            true => self.list(Self::filter),
            false => Vec::new(),
        };
        let mut next = vec!["WHERE", "GROUP BY", "ORDER BY", "LIMIT", "the end"];
        let condition = self.clause(&mut next, "WHERE", |parser| Ok(parser.expression_or_wrong()));
        let group_by = self.clause(&mut next, "GROUP BY", |parser| {
            parser.expect_word("by")?;
            Ok(parser.list(|parser| Ok(parser.expression_or_wrong())))
        });
        if group_by.is_some() {
            next.insert(0, "HAVING");
        }
        let having = self.clause(&mut next, "HAVING", |parser| Ok(parser.expression_or_wrong()));
        let start = self.span().start;
        let order_by = self.clause(&mut next, "ORDER BY", |parser| {
            parser.expect_word("by")?;
            Ok(parser.list(Self::order))
        });
        let limit = self.clause(&mut next, "LIMIT", Self::limit);
        let order_span = start..self.end().max(start);
        self.accept_mark(";");
        self.expect_end(&next);
        let (group_by, order_by) = (group_by.unwrap_or_default(), order_by.unwrap_or_default());
        Some(Select { items, from, condition, group_by, having, order_by, limit, order_span })
    }

    fn order(&mut self) -> Result<Order, Mistake> {
        let expr = self.expression_or_wrong();
        let descending = self.accept_word("desc");
        if !descending {
            self.accept_word("asc");
        }
        Ok(Order { expr, descending })
    }

    fn limit(&mut self) -> Result<Limit, Mistake> {
        let span = self.span();
        match *self.kind() {
            TokenKind::Int(count) if count > 0 => {
                self.at += 1;
                Ok(Limit { count: usize::try_from(count).unwrap_or(usize::MAX), span })
            }
            _ => Err(self.unexpected("a whole number from 1 on")),
        }
    }

    /// One or more things with commas between them. What cannot be read is left out, and reported.
    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, Mistake>) -> Vec<T> {
        let mut list = Vec::new();
        loop {
            match read(self) {
                Ok(item) => list.push(item),
                Err(mistake) => self.recover(mistake, &[",", ")"]),
            }
            if !self.accept_mark(",") {
                return list;
            }
        }
    }

    fn item(&mut self) -> Result<Item, Mistake> {
        let span = self.span();
        if self.accept_mark("*") {
            let mut except = Vec::new();
            if self.accept_word("except") {
                self.expect_mark("(")?;
                except = self.list(Self::name);
                self.expect_mark(")")?;
            }
            return Ok(Item::Star { span: span.start..self.end(), except });
        }
        let expr = self.expression_or_wrong();
        if self.accept_word("as") {
            return Ok(Item::Column { expr, alias: Some(self.name()?) });
        }
        let alias = self.alias_without_as();
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
            _ => Err(self.bare_filter()),
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
            TokenKind::Word(found) => mistake.suggest(found, [wanted.as_str()]),
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
