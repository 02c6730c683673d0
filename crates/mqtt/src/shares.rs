//! Share groups in the log: their cursors for a restart, and as a consumer group's offsets for people to see.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::broker::Broker;
use crate::deliver::{Cursor, ShareGroup};

/// Offsets that do not move are said again so often: those of groups without members expire.
const SAY_AGAIN: Duration = Duration::from_secs(3600);

#[derive(Default)]
struct Written {
    /// Cursors in `__mqtt_sessions`.
    stored: Option<Vec<Cursor>>,
    /// Offsets of the consumer group.
    shown: Option<(Vec<Cursor>, Instant)>,
}

impl Broker {
    /// Writes the cursors of share groups that moved, for ever.
    pub(crate) async fn checkpoint_shares(self: Arc<Self>) {
        let mut written: HashMap<Box<str>, Written> = HashMap::new();
        loop {
            tokio::time::sleep(self.config.checkpoint_interval).await;
            let groups = self.hub.shares();
            let is_there = |name: &str| groups.iter().any(|g| *g.name == *name);
            let gone: Vec<_> = written.keys().filter(|name| !is_there(name)).cloned().collect();
            for name in gone {
                let of = written.get(&name);
                match self.forget_share(&name, of.is_some_and(|w| w.stored.is_some())).await {
                    Ok(()) => drop(written.remove(&name)),
                    Err(error) => {
                        tracing::warn!(group = %name, %error, "cannot forget the cursors of a share group");
                    }
                }
            }
            for group in &groups {
                let known = written.entry(group.name.clone()).or_default();
                if let Err(error) = self.write_share(group, known).await {
                    tracing::warn!(group = %group.name, %error, "cannot save the cursors of a share group");
                }
            }
        }
    }

    /// Writes the cursors of all share groups that outlive a stop.
    pub(crate) async fn save_shares(&self) {
        if let Some(nodes) = &self.nodes {
            nodes.until_groups_are_left().await;
        }
        let left = |g: &&Arc<ShareGroup>| g.is_persistent() && (g.replays || self.nodes.is_none());
        for group in self.hub.shares().iter().filter(left) {
            if let Err(error) = self.store.write_group(group).await {
                tracing::warn!(group = %group.name, %error, "cannot save the cursors of a share group");
            }
        }
    }

    async fn forget_share(&self, name: &str, stored: bool) -> Result<(), client::door::DoorError> {
        // Where several nodes share the log it may go on elsewhere.
        if stored && self.nodes.is_none() {
            self.store.end_group(name).await?;
        }
        self.hub.door.forget_group(name).await
    }

    async fn write_share(
        &self,
        group: &Arc<ShareGroup>,
        known: &mut Written,
    ) -> Result<(), client::door::DoorError> {
        let cursors = group.cursors();
        if known.stored.as_ref() != Some(&cursors) {
            let written = match &self.nodes {
                Some(nodes) if !group.replays => nodes.checkpoint_group(group).await?,
                _ if group.is_persistent() => self.store.write_group(group).await.map(|()| true)?,
                _ => false,
            };
            known.stored = written.then(|| cursors.clone());
        }
        let is_shown =
            |(shown, since): &(Vec<Cursor>, Instant)| *shown == cursors && since.elapsed() < SAY_AGAIN;
        if group.replays || cursors.is_empty() || known.shown.as_ref().is_some_and(is_shown) {
            return Ok(());
        }
        let offsets = cursors.iter().filter_map(|c| {
            let partition = self.hub.partitions.by_id(c.partition)?;
            Some((partition.name.clone(), c.next))
        });
        self.hub.door.commit_offsets(&group.name, offsets.collect()).await?;
        known.shown = Some((cursors, Instant::now()));
        Ok(())
    }
}
