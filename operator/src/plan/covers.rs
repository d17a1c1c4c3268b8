//! Whether an object in the cluster is as it should be.
//!
//! Owns: the comparison of what is wanted with what is there. The API server adds defaults and bookkeeping of its own, so
//! what is wanted must be there and the rest is not looked at; but a list must have just the wanted items, since an item
//! that somebody added is a change. Pure.

use serde_json::Value;

/// Whether `there` has all that is `wanted`.
pub(crate) fn covers(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        // The API server leaves out what is empty.
        (Value::Null, Value::Object(wanted)) => wanted.is_empty(),
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (Value::Object(there), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| covers(there.get(key).unwrap_or(&Value::Null), wanted)),
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len()
                && there
                    .iter()
                    .zip(wanted)
                    .all(|(there, wanted)| covers(there, wanted))
        }
        (there, wanted) => there == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_let_pass_and_changes_are_not() {
        let wanted = json!({"spec": {"replicas": 2, "ports": [{"name": "data", "port": 7070}], "none": {}}});
        let cases = [
            (
                json!({"spec": {"replicas": 2, "ports": [{"name": "data", "port": 7070, "protocol": "TCP"}], "more": 1}}),
                true,
            ),
            (
                json!({"spec": {"replicas": 3, "ports": [{"name": "data", "port": 7070}]}}),
                false,
            ),
            (json!({"spec": {"replicas": 2, "ports": []}}), false),
            (
                json!({"spec": {"replicas": 2, "ports": [{"name": "data", "port": 7070}, {"name": "x"}]}}),
                false,
            ),
            (json!({}), false),
        ];
        for (there, expected) in cases {
            assert_eq!(covers(&there, &wanted), expected, "{there}");
        }
    }
}
