use super::*;
use crate::state::Reader;
use Value::{Bool, Float, Int, Null};

fn aggregate_of(kind: AggregateKind) -> Aggregate {
    let count = if kind == AggregateKind::CountAll { 0 } else { 1 };
    Aggregate::new(kind, vec![Expr::null(); count].into())
}

fn finish(accumulators: &Accumulators, aggregates: &[Aggregate]) -> Value<'static> {
    accumulators.finish(aggregates, 100).remove(0).into_owned()
}

/// The result of some values, one ms apart, and the errors. However the values are split into two parts, and whether it
/// is written and read in between, the result is the same.
fn aggregate(kind: AggregateKind, values: &[Value<'static>]) -> (Value<'static>, u64) {
    let aggregates = [aggregate_of(kind)];
    let timed: Vec<_> = (0..).zip(values).collect();
    let of = |part: &[(i64, &Value<'static>)]| {
        let mut accumulators = Accumulators::new(&aggregates);
        let add = |(time_ms, value): &(i64, &Value<'static>)| {
            let arguments = [(*value).clone()];
            let count = aggregates[0].arguments.len();
            accumulators.add(&aggregates, *time_ms, &arguments[..count])
        };
        let errors: u64 = part.iter().map(add).sum();
        (accumulators, errors)
    };
    let (whole, errors) = of(&timed);
    for split in 0..=timed.len() {
        let (older, newer) = timed.split_at(split);
        let mut bytes = Vec::new();
        of(older).0.write(&mut bytes);
        let mut reader = Reader::new(&bytes);
        let mut merged = Accumulators::read(&aggregates, &mut reader).unwrap();
        assert!(reader.is_empty());
        merged.merge(&aggregates, &of(newer).0);
        assert_eq!(finish(&merged, &aggregates), finish(&whole, &aggregates), "{kind:?} {values:?} {split}");
    }
    (finish(&whole, &aggregates), errors)
}

#[test]
fn table() {
    use AggregateKind::{
        AnyValue, Avg, BoolAnd, BoolOr, Collect, Count, CountAll, CountDistinct, DeltaSum, First, Last, Max,
        Median, Min, Mode, Percentile, Stddev, StddevPop, Sum, TimeWeightedAvg, Variance,
    };
    let text = |text: &'static str| Value::text(text);
    let max = Int(i64::MAX);
    let array = |values: &[Value<'static>]| Value::Array(values.into());
    for (kind, values, expected, errors) in [
        (CountAll, vec![Null, Int(1), text("")], Int(3), 0),
        (Count, vec![Null, Int(1), text("")], Int(2), 0),
        (Count, vec![], Int(0), 0),
        (CountDistinct, vec![], Int(0), 0),
        (CountDistinct, vec![Int(1), Float(1.0), text("1"), Null, Int(2)], Int(3), 0),
        (CountDistinct, vec![Float(f64::NAN), Float(f64::NAN)], Int(1), 0),
        (Sum, vec![], Null, 0),
        (Sum, vec![Null], Null, 0),
        (Sum, vec![Int(1), Int(2), Null], Int(3), 0),
        (Sum, vec![Int(1), Float(0.5)], Float(1.5), 0),
        (Sum, vec![Float(1.0)], Float(1.0), 0),
        (Sum, vec![max.clone(), max.clone()], Float(18_446_744_073_709_551_614.0), 0),
        (Sum, vec![max.clone(), Int(1), Int(-1)], max.clone(), 0),
        (Sum, vec![Int(1), text("2"), Bool(true)], Int(1), 2),
        (Avg, vec![Int(20), Int(22), Int(24)], Float(22.0), 0),
        (Avg, vec![Int(1), Null, Int(2)], Float(1.5), 0),
        (Avg, vec![Null], Null, 0),
        (Avg, vec![max.clone(), max], Float(9_223_372_036_854_775_807.0), 0),
        (Min, vec![Null, Int(3), Float(2.5), Int(4)], Float(2.5), 0),
        (Min, vec![text("b"), text("a")], text("a"), 0),
        (Max, vec![Int(3), Float(2.5), Int(4), Null], Int(4), 0),
        (Max, vec![Int(3), text("z")], Int(3), 1),
        (Max, vec![Float(f64::NAN), Int(3), Float(f64::NAN)], Int(3), 0),
        (Min, vec![], Null, 0),
        (First, vec![Null, Int(1), Int(2)], Int(1), 0),
        (Last, vec![Int(1), Int(2), Null], Int(2), 0),
        (Last, vec![array(&[Int(1)])], array(&[Int(1)]), 0),
        (AnyValue, vec![Null, text("ü")], text("ü"), 0),
        (Stddev, vec![Int(1)], Null, 0),
        (Stddev, vec![Int(1), Int(3), Null], Float(2_f64.sqrt()), 0),
        (StddevPop, vec![Int(1), Int(3)], Float(1.0), 0),
        (StddevPop, vec![], Null, 0),
        (Variance, vec![Int(1), Float(3.0)], Float(2.0), 0),
        (Variance, vec![Int(1), Float(f64::NAN), Int(2)], Null, 0),
        (Variance, vec![text("1"), Int(1), Int(1)], Float(0.0), 1),
        (Median, vec![Int(5), Int(1), Null, Int(2)], Float(2.0), 0),
        (Median, vec![], Null, 0),
        (Percentile, vec![Int(1), Int(2), text("")], Float(1.5), 1),
        (Mode, vec![Int(1), text("b"), text("b"), Int(1), Null], Int(1), 0),
        (Mode, vec![Int(1), text("b"), text("b")], text("b"), 0),
        (Mode, vec![], Null, 0),
        (Collect, vec![Int(2), Null, text("x")], array(&[Int(2), text("x")]), 0),
        (Collect, vec![Null], Null, 0),
        (BoolAnd, vec![Bool(true), Null, Bool(true)], Bool(true), 0),
        (BoolAnd, vec![Bool(true), Bool(false), Bool(true)], Bool(false), 0),
        (BoolAnd, vec![], Null, 0),
        (BoolOr, vec![Bool(false), Bool(true), Bool(false)], Bool(true), 0),
        (BoolOr, vec![Bool(false), Int(1)], Bool(false), 1),
        (DeltaSum, vec![], Null, 0),
        (DeltaSum, vec![Int(5)], Int(0), 0),
        (DeltaSum, vec![Int(5), Int(8), Int(2), Null, Int(4)], Int(7), 0),
        (DeltaSum, vec![Int(0), Float(0.5), text("1")], Float(0.5), 1),
        (TimeWeightedAvg, vec![], Null, 0),
        (TimeWeightedAvg, vec![Int(4)], Float(4.0), 0),
        (TimeWeightedAvg, vec![Int(100), Int(0)], Float(1.0), 0),
    ] {
        assert_eq!(aggregate(kind, &values), (expected, errors), "{kind:?} {values:?}");
    }
}

#[test]
fn by_another_value() {
    for (kind, expected) in [(AggregateKind::MinBy, "cold"), (AggregateKind::MaxBy, "hot")] {
        let aggregates = [Aggregate::new(kind, vec![Expr::null(); 2].into())];
        let mut parts = [Accumulators::new(&aggregates), Accumulators::new(&aggregates)];
        let pairs = [("mild", Int(20)), ("hot", Int(35)), ("cold", Int(3)), ("none", Null)];
        for (at, (name, temperature)) in pairs.into_iter().enumerate() {
            let errors = parts[at / 2].add(&aggregates, 0, &[Value::text(name), temperature]);
            assert_eq!(errors, 0);
        }
        assert_eq!(parts[0].add(&aggregates, 0, &[Null, Value::text("x")]), 1);
        let [mut older, newer] = parts;
        older.merge(&aggregates, &newer);
        assert_eq!(finish(&older, &aggregates), Value::text(expected));
    }
}

#[test]
fn time_decides_and_not_arrival() {
    for (kind, expected) in [
        (AggregateKind::First, Int(1)),
        (AggregateKind::Last, Int(9)),
        (AggregateKind::Collect, Value::Array([Int(1), Int(5), Int(9)].into())),
    ] {
        let aggregates = [aggregate_of(kind)];
        let mut accumulators = Accumulators::new(&aggregates);
        for time_ms in [5, 9, 1] {
            accumulators.add(&aggregates, time_ms, &[Int(time_ms)]);
        }
        assert_eq!(finish(&accumulators, &aggregates), expected, "{kind:?}");
    }
}

#[test]
fn what_is_kept_is_bounded() {
    for kind in
        [AggregateKind::Collect, AggregateKind::Mode, AggregateKind::CountDistinct, AggregateKind::Median]
    {
        assert!(!aggregate_of(kind).is_small());
        let aggregates = [aggregate_of(kind)];
        let mut accumulators = Accumulators::new(&aggregates);
        (0..20_000).for_each(|value| assert_eq!(accumulators.add(&aggregates, value, &[Int(value)]), 0));
        let mut bytes = Vec::new();
        accumulators.write(&mut bytes);
        assert!(bytes.len() < 10_000, "{kind:?} {}", bytes.len());
    }
}

#[test]
fn kinds() {
    for each in AGGREGATES {
        let number = each.parameters == [Kind::Number];
        if number {
            assert_eq!(each.kind.check(&Value::text("x")), Err(Fault::Error), "{}", each.name);
        }
        assert_eq!(
            each.kind.check(&Null),
            if number || each.parameters == [Kind::Boolean] { Err(Fault::Null) } else { Ok(()) }
        );
    }
    assert_eq!(AggregateKind::Max.result(Kind::Text), Kind::Text);
    assert_eq!(AggregateKind::Count.result(Kind::Text), Kind::Integer);
}
