//! `generator`: a spout that makes tuples up.
//!
//! Tuple `n` of all tasks is a pure function of `n` and the settings, so a replay emits the same again. Task `i` of `t`
//! emits the numbers `i, i + t, i + 2t, ...`; its position is how many of its numbers are acked without a gap, and what tasks
//! of other numbers had done before.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use waterspout_core::component::generator::{GeneratorConfig, SentenceShape};
use waterspout_core::position::Window;

use super::{ComponentError, Context, EmitRoot, Polled, Spout, registry};

/// Most tuples of one poll.
const BATCH: u64 = 128;
/// Sentences that are made once and then drawn from.
const POOL: u64 = 4096;
/// Most numbers between the oldest message in flight and the newest.
const MAX_SPAN: usize = 1 << 20;

/// The spout.
#[derive(Debug)]
pub struct Generator {
    shape: Shape,
    /// This task's first number, and the step to the next.
    index: u64,
    tasks: u64,
    /// How many numbers this task has.
    count: u64,
    /// Tuples a second of this task.
    rate: Option<f64>,
    started: Option<(Instant, u64)>,
    window: Window<()>,
    again: VecDeque<u64>,
    /// Of each number of tasks that there was before, how many of its numbers each of them had done.
    before: Vec<Vec<u64>>,
}

/// A position of a task that was not there from the beginning. Of another one it is the first number alone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    low: u64,
    before: Vec<Vec<u64>>,
}

#[derive(Debug)]
enum Shape {
    Sequence,
    Constant(String),
    Sentences(Vec<String>),
}

impl Generator {
    /// Makes the spout.
    ///
    /// # Errors
    /// If the settings are none.
    pub fn new(config: &Value, context: &Context) -> Result<Self, ComponentError> {
        let config: GeneratorConfig = registry::parse(config, context)?;
        let (index, tasks) = (u64::from(context.index), u64::from(context.tasks));
        let shape = match (
            config.shape.sequence,
            config.shape.sentence,
            config.shape.constant,
        ) {
            (Some(_), None, None) => Shape::Sequence,
            (None, Some(sentence), None) => Shape::Sentences(sentences(&sentence)),
            (None, None, Some(constant)) => Shape::Constant(constant.text),
            _ => {
                let component = &context.component;
                let problem = format!(
                    "component '{component}' needs exactly one shape: sequence, sentence or constant"
                );
                return Err(ComponentError::Settings(problem));
            }
        };
        let count = config
            .count
            .map_or(u64::MAX, |count| (count + tasks - 1 - index) / tasks);
        Ok(Self {
            shape,
            index,
            tasks,
            count,
            rate: config.rate.map(|rate| rate as f64 / tasks as f64),
            started: None,
            window: Window::starting_at(0),
            again: VecDeque::new(),
            before: Vec::new(),
        })
    }

    /// The number of all tasks that stands for one of this task's own.
    fn number(&self, own: u64) -> u64 {
        self.index + own * self.tasks
    }

    /// Whether a task did this number when there was another number of tasks.
    fn was_done(&self, number: u64) -> bool {
        let done = |lows: &Vec<u64>| {
            let tasks = lows.len() as u64;
            number / tasks < lows[(number % tasks) as usize]
        };
        self.before.iter().any(done)
    }

    fn read(position: &Value) -> Result<Position, ComponentError> {
        if let Some(low) = position.as_u64() {
            let before = Vec::new();
            return Ok(Position { low, before });
        }
        let read = Position::deserialize(position);
        read.ok()
            .filter(|read| read.before.iter().all(|lows| !lows.is_empty()))
            .ok_or_else(|| {
                ComponentError::Settings(format!(
                    "the position of a generator is a number, or one with what was done before, not {position}"
                ))
            })
    }

    fn emit(&self, own: u64, out: &mut impl EmitRoot) -> Result<(), ComponentError> {
        let number = self.number(own);
        out.emit_root(0, own, |row| {
            match &self.shape {
                Shape::Sequence => row.int(number as i64),
                Shape::Constant(text) => row.text(text),
                Shape::Sentences(pool) => row.text(&pool[(scatter(number) % POOL) as usize]),
            };
        })
    }

    /// How many new tuples the rate lets out now, and when the next is due.
    fn allowed(&mut self) -> (u64, Duration) {
        let Some(rate) = self.rate else {
            return (BATCH, Duration::ZERO);
        };
        let next = self.window.next();
        let (since, first) = *self.started.get_or_insert_with(|| (Instant::now(), next));
        let due = (since.elapsed().as_secs_f64() * rate) as u64 + 1;
        let sent = next - first;
        if due > sent {
            return (due - sent, Duration::ZERO);
        }
        let wait = (sent as f64 / rate) - since.elapsed().as_secs_f64();
        (0, Duration::from_secs_f64(wait.max(0.000_1)))
    }
}

impl Spout for Generator {
    fn poll(&mut self, out: &mut impl EmitRoot) -> Result<Polled, ComponentError> {
        let mut room = (out.room() as u64).min(BATCH);
        while room > 0
            && let Some(own) = self.again.pop_front()
        {
            self.emit(own, out)?;
            room -= 1;
        }
        let left = self.count - self.window.next();
        if left == 0 {
            return Ok(if self.again.is_empty() {
                Polled::Done
            } else {
                Polled::More
            });
        }
        let (allowed, wait) = self.allowed();
        if allowed == 0 {
            return Ok(Polled::Idle(wait));
        }
        if self.window.span() >= MAX_SPAN {
            return Ok(Polled::Idle(Duration::from_millis(1)));
        }
        for _ in 0..room.min(left).min(allowed) {
            let own = self.window.push(());
            if self.was_done(self.number(own)) {
                self.window.finish(own);
            } else {
                self.emit(own, out)?;
            }
        }
        Ok(Polled::More)
    }

