//! `waterspout dead-letters`: what was given up, and trying it again.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::bail;
use hyper::Method;
use serde_json::json;
use waterspout_worker::http::{DeadLetters, Replay, Replayed};

use super::{Worker, find};
use crate::Output;
use crate::args::{DeadLettersArgs, LettersAction};

/// Lists or replays.
pub(super) async fn run(args: &DeadLettersArgs) -> anyhow::Result<()> {
    let workers = find(&args.place).await?;
    match &args.action {
        LettersAction::List => list(&workers, args.output).await,
        LettersAction::Replay { ids, all } => replay(&workers, ids, *all, args.output).await,
    }
}

async fn list(workers: &[Worker], output: Output) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let (mut count, mut beyond) = (0, 0);
    for worker in workers {
        let found: DeadLetters = worker.ask(Method::GET, "/dead-letters", None::<&()>).await?;
        count += found.letters.len();
        beyond += found.beyond;
        for letter in found.letters {
            let line = match output {
                Output::Json => serde_json::to_string(&letter)?,
                Output::Text => {
                    let tuple = match letter.tuple {
                        Some(tuple) => tuple.to_string(),
                        None => format!("({} bytes)", letter.bytes),
                    };
                    format!(
                        "{}\t{}\t{}\t{} after {} attempts\t{tuple}",
                        letter.id, letter.component, letter.stream, letter.reason, letter.attempts,
                    )
                }
            };
            writeln!(out, "{line}")?;
        }
    }
    if output == Output::Text || beyond > 0 {
        let more = match beyond {
            0 => String::new(),
            beyond => format!(", and {beyond} that are not listed, for there are too many"),
        };
        writeln!(std::io::stderr(), "dead letters: {count}{more}")?;
    }
    Ok(())
}

async fn replay(workers: &[Worker], ids: &[String], all: bool, output: Output) -> anyhow::Result<()> {
    let mut missing: BTreeSet<&String> = ids.iter().collect();
    let mut count = 0;
    let request = match all {
        true => Replay::All,
        false => Replay::Ids(ids.to_vec()),
    };
    for worker in workers {
        let replayed: Replayed = worker
            .ask(Method::POST, "/dead-letters/replay", Some(&request))
            .await?;
        count += replayed.count;
        missing.retain(|id| !replayed.ids.contains(id));
    }
    let line = match output {
        Output::Text => format!("emitted again: {count}"),
        Output::Json => json!({"replayed": count}).to_string(),
    };
    writeln!(std::io::stdout(), "{line}")?;
    match missing.into_iter().next() {
        Some(id) => bail!("there is no dead letter '{id}'; `waterspout dead-letters list` shows them"),
        None => Ok(()),
    }
}
