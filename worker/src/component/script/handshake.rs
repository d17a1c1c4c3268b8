//! The handshake of the script protocol.
//!
//! Owns: the first message to a program, and reading which encoding it chose.

use serde_json::json;
use waterspout_core::graph::Role;

use super::super::Context;
use super::codec::Encoding;
use super::speak::Wrong;

/// The version of the protocol.
const VERSION: i64 = 1;

/// The first message to a program.
pub(super) fn hello(
    context: &Context,
    role: Role,
    config: &serde_json::Value,
    script: Option<&str>,
) -> Vec<u8> {
    let inputs: Vec<_> = context
        .inputs
        .iter()
        .map(|input| json!({"component": input.component, "stream": input.name, "fields": input.fields}))
        .collect();
    let outputs: Vec<_> = context
        .outputs
        .iter()
        .map(|output| {
            let readers: Vec<_> = output
                .readers
                .iter()
                .map(|(component, tasks)| json!({"component": component, "tasks": tasks.clone().collect::<Vec<_>>()}))
                .collect();
            json!({"stream": output.name, "fields": output.fields, "direct": output.direct, "readers": readers})
        })
        .collect();
    let mut hello = json!({
        "waterspout": VERSION,
        "encodings": ["MessagePack", "Json"],
        "role": if role == Role::Spout { "Spout" } else { "Bolt" },
        "topology": context.topology,
        "component": context.component,
        "task": context.task,
        "index": context.index,
        "tasks": context.tasks,
        "inputs": inputs,
        "outputs": outputs,
        "config": config,
    });
    if let Some(script) = script {
        hello["script"] = script.into();
    }
    hello.to_string().into_bytes()
}

/// The encoding that a program chose in its answer to [`hello`]; `None` if the message is none.
pub(super) fn chosen(message: &[u8]) -> Result<Option<Encoding>, Wrong> {
    if message.first() == Some(&b'[') {
        return Ok(None);
    }
    let rule = |text: String| Err(Wrong::Rule(text));
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(message) else {
        return rule(
            "its first message is no JSON; does it speak the script protocol on descriptors 3 and 4?"
                .to_owned(),
        );
    };
    if answer["waterspout"] != VERSION {
        return rule(format!(
            "it speaks version {} of the script protocol, and this worker {VERSION}",
            answer["waterspout"]
        ));
    }
    match answer["encoding"].as_str() {
        Some("MessagePack") => Ok(Some(Encoding::MessagePack)),
        Some("Json") => Ok(Some(Encoding::Json)),
        _ => rule(format!(
            "it wants the encoding {}, and there are MessagePack and Json",
            answer["encoding"]
        )),
    }
}
