//! Command lines of those Kafka tools that have sub-commands.
//!
//! Their originals parse with argparse4j 0.7; its rules and texts are what users and scripts know: options may be
//! shortened, texts are set justified in 75 columns, a required option is missed only after everything else.

#[cfg(test)]
mod tests;
mod text;

use std::fmt::Write as _;

use text::{WIDTH, did_you_mean, print_help, wrap};

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: a switch.
    Nothing,
    /// Any text.
    Text,
    /// 16 bits.
    Short,
    /// 32 bits.
    Integer,
    /// 64 bits.
    Long,
    /// One or more texts.
    Texts,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Its names with dashes, the main one first.
    pub flags: &'static [&'static str],
    /// What it takes.
    pub takes: Takes,
    /// Name of the value in the help; `None` = from the option's name.
    pub metavar: Option<&'static str>,
    /// Help text.
    pub help: &'static str,
    /// Value when the option is absent.
    pub default: Option<&'static str>,
    /// Must be given.
    pub required: bool,
    /// Index of its group.
    pub group: Option<usize>,
    /// Prints the version and ends.
    pub version: bool,
}

impl Arg {
    const fn new(flags: &'static [&'static str], takes: Takes, help: &'static str) -> Self {
        Self {
            flags,
            takes,
            metavar: None,
            help,
            default: None,
            required: false,
            group: None,
            version: false,
        }
    }

    /// A switch.
    pub const fn switch(flags: &'static [&'static str], help: &'static str) -> Self {
        Self::new(flags, Takes::Nothing, help)
    }

    /// An option with a text; given again, the last one counts (or all, see [`Parsed::all`]).
    pub const fn text(flags: &'static [&'static str], help: &'static str) -> Self {
        Self::new(flags, Takes::Text, help)
    }

    /// An option with a value of a certain kind.
    pub const fn of(takes: Takes, flags: &'static [&'static str], help: &'static str) -> Self {
        Self::new(flags, takes, help)
    }

    /// Must be given.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The value when it is absent.
    #[must_use]
    pub const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Name of the value in the help.
    #[must_use]
    pub const fn metavar(mut self, name: &'static str) -> Self {
        self.metavar = Some(name);
        self
    }

    /// Belongs to the group of this index.
    #[must_use]
    pub const fn group(mut self, index: usize) -> Self {
        self.group = Some(index);
        self
    }

    /// Prints the version and ends.
    #[must_use]
    pub const fn version(mut self) -> Self {
        self.version = true;
        self
    }

    fn textual_name(&self) -> String {
        self.flags.join("/")
    }

    /// Name of the value, as after the option in usage and help; empty for switches.
    fn value_name(&self) -> String {
        if self.takes == Takes::Nothing {
            return String::new();
        }
        let long = self.flags.iter().find(|flag| flag.starts_with("--"));
        let name = long.or(self.flags.first()).map_or("", |flag| flag.trim_start_matches('-'));
        let name = match self.metavar {
            Some(name) => name.to_owned(),
            None => name.replace('-', "_").to_uppercase(),
        };
        if self.takes == Takes::Texts { format!("{name} [{name} ...]") } else { name }
    }

    fn syntax(&self) -> String {
        let flag = self.flags.first().copied().unwrap_or_default();
        match self.value_name() {
            name if name.is_empty() => flag.to_owned(),
            name => format!("{flag} {name}"),
        }
    }

    fn bracketed_syntax(&self) -> String {
        if self.required { self.syntax() } else { format!("[{}]", self.syntax()) }
    }

    fn help_title(&self) -> String {
        let value = self.value_name();
        let with_value =
            |flag: &&str| if value.is_empty() { (*flag).to_owned() } else { format!("{flag} {value}") };
        self.flags.iter().map(with_value).collect::<Vec<_>>().join(", ")
    }

    fn convert(&self, value: &str) -> Result<(), String> {
        let number = |good: bool, class: &str| match good {
            true => Ok(()),
            false => Err(format!("could not convert '{value}' to {class} (For input string: \"{value}\")")),
        };
        match self.takes {
            Takes::Nothing | Takes::Text | Takes::Texts => Ok(()),
            Takes::Short => number(value.parse::<i16>().is_ok(), "Short"),
            Takes::Integer => number(value.parse::<i32>().is_ok(), "Integer"),
            Takes::Long => number(value.parse::<i64>().is_ok(), "Long"),
        }
    }
}

