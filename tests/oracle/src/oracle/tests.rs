use std::fmt;

use super::{Event, Oracle};
use crate::{Findings, Order};

/// Event `1` of line `0`, as a test names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Nth(char, u64);

impl fmt::Display for Nth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.0, self.1)
    }
}

impl Event for Nth {
    type Line = char;

    fn line(&self) -> char {
        self.0
    }
}

type Books = Oracle<Nth, &'static str>;

fn content(event: Nth) -> Vec<u8> {
    event.to_string().into_bytes()
}

fn a(number: u64) -> Nth {
    Nth('a', number)
}

/// Events a#0 … a#9 sent to the cloud, the first five of them acknowledged.
fn books() -> Books {
    let mut books = Books::new();
    for event in (0..10).map(a) {
        books.sent(&event, ["cloud"], &content(event));
    }
    (0..5).for_each(|number| books.acknowledged(&a(number)));
    books
}

fn arrive(books: &mut Books, numbers: impl IntoIterator<Item = u64>) {
    for event in numbers.into_iter().map(a) {
        books.arrived(&"cloud", &event, &content(event));
    }
}

fn settle(books: &mut Books, numbers: impl IntoIterator<Item = u64>) {
    numbers.into_iter().for_each(|number| books.settled(&"cloud", &a(number)));
}

/// Books of a faultless run, to which `change` does something.
fn judge(change: impl FnOnce(&mut Books)) -> Findings<Nth> {
    let mut books = books();
    arrive(&mut books, 0..6);
    settle(&mut books, 0..6);
    change(&mut books);
    books.judge()
}

#[test]
fn a_faultless_run_has_no_findings() {
    let findings = judge(|_| ());
    assert_eq!(findings, Findings { arrived: 6, ..Findings::default() });
    findings.assert_exactly_once();
}

