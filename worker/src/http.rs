//! The endpoints of a worker: `/healthz`, `/readyz`, `/metrics`, `/status` and `/plan` for all who reach its port, and
//! `/tap`, `/dead-letters` and `/log-level` for its own machine.
//!
//! Owns: the routes, who may ask, and their answers. Leaves to others: what is true ([`crate::status`]). Invariant: what
//! shows tuples or changes something is answered to connections from the same machine only, which on a cluster is the same
//! pod: there a port that the API server forwards ends, and nothing else does. Names of other hosts in a request are
//! refused, so that no web page reaches it through a browser on that machine.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use waterspout_core::component::stdout::LineFormat;
use waterspout_core::graph::{Graph, StreamId, TaskId};
use waterspout_core::value::Row;

use crate::component::line::append_line;
use crate::logging::{self, Change, ChangeError};
use crate::metrics;
use crate::runtime::{MAX_TAPS, Sample, Samples};
use crate::status::StatusSource;
use crate::task::{ListedLetter, Which};

/// The most samples a second of a tap.
const MAX_RATE: u32 = 10_000;

/// The dead letters of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetters {
    /// Those that are listed.
    pub letters: Vec<ListedLetter>,
    /// How many there are beyond the bounds of the list.
    pub beyond: usize,
}

/// Which dead letters are to be emitted again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Replay {
    /// All of the worker.
    All,
    /// Those with these ids, as far as the worker has them.
    Ids(Vec<String>),
}

/// What is emitted again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// How many tuples.
    pub count: usize,
    /// Their ids, as far as they were asked for by id.
    pub ids: Vec<String>,
}

/// The routes over what a worker publishes.
pub fn routes(source: Arc<StatusSource>) -> Router {
    let own = Router::new()
        .route("/tap", get(tap))
        .route("/dead-letters", get(dead_letters))
        .route("/dead-letters/replay", post(replay))
        .route("/log-level", get(log_level).post(set_log_level))
        .route_layer(middleware::from_fn(same_machine));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(serve_metrics))
        .route("/status", get(serve_status))
        .route("/plan", get(serve_plan))
        .merge(own)
        .with_state(source)
}

/// Lets only those ask who are on this machine, and mean it.
async fn same_machine(ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if !peer.ip().to_canonical().is_loopback() || !host.is_none_or(is_this_machine) {
        let text = "this is answered to the worker's own machine only; on a cluster, use `waterspout` or forward the port\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Whether a host of a request is this machine.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Alive: the process answers and no task has failed.
async fn healthz(State(source): State<Arc<StatusSource>>) -> impl IntoResponse {
    match source.failure() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(failure) => (StatusCode::SERVICE_UNAVAILABLE, format!("{failure}\n")),
    }
}

/// Ready: the control port is up and a plan was read. Whether the topology runs is another question.
async fn readyz(State(source): State<Arc<StatusSource>>) -> impl IntoResponse {
    if source.is_ready() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "no plan was read yet\n".to_owned(),
        )
    }
}

async fn serve_metrics(State(source): State<Arc<StatusSource>>) -> impl IntoResponse {
    match metrics::encode(&source.status(), source.measures()) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(error) => {
            let kind = "text/plain; charset=utf-8";
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                [(header::CONTENT_TYPE, kind)],
                format!("{error}\n"),
            )
        }
    }
}

async fn serve_status(State(source): State<Arc<StatusSource>>) -> impl IntoResponse {
    Json(source.status())
}

/// The newest plan: where a plan was lost, its workers still have it.
async fn serve_plan(State(source): State<Arc<StatusSource>>) -> impl IntoResponse {
    match source.plan() {
        Some(plan) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], plan),
        None => (
            StatusCode::NOT_FOUND,
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            "no plan was read yet\n".to_owned(),
        ),
    }
}

fn refuse(status: StatusCode, problem: impl Into<String>) -> Response {
    (status, format!("{}\n", problem.into())).into_response()
}

