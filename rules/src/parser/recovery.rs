//! Going on after a mistake: at the next comma, the closing parenthesis or the next clause.

use super::Parser;
use crate::{
    ast::{Name, Node, Span},
    lexer::TokenKind,
    mistake::{MISTAKES_MAX, Mistake, nearest},
};

/// The words that begin a clause after SELECT.
const CLAUSES: &[&str] = &["from", "where", "group", "having", "order", "limit"];

impl Parser<'_> {
    /// An expression; a gap in the tree if there is none.
    pub(super) fn expression_or_wrong(&mut self) -> Node {
        let start = self.span().start;
        self.expression().unwrap_or_else(|mistake| {
            self.recover(mistake, &[",", ")", "as", "desc", "asc"]);
            Node::wrong(start..self.end().max(start))
        })
    }

    /// Notes a mistake and skips to one of these marks and words outside of parentheses, or to the next clause.
    pub(super) fn recover(&mut self, mistake: Mistake, stops: &[&str]) {
        self.note(mistake);
        if self.mistakes.len() >= MISTAKES_MAX {
            self.at = self.tokens.len();
            return;
        }
        let mut open = 0_usize;
        loop {
            let stop = match self.kind() {
                TokenKind::End => true,
                TokenKind::Mark("(") => {
                    open += 1;
                    false
                }
                TokenKind::Mark(mark) if open == 0 => stops.contains(mark),
                TokenKind::Mark(")") => {
                    open -= 1;
                    false
                }
                TokenKind::Word(word) => {
                    let stops_here = || {
                        stops.iter().any(|stop| self.is_word(stop))
                            || nearest(word, CLAUSES.iter().copied()).is_some()
                    };
                    self.is_clause() || open == 0 && stops_here()
                }
                _ => false,
            };
            if stop {
                return;
            }
            self.at += 1;
        }
    }

    /// Reads what stands before a closing parenthesis, and the parenthesis. If it cannot be read but the parenthesis is
    /// found, there is a gap in its place.
    pub(super) fn closed<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Mistake>,
        wrong: impl FnOnce(Span) -> T,
    ) -> Result<T, Mistake> {
        let start = self.span().start;
        let result = read(self).and_then(|inner| self.expect_mark(")").map(|()| inner));
        let Err(mistake) = result else { return result };
        match self.closing() {
            Some(at) => {
                self.note(mistake);
                self.at = at + 1;
                Ok(wrong(start..self.end()))
            }
            None => Err(mistake),
        }
    }

    /// The token that closes the parenthesis that is open here, if it comes before the next clause.
    fn closing(&self) -> Option<usize> {
        if self.mistakes.len() >= MISTAKES_MAX {
            return None;
        }
        let mut open = 0_usize;
        for (at, token) in self.tokens.iter().enumerate().skip(self.at) {
            match &token.kind {
                TokenKind::Mark("(") => open += 1,
                TokenKind::Mark(")") if open == 0 => return Some(at),
                TokenKind::Mark(")") => open -= 1,
                TokenKind::Word(word) if is_clause(word) && !word.eq_ignore_ascii_case("where") => {
                    return None;
                }
                _ => {}
            }
        }
        None
    }

    /// A topic filter without quotes, all of which is passed over.
    pub(super) fn bare_filter(&mut self) -> Mistake {
        let mistake = self.unexpected("a topic filter in quotes");
        if self.is_clause() || matches!(self.kind(), TokenKind::End) {
            return mistake;
        }
        let start = self.span().start;
        let rest = self.text.get(start..).unwrap_or_default();
        let end = rest.find(|letter: char| letter.is_whitespace() || ",;)'\"".contains(letter));
        let written = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if written.is_empty() || written.starts_with('(') {
            return mistake;
        }
        let span = start..start + written.len();
        // What the lexer could not make sense of is part of the filter.
        self.mistakes.retain(|mistake| !(span.start..span.end).contains(&mistake.span.start));
        while self.span().start < span.end && !matches!(self.kind(), TokenKind::End) {
            self.at += 1;
        }
        Mistake::new(span, format!("expected a topic filter in quotes, found `{written}`"))
            .help(format!("write '{written}' if that is the topic"))
    }

    /// A name right after a column: SQL allows it, here it is more often a comma forgotten.
    pub(super) fn alias_without_as(&mut self) -> Option<Name> {
        let TokenKind::Word(word) = self.kind().clone() else { return None };
        if self.is_clause() {
            return None;
        }
        let span = self.span();
        let mistake = self.unexpected("`,`, AS or FROM");
        self.note(mistake.help(format!("write `AS {word}` to name the column")));
        self.at += 1;
        Some(Name { text: word, span })
    }

    /// Takes the word that begins a clause. If it is there misspelt, that is a mistake and the clause is read all the
    /// same; `next` is what could stand here.
    pub(super) fn clause_word(&mut self, word: &str, next: &[&str]) -> bool {
        if self.accept_word(word) {
            return true;
        }
        let misspelt = match self.kind() {
            TokenKind::Word(found) => !is_clause(found) && nearest(found, [word]).is_some(),
            _ => false,
        };
        let required = word == "from";
        if misspelt || required {
            let mistake = self.unexpected(&either(next));
            let mistake = match misspelt {
                true => mistake.help(format!("did you mean `{}`?", word.to_ascii_uppercase())),
                false => mistake,
            };
            if misspelt {
                self.note(mistake);
                self.at += 1;
            } else {
                self.recover(mistake, &[]);
            }
        }
        misspelt || self.accept_word(word)
    }

    /// A clause that may be there. `next` is what may come from here on, with the word that begins this clause.
    pub(super) fn clause<T>(
        &mut self,
        next: &mut Vec<&'static str>,
        words: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, Mistake>,
    ) -> Option<T> {
        let word = words.split(' ').next().unwrap_or(words).to_ascii_lowercase();
        if !self.clause_word(&word, next) {
            return None;
        }
        let passed = next.iter().position(|each| *each == words);
        next.drain(..passed.map_or(0, |at| at + 1));
        read(self).map_err(|mistake| self.recover(mistake, &[])).ok()
    }

    /// Notes whatever still stands here, and the clauses that stand in the wrong order.
    pub(super) fn expect_end(&mut self, next: &[&str]) {
        if !matches!(self.kind(), TokenKind::End) {
            let mistake = self.unexpected(&either(next));
            let mistake = match self.is_clause() {
                true => mistake.help("the order is SELECT, FROM, WHERE, GROUP BY, HAVING, ORDER BY, LIMIT"),
                false => mistake,
            };
            self.note(mistake);
        }
    }

    /// Notes a mistake, unless it only says that something is in the way that is reported already.
    fn note(&mut self, mistake: Mistake) {
        if !matches!(self.kind(), TokenKind::Wrong) && self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push(mistake);
        }
    }

    /// Whether a clause begins here: a name after a dot or AS may be such a word.
    pub(super) fn is_clause(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map(|token| &token.kind);
        let quoted = matches!(self.peek(), TokenKind::Text(_) | TokenKind::Quoted(_));
        // A misspelt FROM is known by the filter that follows.
        let is_from = |word: &str| quoted && nearest(word, ["from"]).is_some();
        matches!(self.kind(), TokenKind::Word(word) if is_clause(word) || is_from(word))
            && !matches!(before, Some(TokenKind::Mark(".")))
    }
}

fn is_clause(word: &str) -> bool {
    CLAUSES.iter().any(|clause| word.eq_ignore_ascii_case(clause))
}

/// `a, b or c`
fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
