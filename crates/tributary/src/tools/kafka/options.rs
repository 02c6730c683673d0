//! Command lines of the Kafka tools: one table per tool says how an option is parsed and what the help says.
//!
//! The originals parse with joptsimple; its rules and its texts are what users and scripts know: `--name value`,
//! `--name=value`, one dash as good as two, no abbreviations, values converted when they are used.

use std::fmt;

use super::usage;

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    None,
    /// A value, always.
    Required(Kind),
    /// A value, or nothing.
    Optional(Kind),
    /// All words up to the next option, at least one.
    Many(Kind),
}

/// Type of a value, as the help names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    String,
    /// 32 bits.
    Integer,
    /// 64 bits.
    Long,
    /// A floating-point number.
    Double,
    /// A name of something, without a type in the help.
    Untyped,
}

impl Kind {
    /// Whether a word is a number of this type: even behind a dash it is a value then.
    fn is_number(self, word: &str) -> bool {
        match self {
            Self::Integer => word.parse::<i32>().is_ok(),
            Self::Long => word.parse::<i64>().is_ok(),
            Self::Double => word.parse::<f64>().is_ok(),
            Self::String | Self::Untyped => false,
        }
    }

    /// The name in the help.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::Integer => "Integer",
            Self::Long => "Long",
            Self::Double => "Double",
            Self::Untyped => "",
        }
    }
}

/// One option of a tool.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Name without dashes.
    pub name: &'static str,
    /// What it takes.
    pub value: Value,
    /// What the value is, for the help; may be empty.
    pub described: &'static str,
    /// Help text; a line feed starts a new line.
    pub help: &'static str,
    /// Value when the option is absent.
    pub default: Option<&'static str>,
    /// The option is refused unless one of these is given; empty = always allowed.
    pub only_with: &'static [&'static str],
    /// Understood, but not in the help: options of older releases.
    pub hidden: bool,
    /// Must be given.
    pub required: bool,
}

impl Flag {
    const fn new(name: &'static str, value: Value, described: &'static str, help: &'static str) -> Self {
        Self { name, value, described, help, default: None, only_with: &[], hidden: false, required: false }
    }

    /// A switch.
    pub const fn switch(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Value::None, "", help)
    }

    /// An option with a text.
    pub const fn text(name: &'static str, described: &'static str, help: &'static str) -> Self {
        Self::new(name, Value::Required(Kind::String), described, help)
    }

    /// An option with a text that the help names without its type.
    pub const fn untyped(name: &'static str, described: &'static str, help: &'static str) -> Self {
        Self::new(name, Value::Required(Kind::Untyped), described, help)
    }

    /// An option with a 32-bit number.
    pub const fn integer(name: &'static str, described: &'static str, help: &'static str) -> Self {
        Self::new(name, Value::Required(Kind::Integer), described, help)
    }

    /// An option with a 64-bit number.
    pub const fn long(name: &'static str, described: &'static str, help: &'static str) -> Self {
        Self::new(name, Value::Required(Kind::Long), described, help)
    }

    /// An option with a floating-point number.
    pub const fn double(name: &'static str, described: &'static str, help: &'static str) -> Self {
        Self::new(name, Value::Required(Kind::Double), described, help)
    }

    /// An option with one or more texts.
    pub const fn many(name: &'static str, described: &'static str, help: &'static str) -> Self {
        Self::new(name, Value::Many(Kind::String), described, help)
    }

    /// An option whose text may be left out.
    pub const fn optional(name: &'static str, described: &'static str, help: &'static str) -> Self {
        Self::new(name, Value::Optional(Kind::String), described, help)
    }

    /// An option whose 32-bit number may be left out.
    pub const fn optional_integer(name: &'static str, described: &'static str, help: &'static str) -> Self {
        Self::new(name, Value::Optional(Kind::Integer), described, help)
    }

    /// An option whose 64-bit number may be left out.
    pub const fn optional_long(name: &'static str, described: &'static str, help: &'static str) -> Self {
        Self::new(name, Value::Optional(Kind::Long), described, help)
    }

    /// The value when the option is absent.
    #[must_use]
    pub const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Refused unless one of `others` is given too.
    #[must_use]
    pub const fn only_with(mut self, others: &'static [&'static str]) -> Self {
        self.only_with = others;
        self
    }

    /// Not in the help.
    #[must_use]
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Must be given.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// `--help`.
pub const HELP: Flag = Flag::switch("help", "Print usage information.");
/// `--version`.
pub const VERSION: Flag = Flag::switch("version", "Display Kafka version.");
/// `--broker-list` of the tools before Kafka 3: the same as `--bootstrap-server`.
pub const BROKER_LIST: Flag = Flag::text("broker-list", "", "").hidden();
/// `--zookeeper` of the tools before Kafka 3.
pub const ZOOKEEPER: Flag = Flag::text("zookeeper", "", "").hidden();

