//! `waterspout tap`: samples of the tuples that a component emits, as they come.

use std::io::Write;

use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Worker, find};
use crate::Output;
use crate::args::TapArgs;

/// Lines that wait to be shown.
const WAITING: usize = 64;

/// What a worker says of a tuple.
#[derive(Deserialize)]
struct Tapped {
    component: String,
    task: u32,
    stream: String,
    bytes: usize,
    tuple: Option<Value>,
}

/// Shows samples until there are enough, or the workers end.
pub(super) async fn run(args: &TapArgs) -> anyhow::Result<()> {
    let workers = find(&args.place).await?;
    let (sender, mut lines) = mpsc::channel::<String>(WAITING);
    let path = format!("/tap?component={}&rate={}", args.component, args.rate);
    let mut taps = JoinSet::new();
    for worker in workers {
        // All are open before any is shown, so that a wrong name is said first.
        let answer = worker.send(Method::GET, &path, Vec::new()).await?;
        taps.spawn(forward(worker, answer.into_body(), sender.clone()));
    }
    drop(sender);
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut out = std::io::stdout();
    while left > 0
        && let Some(line) = lines.recv().await
    {
        left -= 1;
        let line = match args.output {
            Output::Json => line,
            Output::Text => text(&line),
        };
        // Whoever reads has read enough.
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
    }
    if left == 0 {
        return Ok(());
    }
    while let Some(ended) = taps.join_next().await {
        ended??;
    }
    Ok(())
}

fn text(line: &str) -> String {
    let Ok(tapped) = serde_json::from_str::<Tapped>(line) else {
        return line.to_owned();
    };
    let tuple = tapped
        .tuple
        .map_or_else(|| format!("({} bytes)", tapped.bytes), |tuple| tuple.to_string());
    format!(
        "{}[{}]\t{}\t{tuple}",
        tapped.component, tapped.task, tapped.stream
    )
}

/// Hands on the lines of one worker.
async fn forward(worker: Worker, mut body: Incoming, lines: mpsc::Sender<String>) -> anyhow::Result<()> {
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // It ended, as a worker does that is started again or whose topology is complete.
            tracing::debug!(worker = worker.name, "the worker is gone");
            return Ok(());
        };
        let Ok(bytes) = frame.into_data() else { continue };
        rest.extend_from_slice(&bytes);
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            if lines.send(line).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
