//! What an asynchronous bolt does with its tuples, under a time that the test gives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use waterspout_core::plan::{Delivery, DeliveryMode};
use waterspout_core::value::Value;
use waterspout_worker::component::{AsyncBolt, ComponentError, Components, Outbox, OwnedTuple};
use waterspout_worker::kit::{Kit, one_bolt};

use crate::cases::seconds;

/// Takes as many milliseconds as the tuple says, then emits the number. Negative ones fail, and zero waits for ever.
struct Wait {
    at_work: Arc<AtomicUsize>,
    limit: Option<Duration>,
}

/// One more call is at work while it lives.
struct AtWork(Arc<AtomicUsize>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl AsyncBolt for Wait {
    async fn execute(&self, tuple: OwnedTuple, out: &mut Outbox) -> Result<(), ComponentError> {
        self.at_work.fetch_add(1, Ordering::SeqCst);
        let _at_work = AtWork(Arc::clone(&self.at_work));
        let number = tuple.row().int(0).unwrap_or_default();
        if number == 0 {
            std::future::pending::<()>().await;
        }
        // tidy: allow(sleep) the kit's time
        tokio::time::sleep(Duration::from_millis(number.unsigned_abs())).await;
        out.emit(0, |row| {
            row.int(number);
        })?;
        if number < 0 {
            out.fail();
        }
        Ok(())
    }

    fn concurrency(&self) -> usize {
        3
    }

    fn limit(&self) -> Option<Duration> {
        self.limit
    }
}

fn waiting(limit: Option<Duration>, delivery: Delivery) -> (Kit, Arc<AtomicUsize>) {
    let at_work = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&at_work);
    let mut components = Components::default();
    components.async_bolt("wait", move |(): (), _| {
        Ok(Wait {
            at_work: Arc::clone(&shared),
            limit,
        })
    });
    let kit = Kit::of(one_bolt("wait", json!(null), &["millis"], &["millis"]))
        .components(components)
        .delivery(delivery)
        .feed("in")
        .start()
        .unwrap();
    (kit, at_work)
}