/// Options that are shown together, or of which only one may be given.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Title; options of groups with one have a section of their own.
    pub title: &'static str,
    /// Text below the title.
    pub about: &'static str,
    /// Only one of them.
    pub exclusive: bool,
    /// At least one of them.
    pub required: bool,
}

impl Group {
    /// Options of which only one may be given.
    pub const EITHER: Self = Self { title: "", about: "", exclusive: true, required: false };
    /// Options of which exactly one must be given.
    pub const EXACTLY_ONE: Self = Self { title: "", about: "", exclusive: true, required: true };

    /// Options with a section of their own.
    pub const fn section(title: &'static str, about: &'static str) -> Self {
        Self { title, about, exclusive: false, required: false }
    }

    fn has_section(&self) -> bool {
        !self.exclusive || !self.title.is_empty()
    }
}

/// A sub-command.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Text in the list of commands.
    pub help: &'static str,
    /// Text in its own help.
    pub about: &'static str,
    /// Its options.
    pub args: &'static [Arg],
    /// Their groups.
    pub groups: &'static [Group],
}

/// A tool's command line.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    /// Name in the usage.
    pub prog: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Options in front of the command.
    pub args: &'static [Arg],
    /// Their groups.
    pub groups: &'static [Group],
    /// Commands; may be none.
    pub commands: &'static [Command],
    /// Title of the list of commands; empty = they are positional arguments.
    pub title: &'static str,
    /// Stands for the commands in the usage; empty = all their names.
    pub metavar: &'static str,
    /// Whether the help tells defaults.
    pub tells_defaults: bool,
    /// An example for the help.
    pub example: &'static str,
}

/// Why there is nothing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotParsed {
    /// Help was asked for; this is it.
    Help(String),
    /// The version was asked for.
    Version,
    /// The command line is wrong.
    Wrong {
        /// What is wrong with it.
        message: String,
        /// Usage and message as argparse4j prints them.
        text: String,
    },
}

/// A parsed command line.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The sub-command; empty when the tool has none.
    pub command: &'static str,
    given: Vec<(&'static str, String)>,
    defaults: Vec<(&'static str, &'static str)>,
}

impl Parsed {
    /// Whether the option was given, by its main name.
    pub fn has(&self, flag: &str) -> bool {
        self.given.iter().any(|(name, _)| *name == flag)
    }

    /// The option's last value, or its default.
    pub fn text(&self, flag: &str) -> Option<&str> {
        let given = self.given.iter().rev().find(|(name, _)| *name == flag).map(|(_, value)| value.as_str());
        given.or_else(|| self.defaults.iter().find(|(name, _)| *name == flag).map(|(_, value)| *value))
    }

    /// All values of the option, in order.
    pub fn all(&self, flag: &str) -> Vec<&str> {
        self.given.iter().filter(|(name, _)| *name == flag).map(|(_, value)| value.as_str()).collect()
    }

    /// The option's value as a number; the parser has checked that it is one.
    pub fn number<N: std::str::FromStr>(&self, flag: &str) -> Option<N> {
        self.text(flag).and_then(|text| text.parse().ok())
    }
}

const HELP_ARG: Arg = Arg::switch(&["-h", "--help"], "show this help message and exit");

/// One level of a command line: the tool's own options, or those of a command.
struct Level<'a> {
    parser: &'a Parser,
    command: Option<&'a Command>,
}

