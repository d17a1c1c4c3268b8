//! Exports spans to a collector, by OTLP over gRPC.
//!
//! Owns: the connection to the collector, the form of a span on the wire. Leaves to others: which spans there are
//! ([`super`]). Invariant: a collector that is away costs spans and nothing else.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans, ScopeSpans, Status};
use tokio::sync::{Notify, mpsc};
use tonic::transport::{Channel, Endpoint};

use super::Span;

/// Most spans of one message.
const BATCH: usize = 512;

/// Exports what comes until `end` rings, and what waits then.
pub(super) async fn run(
    endpoint: String,
    topology: String,
    worker: u32,
    mut spans: mpsc::Receiver<Span>,
    end: Arc<Notify>,
) {
    let channel = match connect(&endpoint) {
        Ok(channel) => channel,
        Err(error) => {
            tracing::error!(endpoint, %error, "traces go nowhere: the endpoint is none; say http://HOST:PORT");
            return;
        }
    };
    let mut client = TraceServiceClient::new(channel);
    let resource = resource(&topology, worker);
    let mut batch = Vec::new();
    let mut is_away = false;
    let mut is_over = false;
    while !is_over {
        tokio::select! {
            biased;
            count = spans.recv_many(&mut batch, BATCH) => is_over = count == 0,
            // What waits is still taken.
            () = end.notified() => spans.close(),
        }
        if batch.is_empty() {
            continue;
        }
        let sent = client.export(request(&resource, batch.drain(..))).await;
        if let Err(status) = &sent
            && !is_away
        {
            let reason = status.message();
            tracing::warn!(endpoint, reason, "a collector takes no traces; they are dropped");
        }
        if sent.is_ok() && is_away {
            tracing::info!(endpoint, "a collector takes traces again");
        }
        is_away = sent.is_err();
    }
}

fn connect(endpoint: &str) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(endpoint.to_owned())?
        .connect_timeout(Duration::from_secs(2))
        .timeout(Duration::from_secs(5));
    Ok(endpoint.connect_lazy())
}

fn resource(topology: &str, worker: u32) -> Resource {
    Resource {
        attributes: vec![
            text("service.namespace", "waterspout"),
            text("service.name", topology),
            text("service.instance.id", &worker.to_string()),
        ],
        ..Resource::default()
    }
}

fn request(resource: &Resource, spans: impl Iterator<Item = Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: "waterspout".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.map(span).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn span(span: Span) -> otlp::Span {
    let kind = match (span.parent, span.to) {
        (_, Some(_)) => SpanKind::Producer,
        (Some(_), None) => SpanKind::Consumer,
        (None, None) => SpanKind::Internal,
    };
    let mut attributes = vec![int("waterspout.task", u64::from(span.task))];
    attributes.extend(span.to.map(|to| int("waterspout.to_task", u64::from(to))));
    attributes.extend(span.rows.map(|rows| int("waterspout.batch.tuples", rows)));
    otlp::Span {
        trace_id: span.trace.to_be_bytes().to_vec(),
        span_id: span.id.to_be_bytes().to_vec(),
        parent_span_id: span.parent.map_or_else(Vec::new, |id| id.to_be_bytes().to_vec()),
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: span.start.as_nanos() as u64,
        end_time_unix_nano: span.end.as_nanos() as u64,
        attributes,
        status: span.error.map(|message| Status {
            message: message.to_owned(),
            code: StatusCode::Error.into(),
        }),
        ..otlp::Span::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn int(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(value as i64))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
