//! What a configuration key is: its type, default, limits, and who may change it.

/// Type of a value, as Kafka names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// 32 bit signed.
    Int,
    /// 16 bit signed.
    Short,
    /// 64 bit signed.
    Long,
    /// 64 bit floating point.
    Double,
    /// Comma-separated words.
    List,
    /// A Java class name.
    Class,
    /// A secret: never shown.
    Password,
}

impl ConfigType {
    /// The number that DescribeConfigs uses for it.
    pub fn wire(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }
}

/// Which values are allowed beyond the type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Validator {
    /// All of the type.
    Any,
    /// Numbers from this on.
    AtLeast(f64),
    /// Numbers from the first to the second, both included.
    Range(f64, f64),
    /// One of these words; for lists, each element.
    OneOf(&'static [&'static str]),
    /// One of these words, in any case.
    OneOfAnyCase(&'static [&'static str]),
    /// Any text but the empty one.
    NonEmpty,
    /// `earliest`, `latest` or `by_duration:` and an ISO 8601 duration.
    AutoOffsetReset,
}

/// When a broker configuration may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Only at start.
    ReadOnly,
    /// While running, for one broker.
    PerBroker,
    /// While running, for one broker or all.
    ClusterWide,
}

/// One configuration key.
#[derive(Clone, Copy, Debug)]
pub struct ConfigDef {
    /// Key, as in `server.properties` or a topic's configuration.
    pub name: &'static str,
    /// Type of its value.
    pub kind: ConfigType,
    /// Value when nothing is given; `None` = null.
    pub default: Option<&'static str>,
    /// Allowed values.
    pub validator: Validator,
    /// For topic keys: the broker key that gives the default.
    pub synonym: Option<&'static str>,
    /// When it may change.
    pub update: Update,
    /// Whether this broker acts on it.
    pub honoured: bool,
    /// What it means, one sentence.
    pub doc: &'static str,
}

/// Builds one row of a table.
#[allow(clippy::too_many_arguments)]
pub(super) const fn row(
    name: &'static str,
    kind: ConfigType,
    default: Option<&'static str>,
    validator: Validator,
    synonym: Option<&'static str>,
    update: Update,
    honoured: bool,
    doc: &'static str,
) -> ConfigDef {
    ConfigDef { name, kind, default, validator, synonym, update, honoured, doc }
}

impl ConfigDef {
    /// Whether the value must not be shown.
    pub fn sensitive(&self) -> bool {
        self.kind == ConfigType::Password
    }

    /// Checks a value.
    ///
    /// # Errors
    /// A sentence in Kafka's words that names value, key and reason.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let trimmed = value.trim();
        let number = match self.kind {
            ConfigType::Boolean => {
                if trimmed.eq_ignore_ascii_case("true") || trimmed.eq_ignore_ascii_case("false") {
                    return Ok(());
                }
                return Err(self.invalid(value, "Expected value to be either true or false"));
            }
            ConfigType::Int => trimmed.parse::<i32>().ok().map(f64::from),
            ConfigType::Short => trimmed.parse::<i16>().ok().map(f64::from),
            // Limits are small numbers: the rounding of a 64 bit value cannot move it across one.
            #[allow(clippy::cast_precision_loss)]
            ConfigType::Long => trimmed.parse::<i64>().ok().map(|long| long as f64),
            ConfigType::Double => trimmed.parse::<f64>().ok().filter(|double| double.is_finite()),
            ConfigType::String | ConfigType::List | ConfigType::Class | ConfigType::Password => {
                return self.check_text(value);
            }
        };
        let Some(number) = number else {
            return Err(self.invalid(value, &format!("Not a number of type {}", self.kind.name())));
        };
        match self.validator {
            Validator::AtLeast(min) if number < min => {
                Err(self.invalid(value, &format!("Value must be at least {min}")))
            }
            Validator::Range(min, _) if number < min => {
                Err(self.invalid(value, &format!("Value must be at least {min}")))
            }
            Validator::Range(_, max) if number > max => {
                Err(self.invalid(value, &format!("Value must be no more than {max}")))
            }
            _ => Ok(()),
        }
    }

    fn check_text(&self, value: &str) -> Result<(), String> {
        let words: Vec<&str> = match self.kind {
            ConfigType::List => split_list(value).collect(),
            _ => vec![value.trim()],
        };
        for word in words {
            match self.validator {
                Validator::OneOf(allowed) if !allowed.contains(&word) => {
                    let reason = format!("String must be one of: {}", allowed.join(", "));
                    return Err(self.invalid(word, &reason));
                }
                Validator::OneOfAnyCase(allowed) if !allowed.iter().any(|a| a.eq_ignore_ascii_case(word)) => {
                    let reason = format!("String must be one of (case insensitive): {}", allowed.join(", "));
                    return Err(self.invalid(word, &reason));
                }
                Validator::AutoOffsetReset => {
                    let by_duration = word.strip_prefix("by_duration:").and_then(super::duration_ms);
                    if !matches!(word, "earliest" | "latest") && by_duration.is_none() {
                        let reason = format!(
                            "Invalid value `{word}` for configuration {}. The value must be either 'earliest', 'latest' \
                             or of the format 'by_duration:<PnDTnHnMn.nS>'.",
                            self.name
                        );
                        return Err(self.invalid(word, &reason));
                    }
                }
                Validator::NonEmpty if word.is_empty() => {
                    return Err(self.invalid(word, "String must be non-empty"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn invalid(&self, value: &str, reason: &str) -> String {
        let shown = if self.sensitive() { "[hidden]" } else { value };
        format!("Invalid value {shown} for configuration {}: {reason}", self.name)
    }
}

/// The elements of a list value, without blanks and empty ones.
pub fn split_list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty())
}
