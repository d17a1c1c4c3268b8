//! The operators of the cluster: their pods, which of them leads, what they measure.

use serde_json::Value;

use super::{Cluster, PATIENCE, SYSTEM};
use crate::wait_for;

/// The label of their pods.
pub const OPERATORS: &str = "app.kubernetes.io/component=operator";

impl Cluster {
    /// The pods of the operators.
    pub fn operators(&self) -> Vec<Value> {
        let pods = self.get(&["-n", SYSTEM, "pods", "-l", OPERATORS]);
        let pods = pods.unwrap_or_default();
        pods["items"].as_array().cloned().unwrap_or_default()
    }

    /// Who holds the lease of the operators: a pod's name, a slash, and what is of one process alone. `None` if nobody does.
    pub fn lease_holder(&self) -> Option<String> {
        let lease = self.get(&["-n", SYSTEM, "lease", "waterspout-operator"])?;
        let holder = lease["spec"]["holderIdentity"].as_str()?;
        (!holder.is_empty()).then(|| holder.to_owned())
    }

    /// The pod of the operator that leads, once there is one.
    ///
    /// # Panics
    /// If there is none in time.
    pub fn leader(&self) -> Value {
        wait_for("an operator that leads", PATIENCE, || {
            let holder = self.lease_holder()?;
            let name = holder.split('/').next()?;
            let mut pods = self.operators().into_iter();
            pods.find(|pod| pod["metadata"]["name"] == name)
        })
    }

    /// What the operator that leads measures.
    ///
    /// # Panics
    /// If there is none.
    pub fn operator_metrics(&self) -> String {
        let leader = self.leader();
        let name = leader["metadata"]["name"].as_str().unwrap_or_default();
        self.kubectl([
            "get",
            "--raw",
            &format!("/api/v1/namespaces/{SYSTEM}/pods/{name}:8080/proxy/metrics"),
        ])
    }
}
