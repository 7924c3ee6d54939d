//! The language by the plainest means: no thought of speed, memory or crashes.

use super::Random;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(String),
}

use Scalar::{Bool, Int, Null, Real, Text};

impl Scalar {
    pub(crate) fn json(&self) -> String {
        match self {
            Null => "null".to_owned(),
            Bool(value) => value.to_string(),
            Int(value) => value.to_string(),
            Real(value) => serde_json::to_string(value).unwrap(),
            Text(value) => serde_json::to_string(value).unwrap(),
        }
    }

    fn sql(&self) -> String {
        match self {
            Null => "NULL".to_owned(),
            Bool(value) => value.to_string().to_uppercase(),
            Text(value) => format!("'{value}'"),
            Int(value) if *value < 0 => format!("({value})"),
            Real(value) => format!("({value:?})"),
            Int(value) => value.to_string(),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Int(value) => Some(*value as f64),
            Real(value) => Some(*value),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Op {
    And,
    Or,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Op {
    fn sql(self) -> &'static str {
        match self {
            Self::And => "AND",
            Self::Or => "OR",
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

type Boxed = Box<Expr>;

#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Literal(Scalar),
    Field(&'static str),
    Not(Boxed),
    Negate(Boxed),
    IsNull(Boxed),
    In(Boxed, Vec<Expr>),
    Between(Boxed, Boxed, Boxed),
    Case(Boxed, Boxed, Boxed),
    Coalesce(Boxed, Boxed),
    Binary(Op, Boxed, Boxed),
}

impl Expr {
    pub(crate) fn sql(&self) -> String {
        match self {
            Self::Literal(value) => value.sql(),
            Self::Field(name) => (*name).to_owned(),
            Self::Not(one) => format!("(NOT {})", one.sql()),
            Self::Negate(one) => format!("(- {})", one.sql()),
            Self::IsNull(one) => format!("({} IS NULL)", one.sql()),
            Self::In(one, list) => {
                let list: Vec<_> = list.iter().map(Self::sql).collect();
                format!("({} IN ({}))", one.sql(), list.join(", "))
            }
            Self::Between(one, low, high) => {
                format!("({} BETWEEN {} AND {})", one.sql(), low.sql(), high.sql())
            }
            Self::Case(when, then, otherwise) => {
                format!("(CASE WHEN {} THEN {} ELSE {} END)", when.sql(), then.sql(), otherwise.sql())
            }
            Self::Coalesce(left, right) => format!("coalesce({}, {})", left.sql(), right.sql()),
            Self::Binary(op, left, right) => format!("({} {} {})", left.sql(), op.sql(), right.sql()),
        }
    }

    pub(crate) fn eval(&self, event: &[(&str, Scalar)]) -> Scalar {
        match self {
            Self::Literal(value) => value.clone(),
            Self::Field(name) => {
                event.iter().find(|(each, _)| each == name).map_or(Null, |(_, value)| value.clone())
            }
            Self::Not(one) => match one.eval(event) {
                Bool(value) => Bool(!value),
                _ => Null,
            },
            Self::Negate(one) => match one.eval(event) {
                Int(value) => value.checked_neg().map_or(Real(-(value as f64)), Int),
                Real(value) => Real(-value),
                _ => Null,
            },
            Self::IsNull(one) => Bool(one.eval(event) == Null),
            Self::In(one, list) => {
                let one = one.eval(event);
                let equal: Vec<_> = list.iter().map(|each| equal(&one, &each.eval(event))).collect();
                if equal.contains(&Bool(true)) {
                    Bool(true)
                } else if equal.contains(&Null) {
                    Null
                } else {
                    Bool(false)
                }
            }
            Self::Between(one, low, high) => {
                let one = one.eval(event);
                let above = compared(&one, &low.eval(event), |order| order >= 0);
                let below = compared(&one, &high.eval(event), |order| order <= 0);
                logic(true, &above, &below)
            }
            Self::Case(when, then, otherwise) => match when.eval(event) {
                Bool(true) => then.eval(event),
                _ => otherwise.eval(event),
            },
            Self::Coalesce(left, right) => match left.eval(event) {
                Null => right.eval(event),
                value => value,
            },
            Self::Binary(op, left, right) => binary(*op, &left.eval(event), &right.eval(event)),
        }
    }
}

fn binary(op: Op, left: &Scalar, right: &Scalar) -> Scalar {
    match op {
        Op::And => logic(true, left, right),
        Op::Or => logic(false, left, right),
        Op::Equal => equal(left, right),
        Op::NotEqual => match equal(left, right) {
            Bool(value) => Bool(!value),
            _ => Null,
        },
        Op::Less => compared(left, right, |order| order < 0),
        Op::LessOrEqual => compared(left, right, |order| order <= 0),
        Op::Greater => compared(left, right, |order| order > 0),
        Op::GreaterOrEqual => compared(left, right, |order| order >= 0),
        _ => arithmetic(op, left, right),
    }
}

fn logic(and: bool, left: &Scalar, right: &Scalar) -> Scalar {
    if *left == Bool(!and) || *right == Bool(!and) {
        return Bool(!and);
    }
    if *left == Bool(and) && *right == Bool(and) { Bool(and) } else { Null }
}

/// -1, 0 or 1 for what can be compared. Exact: an integer is not rounded to a float.
fn order(left: &Scalar, right: &Scalar) -> Option<i32> {
    let ordering = match (left, right) {
        (Text(left), Text(right)) => left.cmp(right),
        (Bool(left), Bool(right)) => left.cmp(right),
        (Int(left), Int(right)) => left.cmp(right),
        // The floats of these tests are small, or integers out of overflow.
        (Int(left), Real(right)) if right.abs() < 9e18 && right.fract() != 0.0 => {
            (*left as f64).partial_cmp(right)?
        }
        (Real(left), Int(right)) if left.abs() < 9e18 && left.fract() != 0.0 => {
            left.partial_cmp(&(*right as f64))?
        }
        (Int(left), Real(right)) => i128::from(*left).cmp(&whole(*right)),
        (Real(left), Int(right)) => whole(*left).cmp(&i128::from(*right)),
        (Real(left), Real(right)) => left.partial_cmp(right)?,
        _ => return None,
    };
    Some(ordering as i32)
}

/// A float without a fraction, as its digits say it.
fn whole(float: f64) -> i128 {
    let bound = 1e30;
    format!("{:.0}", float.clamp(-bound, bound)).parse().unwrap()
}

fn compared(left: &Scalar, right: &Scalar, test: impl Fn(i32) -> bool) -> Scalar {
    order(left, right).map_or(Null, |order| Bool(test(order)))
}

fn equal(left: &Scalar, right: &Scalar) -> Scalar {
    if *left == Null || *right == Null {
        return Null;
    }
    Bool(order(left, right) == Some(0))
}

fn arithmetic(op: Op, left: &Scalar, right: &Scalar) -> Scalar {
    let (Some(x), Some(y)) = (left.number(), right.number()) else { return Null };
    if matches!(op, Op::Divide | Op::Remainder) && y == 0.0 {
        return Null;
    }
    if let (Int(left), Int(right)) = (left, right) {
        let exact = match op {
            Op::Add => i128::from(*left) + i128::from(*right),
            Op::Subtract => i128::from(*left) - i128::from(*right),
            Op::Multiply => i128::from(*left) * i128::from(*right),
            Op::Remainder => i128::from(*left) % i128::from(*right),
            _ => return Real(x / y),
        };
        return i64::try_from(exact).map_or(Real(exact as f64), Int);
    }
    Real(match op {
        Op::Add => x + y,
        Op::Subtract => x - y,
        Op::Multiply => x * y,
        Op::Divide => x / y,
        _ => x % y,
    })
}

pub(crate) const COLUMNS: &str = "collect(id) AS ids, count(*) AS n, sum(x) AS s, avg(x) AS a, min(x) AS lo, max(x) AS hi, \
    first(id) AS f, last(id) AS l, count_distinct(x) AS d, window_start() AS b, window_end() AS e";

#[derive(Debug, Clone, Copy)]
pub(crate) enum Window {
    Tumbling(i64, i64),
    Hopping(i64, i64),
    Sliding(i64),
    Session(i64),
    Rows(usize, usize),
}

impl Window {
    pub(crate) fn random(random: &mut Random) -> Self {
        match random.below(5) {
            0 => Self::Tumbling(random.pick(&[1_000, 2_500]), random.pick(&[0, 300])),
            1 => {
                let (size, hop) =
                    random.pick(&[(2_000, 1_000), (3_000, 2_000), (2_500, 500), (1_000, 1_000)]);
                Self::Hopping(size, hop)
            }
            2 => Self::Sliding(random.pick(&[500, 2_000])),
            3 => Self::Session(random.pick(&[300, 1_000])),
            _ => {
                let (count, step) = random.pick(&[(3, 3), (4, 2), (3, 1), (2, 3), (5, 2)]);
                Self::Rows(count, step)
            }
        }
    }

    pub(crate) fn takes_stamps(self) -> bool {
        // Late events of sessions depend on which sessions are open: that is tested by hand.
        !matches!(self, Self::Rows(..) | Self::Session(_))
    }

    pub(crate) fn sql(self) -> String {
        match self {
            Self::Tumbling(size, offset) => format!("tumbling('{size}ms', '{offset}ms')"),
            Self::Hopping(size, hop) => format!("hopping('{size}ms', '{hop}ms')"),
            Self::Sliding(size) => format!("sliding('{size}ms')"),
            Self::Session(gap) => format!("session('{gap}ms')"),
            Self::Rows(count, step) => format!("rows({count}, {step})"),
        }
    }

    /// The windows that a time lies in.
    fn bounds(self, time: i64) -> Vec<(i64, i64)> {
        match self {
            Self::Tumbling(size, offset) => {
                let start = (time - offset).div_euclid(size) * size + offset;
                vec![(start, start + size)]
            }
            Self::Hopping(size, hop) => {
                let last = time.div_euclid(hop) * hop;
                (0..=size / hop)
                    .map(|at| last - at * hop)
                    .filter(|start| start + size > time)
                    .map(|start| (start, start + size))
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Event {
    id: i64,
    key: i64,
    x: i64,
    time: i64,
}

/// All events that ever came, and what has been said of them.
pub(crate) struct Windows {
    window: Window,
    keyed: bool,
    lateness: Option<i64>,
    watermark: i64,
    events: Vec<Event>,
    pub(crate) rows: Vec<String>,
}

impl Windows {
    pub(crate) fn new(window: Window, keyed: bool, lateness: Option<i64>) -> Self {
        Self { window, keyed, lateness, watermark: i64::MIN / 2, events: Vec::new(), rows: Vec::new() }
    }

    pub(crate) fn event(&mut self, id: i64, key: i64, x: Option<i64>, now: i64, time: i64) {
        if self.lateness.is_none() {
            self.advance(now);
        }
        let Some(x) = x else { return };
        let event = Event { id, key: if self.keyed { key } else { 0 }, x, time };
        let late = match self.window {
            Window::Sliding(_) => time < self.watermark,
            _ => {
                let bounds = self.window.bounds(time);
                !bounds.is_empty() && bounds.iter().all(|(_, end)| *end <= self.watermark)
            }
        };
        if late && self.lateness.is_some() {
            return;
        }
        self.events.push(event);
        match (self.window, self.lateness) {
            (Window::Rows(count, step), _) => {
                let of_key: Vec<Event> =
                    self.events.iter().copied().filter(|each| each.key == event.key).collect();
                if of_key.len() >= count && of_key.len().is_multiple_of(step) {
                    let last = &of_key[of_key.len() - count..];
                    self.say(last, last[0].time, event.time);
                }
            }
            (Window::Sliding(size), None) => self.say_sliding(&event, self.events.len(), size),
            _ => {}
        }
        if let Some(lateness) = self.lateness {
            self.advance(time - lateness);
        }
    }

    /// What the events of the key come to in the time up to one of them. Only so many events count as having come.
    fn say_sliding(&mut self, event: &Event, come: usize, size: i64) {
        let mut inside: Vec<Event> = self.events[..come]
            .iter()
            .copied()
            .filter(|each| each.key == event.key && each.time > event.time - size && each.time <= event.time)
            .collect();
        inside.sort_by_key(|each| each.time);
        self.say(&inside, event.time - size, event.time);
    }

    fn advance(&mut self, to: i64) {
        if to <= self.watermark {
            return;
        }
        let from = std::mem::replace(&mut self.watermark, to);
        match self.window {
            Window::Tumbling(..) | Window::Hopping(..) => {
                let mut bounds: Vec<(i64, i64)> = self
                    .events
                    .iter()
                    .flat_map(|event| self.window.bounds(event.time))
                    .filter(|(_, end)| *end > from && *end <= to)
                    .collect();
                bounds.sort_by_key(|(start, end)| (*end, *start));
                bounds.dedup();
                for (start, end) in bounds {
                    self.say_keys(start, end, |event| event.time >= start && event.time < end);
                }
            }
            Window::Sliding(size) => {
                if self.lateness.is_some() {
                    let mut due: Vec<(usize, Event)> = self.events.iter().copied().enumerate().collect();
                    due.retain(|(_, event)| event.time >= from && event.time < to);
                    due.sort_by_key(|(at, event)| (event.time, event.time - size, key_bytes(event.key), *at));
                    for (at, event) in due {
                        // Of the same time, only those that came before.
                        let later: Vec<i64> = self.events[at + 1..]
                            .iter()
                            .filter(|each| each.time == event.time)
                            .map(|each| each.id)
                            .collect();
                        let all = self.events.clone();
                        self.events.retain(|each| !later.contains(&each.id));
                        self.say_sliding(&event, self.events.len(), size);
                        self.events = all;
                    }
                }
            }
            Window::Session(gap) => self.close_sessions(from, to, gap),
            Window::Rows(..) => {}
        }
    }

    fn close_sessions(&mut self, from: i64, to: i64, gap: i64) {
        let mut sessions: Vec<Vec<Event>> = Vec::new();
        let mut keys: Vec<i64> = self.events.iter().map(|event| event.key).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let mut of_key: Vec<Event> = self.events.iter().copied().filter(|each| each.key == key).collect();
            of_key.sort_by_key(|each| each.time);
            for event in of_key {
                match sessions.last_mut() {
                    Some(session)
                        if session[0].key == key && event.time < session[session.len() - 1].time + gap =>
                    {
                        session.push(event);
                    }
                    _ => sessions.push(vec![event]),
                }
            }
        }
        let end = |session: &[Event]| session[session.len() - 1].time + gap;
        sessions.retain(|session| end(session) > from && end(session) <= to);
        sessions.sort_by_key(|session| (end(session), session[0].time, key_bytes(session[0].key)));
        for session in sessions {
            self.say(&session, session[0].time, end(&session));
        }
    }

    fn say_keys(&mut self, start: i64, end: i64, inside: impl Fn(&Event) -> bool) {
        let mut keys: Vec<i64> =
            self.events.iter().filter(|event| inside(event)).map(|event| event.key).collect();
        keys.sort_by_key(|key| key_bytes(*key));
        keys.dedup();
        for key in keys {
            let mut of_key: Vec<Event> =
                self.events.iter().copied().filter(|event| event.key == key && inside(event)).collect();
            of_key.sort_by_key(|event| event.time);
            self.say(&of_key, start, end);
        }
    }

    /// `events` are in the order of time, and of arrival where that is the same.
    fn say(&mut self, events: &[Event], start: i64, end: i64) {
        let xs: Vec<i64> = events.iter().map(|event| event.x).collect();
        let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
        let (n, sum) = (xs.len(), xs.iter().sum::<i64>());
        let mut distinct = xs.clone();
        distinct.sort_unstable();
        distinct.dedup();
        self.rows.push(format!(
            r#"{{"ids":[{}],"n":{n},"s":{sum},"a":{},"lo":{},"hi":{},"f":{},"l":{},"d":{},"b":{start},"e":{end}}}"#,
            ids.join(","),
            serde_json::to_string(&(sum as f64 / n as f64)).unwrap(),
            xs.iter().min().unwrap(),
            xs.iter().max().unwrap(),
            ids[0],
            ids[n - 1],
            distinct.len()
        ));
    }
}

/// Groups of one window come in the order of their keys' bytes, which for these keys is their own.
fn key_bytes(key: i64) -> i64 {
    key
}