/// A command line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionError {
    /// No such option.
    Unrecognized(String),
    /// The value is missing.
    NeedsArgument(&'static str),
    /// The value has the wrong type.
    BadArgument(&'static str, String),
    /// Given more than once, but only one can be used.
    Repeated(&'static str),
    /// Not allowed without other options.
    Unavailable(Vec<&'static str>),
    /// Required options are absent.
    Missing(Vec<&'static str>),
}

impl OptionError {
    /// The exception of the original, for log lines.
    pub fn java_exception(&self) -> &'static str {
        match self {
            Self::Unrecognized(_) => "joptsimple.UnrecognizedOptionException",
            Self::NeedsArgument(_) => "joptsimple.OptionMissingRequiredArgumentException",
            Self::BadArgument(..) => "joptsimple.OptionArgumentConversionException",
            Self::Repeated(_) => "joptsimple.MultipleArgumentsForOptionException",
            Self::Unavailable(_) => "joptsimple.UnavailableOptionException",
            Self::Missing(_) => "joptsimple.MissingRequiredOptionsException",
        }
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrecognized(name) => write!(f, "{name} is not a recognized option"),
            Self::NeedsArgument(name) => write!(f, "Option {name} requires an argument"),
            Self::BadArgument(name, value) => write!(f, "Cannot parse argument '{value}' of option {name}"),
            Self::Repeated(name) => {
                write!(f, "Found multiple arguments for option {name}, but you asked for only one")
            }
            Self::Unavailable(names) => {
                write!(
                    f,
                    "Option(s) [{}] are unavailable given other options on the command line",
                    names.join(", ")
                )
            }
            Self::Missing(names) => write!(f, "Missing required option(s) [{}]", names.join(", ")),
        }
    }
}

impl std::error::Error for OptionError {}

/// A parsed command line.
#[derive(Clone, Debug)]
pub struct Options {
    table: &'static [Flag],
    /// Options in the order given, with their values.
    given: Vec<(&'static str, Option<String>)>,
    /// What stood on the command line without belonging to an option.
    operands: Vec<String>,
}

impl Options {
    /// Parses `args` by `table`.
    ///
    /// # Errors
    /// Unknown options, missing values, combinations that `table` refuses.
    pub fn parse(table: &'static [Flag], args: &[String]) -> Result<Self, OptionError> {
        let mut options = Self { table, given: Vec::new(), operands: Vec::new() };
        let mut args = args.iter().map(String::as_str).peekable();
        let mut only_operands = false;
        while let Some(arg) = args.next() {
            if only_operands || !looks_like_option(arg) {
                options.operands.push(arg.to_owned());
                continue;
            }
            if arg == "--" {
                only_operands = true;
                continue;
            }
            let token = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')).unwrap_or(arg);
            let (name, attached) = match token.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (token, None),
            };
            let Some(flag) = table.iter().find(|flag| flag.name == name) else {
                // One dash starts a cluster of one-letter options, of which the tools have none.
                let unknown =
                    if arg.starts_with("--") { name.to_owned() } else { token.chars().take(1).collect() };
                return Err(OptionError::Unrecognized(unknown));
            };
            let value = match flag.value {
                Value::None => None,
                Value::Required(_) => match attached.or_else(|| args.next()) {
                    Some(value) => Some(value.to_owned()),
                    None => return Err(OptionError::NeedsArgument(flag.name)),
                },
                Value::Many(_) => {
                    let first = attached.or_else(|| args.next_if(|next| !looks_like_option(next)));
                    let Some(first) = first else { return Err(OptionError::NeedsArgument(flag.name)) };
                    let mut last = first.to_owned();
                    while let Some(next) = args.next_if(|next| !looks_like_option(next)) {
                        options.given.push((flag.name, Some(std::mem::replace(&mut last, next.to_owned()))));
                    }
                    Some(last)
                }
                Value::Optional(kind) => attached
                    .or_else(|| args.next_if(|next| !looks_like_option(next) || kind.is_number(next)))
                    .map(str::to_owned),
            };
            options.given.push((flag.name, value));
        }
        options.check_combinations()?;
        Ok(options)
    }

    fn check_combinations(&self) -> Result<(), OptionError> {
        if self.has("help") || self.has("version") {
            return Ok(());
        }
        let missing: Vec<_> = self
            .table
            .iter()
            .filter(|flag| flag.required && !self.has(flag.name))
            .map(|flag| flag.name)
            .collect();
        if !missing.is_empty() {
            return Err(OptionError::Missing(missing));
        }
        let unavailable: Vec<_> = self
            .table
            .iter()
            .filter(|flag| !flag.only_with.is_empty() && self.has(flag.name))
            .filter(|flag| !flag.only_with.iter().any(|other| self.has(other)))
            .map(|flag| flag.name)
            .collect();
        if unavailable.is_empty() { Ok(()) } else { Err(OptionError::Unavailable(unavailable)) }
    }

    /// Whether nothing at all stood on the command line.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty() && self.operands.is_empty()
    }

    /// Whether the option was given.
    pub fn has(&self, name: &str) -> bool {
        debug_assert!(self.table.iter().any(|flag| flag.name == name), "--{name} is not in the table");
        self.given.iter().any(|(given, _)| *given == name)
    }

    /// The options of `names` as they were given, one after the other.
    pub fn in_order<'a>(
        &'a self,
        names: &'a [&'a str],
    ) -> impl Iterator<Item = (&'static str, Option<&'a str>)> + 'a {
        let given = self.given.iter().filter(|(given, _)| names.contains(given));
        given.map(|(given, value)| (*given, value.as_deref()))
    }

    /// How many of `names` were given.
    pub fn count(&self, names: &[&str]) -> usize {
        names.iter().filter(|name| self.has(name)).count()
    }

    /// All values of the option in order, or its default.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let given: Vec<_> = self
            .given
            .iter()
            .filter(|(given, _)| *given == name)
            .filter_map(|(_, value)| value.as_deref())
            .collect();
        if given.is_empty() && !self.has(name) {
            return self.flag(name).and_then(|flag| flag.default).into_iter().collect();
        }
        given
    }

    /// The option's value or default; `None` also when it was given without its optional value.
    ///
    /// # Errors
    /// [`OptionError::Repeated`] when it was given more than once.
    pub fn value(&self, name: &'static str) -> Result<Option<&str>, OptionError> {
        match self.values(name).as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(OptionError::Repeated(name)),
        }
    }

    /// The option's value as a number, or its default.
    ///
    /// # Errors
    /// [`OptionError::Repeated`], or [`OptionError::BadArgument`] when it is not such a number.
    pub fn number<N: std::str::FromStr>(&self, name: &'static str) -> Result<Option<N>, OptionError> {
        let Some(text) = self.value(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| OptionError::BadArgument(name, text.to_owned()))
    }

    fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.table.iter().find(|flag| flag.name == name)
    }

    /// The help's table of options.
    pub fn usage(&self) -> String {
        usage::render(self.table)
    }
}

