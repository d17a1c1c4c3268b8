//! `waterspout log-level`.

use std::io::Write;

use hyper::Method;
use waterspout_worker::logging::{Change, Levels};

use super::find;
use crate::Output;
use crate::args::LogLevelArgs;

/// Changes the level of all workers that are meant, or shows it.
pub(super) async fn run(args: &LogLevelArgs) -> anyhow::Result<()> {
    let change = match (&args.level, args.reset) {
        (Some(level), _) => Some(Change::Set(level.clone())),
        (None, true) => Some(Change::Reset),
        (None, false) => None,
    };
    for worker in find(&args.place).await? {
        let method = if change.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let levels: Levels = worker.ask(method, "/log-level", change.as_ref()).await?;
        let line = match args.output {
            Output::Text => format!("{}: {}", worker.name, levels.filter),
            Output::Json => serde_json::json!({"worker": worker.name, "filter": levels.filter}).to_string(),
        };
        // Whoever reads has read enough, and the levels are set all the same.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    Ok(())
}
