//! The way to a field.

/// A step on the way into an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Field(String),
    At(usize),
}

/// The way to a field.
pub(super) type Path = Vec<Step>;

pub(super) fn below(path: &[Step], step: Step) -> Path {
    let mut path = path.to_vec();
    path.push(step);
    path
}

/// `spec.containers[0].foo`
pub(super) fn written(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Field(name) if text.is_empty() => text.push_str(name),
            Step::Field(name) => text = format!("{text}.{name}"),
            Step::At(index) => text = format!("{text}[{index}]"),
        }
    }
    text
}
