//! What can be wrong with a graph, and where.

use std::fmt;

use thiserror::Error;

use super::spec::Role;

/// A place in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// In which list of components; `None` for the topology as a whole.
    pub component: Option<(Role, usize)>,
    /// In which list of the component, and where in it.
    pub list: Option<(&'static str, usize)>,
    /// Which field there.
    pub field: Option<&'static str>,
}

impl Place {
    /// The topology as a whole.
    pub const TOPOLOGY: Self = Self {
        component: None,
        list: None,
        field: None,
    };

    /// A component, by its position among the spouts or the bolts.
    pub fn component(role: Role, index: usize) -> Self {
        Self {
            component: Some((role, index)),
            list: None,
            field: None,
        }
    }

    /// An element of a list of this component.
    pub fn at(self, list: &'static str, index: usize) -> Self {
        Self {
            list: Some((list, index)),
            ..self
        }
    }

    /// A field of this place.
    pub fn field(self, field: &'static str) -> Self {
        Self {
            field: Some(field),
            ..self
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((role, index)) = self.component else {
            return f.write_str("spec");
        };
        let list = if role == Role::Spout { "spouts" } else { "bolts" };
        write!(f, "{list}[{index}]")?;
        if let Some((list, index)) = self.list {
            write!(f, ".{list}[{index}]")?;
        }
        if let Some(field) = self.field {
            write!(f, ".{field}")?;
        }
        Ok(())
    }
}

/// One fault of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: {problem}")]
pub struct GraphFault {
    /// Where it is.
    pub place: Place,
    /// What it is.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// There is no spout.
    #[error("a topology needs at least one spout")]
    NoSpout,
    /// Two components have one name.
    #[error("the name '{0}' is taken by another component; names are unique in a topology")]
    DuplicateName(String),
    /// A name is none.
    #[error("'{0}' is no name: use at most 63 of a-z, 0-9 and '-', with a letter first and no '-' last")]
    BadName(String),
    /// A name is kept for the system.
    #[error("'{0}' starts with '__', which is kept for the system; take another name")]
    ReservedName(String),
    /// A spout has inputs.
    #[error("a spout has no inputs; make '{0}' a bolt, or remove them")]
    SpoutWithInputs(String),
    /// A bolt has no input.
    #[error("the bolt '{0}' has no input; say what it reads under 'inputs'")]
    NoInputs(String),
    /// An input from a component that does not exist.
    #[error("there is no component '{name}'{}", suggest(nearest))]
    UnknownComponent {
        /// The name.
        name: String,
        /// The name that was meant, perhaps.
        nearest: Option<String>,
    },
    /// An input of a stream that its component does not declare.
    #[error("the component '{component}' has no stream '{stream}'{}", suggest(nearest))]
    UnknownStream {
        /// The component.
        component: String,
        /// The stream.
        stream: String,
        /// The name that was meant, perhaps.
        nearest: Option<String>,
    },
    /// A fields grouping by a field that the stream does not have.
    #[error("the stream has no field '{field}'{}", suggest(nearest))]
    UnknownField {
        /// The field.
        field: String,
        /// The name that was meant, perhaps.
        nearest: Option<String>,
    },
    /// A spout declares the stream that every spout has.
    #[error(
        "every spout has a stream '{}' already; give this one another name",
        crate::component::DEAD_LETTERS
    )]
    DeadLetters,
    /// A cycle whose tuples are not tracked.
    #[error(
        "'{0}' is in a cycle, whose tuples are bounded only while they are tracked; take `mode: AtLeastOnce`, or take out the cycle"
    )]
    UntrackedCycle(String),
    /// A grouping of a direct stream that is not `direct`.
    #[error("the stream '{stream}' of '{component}' is direct; read it with `direct: {{}}`")]
    Direct {
        /// The component.
        component: String,
        /// The stream.
        stream: String,
    },
    /// A direct grouping of a stream that is not direct.
    #[error(
        "the stream '{stream}' of '{component}' is not direct; declare it with `direct: true`, or take another grouping"
    )]
    NotDirect {
        /// The component.
        component: String,
        /// The stream.
        stream: String,
    },
    /// A list that must not be empty.
    #[error("this list is empty; name at least one field")]
    NoFields,
    /// The same field twice.
    #[error("the field '{0}' is named twice")]
    DuplicateField(String),
    /// The same stream twice.
    #[error("the stream '{0}' is declared twice")]
    DuplicateStream(String),
    /// The same input twice.
    #[error("this stream is an input of the bolt already")]
    DuplicateInput,
    /// A bolt that no tuple can get to.
    #[error("no spout reaches the bolt '{0}'; connect its inputs to something that comes from a spout")]
    Unreachable(String),
    /// A spout whose streams nothing reads.
    #[error("nothing reads the spout '{0}'; add it to the inputs of a bolt")]
    Unread(String),
    /// A number of tasks that cannot be.
    #[error("{0} replicas cannot be; use 1 to {MAX_REPLICAS}")]
    Replicas(u32),
    /// More of something than there may be.
    #[error("{found} {what} are too many; at most {most} are possible")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
}

/// Most tasks of one component.
pub const MAX_REPLICAS: u32 = 1024;

fn suggest(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}

/// The candidate nearest to `name`, if one is near enough to have been meant.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let most = name.chars().count().div_ceil(3).max(1);
    candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|&(distance, _)| distance <= most)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

/// Insertions, deletions and replacements between two names (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
