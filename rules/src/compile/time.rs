//! Event time, and the outlets for what comes late or fails.

use super::{Compiler, expression::Scope};
use crate::{
    mistake::{Mistake, Text},
    parser,
    rule::{Columns, Destination, OnError, Options, Source, TimePlan},
};

impl Compiler {
    /// Where an event says when it was.
    pub(super) fn event_time(&mut self, options: &Options<'_>) -> Option<TimePlan> {
        let time = options.time?;
        let node = match parser::parse_expression(time.field) {
            Ok(node) => node,
            Err(mistake) => {
                let mistake = Mistake { text: Text::Time, ..mistake };
                self.mistakes.push(mistake.help("name a field, as in `ts` or `meta.ts`"));
                return None;
            }
        };
        let mistakes = self.mistakes.len();
        let typed = self.expression(&node, Scope::Where);
        for mistake in self.mistakes.iter_mut().skip(mistakes) {
            (mistake.text, mistake.also) = (Text::Time, None);
        }
        Some(TimePlan { expr: typed.expr, unit: time.unit })
    }

    /// The destinations of events that come late, and of those whose evaluation fails.
    pub(super) fn outlets(
        &mut self,
        source: &Source<'_>,
        options: &Options<'_>,
        has_window: bool,
        first: usize,
    ) -> (Vec<Destination>, Vec<Destination>) {
        if !options.late.is_empty() && (options.time.is_none() || !has_window) {
            let mistake = Mistake::new(0..0, "nothing comes late without event time and a window");
            let mistake = mistake.help("add `time = { field = … }`, or leave `late` out");
            self.mistakes.push(Mistake { text: Text::Late, ..mistake });
        }
        if options.dead_letter.is_empty() && source.on_error == OnError::DeadLetter {
            let mistake =
                Mistake::new(0..0, "on_error is \"dead-letter\", and there is no destination for it");
            let mistake = mistake.help("add `dead_letter = { … }`");
            self.mistakes.push(Mistake { text: Text::OnError, ..mistake });
        }
        // These see the event itself.
        let has_window = std::mem::replace(&mut self.has_window, false);
        let has_star = std::mem::replace(&mut self.has_star, true);
        let mut compile = |destinations, first| {
            let outlet = Source { destinations, ..*source };
            let mistakes = self.mistakes.len();
            let compiled = self.destinations(&outlet, &Columns::Passthrough, None);
            for mistake in self.mistakes.iter_mut().skip(mistakes) {
                mistake.text = match mistake.text {
                    Text::Topic(index) => Text::Topic(index + first),
                    Text::Payload(index) => Text::Payload(index + first),
                    Text::Destination(index) => Text::Destination(index + first),
                    other => other,
                };
            }
            compiled
        };
        let late = compile(options.late, first);
        let dead_letters = compile(options.dead_letter, first + late.len());
        (self.has_window, self.has_star) = (has_window, has_star);
        (late, dead_letters)
    }
}