impl Level<'_> {
    fn args(&self) -> Vec<&'static Arg> {
        let own = self.command.map_or(self.parser.args, |command| command.args);
        std::iter::once(&HELP_ARG).chain(own).collect()
    }

    fn groups(&self) -> &'static [Group] {
        self.command.map_or(self.parser.groups, |command| command.groups)
    }

    fn wrong(&self, message: String) -> NotParsed {
        let line = wrap(&format!("{}: error: {message}\n", self.parser.prog), 0, "");
        NotParsed::Wrong { text: format!("{}{line}", self.usage()), message }
    }

    fn wrong_about(&self, arg: &Arg, what: &str) -> NotParsed {
        self.wrong(format!("argument {}: {what}", arg.textual_name()))
    }

    fn resolve(&self, flag: &str) -> Result<Option<&'static Arg>, NotParsed> {
        let args = self.args();
        let exact = args.iter().find(|arg| arg.flags.contains(&flag));
        if let Some(arg) = exact {
            return Ok(Some(arg));
        }
        let mut candidates: Vec<(&str, &'static Arg)> = Vec::new();
        for arg in args {
            candidates
                .extend(arg.flags.iter().filter(|known| known.starts_with(flag)).map(|known| (*known, arg)));
        }
        candidates.sort_by_key(|(name, _)| *name);
        match candidates.as_slice() {
            [] => Ok(None),
            [(_, arg)] => Ok(Some(arg)),
            several => {
                let names: Vec<_> = several.iter().map(|(name, _)| *name).collect();
                Err(self.wrong(format!("ambiguous option: {flag} could match {}", names.join(", "))))
            }
        }
    }

    fn usage(&self) -> String {
        let parser = self.parser;
        let head = format!("usage: {}", parser.prog);
        let mut items = Vec::new();
        if let Some(command) = self.command {
            for arg in
                parser.args.iter().filter(|arg| arg.required && !in_exclusive_group(arg, parser.groups))
            {
                items.push(arg.bracketed_syntax());
            }
            for (index, group) in parser.groups.iter().enumerate().filter(|(_, group)| group.required) {
                items.extend(exclusive_syntax(parser.args, index, group));
            }
            items.push(command.name.to_owned());
        }
        let args = self.args();
        for arg in args.iter().filter(|arg| !in_exclusive_group(arg, self.groups())) {
            items.push(arg.bracketed_syntax());
        }
        let own: Vec<Arg> = args.iter().map(|arg| **arg).collect();
        for (index, group) in self.groups().iter().enumerate().filter(|(_, group)| group.exclusive) {
            items.extend(exclusive_syntax(&own, index, group));
        }
        if self.command.is_none() && !parser.commands.is_empty() {
            items.push(commands_syntax(parser));
            items.push("...".to_owned());
        }
        let (mut out, indent, mut width) = match head.len() {
            // The original counts the indent of the first line twice.
            long if long > 30 => (format!("{head}\n{:6}", ""), 6, 12),
            short => (head, short, short),
        };
        let mut first = true;
        for item in &items {
            if !first && width + item.len() + 1 > WIDTH {
                let _ = write!(out, "\n{:indent$}", "");
                width = indent;
            } else {
                first = false;
            }
            let _ = write!(out, " {item}");
            width += 1 + item.len();
        }
        out.push('\n');
        out
    }

    fn help(&self) -> String {
        let parser = self.parser;
        let mut out = self.usage();
        let about = self.command.map_or(parser.about, |command| command.about);
        if !about.is_empty() {
            let _ = writeln!(out, "\n{}", wrap(about, 0, ""));
        }
        let has_commands = self.command.is_none() && !parser.commands.is_empty();
        if has_commands && parser.title.is_empty() {
            out.push_str("\npositional arguments:\n");
            self.commands_help(&mut out);
        }
        out.push_str("\noptional arguments:\n");
        let tells_defaults = self.command.is_none() && parser.tells_defaults;
        let sections =
            |arg: &Arg| arg.group.is_some_and(|g| self.groups().get(g).is_some_and(Group::has_section));
        for arg in self.args().iter().filter(|arg| !sections(arg)) {
            arg_help(&mut out, arg, tells_defaults);
        }
        if has_commands && !parser.title.is_empty() {
            let _ = writeln!(out, "\n{}:", parser.title);
            self.commands_help(&mut out);
        }
        for (index, group) in self.groups().iter().enumerate().filter(|(_, group)| group.has_section()) {
            let _ = writeln!(out, "\n{}:", group.title);
            if !group.about.is_empty() {
                let _ = writeln!(out, "  {}\n", wrap(group.about, 2, "  "));
            }
            for arg in self.args().iter().filter(|arg| arg.group == Some(index)) {
                arg_help(&mut out, arg, tells_defaults);
            }
        }
        let _ = write!(out, "\nExample:\n  {}\n", parser.example);
        out
    }

    fn commands_help(&self, out: &mut String) {
        print_help(out, &commands_syntax(self.parser), "");
        for command in self.parser.commands.iter().filter(|command| !command.help.is_empty()) {
            print_help(out, &format!("  {}", command.name), command.help);
        }
    }

    /// Options that look like what was typed.
    fn similar(&self, typed: &str) -> String {
        let body = typed.trim_start_matches('-');
        if body.len() < 2 {
            return String::new();
        }
        let flags = self.args().into_iter().flat_map(|arg| arg.flags.iter().copied());
        did_you_mean(body, flags.filter(|flag| flag.trim_start_matches('-').len() > 1))
    }
}