fn emit(kit: &mut Kit, millis: i64) -> u64 {
    kit.emit("in", [Value::from(millis)])
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn emitted(kit: &Kit) -> Vec<i64> {
    let rows = kit.values("bolt", "default").into_iter().flatten();
    rows.map(|value| match value {
        Value::Int(number) => number,
        other => panic!("{other:?} is no number"),
    })
    .collect()
}

#[test]
fn tuples_are_acked_when_their_calls_end_and_results_come_in_that_order() {
    let (mut kit, _) = waiting(None, Delivery::default());
    let (slow, fast) = (emit(&mut kit, 300), emit(&mut kit, 100));
    kit.advance(millis(99));
    assert_eq!((kit.acked("in"), kit.counts("bolt").held), (vec![], 2));
    kit.advance(millis(2));
    assert_eq!((kit.acked("in"), emitted(&kit)), (vec![fast], vec![100]));
    kit.advance(millis(200));
    assert_eq!(
        (kit.acked("in"), emitted(&kit)),
        (vec![fast, slow], vec![100, 300])
    );
}

#[test]
fn no_more_calls_run_than_the_bolt_allows_and_each_that_ends_lets_one_in() {
    let (mut kit, at_work) = waiting(None, Delivery::default());
    for number in [50, 60, 70, 80, 90] {
        emit(&mut kit, number);
    }
    assert_eq!(
        (at_work.load(Ordering::SeqCst), kit.counts("bolt").executed),
        (3, 3)
    );
    kit.advance(millis(51));
    assert_eq!(
        (at_work.load(Ordering::SeqCst), kit.counts("bolt").executed),
        (3, 4)
    );
    kit.advance(seconds(1));
    assert_eq!((at_work.load(Ordering::SeqCst), kit.acked("in").len()), (0, 5));
    assert_eq!(emitted(&kit), [50, 60, 70, 80, 90]);
}

#[test]
fn a_call_that_fails_its_tuple_emits_nothing_and_the_root_comes_again() {
    let (mut kit, _) = waiting(None, Delivery::default());
    let bad = emit(&mut kit, -10);
    kit.advance(millis(100));
    assert_eq!((kit.failed("in"), emitted(&kit)), (vec![bad], vec![]));
    assert_eq!((kit.counts("in").failed, kit.counts("bolt").held), (1, 0));
}

#[test]
fn a_call_beyond_its_limit_is_dropped_and_its_tuple_fails_while_others_outlive_the_timeout() {
    let delivery = Delivery {
        timeout_ms: 1_000,
        ..Delivery::default()
    };
    let (mut kit, at_work) = waiting(Some(seconds(20)), delivery);
    let (stuck, long) = (emit(&mut kit, 0), emit(&mut kit, 10_000));
    kit.advance(seconds(11));
    assert_eq!((kit.acked("in"), kit.failed("in")), (vec![long], vec![]));
    kit.advance(seconds(10));
    assert_eq!((kit.failed("in"), kit.counts("in").failed), (vec![stuck], 1));
    assert_eq!(
        (kit.counts("in").timed_out, at_work.load(Ordering::SeqCst)),
        (0, 0)
    );
}

#[test]
fn a_move_drops_calls_that_have_not_ended_and_what_comes_of_them_has_no_effect() {
    let (mut kit, at_work) = waiting(None, Delivery::default());
    emit(&mut kit, 100);
    emit(&mut kit, 0);
    assert_eq!(at_work.load(Ordering::SeqCst), 2);
    kit.snapshot("bolt");
    kit.advance(seconds(5));
    assert_eq!((at_work.load(Ordering::SeqCst), emitted(&kit)), (0, vec![]));
    assert_eq!((kit.acked("in"), kit.counts("bolt").held), (vec![], 0));
}

#[test]
fn the_end_of_the_input_waits_for_calls_tracked_or_not() {
    for mode in [DeliveryMode::AtLeastOnce, DeliveryMode::AtMostOnce] {
        let delivery = Delivery {
            mode,
            ..Delivery::default()
        };
        let (mut kit, _) = waiting(None, delivery);
        emit(&mut kit, 200);
        kit.advance(millis(100));
        assert_eq!(emitted(&kit), Vec::<i64>::new(), "{mode:?}");
        kit.advance(millis(150));
        kit.end();
        assert_eq!(emitted(&kit), [200], "{mode:?}");
    }
}

struct Broken;

impl AsyncBolt for Broken {
    async fn execute(&self, tuple: OwnedTuple, out: &mut Outbox) -> Result<(), ComponentError> {
        let two = |row: &mut waterspout_core::value::RowWriter<'_>| {
            row.int(1).int(2);
        };
        match tuple.row().text(0) {
            Some("panic") => panic!("a call that panics"),
            Some("shape") => out.emit(0, two),
            _ => Err(ComponentError::Tuple("a call that ends with an error".to_owned())),
        }
    }
}

#[test]
fn a_call_that_panics_or_ends_with_an_error_ends_the_task_that_made_it() {
    for (word, expected) in [
        ("panic", "a call that panics"),
        ("error", "a call that ends with an error"),
        (
            "shape",
            "component 'bolt' emitted 2 fields to its stream 'default', which declares 1",
        ),
    ] {
        let ended = std::panic::catch_unwind(|| {
            let mut components = Components::default();
            components.async_bolt("broken", |(): (), _| Ok(Broken));
            let mut kit = Kit::of(one_bolt("broken", json!(null), &["word"], &["word"]))
                .components(components)
                .feed("in")
                .start()
                .unwrap();
            kit.emit("in", [Value::from(word)]);
        });
        let panic = ended.unwrap_err();
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap();
        assert!(text.contains(expected), "{text}");
    }
}
