//! All entries that hold, found by resource.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_codec::Uuid;

use super::{Acl, PatternType, ResourceType};

type ByName = BTreeMap<(ResourceType, String), Vec<Arc<Acl>>>;

/// All entries that hold.
#[derive(Clone, Debug, Default)]
pub struct AclSet {
    by_id: BTreeMap<Uuid, Arc<Acl>>,
    ids: BTreeMap<Arc<Acl>, Uuid>,
    literal: ByName,
    prefixed: ByName,
}

impl AclSet {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All entries with their ids, sorted by resource.
    pub fn iter(&self) -> impl Iterator<Item = (&Uuid, &Arc<Acl>)> {
        self.ids.iter().map(|(acl, id)| (id, acl))
    }

    /// Whether this very entry is there.
    pub fn contains(&self, acl: &Acl) -> bool {
        self.ids.contains_key(acl)
    }

    /// The entry of an id.
    pub fn get(&self, id: &Uuid) -> Option<&Arc<Acl>> {
        self.by_id.get(id)
    }

    pub(crate) fn insert(&mut self, id: Uuid, acl: Acl) {
        let acl = Arc::new(acl);
        self.remove(&id);
        self.by_id.insert(id, Arc::clone(&acl));
        self.ids.insert(Arc::clone(&acl), id);
        self.names(acl.pattern).entry((acl.resource_type, acl.name.clone())).or_default().push(acl);
    }

    pub(crate) fn remove(&mut self, id: &Uuid) -> Option<Arc<Acl>> {
        let acl = self.by_id.remove(id)?;
        self.ids.remove(&acl);
        let key = (acl.resource_type, acl.name.clone());
        let names = self.names(acl.pattern);
        if let Some(entries) = names.get_mut(&key) {
            entries.retain(|entry| *entry != acl);
            if entries.is_empty() {
                names.remove(&key);
            }
        }
        Some(acl)
    }

    fn names(&mut self, pattern: PatternType) -> &mut ByName {
        if pattern == PatternType::Prefixed { &mut self.prefixed } else { &mut self.literal }
    }

    /// The entries that are about a resource: of its own name, of `*`, of each of its prefixes.
    pub(super) fn about<'a>(
        &'a self,
        kind: ResourceType,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Acl>> + 'a {
        let own = self.literal.get(&(kind, name.to_owned()));
        let every = if name == super::WILDCARD {
            None
        } else {
            self.literal.get(&(kind, super::WILDCARD.to_owned()))
        };
        let ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
        let prefixes = (!self.prefixed.is_empty())
            .then_some(ends)
            .into_iter()
            .flatten()
            .filter_map(move |end| self.prefixed.get(&(kind, name.get(..end)?.to_owned())));
        own.into_iter().chain(every).chain(prefixes).flatten()
    }

    /// All entries about resources of a kind.
    pub(super) fn of_kind(&self, kind: ResourceType) -> impl Iterator<Item = &Arc<Acl>> {
        self.by_id.values().filter(move |acl| acl.resource_type == kind)
    }
}