    fn ack(&mut self, message: u64) {
        self.window.finish(message);
    }

    fn fail(&mut self, message: u64) {
        if self.window.get(message).is_some() {
            self.again.push_back(message);
        }
    }

    fn ids_last(&self) -> bool {
        true
    }

    fn position(&self) -> Option<Value> {
        let low = self.window.low();
        if self.before.is_empty() {
            return Some(low.into());
        }
        let before = self.before.clone();
        Some(json!(Position { low, before }))
    }

    fn resume(&mut self, position: Value) -> Result<(), ComponentError> {
        let position = Self::read(&position)?;
        self.window = Window::starting_at(position.low.min(self.count));
        self.before = position.before;
        Ok(())
    }

    fn resume_part(&mut self, positions: &[Option<Value>]) -> Result<(), ComponentError> {
        let mut lows = Vec::new();
        for position in positions {
            let known = position.as_ref().map(Self::read).transpose()?;
            lows.push(known.as_ref().map_or(0, |known| known.low));
            for done in known.into_iter().flat_map(|known| known.before) {
                if !self.before.contains(&done) {
                    self.before.push(done);
                }
            }
        }
        // All below is done, so what was done before by others need not be kept if it is in there.
        let tasks = lows.len() as u64;
        let undone = (0..).zip(&lows).map(|(index, low)| index + low * tasks).min();
        let undone = undone.unwrap_or(0);
        self.before.retain(|done| {
            let tasks = done.len() as u64;
            let numbers = (0..).zip(done).filter(|(_, low)| **low > 0);
            numbers.map(|(index, low)| index + (low - 1) * tasks).max() >= Some(undone)
        });
        if !lows.is_empty() {
            self.before.push(lows);
        }
        let low = undone.saturating_sub(self.index).div_ceil(self.tasks);
        self.window = Window::starting_at(low.min(self.count));
        Ok(())
    }
}

/// Spreads neighbouring numbers. Source: the finaliser of SplitMix64.
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The pool that the sentences are drawn from, the same for the same settings. Word `k` is drawn with a probability in proportion to `1/k`
/// (Zipf's law).
pub fn sentences(shape: &SentenceShape) -> Vec<String> {
    let mut random = SmallRng::seed_from_u64(shape.seed);
    let words: Vec<String> = (0..shape.vocabulary)
        .map(|_| {
            let length = random.random_range(3..=10);
            (0..length)
                .map(|_| char::from(random.random_range(b'a'..=b'z')))
                .collect()
        })
        .collect();
    let mut sum = 0.0;
    let shares: Vec<f64> = (1..=words.len())
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    (0..POOL)
        .map(|_| {
            let mut sentence = String::new();
            for word in 0..shape.words {
                if word > 0 {
                    sentence.push(' ');
                }
                let at = random.random::<f64>() * sum;
                let index = shares
                    .partition_point(|&share| share <= at)
                    .min(words.len().saturating_sub(1));
                sentence.push_str(words.get(index).map_or("", String::as_str));
            }
            sentence
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use waterspout_core::value::Value as Field;

    use super::super::testing::{Recorder, context};
    use super::*;

    fn generator(index: u32, tasks: u32, count: u64) -> Generator {
        let context = context("numbers", index, tasks);
        let config = json!({"shape": {"sequence": {}}, "count": count});
        Generator::new(&config, &context).expect("the settings are right")
    }

    #[test]
    fn every_number_comes_once_whatever_becomes_of_the_number_of_tasks() {
        let count = 2_000;
        let mut found = Vec::new();
        let mut positions: Vec<Option<Value>> = Vec::new();
        for (tasks, each) in [(2, 40), (5, 23), (3, 57), (3, 11), (1, 300), (7, 5), (4, 1_000)] {
            let mut next = Vec::new();
            for index in 0..tasks {
                let mut generator = generator(index, tasks, count);
                match positions.get(index as usize) {
                    Some(Some(position)) if positions.len() == tasks as usize => {
                        generator.resume(position.clone())
                    }
                    _ => generator.resume_part(&positions),
                }
                .expect("they are its own");
                let mut out = Recorder::default();
                // Some are ahead of others.
                for _ in 0..each * (index + 1) {
                    out.room = 1;
                    generator.poll(&mut out).expect("it emits");
                }
                for (_, message, row) in out.tuples {
                    generator.ack(message);
                    found.push(row[0].clone());
                }
                next.push(generator.position());
            }
            positions = next;
        }
        let all: Vec<Field> = (0..count as i64).map(Field::from).collect();
        found.sort_by_key(|number| all.iter().position(|known| known == number));
        assert_eq!(found, all);
        // What all have done is not said of each any more.
        let last = positions[0].clone().expect("it has one");
        assert!(
            last["before"].as_array().is_some_and(|before| before.len() <= 3),
            "{last}"
        );
    }

    #[test]
    fn a_position_that_is_none_is_refused() {
        for position in [
            json!("no"),
            json!({"low": 1, "before": [[]]}),
            json!({"low": 1, "other": 2}),
        ] {
            assert!(generator(0, 1, 5).resume(position.clone()).is_err());
            assert!(generator(0, 1, 5).resume_part(&[Some(position)]).is_err());
        }
    }
}
