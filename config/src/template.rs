//! What an uplink makes of a topic.

use tidegate_rules::nearest;

/// The longest template in bytes. A topic has at most 65,535, most of which should be left to the devices.
const TEMPLATE_BYTES_MAX: usize = 1024;

/// A topic with `{topic}`, `{gateway}` and `{uplink}` in it; gateway and uplink are filled in already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate {
    /// What stands before the topic of the event, or alone.
    head: String,
    /// What follows each place of the topic.
    tails: Vec<String>,
}

impl TopicTemplate {
    /// Appends to `out` what becomes of `topic`.
    ///
    /// A legal topic gives a legal topic, except that it may be longer than MQTT's 65,535 bytes, or have more
    /// levels than the cloud allows.
    pub fn render(&self, topic: &str, out: &mut String) {
        out.push_str(&self.head);
        for tail in &self.tails {
            out.push_str(topic);
            out.push_str(tail);
        }
    }

    /// The text of a template without `{topic}`; `None` if there is one.
    pub(crate) fn fixed(&self) -> Option<&str> {
        self.tails.is_empty().then_some(&self.head)
    }

    /// `{topic}`: the topic as it is.
    pub fn unchanged() -> Self {
        Self { head: String::new(), tails: vec![String::new()] }
    }

    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong, and where in the text.
    pub(crate) fn parse(text: &str, gateway: &str, uplink: &str) -> Result<Self, TemplateError> {
        if text.is_empty() || text.len() > TEMPLATE_BYTES_MAX {
            let message = format!("a topic template has 1 to {TEMPLATE_BYTES_MAX} bytes");
            return Err(TemplateError::new(0, text.len(), message));
        }
        let mut template = Self { head: String::new(), tails: Vec::new() };
        let mut offset = 0;
        while let Some((literal, placeholder)) = next_part(text, offset)? {
            check_literal(literal, offset)?;
            let last = template.tails.last_mut().unwrap_or(&mut template.head);
            last.push_str(literal);
            offset += literal.len();
            match placeholder {
                None => {}
                Some("topic") => template.tails.push(String::new()),
                Some("gateway") => last.push_str(gateway),
                Some("uplink") => last.push_str(uplink),
                Some(unknown) => return Err(unknown_placeholder(unknown, offset)),
            }
            offset += placeholder.map_or(0, |name| name.len() + 2);
        }
        Ok(template)
    }
}

impl std::fmt::Display for TopicTemplate {
    /// As it is read, with gateway and uplink filled in.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.head)?;
        self.tails.iter().try_for_each(|tail| write!(f, "{{topic}}{tail}"))
    }
}

/// Why a text is no template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TemplateError {
    pub(crate) span: std::ops::Range<usize>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl TemplateError {
    fn new(start: usize, length: usize, message: impl Into<String>) -> Self {
        Self { span: start..start + length, message: message.into(), help: None }
    }
}

/// The text up to the next placeholder, and its name; `None` at the end.
fn next_part(text: &str, offset: usize) -> Result<Option<(&str, Option<&str>)>, TemplateError> {
    let rest = text.get(offset..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(None);
    }
    let Some((literal, after)) = rest.split_once('{') else { return Ok(Some((rest, None))) };
    match after.split_once('}') {
        Some((name, _)) => Ok(Some((literal, Some(name)))),
        None => Err(TemplateError::new(offset + literal.len(), 1, "this `{` is not closed")),
    }
}

fn check_literal(literal: &str, offset: usize) -> Result<(), TemplateError> {
    let Some((at, letter)) =
        literal.char_indices().find(|(_, letter)| matches!(letter, '+' | '#' | '\0' | '}'))
    else {
        return Ok(());
    };
    let message = match letter {
        '}' => "this `}` closes nothing",
        '\0' => "a topic cannot contain the character U+0000",
        _ => "a topic name cannot contain the wildcards `+` and `#`",
    };
    Err(TemplateError::new(offset + at, 1, message))
}

fn unknown_placeholder(name: &str, offset: usize) -> TemplateError {
    let help = match nearest(name, ["topic", "gateway", "uplink"]) {
        Some(known) => format!("did you mean `{{{known}}}`?"),
        None => "there is `{topic}`, `{gateway}` and `{uplink}`".to_owned(),
    };
    let message = format!("unknown placeholder `{{{name}}}`");
    TemplateError { help: Some(help), ..TemplateError::new(offset, name.len() + 2, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendered() {
        for (text, topic, expected) in [
            ("{topic}", "a/b", "a/b"),
            ("gw/{gateway}/{topic}", "a/b", "gw/plant-7/a/b"),
            ("{uplink}/{gateway}", "a/b", "cloud/plant-7"),
            ("fixed", "a/b", "fixed"),
            ("{topic}/{topic}/é", "x", "x/x/é"),
        ] {
            let template = TopicTemplate::parse(text, "plant-7", "cloud").unwrap();
            let mut out = "before:".to_owned();
            template.render(topic, &mut out);
            assert_eq!(out, format!("before:{expected}"), "{text}");
        }
        assert_eq!(TopicTemplate::parse("{topic}", "g", "u"), Ok(TopicTemplate::unchanged()));
    }

    #[test]
    fn what_is_no_template() {
        let long = "x".repeat(TEMPLATE_BYTES_MAX + 1);
        for (text, span, said) in [
            ("", 0..0, "1 to 1024 bytes"),
            (long.as_str(), 0..1025, "1 to 1024 bytes"),
            ("a/{topic", 2..3, "not closed"),
            ("a}/b", 1..2, "closes nothing"),
            ("é/+/b", 3..4, "wildcards"),
            ("{gateway}/#", 10..11, "wildcards"),
            ("a\0", 1..2, "U+0000"),
            ("a/{topik}", 2..9, "unknown placeholder `{topik}`"),
            ("a/{}", 2..4, "unknown placeholder `{}`"),
        ] {
            let error = TopicTemplate::parse(text, "g", "u").unwrap_err();
            assert_eq!(error.span, span, "{text}");
            assert!(error.message.contains(said), "{text}: {}", error.message);
        }
        let help = |text| TopicTemplate::parse(text, "g", "u").unwrap_err().help.unwrap();
        assert_eq!(help("{topik}"), "did you mean `{topic}`?");
        assert_eq!(help("{device}"), "there is `{topic}`, `{gateway}` and `{uplink}`");
    }
}
