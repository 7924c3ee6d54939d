//! From text to tokens. Nothing is lost: each token knows its place.

use std::fmt;

use crate::{
    ast::Span,
    duration::parse_duration,
    mistake::{MISTAKES_MAX, Mistake},
};

/// A token and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TokenKind {
    /// A word without quotes: a keyword or a name.
    Word(String),
    /// A name in double quotes or backticks.
    Quoted(String),
    /// A text in single quotes.
    Text(String),
    Bytes(Vec<u8>),
    Int(i64),
    Float(f64),
    /// An operator or a mark, as it is written.
    Mark(&'static str),
    /// What cannot be read; that is reported already.
    Wrong,
    End,
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "`{word}`"),
            Self::Quoted(name) => write!(f, "the name \"{name}\""),
            Self::Text(text) => write!(f, "the text '{text}'"),
            Self::Bytes(_) => f.write_str("bytes"),
            Self::Int(number) => write!(f, "the number {number}"),
            Self::Float(number) => write!(f, "the number {number}"),
            Self::Mark(mark) => write!(f, "`{mark}`"),
            Self::Wrong => f.write_str("what cannot be read"),
            Self::End => f.write_str("the end"),
        }
    }
}

/// Longer marks before those that they begin with.
const MARKS: &[&str] = &[
    "<=", ">=", "<>", "!=", "==", "||", "<", ">", "=", "+", "-", "*", "/", "%", "(", ")", "[", "]", ",", ".",
    ";",
];

/// Marks of other languages, longer ones first, and what is written here.
const FOREIGN: &[(&str, &str)] = &[
    ("&&", "AND"),
    ("&", "AND, or bitand(a, b) for the bits of integers"),
    ("|", "OR, or bitor(a, b) for the bits of integers"),
    ("!", "NOT"),
    ("^", "power(x, y), or bitxor(a, b) for the bits of integers"),
    ("~", "regexp_match(text, 'pattern')"),
];

