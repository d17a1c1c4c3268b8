//! What can be wrong with a component's settings in view of the streams around it.
//!
//! Owns: the faults, where each lies, and the checks that several kinds share. Leaves to others: the checks of one
//! kind (its file), ranges and forms (the resource's schema), the graph as such (`graph`), and showing the fault.

/// One stream as a component sees it: of whom it comes and what fields its tuples have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamShape<'a> {
    /// The component that declares it.
    pub component: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its fields.
    pub fields: &'a [String],
    /// Whether its tuples name their tasks.
    pub direct: bool,
}

/// A fault of a component's settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ConfigFault {
    /// Where it lies.
    pub place: ConfigPlace,
    /// What it is.
    pub problem: ConfigProblem,
}

/// Where in a component a fault lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigPlace {
    /// One of the kind's settings, by its path in the manifest, and the index in it if it is a list.
    Setting(&'static [&'static str], Option<usize>),
    /// The component's list of streams, which may be absent.
    Streams,
    /// A declared stream, by its index.
    Stream(usize),
    /// The fields of a declared stream, by the stream's index.
    StreamFields(usize),
}

/// What is wrong with a component's settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigProblem {
    /// A setting names a field that an input does not have.
    #[error("stream `{stream}` of `{component}` has no field `{field}`")]
    UnknownField {
        /// What the setting says.
        field: String,
        /// Where the input comes from.
        component: String,
        /// The input's stream.
        stream: String,
        /// The fields that it has.
        known: Vec<String>,
    },
    /// A stream is declared with another number of fields than the kind emits.
    #[error("`{kind}` emits {expected} field{}, but stream `{stream}` declares {found}", if *.expected == 1 { "" } else { "s" })]
    WrongFieldCount {
        /// The kind.
        kind: &'static str,
        /// The declared stream.
        stream: String,
        /// How many fields the kind emits.
        expected: usize,
        /// How many are declared.
        found: usize,
    },
    /// A component that emits declares no stream for it.
    #[error("`{kind}` emits tuples, but no stream is declared for them")]
    NoStream {
        /// The kind.
        kind: &'static str,
        /// A stream that would do.
        example: String,
    },
    /// A stream is declared that the kind never emits to.
    #[error("`{kind}` emits to stream `default` only, never to `{stream}`")]
    OtherStream {
        /// The kind.
        kind: &'static str,
        /// The declared stream.
        stream: String,
    },
    /// A direct stream of a kind that never names a task.
    #[error("`{kind}` never names the task that a tuple goes to, so stream `{stream}` cannot be direct")]
    Direct {
        /// The kind.
        kind: &'static str,
        /// The declared stream.
        stream: String,
    },
    /// A setting needs a field of the component that is not set.
    #[error("`{setting}` needs `{field}`")]
    Needs {
        /// The setting.
        setting: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A kind that takes tuples in, as a spout.
    #[error("a line filter takes tuples, so it is no spout")]
    NoSpout,
    /// A file whose language is not known.
    #[error("the language of `{0}` is not known")]
    UnknownLanguage(String),
    /// A command without a program.
    #[error("the first of `argv` is the program, and it is empty")]
    NoProgram,
    /// A stream is declared by a component that emits nothing.
    #[error("`{kind}` emits nothing, so it cannot have streams")]
    EmitsNothing {
        /// The kind, with what makes it silent.
        kind: &'static str,
    },
}

impl ConfigProblem {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownField { known, .. } => Some(format!("its fields are {}", quoted(known))),
            Self::WrongFieldCount { kind: "count", .. } => {
                Some("one for each field of `by`, in that order, and one for the count".to_owned())
            }
            Self::WrongFieldCount { .. } => None,
            Self::NoStream { example, .. } => Some(format!("add `streams: [{{fields: {example}}}]`")),
            Self::OtherStream { .. } => Some("leave its name out, or remove it".to_owned()),
            Self::Direct { .. } => Some("remove `direct`".to_owned()),
            Self::Needs { field, .. } => Some(format!("add `{field}` to the component")),
            Self::NoSpout => Some("use `python` or `javascript`, or the spout `file`".to_owned()),
            Self::UnknownLanguage(_) => Some("let it end with `.py` or `.js`, or use `command`".to_owned()),
            Self::NoProgram => Some("name a program, such as `argv: [ruby, bolt.rb]`".to_owned()),
            Self::EmitsNothing { .. } => Some("remove `streams`".to_owned()),
        }
    }
}

fn quoted(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A setting that names a field: every input must have it.
pub(super) fn field_of_all_inputs(
    field: &str,
    path: &'static [&'static str],
    index: Option<usize>,
    inputs: &[StreamShape<'_>],
) -> Option<ConfigFault> {
    let missing = inputs
        .iter()
        .find(|input| !input.fields.iter().any(|known| known == field))?;
    Some(ConfigFault {
        place: ConfigPlace::Setting(path, index),
        problem: ConfigProblem::UnknownField {
            field: field.to_owned(),
            component: missing.component.to_owned(),
            stream: missing.name.to_owned(),
            known: missing.fields.to_vec(),
        },
    })
}

/// A kind that emits to `default` only; `expected` fields if their number is fixed, named as in `example`.
pub(super) fn only_default(
    kind: &'static str,
    expected: Option<usize>,
    example: &str,
    streams: &[StreamShape<'_>],
) -> Vec<ConfigFault> {
    if streams.is_empty() {
        let problem = ConfigProblem::NoStream {
            kind,
            example: example.to_owned(),
        };
        return vec![ConfigFault {
            place: ConfigPlace::Streams,
            problem,
        }];
    }
    let mut faults = Vec::new();
    for (index, stream) in streams.iter().enumerate() {
        if stream.name != super::DEFAULT_STREAM {
            let problem = ConfigProblem::OtherStream {
                kind,
                stream: stream.name.to_owned(),
            };
            faults.push(ConfigFault {
                place: ConfigPlace::Stream(index),
                problem,
            });
        } else if stream.direct {
            let problem = ConfigProblem::Direct {
                kind,
                stream: stream.name.to_owned(),
            };
            faults.push(ConfigFault {
                place: ConfigPlace::Stream(index),
                problem,
            });
        } else if let Some(expected) = expected.filter(|expected| *expected != stream.fields.len()) {
            let problem = ConfigProblem::WrongFieldCount {
                kind,
                stream: stream.name.to_owned(),
                expected,
                found: stream.fields.len(),
            };
            faults.push(ConfigFault {
                place: ConfigPlace::StreamFields(index),
                problem,
            });
        }
    }
    faults
}

/// A kind that emits nothing.
pub(super) fn no_streams(kind: &'static str, streams: &[StreamShape<'_>]) -> Vec<ConfigFault> {
    if streams.is_empty() {
        return Vec::new();
    }
    vec![ConfigFault {
        place: ConfigPlace::Streams,
        problem: ConfigProblem::EmitsNothing { kind },
    }]
}
