use super::*;
use crate::aggregate::AggregateKind;

const TUMBLING: Tumbling = Tumbling { size_ms: 60_000, offset_ms: 0 };
const MINUTE: Shape = Shape::Tumbling(TUMBLING);

fn count() -> Vec<Aggregate> {
    vec![Aggregate::new(AggregateKind::CountAll, Box::default())]
}

fn key(values: &[Value<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| put_key(value, &mut out));
    out
}

fn touch(windows: &mut Windows, time_ms: i64, name: &str) -> Option<(i64, Vec<u8>)> {
    let key = key(&[Value::text(name)]);
    let input = Input { time_ms, arrived_ms: time_ms, key: &key, arguments: &[] };
    let mut touched = windows.touch(&input, &count());
    assert_eq!(touched.closed.len() as u64, touched.evicted);
    touched.closed.pop().map(|group| (group.start_ms, group.key.into_vec()))
}

fn shown(groups: &[Closed]) -> Vec<(i64, String, Value<'_>)> {
    groups
        .iter()
        .map(|group| {
            let name = read_key(&group.key, 1).unwrap()[0].to_text().unwrap().into_owned();
            (group.start_ms, name, group.accumulators.finish(&count(), group.end_ms).remove(0))
        })
        .collect()
}

#[test]
fn windows_are_aligned_to_the_epoch() {
    let shifted = Tumbling { size_ms: 60_000, offset_ms: 15_000 };
    for (tumbling, time_ms, start_ms) in [
        (TUMBLING, 0, 0),
        (TUMBLING, 59_999, 0),
        (TUMBLING, 60_000, 60_000),
        (TUMBLING, -1, -60_000),
        (shifted, 14_999, -45_000),
        (shifted, 15_000, 15_000),
        (shifted, 74_999, 15_000),
    ] {
        assert_eq!(tumbling.start_ms(time_ms), start_ms, "{tumbling:?} {time_ms}");
        assert!(tumbling.end_ms(start_ms) > time_ms);
    }
    for extreme in [i64::MIN, i64::MAX] {
        assert!(shifted.start_ms(extreme) <= extreme);
    }
}

#[test]
fn a_window_closes_once() {
    let mut windows = Windows::new(MINUTE, None, 10);
    assert_eq!(windows.deadline_ms(), None);
    touch(&mut windows, 1_000, "b");
    touch(&mut windows, 2_000, "a");
    touch(&mut windows, 3_000, "a");
    assert_eq!(windows.deadline_ms(), Some(60_000));
    assert!(windows.close(59_999, &count()).is_empty());
    let expected = [(0, "a".to_owned(), Value::Int(2)), (0, "b".to_owned(), Value::Int(1))];
    assert_eq!(shown(&windows.close(60_000, &count())), expected);
    assert!(windows.close(60_000, &count()).is_empty());
    assert_eq!(windows.deadline_ms(), None);
}

#[test]
fn a_clock_step_backwards_opens_no_old_window() {
    let mut windows = Windows::new(MINUTE, None, 10);
    touch(&mut windows, 70_000, "a");
    touch(&mut windows, 10_000, "a");
    assert_eq!(shown(&windows.close(120_000, &count())), [(60_000, "a".to_owned(), Value::Int(2))]);
    touch(&mut windows, 10_000, "a");
    assert_eq!(windows.deadline_ms(), Some(180_000));
}

#[test]
fn the_least_recently_touched_group_makes_room() {
    let mut windows = Windows::new(MINUTE, None, 2);
    assert_eq!(touch(&mut windows, 0, "a"), None);
    assert_eq!(touch(&mut windows, 0, "b"), None);
    assert_eq!(touch(&mut windows, 0, "a"), None);
    assert_eq!(touch(&mut windows, 0, "c"), Some((0, key(&[Value::text("b")]))));
    assert_eq!(touch(&mut windows, 60_000, "c"), Some((0, key(&[Value::text("a")]))));
    assert_eq!(windows.deadline_ms(), Some(60_000));
    assert_eq!(touch(&mut windows, 60_000, "d"), Some((0, key(&[Value::text("c")]))));
    assert_eq!(windows.deadline_ms(), Some(120_000), "the first window has no group left");
}

#[test]
fn equal_keys_have_equal_bytes() {
    let equal = [
        (Value::Int(1), Value::Float(1.0)),
        (Value::Int(0), Value::Float(-0.0)),
        (Value::Float(f64::NAN), Value::Float(-f64::NAN)),
        (Value::Null, Value::Null),
    ];
    for (left, right) in equal {
        assert_eq!(key(&[left]), key(&[right]));
    }
    let different = [
        (Value::Int(1), Value::text("1")),
        (Value::Null, Value::text("")),
        (Value::Float(1e300), Value::Float(1e301)),
        (Value::Float(0.5), Value::Int(0)),
    ];
    for (left, right) in different {
        assert_ne!(key(&[left]), key(&[right]));
    }
    assert_ne!(key(&[Value::text("a"), Value::text("")]), key(&[Value::text(""), Value::text("a")]));
}

#[test]
fn state_comes_back_with_its_order() {
    let mut windows = Windows::new(MINUTE, None, 2);
    touch(&mut windows, 1_000, "a");
    touch(&mut windows, 61_000, "b");
    touch(&mut windows, 61_000, "b");
    let mut bytes = Vec::new();
    windows.write(&mut bytes);
    let read = |bytes: &[u8]| {
        let mut reader = Reader::new(bytes);
        let windows = Windows::new(MINUTE, None, 2).read(1, &count(), &mut reader)?;
        reader.finish().map(|()| windows)
    };
    let mut restored = read(&bytes).unwrap();
    assert_eq!(restored.deadline_ms(), Some(60_000));
    assert_eq!(touch(&mut restored, 0, "c"), Some((0, key(&[Value::text("a")]))));
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end]).is_err(), "{end}");
    }
    let mut misaligned = Vec::new();
    windows.clock.write(&mut misaligned);
    put_count(1, &mut misaligned);
    put_value(&Value::Int(7), &mut misaligned);
    put_bytes(&key(&[Value::text("a")]), &mut misaligned);
    put_count(1, &mut misaligned);
    assert!(matches!(read(&misaligned), Err(StateError::Damaged { .. })));
    let mut claimed = Vec::new();
    windows.clock.write(&mut claimed);
    put_count(u64::MAX, &mut claimed);
    assert!(matches!(read(&claimed), Err(StateError::Truncated { .. })));
}