fn in_exclusive_group(arg: &Arg, groups: &[Group]) -> bool {
    arg.group.and_then(|index| groups.get(index)).is_some_and(|group| group.exclusive)
}

fn exclusive_syntax(args: &[Arg], index: usize, group: &Group) -> Vec<String> {
    let members: Vec<String> = args.iter().filter(|arg| arg.group == Some(index)).map(Arg::syntax).collect();
    let (open, close) = match (group.required, members.len()) {
        (true, 1) => ("", ""),
        (true, _) => ("(", ")"),
        (false, _) => ("[", "]"),
    };
    let last = members.len().saturating_sub(1);
    let mut items = Vec::new();
    for (at, member) in members.iter().enumerate() {
        let (open, close) = (if at == 0 { open } else { "" }, if at == last { close } else { "" });
        if at > 0 {
            items.push("|".to_owned());
        }
        items.push(format!("{open}{member}{close}"));
    }
    items
}

fn commands_syntax(parser: &Parser) -> String {
    if !parser.metavar.is_empty() {
        return parser.metavar.to_owned();
    }
    let names: Vec<_> = parser.commands.iter().map(|command| command.name).collect();
    format!("{{{}}}", names.join(","))
}

fn arg_help(out: &mut String, arg: &Arg, tells_defaults: bool) {
    let help = match arg.default.filter(|_| tells_defaults) {
        Some(default) => format!("{} (default: {default})", arg.help),
        None if tells_defaults && arg.takes == Takes::Nothing && arg.flags != HELP_ARG.flags => {
            format!("{} (default: false)", arg.help)
        }
        None => arg.help.to_owned(),
    };
    print_help(out, &arg.help_title(), &help);
}

/// Whether the term is an option, not a value.
fn is_flag(term: &str) -> bool {
    let number =
        term.strip_prefix('-').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    term.len() > 1 && term.starts_with('-') && !number
}

impl Parser {
    /// Parses a command line.
    ///
    /// # Errors
    /// [`NotParsed`] when there is nothing to do.
    pub fn parse(&self, args: &[String]) -> Result<Parsed, NotParsed> {
        let mut parsed = Parsed::default();
        let mut deferred = None;
        let top = Level { parser: self, command: None };
        let rest = self.parse_level(&top, args, &mut parsed, &mut deferred)?;
        if let Some((name, rest)) = rest.split_first() {
            let exact = self.commands.iter().find(|command| command.name == name);
            let begun: Vec<_> =
                self.commands.iter().filter(|command| command.name.starts_with(name.as_str())).collect();
            let command = match (exact, begun.as_slice()) {
                (Some(command), _) => command,
                (None, [command]) if !name.is_empty() => command,
                (None, []) | (None, [_]) => {
                    let all: Vec<_> = self.commands.iter().map(|c| format!("'{}'", c.name)).collect();
                    let message = format!("invalid choice: '{name}' (choose from {})", all.join(", "));
                    let wrong = top.wrong(message);
                    let NotParsed::Wrong { message, text } = wrong else { return Err(wrong) };
                    let similar = did_you_mean(name, self.commands.iter().map(|command| command.name));
                    return Err(NotParsed::Wrong { message, text: text + &similar });
                }
                (None, several) => {
                    let mut names: Vec<_> = several.iter().map(|command| command.name).collect();
                    names.sort_unstable();
                    return Err(
                        top.wrong(format!("ambiguous command: {name} could match {}", names.join(", ")))
                    );
                }
            };
            parsed.command = command.name;
            let level = Level { parser: self, command: Some(command) };
            self.parse_level(&level, rest, &mut parsed, &mut deferred)?;
        } else if !self.commands.is_empty() {
            return Err(top.wrong("too few arguments".to_owned()));
        }
        match deferred {
            Some(error) => Err(error),
            None => Ok(parsed),
        }
    }