/// Each kind of finding, triggered alone: what was done, and the findings that must come of it.
#[test]
fn each_finding_has_a_cause() {
    type Case = (&'static str, fn(&mut Books), Findings<Nth>);
    let whole = || Findings { arrived: 6, ..Findings::default() };
    let cases: [Case; 9] = [
        ("lost", |books| books.acknowledged(&a(7)), Findings { lost: vec![a(7)], ..whole() }),
        (
            "arrived and never settled is lost",
            |books| (books.acknowledged(&a(6)), arrive(books, [6])).1,
            Findings { arrived: 7, lost: vec![a(6)], ..whole() },
        ),
        (
            "never sent",
            |books| arrive(books, [10]),
            Findings { invented: vec!["a#10 at cloud".to_owned()], ..whole() },
        ),
        (
            "at a receiver it was not sent to",
            |books| {
                books.receiver("other", Order::Free);
                books.arrived(&"other", &a(1), &content(a(1)));
            },
            Findings { invented: vec!["a#1 at other".to_owned()], ..whole() },
        ),
        (
            "acknowledged, though never sent",
            |books| books.acknowledged(&a(10)),
            Findings { invented: vec!["the acknowledgement of a#10".to_owned()], ..whole() },
        ),
        (
            "other bytes than sent",
            |books| books.arrived(&"cloud", &a(6), b"a#7"),
            Findings { damaged: vec!["a#6 at cloud".to_owned()], ..whole() },
        ),
        (
            "no event at all",
            |books| books.arrived_unreadable("noise"),
            Findings { damaged: vec!["noise".to_owned()], ..whole() },
        ),
        (
            "a swapped pair",
            |books| arrive(books, [7, 6]),
            Findings { arrived: 8, misordered: vec![a(6)], ..whole() },
        ),
        ("again with no reason", |books| arrive(books, [3]), Findings { repeated: vec![a(3)], ..whole() }),
    ];
    for (name, change, expected) in cases {
        assert_eq!(judge(change), expected, "{name}");
    }
    let unbalanced = judge(|books| books.balance("lane 0", 9, &[("acked", 5), ("backlog", 3)])).unbalanced;
    assert_eq!(unbalanced, [r#"lane 0: 9 came, 8 went: [("acked", 5), ("backlog", 3)]"#]);
}

#[test]
fn books_that_add_up_are_no_finding() {
    judge(|books| books.balance("lane 0", 8, &[("acked", 5), ("backlog", 3)])).assert_exactly_once();
}

#[test]
fn each_receiver_is_owed_its_own_copy() {
    let findings = judge(|books| books.sent(&a(2), ["archive"], &content(a(2))));
    assert_eq!(findings.lost, [a(2)], "the cloud has it, the archive has not");
}

#[test]
fn lines_are_ordered_each_for_itself() {
    let other = Nth('b', 0);
    let findings = judge(|books| {
        books.sent(&other, ["cloud"], &content(other));
        arrive(books, [8]);
        books.arrived(&"cloud", &other, &content(other));
    });
    assert_eq!(findings.misordered, []);
}

#[test]
fn a_backlog_beside_live_events_is_two_streams() {
    let run = |order| {
        judge(|books| {
            books.receiver("cloud", order);
            arrive(books, [9, 6, 7, 8]);
        })
    };
    assert_eq!(run(Order::Streams(1)).misordered, [a(6), a(7), a(8)]);
    assert_eq!(run(Order::Streams(2)).misordered, []);
}

#[test]
fn a_sender_that_sends_again_is_to_blame_itself() {
    let findings = judge(|books| {
        books.sent_again(&a(1));
        arrive(books, [1, 1, 2]);
    });
    assert_eq!((findings.resent, findings.repeated), (vec![a(1), a(1)], vec![a(2)]));
}

#[test]
fn a_broken_connection_excuses_what_was_out_once_and_in_order() {
    let run = |again: &[u64]| {
        judge(|books| {
            arrive(books, [6, 7, 8]);
            settle(books, [7]);
            books.broke(&"cloud");
            arrive(books, again.iter().copied());
        })
    };
    let findings = run(&[6, 8]);
    findings.assert_bounded();
    assert_eq!(findings.excused, [a(6), a(8)]);
    assert_eq!(run(&[6, 8, 8]).repeated, [a(8)]);
    assert_eq!(run(&[6, 7, 8]).repeated, [a(7)], "it was settled");
    assert_eq!(run(&[8, 6]).misordered, [a(6)]);
    assert_eq!(run(&[9, 6]).misordered, [a(6)], "a later one came before");
}

#[test]
fn a_crash_excuses_what_was_not_durably_settled() {
    let run = |again: &[u64]| {
        judge(|books| {
            books.settled_durably();
            arrive(books, [6, 7, 8]);
            settle(books, [6, 7]);
            books.crashed();
            arrive(books, again.iter().copied());
        })
    };
    run(&[6, 7, 8]).assert_bounded();
    assert_eq!(run(&[5, 6, 7, 8]).repeated, [a(5)]);
    assert_eq!(run(&[6, 6]).repeated, [a(6)]);
}

#[test]
fn what_was_out_at_a_crash_is_owed_still() {
    let findings = judge(|books| {
        books.acknowledged(&a(6));
        arrive(books, [6]);
        books.crashed();
        settle(books, [6]);
    });
    assert_eq!(findings.lost, [a(6)], "that the dead one settled it counts for nothing");
}

#[test]
fn what_may_come_again_is_not_durable() {
    let findings = judge(|books| {
        books.crashed();
        books.settled_durably();
        books.crashed();
        arrive(books, [4]);
    });
    findings.assert_bounded();
    assert_eq!(findings.excused, [a(4)]);
}

#[test]
fn what_was_written_off_is_not_lost() {
    let findings = judge(|books| {
        (6..10).for_each(|number| books.acknowledged(&a(number)));
        books.written_off(&"cloud", &a(8));
        books.written_off_some(&"cloud", a(0)..=a(9), 1);
        books.written_off_some(&"cloud", a(6)..=a(6), 1);
    });
    assert_eq!(findings.lost, [a(9)], "6 by its own, 7 by the wide one, 8 by name");
    let elsewhere = judge(|books| {
        books.acknowledged(&a(9));
        books.written_off_some(&"cloud", a(0)..=a(8), 9);
    });
    assert_eq!(elsewhere.lost, [a(9)]);
}

#[test]
fn open_obligations_can_be_asked_for() {
    let mut books = books();
    arrive(&mut books, 0..4);
    settle(&mut books, 0..3);
    assert_eq!(books.open(&"cloud").into_iter().copied().collect::<Vec<_>>(), [a(3), a(4)]);
    assert!(books.open(&"nobody").is_empty());
}

#[test]
#[should_panic(expected = "1 lost [a#9]")]
fn findings_fail_a_test_with_names() {
    judge(|books| books.acknowledged(&a(9))).assert_whole();
}

#[test]
#[should_panic(expected = "some came again without an excuse")]
fn a_repeat_without_excuse_fails_a_test() {
    judge(|books| arrive(books, [3])).assert_bounded();
}

#[test]
#[should_panic(expected = "some came twice")]
fn an_excused_repeat_is_not_exactly_once() {
    judge(|books| {
        books.crashed();
        arrive(books, [3]);
    })
    .assert_exactly_once();
}
