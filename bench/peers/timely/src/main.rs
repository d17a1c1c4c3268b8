//! One workload in Timely Dataflow, in one process of two threads. Prints its figures.
//!
//! Timely has no tasks: each thread runs all operators on its share of the tuples, and hands over where a tuple's key says
//! so. So the hop is handed over between the threads in turn, before and behind the identity.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::{Exchange as _, Input, Inspect, Map, Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

const THREADS: usize = 2;
/// Tuples that a thread puts in before it looks whether they came through.
const BATCH: u64 = 16_384;
const WARM_UP: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_secs(3);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (suffix, rate) = match arguments[1].as_str() {
        "hop-untracked" => ("", hop()),
        "wordcount-acked" => ("-untracked", words(&arguments[2])),
        other => panic!("no workload '{other}'"),
    };
    println!(r#"{{"suffix": "{suffix}", "unit": "roots/s", "value": {rate:.1}}}"#);
}

/// Runs `put` again and again, and gives how many a second `seen` grows.
fn measure(seen: &AtomicU64, mut put: impl FnMut()) -> f64 {
    let from = Instant::now();
    let mut begun = None;
    loop {
        put();
        let now = seen.load(Ordering::Relaxed);
        match begun {
            None if from.elapsed() >= WARM_UP => begun = Some((Instant::now(), now)),
            Some((since, before)) if since.elapsed() >= WINDOW => {
                return (now - before) as f64 / since.elapsed().as_secs_f64();
            }
            _ => {}
        }
    }
}

fn hop() -> f64 {
    let seen = Arc::new(AtomicU64::new(0));
    let ends = timely::execute(timely::Config::process(THREADS), move |worker| {
        let seen = Arc::clone(&seen);
        let all = Arc::clone(&seen);
        let mut input = InputHandle::new();
        let probe = ProbeHandle::new();
        let (mut first, mut second) = (0, 0);
        worker.dataflow(|scope| {
            scope
                .input_from(&mut input)
                .exchange(move |_: &String| {
                    first += 1;
                    first
                })
                .map(|text| text)
                .exchange(move |_: &String| {
                    second += 1;
                    second
                })
                .inspect_batch(move |_, batch| {
                    seen.fetch_add(batch.len() as u64, Ordering::Relaxed);
                })
                .probe_with(&probe);
        });
        measure(&all, || {
            for _ in 0..BATCH {
                input.send("constant".to_owned());
            }
            input.advance_to(input.time() + 1);
            worker.step_while(|| probe.less_than(input.time()));
        })
    });
    mean(ends.expect("two threads").join())
}

fn words(file: &str) -> f64 {
    let text = std::fs::read_to_string(file).expect("the sentences");
    let sentences: Arc<Vec<String>> = Arc::new(text.lines().map(str::to_owned).collect());
    let each = sentences[0].split(' ').count() as f64;
    let seen = Arc::new(AtomicU64::new(0));
    let ends = timely::execute(timely::Config::process(THREADS), move |worker| {
        let (seen, sentences) = (Arc::clone(&seen), Arc::clone(&sentences));
        let all = Arc::clone(&seen);
        let mut input = InputHandle::new();
        let probe = ProbeHandle::new();
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let mut counts: HashMap<String, u64> = HashMap::new();
        worker.dataflow(|scope| {
            scope
                .input_from(&mut input)
                .flat_map(|sentence: String| {
                    let words: Vec<String> = sentence.split(' ').map(str::to_owned).collect();
                    words
                })
                .unary::<timely::container::CapacityContainerBuilder<Vec<()>>, _, _, _>(
                    Exchange::new(move |word: &String| hasher.hash_one(word)),
                    "Count",
                    move |_, _| {
                        move |input, _output| {
                            input.for_each(|_, batch| {
                                seen.fetch_add(batch.len() as u64, Ordering::Relaxed);
                                for word in batch.drain(..) {
                                    *counts.entry(word).or_insert(0) += 1;
                                }
                            });
                        }
                    },
                )
                .probe_with(&probe);
        });
        let mut number = worker.index() as u64;
        measure(&all, || {
            for _ in 0..BATCH / 16 {
                input.send(sentences[(scatter(number) % sentences.len() as u64) as usize].clone());
                number += THREADS as u64;
            }
            input.advance_to(input.time() + 1);
            worker.step_while(|| probe.less_than(input.time()));
        })
    });
    mean(ends.expect("two threads").join()) / each
}

/// Each thread has measured the same sum.
fn mean(ends: impl IntoIterator<Item = Result<f64, String>>) -> f64 {
    let rates: Vec<f64> = ends
        .into_iter()
        .map(|rate| rate.expect("a thread that ends well"))
        .collect();
    rates.iter().sum::<f64>() / rates.len() as f64
}

/// Spreads neighbouring numbers as the spout of Waterspout does (the finaliser of SplitMix64).
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
