//! `probe`: whether operators answer, and one of them leads; what `helm test` runs.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use crate::workers::get_patiently;

/// How long it may take until one leads: longer than a lease lasts.
const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(250);
/// What the metrics of the one that leads say; behind an address there may be several.
const LEADS: &str = "waterspout_operator_leading 1";

/// Asks until an operator that leads has answered.
///
/// # Errors
/// If none does in time; says what the last answer was.
pub(crate) async fn probe(address: SocketAddr) -> anyhow::Result<()> {
    let mut problem = anyhow::anyhow!("no operator was asked");
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            match look(address).await {
                Ok(()) => return,
                Err(error) => problem = error,
            }
            tokio::time::sleep(AGAIN).await;
        }
    })
    .await;
    asked.map_err(|_| problem.context(format!("no operator at {address} leads")))
}

async fn look(address: SocketAddr) -> anyhow::Result<()> {
    get_patiently(address, "/readyz")
        .await
        .context("ask for /readyz")?;
    let metrics = get_patiently(address, "/metrics")
        .await
        .context("ask for /metrics")?;
    let text = String::from_utf8_lossy(&metrics);
    anyhow::ensure!(
        text.lines().any(|line| line == LEADS),
        "the one that answered waits for another one to end"
    );
    Ok(())
}
