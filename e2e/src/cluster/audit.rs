//! The audit log of our own cluster: who asked the API server for what.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde_json::Value;

/// What the API server was asked since a moment.
pub struct Audit {
    path: PathBuf,
    from: u64,
}

/// One request, which was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asked, such as `system:serviceaccount:waterspout-system:waterspout-operator`.
    pub user: String,
    /// Such as `get`, `watch` or `patch`.
    pub verb: String,
    /// The kind in the plural and what of it, such as `topologies/status`. Empty if it is not about objects.
    pub resource: String,
    /// `NAMESPACE/NAME`, as far as it is about one.
    pub object: String,
    /// The code of the answer.
    pub code: u64,
}

impl Request {
    /// Whether it may have changed something.
    pub fn is_write(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str())
    }

    fn parse(entry: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let about = &entry["objectRef"];
        let join = |one: &Value, other: &Value| match (text(one), text(other)) {
            (one, other) if other.is_empty() => one,
            (one, other) => format!("{one}/{other}"),
        };
        Self {
            user: text(&entry["user"]["username"]),
            verb: text(&entry["verb"]),
            resource: join(&about["resource"], &about["subresource"]),
            object: join(&about["namespace"], &about["name"]),
            code: entry["responseStatus"]["code"].as_u64().unwrap_or_default(),
        }
    }
}

impl Audit {
    pub(super) fn from_now_on(path: PathBuf) -> Self {
        let from = std::fs::metadata(&path).map_or(0, |log| log.len());
        Self { path, from }
    }

    /// All requests since then that were answered, in the order of their answers.
    ///
    /// # Panics
    /// If the log cannot be read, or an entry is not what the API server writes.
    pub fn requests(&self) -> Vec<Request> {
        let mut text = Vec::new();
        File::open(&self.path)
            .and_then(|mut log| {
                log.seek(SeekFrom::Start(self.from))?;
                log.read_to_end(&mut text)
            })
            .unwrap_or_else(|error| panic!("read the audit log '{}': {error}", self.path.display()));
        // What follows the last line end is still being written.
        let end = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let entries = serde_json::Deserializer::from_slice(&text[..end]).into_iter::<Value>();
        entries
            .map(|entry| Request::parse(&entry.expect("entries are JSON")))
            .collect()
    }

    /// The requests of a user, with one of these verbs; with any if there are none.
    pub fn of(&self, user: &str, verbs: &[&str]) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| {
            request.user == user && (verbs.is_empty() || verbs.contains(&request.verb.as_str()))
        });
        requests
    }

    /// The requests of a user that may have changed something.
    pub fn writes_of(&self, user: &str) -> Vec<Request> {
        let mut requests = self.of(user, &[]);
        requests.retain(Request::is_write);
        requests
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn requests_are_counted_from_the_mark_to_the_last_whole_line() {
        let mut log = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let entry = |verb: &str| {
            format!(
                r#"{{"user":{{"username":"a"}},"verb":"{verb}","objectRef":{{"resource":"pods","subresource":"status","namespace":"n","name":"p"}},"responseStatus":{{"code":200}}}}"#
            )
        };
        writeln!(log, "{}", entry("create")).expect("it can be written");
        let audit = Audit::from_now_on(log.path().to_owned());
        writeln!(log, "{}\n{}", entry("patch"), entry("watch")).expect("it can be written");
        write!(log, "{}", &entry("update")[..40]).expect("it can be written");
        let verbs: Vec<String> = audit.requests().into_iter().map(|one| one.verb).collect();
        assert_eq!(verbs, ["patch", "watch"]);
        let writes = audit.writes_of("a");
        assert_eq!(writes.len(), 1);
        assert_eq!(
            (
                writes[0].resource.as_str(),
                writes[0].object.as_str(),
                writes[0].code
            ),
            ("pods/status", "n/p", 200)
        );
        assert!(audit.of("b", &[]).is_empty());
        assert_eq!(audit.of("a", &["watch"]).len(), 1);
    }
}
