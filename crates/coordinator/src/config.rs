/// Settings of a group coordinator, by Kafka's names and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCoordinatorConfig {
    /// `group.max.size`: members in one group.
    pub group_max_size: usize,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members than the first.
    pub initial_rebalance_delay_ms: i64,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max_ms: i32,
    /// `offset.metadata.max.bytes`: length of the text stored beside one offset.
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
    /// How long a new member may wait in its first JoinGroup before it is forgotten (Kafka: 5 minutes, fixed).
    pub new_member_join_timeout_ms: i64,
    /// Members told to come back with their new id that have not yet done so, per group. Kafka has no limit;
    /// past ours a join is answered with GROUP_MAX_SIZE_REACHED.
    pub pending_members_max: usize,
    /// `group.consumer.assignors`: the first is the default.
    pub consumer_assignors: Vec<String>,
    /// `group.consumer.max.size`: members in one consumer group.
    pub consumer_max_size: usize,
    /// `group.consumer.session.timeout.ms`, for members whose group has no setting of its own and at loading.
    pub consumer_session_timeout_ms: i32,
    /// `group.consumer.assignment.interval.ms`, for classic members of consumer groups.
    pub consumer_assignment_interval_ms: i32,
    /// `group.consumer.migration.policy`.
    pub migration: MigrationPolicy,
    /// `group.share.max.size`: members in one share group.
    pub share_max_size: usize,
    /// `group.share.session.timeout.ms`, at loading.
    pub share_session_timeout_ms: i32,
}

/// Which groups may change their protocol while they have members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// None.
    Disabled,
    /// Classic groups may become consumer groups.
    Upgrade,
    /// Consumer groups may become classic groups.
    Downgrade,
    /// Both.
    Bidirectional,
}

impl MigrationPolicy {
    pub(crate) fn upgrade(self) -> bool {
        matches!(self, Self::Upgrade | Self::Bidirectional)
    }

    pub(crate) fn downgrade(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }
}

impl Default for GroupCoordinatorConfig {
    fn default() -> Self {
        Self {
            group_max_size: i32::MAX as usize,
            initial_rebalance_delay_ms: 3_000,
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            offset_metadata_bytes_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_retention_check_interval_ms: 600_000,
            new_member_join_timeout_ms: 300_000,
            pending_members_max: 10_000,
            consumer_assignors: vec!["uniform".to_owned(), "range".to_owned()],
            consumer_max_size: i32::MAX as usize,
            consumer_session_timeout_ms: 45_000,
            consumer_assignment_interval_ms: 1_000,
            migration: MigrationPolicy::Bidirectional,
            share_max_size: 200,
            share_session_timeout_ms: 45_000,
        }
    }
}
