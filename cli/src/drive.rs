//! `waterspout drive`: the kit for tests, for programs in other languages.
//!
//! Owns: a line of JSON on standard input for each thing to do, and one on standard output for what came of it. Leaves to
//! others: running ([`waterspout_worker::kit`]). Invariant: every line is answered, by `{"error": ..}` if it could not be
//! done; an end of the input is the end of the program.
//!
//! Values are texts that hold a JSON array, by the rules of the script protocol.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use waterspout_worker::component::Components;
use waterspout_worker::kit::{Kit, values};
use waterspout_worker::logging::{self, LogFormat};

use crate::args::DriveArgs;
use crate::{run, validate};

/// A line on standard input.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", deny_unknown_fields)]
enum Order {
    /// Lets a spout that is fed emit a tuple.
    Emit {
        spout: String,
        stream: String,
        values: String,
    },
    /// Lets time go by.
    Advance { milliseconds: u64 },
    /// From now on a spout emits failed tuples again.
    Replay { spout: String },
    /// Lets the next tuples that go to a bolt fail.
    FailNext { bolt: String, count: usize },
    /// Pauses the topology, or lets it go on.
    Activate { active: bool },
    /// Loses all that is in flight.
    Lose,
    /// Ends the input.
    End,
    /// What went from task to task since the `from`-th tuple, and what the spouts heard.
    Look { from: usize },
}

/// A line on standard output.
#[derive(Debug, Default, Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<Vec<SentTuple>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spouts: Option<BTreeMap<String, Heard>>,
}

#[derive(Debug, Serialize)]
struct SentTuple {
    from: String,
    stream: String,
    to: String,
    task: u32,
    values: String,
}

#[derive(Debug, Serialize)]
struct Heard {
    acked: Vec<u64>,
    failed: Vec<u64>,
}

/// Runs a topology as the lines say.
pub(crate) fn drive(args: &DriveArgs, components: Components) -> ExitCode {
    match carry_out_all(args, components) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever closed both does not want to hear it.
            let _ = answer(&Answer {
                error: Some(format!("{error:#}")),
                ..Answer::default()
            });
            ExitCode::FAILURE
        }
    }
}

fn carry_out_all(args: &DriveArgs, components: Components) -> anyhow::Result<()> {
    logging::start(LogFormat::Text, &args.log).context("read the filter of the log")?;
    let manifest = validate::read(&args.file, &components)?;
    let directory = args.file.parent().unwrap_or(Path::new("."));
    let base = args.base.as_deref().unwrap_or(directory);
    let mut setup = Kit::of(run::graph(&manifest)?)
        .components(components)
        .delivery(manifest.delivery())
        .base(
            base.canonicalize()
                .with_context(|| format!("find '{}'", base.display()))?,
        )
        .workers(args.workers);
    for spout in &args.feed {
        setup = setup.feed(spout);
    }
    for bolt in &args.silence {
        setup = setup.silence(bolt);
    }
    let mut kit = setup.start()?;
    answer(&Answer::default())?;
    for line in std::io::stdin().lock().lines() {
        let line = line.context("read standard input")?;
        let done = serde_json::from_str(&line)
            .context("read an order")
            .and_then(|order| carry_out(&mut kit, &args.feed, order));
        let done = done.unwrap_or_else(|error| Answer {
            error: Some(format!("{error:#}")),
            ..Answer::default()
        });
        answer(&done)?;
    }
    Ok(())
}

fn answer(answer: &Answer) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, answer).context("write an answer")?;
    stdout
        .write_all(b"\n")
        .and_then(|()| stdout.flush())
        .context("write an answer")
}

fn carry_out(kit: &mut Kit, fed: &[String], order: Order) -> anyhow::Result<Answer> {
    let mut answer = Answer::default();
    match order {
        Order::Emit {
            spout,
            stream,
            values,
        } => {
            check_fed(kit, &spout)?;
            let Some((number, fields)) = kit.stream(&spout, &stream) else {
                bail!("spout '{spout}' has no stream '{stream}'");
            };
            let values = values::read(&values).map_err(anyhow::Error::new)?;
            if values.len() != fields {
                bail!(
                    "stream '{stream}' of '{spout}' has {fields} fields, and {} values were given",
                    values.len()
                );
            }
            answer.id = Some(kit.emit_to(&spout, number, values));
        }
        Order::Advance { milliseconds } => kit.advance(Duration::from_millis(milliseconds)),
        Order::Replay { spout } => {
            check_fed(kit, &spout)?;
            kit.replay(&spout);
        }
        Order::FailNext { bolt, count } => {
            if !kit.has(&bolt) {
                bail!("there is no component '{bolt}'");
            }
            kit.fail_next(&bolt, count);
        }
        Order::Activate { active } => kit.set_active(active),
        Order::Lose => kit.lose(),
        Order::End => {
            let at_work = kit.try_end();
            if !at_work.is_empty() {
                bail!(
                    "the topology does not come to its end: '{}' still at work; let time go by first, or feed what has no end",
                    at_work.join("', '")
                );
            }
        }
        Order::Look { from } => {
            let sent = kit.sent().iter().skip(from).map(|sent| SentTuple {
                from: sent.from.clone(),
                stream: sent.stream.clone(),
                to: sent.to.clone(),
                task: sent.task,
                values: values::write(&sent.values),
            });
            answer.sent = Some(sent.collect());
            let heard = fed.iter().map(|spout| {
                let heard = Heard {
                    acked: kit.acked(spout),
                    failed: kit.failed(spout),
                };
                (spout.clone(), heard)
            });
            answer.spouts = Some(heard.collect());
        }
    }
    Ok(answer)
}

fn check_fed(kit: &Kit, spout: &str) -> anyhow::Result<()> {
    if !kit.is_fed(spout) {
        bail!("'{spout}' is no spout that the test feeds");
    }
    Ok(())
}
