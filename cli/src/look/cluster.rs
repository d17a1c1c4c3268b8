//! The workers of topologies in a cluster.
//!
//! Owns: finding their pods, and a way to each through the API server, which ends in the pod itself: so what a worker
//! answers to its own pod only is answered to who may forward ports to it, and to nobody else. Leaves to others: what is
//! asked.

use anyhow::{Context, anyhow};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::{Place, Stream, Worker};
use crate::args::WhereArgs;

/// What the pods of a topology have as a label.
const TOPOLOGY_LABEL: &str = "waterspout.dev/topology";
/// The port of a worker's endpoints, if its pod does not say.
const HTTP_PORT: u16 = 7071;

/// A way to pods.
#[derive(Clone)]
pub(super) struct Pods {
    api: Api<Pod>,
    port: u16,
}

/// The workers of all topologies of a namespace, or of the one that is meant.
pub(super) async fn workers(args: &WhereArgs) -> anyhow::Result<Vec<Worker>> {
    let config = match &args.context {
        Some(context) => {
            let options = KubeConfigOptions {
                context: Some(context.clone()),
                ..KubeConfigOptions::default()
            };
            let file = Kubeconfig::read().context("read the kubeconfig")?;
            Config::from_custom_kubeconfig(file, &options)
                .await
                .with_context(|| format!("use the context '{context}' of the kubeconfig"))?
        }
        // Its own text names the causes.
        None => Config::infer()
            .await
            .map_err(|error| anyhow!("there is no cluster either: {error}"))?,
    };
    let namespace = args
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).context("connect to the API server")?;
    let api: Api<Pod> = Api::namespaced(client, &namespace);
    let labels = match &args.topology {
        Some(topology) => format!("{TOPOLOGY_LABEL}={topology}"),
        None => TOPOLOGY_LABEL.to_owned(),
    };
    let pods = api.list(&ListParams::default().labels(&labels)).await;
    let pods = pods.with_context(|| format!("list the pods of namespace '{namespace}'"))?;
    let mut workers: Vec<Worker> = pods.items.iter().filter_map(|pod| worker(&api, pod)).collect();
    workers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(workers)
}

/// The worker of a pod, if it runs.
fn worker(api: &Api<Pod>, pod: &Pod) -> Option<Worker> {
    let runs = pod.status.as_ref()?.phase.as_deref() == Some("Running");
    let leaves = pod.metadata.deletion_timestamp.is_some();
    let ports = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = ports.flat_map(|container| container.ports.iter().flatten());
    let port = ports
        .find(|port| port.name.as_deref() == Some("http"))
        .and_then(|port| u16::try_from(port.container_port).ok());
    let worker = Worker {
        name: pod.metadata.name.clone()?,
        topology: pod.metadata.labels.as_ref()?.get(TOPOLOGY_LABEL)?.clone(),
        place: Place::Pod(Box::new(Pods {
            api: api.clone(),
            port: port.unwrap_or(HTTP_PORT),
        })),
    };
    (runs && !leaves).then_some(worker)
}

impl Pods {
    /// A connection to a pod.
    pub(super) async fn connect(&self, pod: &str) -> anyhow::Result<Box<dyn Stream>> {
        let forwarded = self.api.portforward(pod, &[self.port]).await;
        let mut forwarded = forwarded.with_context(|| {
            format!("forward a port of pod '{pod}'; it takes the right to create pods/portforward")
        })?;
        let stream = forwarded
            .take_stream(self.port)
            .context("take the forwarded port")?;
        Ok(Box::new(stream))
    }
}
