//! The word of the workers: what only a live worker can say of a plan.
//!
//! Owns: asking a worker for its status. Leaves to others: whom to ask ([`crate::observe`]), what follows
//! ([`crate::plan`]).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::plan::{HTTP_PORT, Trouble};

/// The largest answer that is read.
const MAX_ANSWER: usize = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(1);

/// What a worker says of the plan. Whatever else is in its status is for others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Word {
    /// The newest epoch that it knows to be started; 0 if none is.
    pub(crate) started_epoch: u64,
    /// The epoch of the newest plan that it knows.
    pub(crate) newest_epoch: u64,
    /// Whether the whole topology is complete.
    pub(crate) complete: bool,
    /// How often its process has started.
    pub(crate) starts: u64,
    pub(crate) tasks: Vec<TaskWord>,
    /// What went wrong at tasks.
    pub(crate) troubles: Vec<Trouble>,
}

/// What a worker says of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TaskWord {
    /// Roots that are done.
    pub(crate) acked: u64,
    /// Roots that a task failed.
    pub(crate) failed: u64,
    /// Roots that took too long.
    pub(crate) timed_out: u64,
    /// Roots in flight.
    pub(crate) pending: u64,
}

/// Asks the worker at this address how it stands.
pub(crate) async fn ask(pod: IpAddr) -> anyhow::Result<Word> {
    serde_json::from_slice(&get(pod, "/status").await?).context("the answer is no status")
}

/// Asks the worker at this address for the newest plan that it knows.
pub(crate) async fn ask_plan(pod: IpAddr) -> anyhow::Result<String> {
    String::from_utf8(get(pod, "/plan").await?.to_vec()).context("the answer is no text")
}

async fn get(pod: IpAddr, path: &str) -> anyhow::Result<Bytes> {
    tokio::time::timeout(PATIENCE, get_patiently(SocketAddr::new(pod, HTTP_PORT), path))
        .await
        .context("the worker does not answer")?
}

/// Asks for a path, however long it takes.
pub(crate) async fn get_patiently(address: SocketAddr, path: &str) -> anyhow::Result<Bytes> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        ensure!(
            answer.status().is_success(),
            "the worker answers {}",
            answer.status()
        );
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body
            .map_err(|error| anyhow::anyhow!(error))
            .context("read the answer")?;
        Ok(body.to_bytes())
    };
    // The connection does the work of the answer, and ends with it.
    tokio::select! {
        answer = answer => answer,
        ended = connection => {
            ended.context("the connection broke")?;
            anyhow::bail!("the connection ended before the answer")
        }
    }
}