/// Takes a text apart, and says what of it cannot be read. The last token is [`TokenKind::End`].
pub(crate) fn tokens(text: &str) -> (Vec<Token>, Vec<Mistake>) {
    let mut lexer = Lexer { text, at: 0 };
    let (mut tokens, mut mistakes) = (Vec::new(), Vec::new());
    loop {
        let kind = lexer.skip_space().and_then(|()| {
            let start = lexer.at;
            lexer.next_kind().map(|kind| Token { kind, span: start..lexer.at })
        });
        let token = kind.unwrap_or_else(|mistake| {
            let span = mistake.span.start..lexer.at;
            mistakes.push(mistake);
            Token { kind: TokenKind::Wrong, span }
        });
        let end = token.kind == TokenKind::End;
        tokens.push(token);
        if mistakes.len() >= MISTAKES_MAX {
            let end = text.len();
            tokens.push(Token { kind: TokenKind::End, span: end..end });
        }
        if end || mistakes.len() >= MISTAKES_MAX {
            return (tokens, mistakes);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes the characters that a test holds for.
    fn take_while(&mut self, test: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|letter| !test(letter)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// Skips white space, `-- …` to the end of the line, and `/* … */`.
    fn skip_space(&mut self) -> Result<(), Mistake> {
        loop {
            self.take_while(char::is_whitespace);
            let rest = self.rest();
            if rest.starts_with("--") {
                self.take_while(|letter| letter != '\n');
            } else if let Some(comment) = rest.strip_prefix("/*") {
                let Some(end) = comment.find("*/") else {
                    let start = std::mem::replace(&mut self.at, self.text.len());
                    let mistake = Mistake::new(start..start + 2, "this comment has no end");
                    return Err(mistake.help("comments end with `*/`"));
                };
                self.at += end + 4;
            } else {
                return Ok(());
            }
        }
    }

    fn next_kind(&mut self) -> Result<TokenKind, Mistake> {
        let rest = self.rest();
        let mut letters = rest.chars();
        let Some(first) = letters.next() else { return Ok(TokenKind::End) };
        let second = letters.next();
        match first {
            '\'' => self.quoted('\'').map(TokenKind::Text),
            '"' | '`' => self.quoted(first).map(TokenKind::Quoted),
            'x' | 'X' if second == Some('\'') => self.bytes(),
            '0'..='9' => self.number(),
            '.' if second.is_some_and(|second| second.is_ascii_digit()) => self.number(),
            _ if first.is_alphabetic() || first == '_' => Ok(TokenKind::Word(
                self.take_while(|letter| letter.is_alphanumeric() || letter == '_').to_owned(),
            )),
            _ => {
                let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) else {
                    return Err(self.foreign(first));
                };
                self.at += mark.len();
                Ok(TokenKind::Mark(mark))
            }
        }
    }

    /// A mark that other languages have.
    fn foreign(&mut self, first: char) -> Mistake {
        let found = FOREIGN.iter().find(|(mark, _)| self.rest().starts_with(mark));
        let start = self.at;
        self.at += found.map_or(first.len_utf8(), |(mark, _)| mark.len());
        let written = self.text.get(start..self.at).unwrap_or_default();
        let mistake = Mistake::new(start..self.at, format!("`{written}` means nothing here"));
        match found {
            Some((_, instead)) => mistake.help(format!("write {instead}")),
            None => mistake,
        }
    }

    /// A text in quotes; a quote inside is written twice.
    fn quoted(&mut self, quote: char) -> Result<String, Mistake> {
        let start = self.at;
        let mut out = String::new();
        loop {
            self.at += 1;
            out.push_str(self.take_while(|letter| letter != quote));
            if self.rest().is_empty() {
                let message = format!("the quote {quote} is never closed");
                return Err(Mistake::new(start..start + 1, message));
            }
            self.at += 1;
            if !self.rest().starts_with(quote) {
                return Ok(out);
            }
            out.push(quote);
        }
    }

    fn bytes(&mut self) -> Result<TokenKind, Mistake> {
        let start = self.at;
        self.at += 1;
        let digits = self.quoted('\'')?;
        let values: Option<Vec<u8>> = digits
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        match values {
            Some(values) if values.len().is_multiple_of(2) => Ok(TokenKind::Bytes(
                values.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect(),
            )),
            _ => Err(Mistake::new(start..self.at, "bytes need an even number of hexadecimal digits")
                .help("write them as in x'00ff'")),
        }
    }

    /// `12`, `1.5`, `.5`, `1e-3`. An integer that does not fit in 64 bits is a float.
    fn number(&mut self) -> Result<TokenKind, Mistake> {
        let start = self.at;
        let digit = |letter: char| letter.is_ascii_digit();
        self.take_while(digit);
        if self.rest().starts_with('.') {
            self.at += 1;
            self.take_while(digit);
        }
        if self.rest().starts_with(['e', 'E']) {
            self.at += 1;
            if self.rest().starts_with(['+', '-']) {
                self.at += 1;
            }
            self.take_while(digit);
        }
        let rubbish = self.take_while(|letter| letter.is_alphanumeric() || letter == '_');
        let written = self.text.get(start..self.at).unwrap_or_default();
        let int = written.parse().map(TokenKind::Int).ok();
        let float = || written.parse().ok().filter(|float: &f64| float.is_finite()).map(TokenKind::Float);
        int.or_else(float).filter(|_| rubbish.is_empty()).ok_or_else(|| {
            let message = format!("`{written}` is not a number");
            let help = match parse_duration(written) {
                Some(_) => format!("if it is a duration, write '{written}'"),
                None => "a name that begins with a digit needs double quotes".to_owned(),
            };
            Mistake::new(start..self.at, message).help(help)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TokenKind::{Bytes, End, Float, Int, Mark, Quoted, Text, Word};

    fn kinds(text: &str) -> Vec<TokenKind> {
        tokens(text).0.into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn every_kind() {
        for (text, expected) in [
            ("", vec![]),
            (" -- note\n/* and /* more */ ", vec![]),
            ("größe _a1", vec![Word("größe".into()), Word("_a1".into())]),
            ("'it''s' ''", vec![Text("it's".into()), Text(String::new())]),
            ("\"a\"\"b\" `c`", vec![Quoted("a\"b".into()), Quoted("c".into())]),
            ("x'00fF' X''", vec![Bytes(vec![0, 255]), Bytes(vec![])]),
            (
                "1 1.5 .5 1. 2e3 2E-1",
                vec![Int(1), Float(1.5), Float(0.5), Float(1.0), Float(2000.0), Float(0.2)],
            ),
            (
                "9223372036854775807 9223372036854775808",
                vec![Int(i64::MAX), Float(9_223_372_036_854_775_808.0)],
            ),
            ("a.b", vec![Word("a".into()), Mark("."), Word("b".into())]),
            ("<=<>||-", vec![Mark("<="), Mark("<>"), Mark("||"), Mark("-")]),
            ("a--b", vec![Word("a".into())]),
        ] {
            let mut expected = expected;
            expected.push(End);
            assert_eq!(kinds(text), expected, "{text}");
        }
    }

    #[test]
    fn places() {
        let (tokens, mistakes) = tokens("é = 'ü'");
        assert_eq!(mistakes, []);
        let spans: Vec<_> = tokens.iter().map(|token| token.span.clone()).collect();
        assert_eq!(spans, [0..2, 3..4, 5..9, 9..9]);
    }

    #[test]
    fn mistakes() {
        for (text, span, message) in [
            ("a 'b", 2..3, "the quote ' is never closed"),
            ("\"b", 0..1, "the quote \" is never closed"),
            ("/* x", 0..2, "this comment has no end"),
            ("a ? b", 2..3, "`?` means nothing here"),
            ("x'0'", 0..4, "bytes need an even number of hexadecimal digits"),
            ("x'0g'", 0..5, "bytes need an even number of hexadecimal digits"),
            ("12ab", 0..4, "`12ab` is not a number"),
            ("1e", 0..2, "`1e` is not a number"),
            ("1e999", 0..5, "`1e999` is not a number"),
        ] {
            let mistake = tokens(text).1.remove(0);
            assert_eq!((mistake.span, mistake.message.as_str()), (span, message), "{text}");
        }
    }

    #[test]
    fn what_to_write_instead() {
        for (text, help) in [
            ("a && b", "write AND"),
            ("!a", "write NOT"),
            ("a | b", "write OR, or bitor(a, b) for the bits of integers"),
            ("1m", "if it is a duration, write '1m'"),
            ("1h30m", "if it is a duration, write '1h30m'"),
            ("1x", "a name that begins with a digit needs double quotes"),
        ] {
            let mistakes = tokens(text).1;
            assert_eq!(mistakes.len(), 1, "{text}");
            assert_eq!(mistakes[0].help.as_deref(), Some(help), "{text}");
        }
    }

    #[test]
    fn what_follows_a_mistake_is_read() {
        let (tokens, mistakes) = tokens("a ? 12ab x'0' b /* c");
        let kinds: Vec<_> = tokens.into_iter().map(|token| token.kind).collect();
        let wrong = TokenKind::Wrong;
        let (a, b) = (Word("a".into()), Word("b".into()));
        assert_eq!(kinds, [a, wrong.clone(), wrong.clone(), wrong.clone(), b, wrong, End]);
        assert_eq!(mistakes.len(), 4);
    }
}
