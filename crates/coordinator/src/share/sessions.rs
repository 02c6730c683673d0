//! Share sessions: what each member fetches from, so that it need not name it in every request.

use std::collections::HashMap;

use kafka_codec::{ErrorCode, Uuid};

/// A partition by its topic's id.
pub type TopicPartitionId = (Uuid, i32);

/// Group and member.
type Key = (String, String);

#[derive(Debug)]
struct Session {
    /// Epoch of the next request.
    epoch: i32,
    /// In the order they came.
    partitions: Vec<TopicPartitionId>,
    connection: u64,
}

/// Epoch of a request that begins a session.
const INITIAL: i32 = 0;
/// Epoch of a request that ends one.
const FINAL: i32 = -1;
/// Partitions in one session.
const PARTITIONS_MAX: usize = 20_000;

/// A fetch that may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchOpened {
    /// What to fetch from.
    pub partitions: Vec<TopicPartitionId>,
    /// Nothing more is fetched, and the session ends when the acknowledgements are done.
    pub is_last: bool,
}

/// The share sessions of a broker.
#[derive(Debug)]
pub struct ShareSessions {
    sessions_max: usize,
    by_key: HashMap<Key, Session>,
}

fn next(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

impl ShareSessions {
    /// No sessions; at most `sessions_max` (`group.share.max.share.sessions`) at a time.
    pub fn new(sessions_max: usize) -> Self {
        Self { sessions_max, by_key: HashMap::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// ShareFetch: begins, continues or ends a member's session.
    ///
    /// # Errors
    /// The code for the client.
    pub fn fetch(
        &mut self,
        (group, member): (&str, &str),
        epoch: i32,
        connection: u64,
        (added, forgotten): (&[TopicPartitionId], &[TopicPartitionId]),
        acknowledges: bool,
    ) -> Result<FetchOpened, ErrorCode> {
        let key = (group.to_owned(), member.to_owned());
        match epoch {
            FINAL if self.by_key.contains_key(&key) => {
                Ok(FetchOpened { partitions: Vec::new(), is_last: true })
            }
            FINAL => Err(ErrorCode::ShareSessionNotFound),
            INITIAL => {
                if acknowledges {
                    return Err(ErrorCode::InvalidRequest);
                }
                self.by_key.remove(&key);
                if self.by_key.len() >= self.sessions_max {
                    return Err(ErrorCode::ShareSessionLimitReached);
                }
                let mut session = Session { epoch: 1, partitions: Vec::new(), connection };
                session.update(added, &[])?;
                let partitions = session.partitions.clone();
                self.by_key.insert(key, session);
                Ok(FetchOpened { partitions, is_last: false })
            }
            _ => {
                let session = self.by_key.get_mut(&key).ok_or(ErrorCode::ShareSessionNotFound)?;
                if session.epoch != epoch {
                    return Err(ErrorCode::InvalidShareSessionEpoch);
                }
                session.update(added, forgotten)?;
                session.epoch = next(epoch);
                Ok(FetchOpened { partitions: session.partitions.clone(), is_last: false })
            }
        }
    }

    /// ShareAcknowledge: continues a member's session; answers whether it ends when the acknowledgements are done.
    ///
    /// # Errors
    /// The code for the client.
    pub fn acknowledge(&mut self, (group, member): (&str, &str), epoch: i32) -> Result<bool, ErrorCode> {
        if epoch == INITIAL {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        let key = (group.to_owned(), member.to_owned());
        let session = self.by_key.get_mut(&key).ok_or(ErrorCode::ShareSessionNotFound)?;
        if epoch == FINAL {
            return Ok(true);
        }
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        session.epoch = next(epoch);
        Ok(false)
    }

    /// Ends a session; answers what its member fetched from.
    pub fn close(&mut self, group: &str, member: &str) -> Option<Vec<TopicPartitionId>> {
        self.by_key.remove(&(group.to_owned(), member.to_owned())).map(|session| session.partitions)
    }

    /// Whether any member of a group has a session.
    pub fn has_group(&self, group: &str) -> bool {
        self.by_key.keys().any(|(other, _)| other == group)
    }

    /// A connection is gone, and the sessions begun on it with it: group, member, partitions.
    pub fn disconnected(&mut self, connection: u64) -> Vec<(String, String, Vec<TopicPartitionId>)> {
        let gone = self.by_key.extract_if(|_, session| session.connection == connection);
        gone.map(|((group, member), session)| (group, member, session.partitions)).collect()
    }
}

impl Session {
    fn update(
        &mut self,
        added: &[TopicPartitionId],
        forgotten: &[TopicPartitionId],
    ) -> Result<(), ErrorCode> {
        // Most requests change nothing: what is named is there already.
        for partition in added {
            if !self.partitions.contains(partition) {
                if self.partitions.len() >= PARTITIONS_MAX {
                    return Err(ErrorCode::InvalidRequest);
                }
                self.partitions.push(*partition);
            }
        }
        if !forgotten.is_empty() {
            self.partitions.retain(|partition| !forgotten.contains(partition));
        }
        Ok(())
    }
}
