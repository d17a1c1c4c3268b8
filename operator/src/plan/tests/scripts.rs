//! Decisions about topologies whose scripts come from ConfigMaps.

use super::*;

fn script(contents: &[(&str, &str)]) -> Contents {
    let data = contents
        .iter()
        .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
    Contents::of(k8s_openapi::api::core::v1::ConfigMap {
        data: Some(data.collect()),
        ..Default::default()
    })
}

/// A topology one of whose bolts is a script of ConfigMap `code`.
fn scripted() -> Toy {
    let mut toy = Toy::new(topology(
        "
  spouts:
  - name: numbers
    generator: {shape: {sequence: {}}}
    streams: [{fields: [number]}]
  bolts:
  - name: double
    inputs: [{from: numbers}]
    script: {configMap: {name: code, key: double.py}}
    streams: [{fields: [number]}]
  - name: out
    inputs: [{from: double}]
    stdout: {}
",
    ));
    let code = script(&[("double.py", "def process(tup): yield 2 * tup.number")]);
    toy.config_maps.insert("code".to_owned(), code);
    toy
}

impl Toy {
    fn scripts(&self) -> Vec<&There> {
        let mut found: Vec<&There> = self
            .objects
            .iter()
            .filter(|there| there.kind.kind == "ConfigMap" && there.name.contains("-script-"))
            .collect();
        found.sort_by_key(|there| &there.name);
        found
    }

    fn pod_spec(&self) -> &Value {
        let mut sets = self
            .objects
            .iter()
            .filter(|there| there.kind.kind == "StatefulSet");
        &sets.next().expect("there is one").body["spec"]["template"]["spec"]
    }
}

#[test]
fn a_script_is_copied_and_mounted_into_workers_that_have_its_interpreter() {
    let mut toy = scripted();
    let turns = toy.settle();
    let at = |what: &str| turns[0].iter().position(|done| done == what);
    assert!(at("write ConfigMap") < at("write StatefulSet"), "{turns:?}");
    let [copy] = toy.scripts()[..] else {
        panic!("there is one copy")
    };
    assert_eq!(copy.body["immutable"], true);
    assert_eq!(
        copy.body["data"]["double.py"],
        "def process(tup): yield 2 * tup.number"
    );
    assert_eq!(copy.body["metadata"]["ownerReferences"][0]["uid"], "owner");
    let container = &toy.pod_spec()["containers"][0];
    assert_eq!(container["image"], "script-worker:1");
    let mount = &container["volumeMounts"][2];
    assert_eq!(mount["readOnly"], true);
    let plan = toy.plan().expect("there is one");
    let component = plan
        .graph
        .components
        .iter()
        .find(|component| component.name == "double");
    let settings = &component.expect("it is there").config;
    assert_eq!(settings["directory"], mount["mountPath"]);
    assert_eq!(
        toy.pod_spec()["volumes"][2]["configMap"]["name"],
        copy.name.as_str()
    );
    assert_eq!(toy.condition("Ready").0, "True");
    assert!(toy.turn().is_empty());
}

#[test]
fn other_content_of_a_script_is_another_revision_and_the_same_content_the_same() {
    let mut toy = scripted();
    toy.settle();
    let (before, copy) = (toy.plan().expect("there is one"), toy.scripts()[0].name.clone());
    let code = script(&[("double.py", "def process(tup): yield 3 * tup.number")]);
    toy.config_maps.insert("code".to_owned(), code);
    toy.settle();
    // The one before may come back.
    assert_eq!(toy.scripts().len(), 2);
    phases(&mut toy);
    let after = toy.plan().expect("there is one");
    assert_ne!(after.revision, before.revision);
    assert_eq!(toy.scripts().len(), 1);
    assert_ne!(toy.scripts()[0].name, copy);
    let code = script(&[("double.py", "def process(tup): yield 2 * tup.number")]);
    toy.config_maps.insert("code".to_owned(), code);
    phases(&mut toy);
    assert_eq!(toy.plan().expect("there is one").revision, before.revision);
    assert_eq!(toy.scripts()[0].name, copy);
}

#[test]
fn a_script_that_is_missing_is_named_and_what_runs_keeps_its_own() {
    for (contents, named) in [
        (
            None,
            "ConfigMap 'code', which is not in namespace 'default'; apply it",
        ),
        (
            Some(script(&[("other.py", "")])),
            "which has only: 'other.py'; add the key",
        ),
    ] {
        let mut toy = scripted();
        toy.settle();
        let before = (toy.plan(), toy.pods.clone());
        toy.config_maps.clear();
        toy.config_maps
            .extend(contents.map(|contents| ("code".to_owned(), contents)));
        let turns = toy.settle();
        assert!(turns.concat().is_empty(), "{turns:#?}");
        assert_eq!(
            toy.condition("Accepted"),
            ("False".to_owned(), "ScriptMissing".to_owned())
        );
        let status = toy.topology.status.as_ref().expect("it was written");
        let message = &status.conditions[0].message;
        assert!(
            message.contains("component 'double'") && message.contains(named),
            "{message}"
        );
        assert_eq!((toy.plan(), toy.pods.clone()), before);
        assert_eq!(toy.state(), Some(TopologyState::Running));
        assert_eq!(toy.scripts().len(), 1);
        // The copy goes as well: nothing can make it again.
        toy.objects.retain(|there| !there.name.contains("-script-"));
        toy.turn();
        assert_eq!(
            toy.condition("Degraded"),
            ("True".to_owned(), "ScriptLost".to_owned())
        );
    }
}