    /// Parses options up to the command; gives what is left.
    fn parse_level<'a>(
        &self,
        level: &Level<'_>,
        args: &'a [String],
        parsed: &mut Parsed,
        deferred: &mut Option<NotParsed>,
    ) -> Result<&'a [String], NotParsed> {
        let known = level.args();
        for arg in &known {
            if let (Some(default), Some(name)) = (arg.default, arg.flags.first()) {
                parsed.defaults.push((name, default));
            }
        }
        let mut used: Vec<&'static Arg> = Vec::new();
        let mut at = 0;
        while let Some(term) = args.get(at) {
            if !is_flag(term) || term == "--" {
                if level.command.is_none() && !self.commands.is_empty() {
                    break;
                }
                let rest = args.get(at..).unwrap_or_default().join(" ");
                return Err(level.wrong(format!("unrecognized arguments: '{rest}'")));
            }
            at += 1;
            let (flag, attached) = match term.split_once('=') {
                Some((flag, value)) => (flag, Some(value)),
                None => (term.as_str(), None),
            };
            let (arg, attached) = match level.resolve(flag)? {
                Some(arg) => (arg, attached),
                None => match self.short_with_value(&known, term) {
                    Some((arg, value)) => (arg, Some(value)),
                    None => {
                        let wrong = level.wrong(format!("unrecognized arguments: '{term}'"));
                        let NotParsed::Wrong { message, text } = wrong else { return Err(wrong) };
                        return Err(NotParsed::Wrong { message, text: text + &level.similar(flag) });
                    }
                },
            };
            let other = used.iter().find(|other| {
                other.flags != arg.flags
                    && other.group == arg.group
                    && in_exclusive_group(arg, level.groups())
            });
            if let Some(other) = other {
                return Err(
                    level.wrong_about(arg, &format!("not allowed with argument {}", other.textual_name()))
                );
            }
            used.push(arg);
            let name = arg.flags.first().copied().unwrap_or_default();
            if arg.takes == Takes::Nothing {
                if let Some(value) = attached {
                    return Err(level.wrong_about(arg, &format!("ignore implicit argument '{value}'")));
                }
                if arg.flags == HELP_ARG.flags {
                    return Err(NotParsed::Help(level.help()));
                }
                if arg.version {
                    return Err(NotParsed::Version);
                }
                parsed.given.push((name, String::new()));
                continue;
            }
            let mut values: Vec<String> = attached.map(str::to_owned).into_iter().collect();
            let most = if arg.takes == Takes::Texts { usize::MAX } else { 1 };
            while attached.is_none() && values.len() < most {
                let Some(next) = args.get(at).filter(|next| !is_flag(next)) else { break };
                values.push(next.clone());
                at += 1;
            }
            if values.is_empty() {
                let what = if most == 1 { "expected one argument" } else { "expected 1 argument(s)" };
                return Err(level.wrong_about(arg, what));
            }
            for value in values {
                arg.convert(&value).map_err(|what| level.wrong_about(arg, &what))?;
                parsed.given.push((name, value));
            }
        }
        if level.command.is_none() && !self.commands.is_empty() && args.get(at).is_none() {
            return Err(level.wrong("too few arguments".to_owned()));
        }
        if deferred.is_none() {
            *deferred = missing(level, &known, &used);
        }
        Ok(args.get(at..).unwrap_or_default())
    }

    /// `-bvalue`.
    fn short_with_value<'t>(&self, known: &[&'static Arg], term: &'t str) -> Option<(&'static Arg, &'t str)> {
        let (flag, value) = term.split_at_checked(2).filter(|(flag, _)| *flag != "--")?;
        let arg = known.iter().find(|arg| arg.takes != Takes::Nothing && arg.flags.contains(&flag))?;
        Some((arg, value))
    }
}

/// What should have been given and was not.
fn missing(level: &Level<'_>, known: &[&'static Arg], used: &[&'static Arg]) -> Option<NotParsed> {
    let is_used = |arg: &Arg| used.iter().any(|other| other.flags == arg.flags);
    // The last one that is missing is the one that is told.
    if let Some(arg) = known.iter().rev().find(|arg| arg.required && !is_used(arg)) {
        return Some(level.wrong(format!("argument {} is required", arg.textual_name())));
    }
    for (index, _) in level.groups().iter().enumerate().filter(|(_, group)| group.exclusive && group.required)
    {
        let members: Vec<_> = known.iter().filter(|arg| arg.group == Some(index)).collect();
        if !members.iter().any(|arg| is_used(arg)) {
            let names: Vec<_> = members.iter().map(|arg| arg.textual_name()).collect();
            return Some(level.wrong(format!("one of the arguments {} is required", names.join(" "))));
        }
    }
    None
}
