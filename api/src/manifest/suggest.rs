//! What a wrong name was probably meant to be.

/// The known name that is nearest to `wrong`, if it is near enough to be meant.
#[must_use]
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name of any length could come from outside; the known ones are short.
    let wrong: Vec<char> = wrong.chars().take(64).flat_map(char::to_lowercase).collect();
    let allowed = (wrong.len() / 3).max(1);
    known
        .into_iter()
        .map(|name| {
            (
                distance(&wrong, &name.to_lowercase().chars().collect::<Vec<_>>()),
                name,
            )
        })
        .filter(|(distance, _)| *distance <= allowed)
        // Of equally near names, the one as long as what was written: swapped letters are more likely than lost ones.
        .min_by_key(|(distance, name)| (*distance, name.chars().count().abs_diff(wrong.len())))
        .map(|(_, name)| name)
}

/// How many characters must be put in, taken out, replaced or swapped with their neighbour (optimal string alignment).
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let mut best = (previous[column] + usize::from(a != b))
                .min(previous[column + 1] + 1)
                .min(current[column] + 1);
            if row > 0 && column > 0 && *a == right[column - 1] && left[row - 1] == *b {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[right.len()]
}

/// Names in back quotes with commas between them.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names
        .into_iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(nearest("filed", ["file", "field", "path"]), Some("field"));
        assert_eq!(nearest("Replicas", ["replicas", "name"]), Some("replicas"));
        assert_eq!(nearest("parallelism", ["replicas", "name"]), None);
        assert_eq!(nearest("", ["replicas"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
