//! Which words have the latest tag, where they are few: so that these can get the next one, and a tag is used up only
//! by many words.

/// So many are few.
const FEW: usize = 32;

/// See the module.
#[derive(Debug)]
pub(super) enum TaggedWords {
    /// The hashes of their keys, each once.
    Few(Vec<u64>),
    /// Too many, or not known.
    Many,
}

impl TaggedWords {
    pub(super) const fn new() -> Self {
        Self::Few(Vec::new())
    }

    /// One more, of a key with this hash. Where there are two of the same hash, only the map can tell them apart.
    pub(super) fn add(&mut self, hash: u64) {
        if let Self::Few(hashes) = self {
            if hashes.len() < FEW && !hashes.contains(&hash) {
                hashes.push(hash);
            } else {
                *self = Self::Many;
            }
        }
    }
}