/// A value of the query.
fn query<'u>(uri: &'u Uri, key: &str) -> Option<&'u str> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .into_iter()
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// Samples of what a component emits: a line of JSON each, until whoever asked goes.
async fn tap(State(source): State<Arc<StatusSource>>, uri: Uri) -> Response {
    let Some(plan) = source.parsed_plan() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "no plan was read yet");
    };
    let name = query(&uri, "component").unwrap_or_default();
    let Some(component) = plan.graph().find(name) else {
        let names: Vec<&str> = plan
            .graph()
            .components()
            .iter()
            .map(|known| known.name.as_str())
            .collect();
        let problem = format!(
            "there is no component '{name}'; the topology has {}",
            names.join(", ")
        );
        return refuse(StatusCode::NOT_FOUND, problem);
    };
    let rate = query(&uri, "rate").map_or(Some(10), |rate| rate.parse().ok());
    let Some(rate) = rate.filter(|rate| (1..=MAX_RATE).contains(rate)) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            format!("'rate' is 1 to {MAX_RATE} tuples a second"),
        );
    };
    let Some(samples) = source.tap(plan.graph(), component.id, rate) else {
        let problem = format!("{MAX_TAPS} taps are open here, which is the most; end one");
        return refuse(StatusCode::TOO_MANY_REQUESTS, problem);
    };
    let lines = futures::stream::unfold((samples, plan), |(mut samples, plan): (Samples, _)| async move {
        let sample = samples.next().await?;
        let line = line(plan.graph(), &sample);
        Some((Ok::<_, std::convert::Infallible>(line), (samples, plan)))
    });
    (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(lines),
    )
        .into_response()
}

/// A sample as a line of JSON.
fn line(graph: &Graph, sample: &Sample) -> Vec<u8> {
    let stream = graph.stream(StreamId(sample.stream));
    let component = graph.component(stream.component);
    let mut tuple = Vec::new();
    if !sample.row.is_empty() {
        append_line(
            &mut tuple,
            LineFormat::Json,
            &stream.fields,
            Row::new(&sample.row),
        );
    }
    let tuple: Option<serde_json::Value> = serde_json::from_slice(&tuple).ok();
    let index = sample.source - graph.tasks_of(graph.component_of(TaskId(sample.source))).start;
    let line = json!({
        "component": component.name,
        "task": index,
        "stream": stream.name,
        "bytes": sample.bytes,
        "tuple": tuple,
    });
    format!("{line}\n").into_bytes()
}

async fn dead_letters(State(source): State<Arc<StatusSource>>) -> impl IntoResponse {
    let mut found = DeadLetters {
        letters: Vec::new(),
        beyond: 0,
    };
    for slot in source.spouts() {
        let Some(letters) = slot.letters() else { continue };
        found.beyond += letters.beyond();
        found
            .letters
            .extend(letters.listed(slot.component(), slot.task()));
    }
    Json(found)
}

async fn replay(State(source): State<Arc<StatusSource>>, Json(replay): Json<Replay>) -> Response {
    let mut replayed = Replayed {
        count: 0,
        ids: Vec::new(),
    };
    for slot in source.spouts() {
        let Some(letters) = slot.letters() else { continue };
        let which = match &replay {
            Replay::All => {
                replayed.count += letters.len();
                Which::All
            }
            Replay::Ids(ids) => {
                let of_task = |id: &String| -> Option<u64> {
                    let (task, number) = id.split_once('-')?;
                    let number = number.parse().ok()?;
                    (task.parse() == Ok(slot.task()) && letters.has(number)).then_some(number)
                };
                let found: Vec<&String> = ids.iter().filter(|id| of_task(id).is_some()).collect();
                let numbers: BTreeSet<u64> = found.iter().filter_map(|id| of_task(id)).collect();
                replayed.count += numbers.len();
                replayed.ids.extend(found.into_iter().cloned());
                Which::These(numbers.into_iter().collect())
            }
        };
        slot.replay(which);
    }
    Json(replayed).into_response()
}

async fn log_level() -> Response {
    levels(logging::levels())
}

async fn set_log_level(State(source): State<Arc<StatusSource>>, Json(change): Json<Change>) -> Response {
    let plan = source.parsed_plan();
    let is_component = |name: &str| {
        plan.as_ref()
            .is_some_and(|plan| plan.graph().find(name).is_some())
    };
    levels(logging::change(&change, is_component))
}

fn levels(levels: Result<logging::Levels, ChangeError>) -> Response {
    match levels {
        Ok(levels) => Json(levels).into_response(),
        Err(error @ ChangeError::BadLevel(_)) => refuse(StatusCode::BAD_REQUEST, error.to_string()),
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine_are_told_from_others() {
        for host in [
            "localhost",
            "localhost:80",
            "127.0.0.1",
            "127.0.0.1:7071",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com:80",
            "10.0.0.1:7071",
            "127.0.0.1.example.com",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
