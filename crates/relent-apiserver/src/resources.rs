//! All the resources of a server.

use std::sync::Arc;

use super::{kinds, resource::ResourceKind};

/// All the resources of one server.
#[derive(Clone, Debug)]
pub(super) struct Resources(Vec<Arc<ResourceKind>>);

impl Resources {
    pub(super) fn builtin() -> Self {
        Self(kinds::all().into_iter().map(Arc::new).collect())
    }

    /// Adds a resource; one that is written the same replaces the earlier.
    pub(super) fn register(&mut self, resource: ResourceKind) {
        self.0.retain(|known| known.group() != resource.group() || known.plural() != resource.plural());
        self.0.push(Arc::new(resource));
    }

    /// Serves a resource no more.
    pub(super) fn forget(&mut self, group: &str, plural: &str) {
        self.0.retain(|known| known.group() != group || known.plural() != plural);
    }

    pub(super) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<ResourceKind>> {
        self.0.iter().find(|known| known.group() == group && known.plural() == plural && known.serves(version))
    }

    /// The resource behind a qualified name.
    pub(super) fn qualified(&self, name: &str) -> Option<&Arc<ResourceKind>> {
        self.0.iter().find(|known| known.qualified() == name)
    }

    /// The resource whose objects are stored under this name.
    pub(super) fn stored_as(&self, name: &str) -> Option<&Arc<ResourceKind>> {
        self.0.iter().find(|known| known.stored() == name)
    }

    /// The resource of a kind.
    pub(super) fn of_kind(&self, group: &str, kind: &str) -> Option<&Arc<ResourceKind>> {
        self.0.iter().find(|known| known.group() == group && known.kind() == kind)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ResourceKind>> {
        self.0.iter()
    }
}
