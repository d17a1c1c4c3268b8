//! The endpoints of a worker: `/healthz`, `/readyz`, `/metrics`, `/status` and `/plan`.
//!
//! Owns: the routes and their answers. Leaves to others: what is true ([`crate::status`]).

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::metrics;
use crate::status::StatusSource;

/// The routes over what a worker publishes.
pub fn routes(source: Arc<StatusSource>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(serve_metrics))
        .route("/status", get(serve_status))
        .route("/plan", get(serve_plan))
        .with_state(source)
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
    match metrics::encode(&source.status()) {
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
    axum::Json(source.status())
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
