//! Commands that look into workers that run, and tell them something: `tap`, `dead-letters`, `log-level`.
//!
//! Owns: how the workers of a topology are found, and requests to their endpoints. Leaves to others: the endpoints
//! ([`waterspout_worker::http`]), one command a file. Invariant: what a worker answers is shown as what it said, not as what
//! went wrong here.

mod cluster;
mod dead_letters;
mod local;
mod log_level;
mod tap;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::args::{DeadLettersArgs, LogLevelArgs, TapArgs, WhereArgs};

/// What bytes go through.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A worker that can be asked.
#[derive(Clone)]
struct Worker {
    /// What to call it.
    name: String,
    topology: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Here(SocketAddr),
    Pod(Box<cluster::Pods>),
}

/// Runs `waterspout tap`.
pub(crate) fn tap(args: &TapArgs) -> ExitCode {
    run(tap::run(args))
}

/// Runs `waterspout dead-letters`.
pub(crate) fn dead_letters(args: &DeadLettersArgs) -> ExitCode {
    run(dead_letters::run(args))
}

/// Runs `waterspout log-level`.
pub(crate) fn log_level(args: &LogLevelArgs) -> ExitCode {
    run(log_level::run(args))
}

fn run(command: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    // A second start in one process finds it installed: the same provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(command));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workers that are meant, at least one: those at an address, of a run on this machine, or of a cluster.
async fn find(args: &WhereArgs) -> anyhow::Result<Vec<Worker>> {
    let topology = args.topology.as_deref();
    if let Some(address) = args.http {
        return Ok(vec![Worker {
            name: format!("the worker at {address}"),
            topology: topology.unwrap_or_default().to_owned(),
            place: Place::Here(address),
        }]);
    }
    if args.namespace.is_none() && args.context.is_none() {
        let here = local::workers();
        if !here.is_empty()
            && let Some(found) = of_one_topology(here, topology, "on this machine")?
        {
            return Ok(found);
        }
    }
    let found = cluster::workers(args).await.with_context(|| match topology {
        Some(name) => format!("no topology '{name}' of this user runs on this machine"),
        None => "no topology of this user runs on this machine".to_owned(),
    })?;
    match of_one_topology(found, topology, "in this namespace")? {
        Some(found) => Ok(found),
        None => match topology {
            Some(name) => bail!(
                "no worker of topology '{name}' runs on this machine or in the namespace; look with `kubectl get topologies`"
            ),
            None => bail!(
                "no worker runs on this machine or in the namespace; start one with `waterspout run FILE`"
            ),
        },
    }
}

/// Those of the topology that is meant. `None` if there are none.
fn of_one_topology(
    workers: Vec<Worker>,
    topology: Option<&str>,
    place: &str,
) -> anyhow::Result<Option<Vec<Worker>>> {
    let mut names: Vec<&str> = workers.iter().map(|worker| worker.topology.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let name = match (topology, names.as_slice()) {
        (Some(name), _) => name.to_owned(),
        (None, []) => return Ok(None),
        (None, [one]) => (*one).to_owned(),
        (None, several) => bail!(
            "several topologies run {place}; say with --topology which: {}",
            several.join(", ")
        ),
    };
    let found: Vec<Worker> = workers
        .into_iter()
        .filter(|worker| worker.topology == name)
        .collect();
    Ok((!found.is_empty()).then_some(found))
}

impl Worker {
    async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        Ok(match &self.place {
            Place::Here(address) => Box::new(tokio::net::TcpStream::connect(address).await?),
            Place::Pod(pods) => pods.connect(&self.name).await?,
        })
    }

    /// Sends a request.
    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Response<Incoming>> {
        let asking = || format!("ask {}", self.name);
        let stream = self.connect().await.with_context(asking)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .with_context(asking)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .context("make a request")?;
        let mut connection = Box::pin(connection);
        let mut answer = Box::pin(sender.send_request(request));
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer.with_context(asking)?,
                ended = &mut connection => ended.with_context(asking)?,
            }
        };
        // Carries the body on; ends with it, or with the program.
        tokio::spawn(connection);
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer
            .into_body()
            .collect()
            .await
            .with_context(asking)?
            .to_bytes();
        let text = String::from_utf8_lossy(&text);
        match text.trim() {
            "" => bail!("{} answers {status}", self.name),
            text => bail!("{} answers: {text}", self.name),
        }
    }

    /// Asks for something.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<T> {
        let body = match body {
            Some(body) => serde_json::to_vec(body).context("write a request")?,
            None => Vec::new(),
        };
        let answer = self.send(method, path, body).await?;
        let bytes = answer.into_body().collect().await;
        let bytes = bytes
            .with_context(|| format!("read the answer of {}", self.name))?
            .to_bytes();
        serde_json::from_slice(&bytes).with_context(|| format!("understand the answer of {}", self.name))
    }
}
