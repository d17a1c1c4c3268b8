//! What a spec says of the workers' pods: in their template, in the history, and not in the way of the operator's own.

use k8s_openapi::api::apps::v1::StatefulSet;
use waterspout_api::Manifest;

use super::*;
use crate::plan::scripts::Mount;
use crate::plan::settings::PodSettings;

/// All that may be said of pods.
const ALL: &str = r#"
  workers:
    resources:
      requests: {cpu: "0.5", memory: 1024Mi, example.com/gpu: "1"}
      limits: {memory: 2Gi, ephemeral-storage: 1000M, example.com/gpu: "1"}
    template:
      env:
      - {name: GREETING, value: hello}
      - {name: EMPTY, value: ""}
      - {name: BARE}
      - {name: TOKEN, valueFrom: {secretKeyRef: {name: credentials, key: token}}}
      - {name: LEVEL, valueFrom: {configMapKeyRef: {name: levels, key: level, optional: true}}}
      - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
      volumes:
      - {name: words, configMap: {name: words}}
      - {name: keys, secret: {secretName: keys, optional: true}}
      - {name: scratch, emptyDir: {medium: Memory, sizeLimit: 1024Ki}}
      - {name: room, emptyDir: {}}
      - {name: models, persistentVolumeClaim: {claimName: models, readOnly: true}}
      volumeMounts:
      - {name: words, mountPath: /etc/words, readOnly: true}
      - {name: keys, mountPath: /srv/keys/one, subPath: one}
      - {name: scratch, mountPath: /scratch}
      nodeSelector: {example.com/pool: fast, empty: ""}
      tolerations:
      - {key: dedicated, value: streams, effect: NoSchedule}
      - {operator: Exists, effect: NoExecute, tolerationSeconds: 0}
      - {key: empty, value: ""}
      priorityClassName: urgent
      imagePullSecrets: [{name: registry}]
      labels: {team: streams}
      annotations: {example.com/note: "one"}
  spouts:
  - name: numbers
    generator: {shape: {sequence: {}}}
    streams: [{fields: [number]}]
  bolts:
  - name: out
    inputs: [{from: numbers}]
    stdout: {}
"#;

/// The template of a revision's pods.
fn template(settings: PodSettings, scripts: &[Mount]) -> Value {
    let owner = Owner {
        name: NAME,
        namespace: "default",
        uid: "owner",
        worker_role: "waterspout-worker",
    };
    let workers = crate::plan::objects::Workers {
        revision: "1a2b3c4d",
        image: "worker:1",
        replicas: 1,
        drain_timeout_ms: 5_000,
        is_tls: false,
        traces: None,
        scripts,
        settings,
    };
    let objects = crate::plan::objects::of_revision(&owner, &workers);
    let mut sets = objects
        .into_iter()
        .filter(|object| object.kind.kind == "StatefulSet");
    sets.next().expect("there is one").body
}

fn set_of(topology: &Topology) -> Value {
    template(PodSettings::of(&topology.spec.workers), &[])
}

#[test]
fn what_is_said_of_pods_is_in_their_template() {
    let topology = topology(ALL);
    assert!(topology.spec.graph().is_ok());
    let set = set_of(&topology);
    insta::assert_json_snapshot!(set["spec"]["template"]);
    let typed: StatefulSet = serde_json::from_value(set.clone()).expect("it is a StatefulSet");
    let again = serde_json::to_value(typed).expect("it can be written");
    assert!(
        crate::plan::covers::covers(&again["spec"]["template"], &set["spec"]["template"]),
        "a field is not one of Kubernetes: {again:#}"
    );
}

#[test]
fn what_the_operator_has_in_a_pod_is_refused_in_a_spec() {
    let mount = Mount {
        config_map: "words-script-0123".to_owned(),
        volume: "script-0123".to_owned(),
        path: "/etc/waterspout/scripts/0123".to_owned(),
    };
    let set = template(PodSettings::default(), &[mount]);
    let pod = &set["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    let names = |list: &Value, field: &str| -> Vec<String> {
        let list = list.as_array().expect("a list");
        list.iter()
            .map(|one| one[field].as_str().expect("a name").to_owned())
            .collect()
    };
    let mut said = Vec::new();
    for name in names(&container["env"], "name") {
        said.push(format!("env: [{{name: {name}, value: x}}]"));
    }
    for name in names(&pod["spec"]["volumes"], "name") {
        said.push(format!("volumes: [{{name: {name}, emptyDir: {{}}}}]"));
    }
    for path in names(&container["volumeMounts"], "mountPath") {
        said.push(format!(
            "volumes: [{{name: mine, emptyDir: {{}}}}], volumeMounts: [{{name: mine, mountPath: {path}}}]"
        ));
    }
    for field in ["labels", "annotations"] {
        for key in pod["metadata"][field].as_object().expect("a map").keys() {
            said.push(format!("{field}: {{{key}: x}}"));
        }
    }
    assert!(said.len() > 10, "{said:?}");
    let is_taken = |said: &str| {
        let text = format!(
            "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: words}}
spec:
  workers: {{template: {{{said}}}}}
  spouts: [{{name: a, generator: {{shape: {{sequence: {{}}}}}}, streams: [{{fields: [number]}}]}}]
  bolts: [{{name: b, inputs: [{{from: a}}], stdout: {{}}}}]
"
        );
        Manifest::parse("words.yaml", &text).is_ok()
    };
    for other in [
        "env: [{name: MINE, value: x}]",
        "volumes: [{name: mine, emptyDir: {}}], volumeMounts: [{name: mine, mountPath: /mine}]",
        "labels: {mine: x}, annotations: {mine: x}",
    ] {
        assert!(is_taken(other), "{other} is refused");
    }
    for said in said {
        assert!(!is_taken(&said), "{said} is taken");
    }
}

#[test]
fn other_pods_are_another_revision() {
    let mut toy = Toy::new(words(1, 10));
    let plain = toy.wished();
    toy.topology.spec.workers.template.priority_class_name = Some("urgent".to_owned());
    let urgent = toy.wished();
    toy.topology.spec.workers.resources.limits = [("cpu".to_owned(), "1".to_owned())].into();
    let limited = toy.wished();
    assert!(plain != urgent && urgent != limited);
}

#[test]
fn a_revision_keeps_its_pods_while_another_one_comes() {
    let mut toy = Toy::new(words(1, 10));
    toy.topology.spec.workers.template.priority_class_name = Some("urgent".to_owned());
    toy.settle();
    let class = |toy: &Toy, revision: &str| {
        let name = format!("{NAME}-{revision}");
        let mut sets = toy
            .objects
            .iter()
            .filter(|there| there.kind.kind == "StatefulSet");
        let set = sets.find(|there| there.name == name).expect("it is there");
        set.body["spec"]["template"]["spec"]["priorityClassName"].clone()
    };
    let first = toy.wished();
    assert_eq!(class(&toy, &first), "urgent");
    toy.topology.spec.workers.template.priority_class_name = Some("later".to_owned());
    toy.topology.metadata.generation = Some(2);
    let second = toy.wished();
    let sets = |toy: &Toy| {
        toy.objects
            .iter()
            .filter(|there| there.kind.kind == "StatefulSet")
            .count()
    };
    let both = (0..20).any(|_| {
        toy.turn();
        sets(&toy) == 2
    });
    assert!(both, "both are there at a time");
    assert_eq!(
        (class(&toy, &first), class(&toy, &second)),
        ("urgent".into(), "later".into())
    );
}
