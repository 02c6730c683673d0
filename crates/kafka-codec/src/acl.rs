//! The vocabulary of access control lists: numbers and names of Kafka's `org.apache.kafka.common.acl` and `.resource`.

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $code,)*
        }

        impl $name {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            pub fn code(self) -> i8 {
                self as i8
            }

            /// What a number on the wire means; `Unknown` for one that this version does not know.
            pub fn from_code(code: i8) -> Self {
                Self::ALL.iter().copied().find(|known| known.code() == code).unwrap_or(Self::Unknown)
            }

            /// What a name in capitals means; `Unknown` for one that this version does not know.
            pub fn from_name(name: &str) -> Self {
                Self::ALL.iter().copied().find(|known| known.name() == name).unwrap_or(Self::Unknown)
            }

            /// The name, in capitals, as Kafka's tools print it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

vocabulary! {
    /// What is done to a resource.
    AclOperation {
        /// One that this version does not know.
        Unknown = 0 "UNKNOWN",
        /// In a filter: every one.
        Any = 1 "ANY",
        /// In an entry: every one.
        All = 2 "ALL",
        /// Fetching, being a member of a group.
        Read = 3 "READ",
        /// Producing.
        Write = 4 "WRITE",
        /// Creating.
        Create = 5 "CREATE",
        /// Deleting.
        Delete = 6 "DELETE",
        /// Changing.
        Alter = 7 "ALTER",
        /// Knowing of.
        Describe = 8 "DESCRIBE",
        /// What brokers do among themselves.
        ClusterAction = 9 "CLUSTER_ACTION",
        /// Reading configurations.
        DescribeConfigs = 10 "DESCRIBE_CONFIGS",
        /// Changing configurations.
        AlterConfigs = 11 "ALTER_CONFIGS",
        /// Producing idempotently.
        IdempotentWrite = 12 "IDEMPOTENT_WRITE",
        /// Making delegation tokens for another user.
        CreateTokens = 13 "CREATE_TOKENS",
        /// Reading delegation tokens of another user.
        DescribeTokens = 14 "DESCRIBE_TOKENS",
        /// Taking part in a two-phase commit.
        TwoPhaseCommit = 15 "TWO_PHASE_COMMIT",
    }
}

vocabulary! {
    /// Kinds of what is protected.
    ResourceType {
        /// One that this version does not know.
        Unknown = 0 "UNKNOWN",
        /// In a filter: every one.
        Any = 1 "ANY",
        /// A topic.
        Topic = 2 "TOPIC",
        /// A group, of whatever kind.
        Group = 3 "GROUP",
        /// The cluster; its one name is `kafka-cluster`.
        Cluster = 4 "CLUSTER",
        /// A transactional id.
        TransactionalId = 5 "TRANSACTIONAL_ID",
        /// A delegation token.
        DelegationToken = 6 "DELEGATION_TOKEN",
        /// A user, as the owner of delegation tokens.
        User = 7 "USER",
    }
}

vocabulary! {
    /// How a resource's name in an entry is meant.
    PatternType {
        /// One that this version does not know.
        Unknown = 0 "UNKNOWN",
        /// In a filter: either.
        Any = 1 "ANY",
        /// In a filter: every pattern that covers the name.
        Match = 2 "MATCH",
        /// The name itself; `*` is every name.
        Literal = 3 "LITERAL",
        /// Every name that begins with it.
        Prefixed = 4 "PREFIXED",
    }
}

vocabulary! {
    /// Whether an entry grants or refuses.
    AclPermission {
        /// One that this version does not know.
        Unknown = 0 "UNKNOWN",
        /// In a filter: either.
        Any = 1 "ANY",
        /// Refuses.
        Deny = 2 "DENY",
        /// Grants.
        Allow = 3 "ALLOW",
    }
}

/// The name of the one cluster resource.
pub const CLUSTER_NAME: &str = "kafka-cluster";
