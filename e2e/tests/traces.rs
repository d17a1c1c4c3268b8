//! Traces of tuple trees through two processes, at a collector that takes OTLP.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use waterspout_e2e::{Run, manifest};

/// A span and the instance that it came from.
type Seen = Arc<Mutex<Vec<(String, Span)>>>;

/// A collector.
struct Collector(Seen);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let instance = attribute(&of_resource.resource.unwrap(), "service.instance.id");
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| (instance.clone(), span));
            self.0.lock().unwrap().extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn attribute(resource: &Resource, key: &str) -> String {
    let attribute = resource.attributes.iter().find(|attribute| attribute.key == key);
    match attribute.unwrap().value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        other => panic!("'{key}' is {other:?}"),
    }
}

/// Runs a topology of 50 sentences with a collector, in two processes.
fn run(flags: &[&str]) -> Vec<(String, Span)> {
    let (_directory, path) = manifest(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {name: traced}
spec:
  spouts:
  - name: lines
    generator: {count: 50, shape: {sentence: {words: 3}}}
    streams: [{fields: [line]}]
  bolts:
  - name: split
    replicas: 2
    inputs: [{from: lines}]
    split: {field: line}
    streams: [{fields: [word]}]
  - name: count
    replicas: 2
    inputs: [{from: split, fields: [word]}]
    count: {by: [word], emit: Never}
",
    );
    let seen = Seen::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let service = TraceServiceServer::new(Collector(Arc::clone(&seen)));
    let serving = Server::builder().add_service(service);
    runtime.spawn(serving.serve_with_incoming(TcpIncoming::from(listener)));
    let args = [
        "run",
        path.to_str().unwrap(),
        "--workers",
        "2",
        "--traces",
        &endpoint,
    ];
    let finished = Run::start(args.iter().chain(flags)).finish(Duration::from_secs(30));
    assert!(finished.status.success(), "{finished:?}");
    runtime.shutdown_background();
    std::mem::take(&mut *seen.lock().unwrap())
}

#[test]
fn a_trace_has_what_every_task_did_for_a_tuple_of_a_spout_through_both_processes() {
    let spans = run(&["--trace-one-in", "1"]);
    let mut traces: BTreeMap<Vec<u8>, Vec<&(String, Span)>> = BTreeMap::new();
    for span in &spans {
        traces.entry(span.1.trace_id.clone()).or_default().push(span);
    }
    assert_eq!(traces.len(), 50);
    let mut processes_of_a_trace = BTreeSet::new();
    for trace in traces.values() {
        let ids: BTreeSet<&[u8]> = trace.iter().map(|(_, span)| span.span_id.as_slice()).collect();
        assert_eq!(ids.len(), trace.len(), "two spans have one name");
        let (roots, others): (Vec<_>, Vec<_>) = trace
            .iter()
            .copied()
            .partition(|(_, span)| span.parent_span_id.is_empty());
        let [(_, root)] = roots.as_slice() else {
            panic!("{} roots", roots.len());
        };
        assert_eq!((root.name.as_str(), &root.status), ("lines", &None));
        for (_, span) in &others {
            assert!(
                ids.contains(span.parent_span_id.as_slice()),
                "{span:?} has no parent"
            );
        }
        let parent = |span: &Span| {
            let parent = trace
                .iter()
                .find(|(_, other)| other.span_id == span.parent_span_id);
            parent.unwrap().1.name.clone()
        };
        let chain: BTreeSet<(String, String)> = others
            .iter()
            .map(|(_, span)| (parent(span), span.name.clone()))
            .collect();
        let chain: Vec<_> = chain.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let expected = [
            ("lines", "lines emits"),
            ("lines emits", "split"),
            ("split", "split emits"),
            ("split emits", "count"),
        ];
        assert_eq!(chain, expected);
        let last = others.iter().map(|(_, span)| span.end_time_unix_nano).max();
        assert!(last.unwrap() <= root.end_time_unix_nano, "the root ends last");
        let processes: BTreeSet<&str> = trace.iter().map(|(process, _)| process.as_str()).collect();
        processes_of_a_trace.insert(processes.len());
    }
    assert!(processes_of_a_trace.contains(&2));
}

#[test]
fn one_root_in_so_many_is_traced() {
    let spans = run(&["--trace-one-in", "10"]);
    let traces: BTreeSet<&[u8]> = spans.iter().map(|(_, span)| span.trace_id.as_slice()).collect();
    assert_eq!(traces.len(), 5);
}