fn looks_like_option(arg: &str) -> bool {
    arg.starts_with('-') && arg != "-"
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Flag] = &[
        HELP,
        VERSION,
        Flag::text("topic", "topic", ""),
        Flag::integer("partitions", "", ""),
        Flag::switch("list", ""),
        Flag::optional("state", "", "").only_with(&["list"]),
        Flag::optional_long("life", "", ""),
        Flag::long("timeout", "", "").or("30000"),
        Flag::many("props", "", ""),
    ];

    fn parse(args: &str) -> Result<Options, String> {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        Options::parse(TABLE, &args).map_err(|e| e.to_string())
    }

    #[test]
    fn accepts_what_joptsimple_accepts() {
        let options = parse("--topic a --partitions=3 -list --state x rest -- --topic").expect("parses");
        assert_eq!(options.value("topic"), Ok(Some("a")));
        assert_eq!(options.number::<i32>("partitions"), Ok(Some(3)));
        assert_eq!(options.value("state"), Ok(Some("x")));
        assert_eq!(options.operands, ["rest", "--topic"]);
        assert_eq!(options.number::<i64>("timeout"), Ok(Some(30000)));
        let options = parse("--props a=1 b=2 --list --props=c=3").expect("parses");
        assert_eq!(options.values("props"), ["a=1", "b=2", "c=3"]);
        let options = parse("--list --state --partitions -5").expect("parses");
        assert_eq!(options.value("state"), Ok(None));
        assert!(options.has("state"));
        assert_eq!(options.number::<i32>("partitions"), Ok(Some(-5)));
        let options = parse("--life -1 --list").expect("parses");
        assert_eq!(options.number::<i64>("life"), Ok(Some(-1)));
    }

    #[test]
    fn says_what_joptsimple_says() {
        let error = |args: &str| parse(args).expect_err("refused");
        assert_eq!(error("--nope"), "nope is not a recognized option");
        assert_eq!(error("--li"), "li is not a recognized option");
        assert_eq!(error("--topic"), "Option topic requires an argument");
        assert_eq!(
            error("--state"),
            "Option(s) [state] are unavailable given other options on the command line"
        );
        let options = parse("--topic a --topic b --partitions x").expect("parses");
        assert_eq!(
            options.value("topic").expect_err("two").to_string(),
            "Found multiple arguments for option topic, but you asked for only one"
        );
        assert_eq!(
            options.number::<i32>("partitions").expect_err("text").to_string(),
            "Cannot parse argument 'x' of option partitions"
        );
    }
}
