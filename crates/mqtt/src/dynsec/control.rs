//! Messages of commands, and their answers.

use serde_json::Value;

use super::Kick;
use super::command::{Command, Wrong};
use super::json::Json;
use super::state::State;
use super::{clients, groups, roles};

/// How a command ended.
pub(super) enum Done {
    /// Something is changed.
    Changed,
    /// This is the answer.
    Data(Json),
}

/// What the plugin says to a command that does not work.
pub(super) type Outcome = Result<Done, &'static str>;

impl Wrong {
    /// The plugin's words for it.
    pub(super) fn say<T>(result: Result<T, Self>, words: &'static str) -> Result<T, &'static str> {
        result.map_err(|Self| words)
    }
}

/// A command at work.
pub(super) struct Work<'a> {
    pub(super) state: &'a mut State,
    /// Connections to end when everything is saved.
    pub(super) kicks: &'a mut Vec<Kick>,
}

impl Work<'_> {
    /// Ends the connections of a user.
    pub(super) fn kick(&mut self, user: &str) {
        self.kicks.push(Some(user.to_owned()));
    }

    /// Ends the connections of a group's clients.
    pub(super) fn kick_group(&mut self, name: &str) {
        if self.state.anonymous_group.as_deref() == Some(name) {
            self.kicks.push(None);
        }
        let clients = self.state.groups.get(name).map(|g| &g.clients);
        self.kicks.extend(clients.into_iter().flat_map(|c| c.keys().cloned().map(Some)));
    }

    /// Ends the connections of all who have a role.
    pub(super) fn kick_role(&mut self, name: &str) {
        let has = |roles: &super::state::Ranked| roles.names().any(|r| r == name);
        let users =
            self.state.clients.iter().filter(|(_, c)| has(&c.roles)).map(|(user, _)| Some(user.clone()));
        self.kicks.extend(users);
        let groups = self.state.groups.iter().filter(|(_, g)| has(&g.roles));
        for name in groups.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.kick_group(&name);
        }
    }
}

/// One command's answer.
struct Response {
    command: String,
    outcome: Result<Option<Json>, &'static str>,
    changed: bool,
    correlation: Option<String>,
}

/// All of them.
pub(super) struct Finished {
    responses: Vec<Response>,
    pub(super) kicks: Vec<Kick>,
    pub(super) changed: bool,
}

impl Finished {
    /// What is published.
    pub(super) fn payload(&self) -> Vec<u8> {
        self.write(|r| r.outcome.clone())
    }

    /// What is published when the changes cannot be saved.
    pub(super) fn failed(&self) -> Vec<u8> {
        self.write(|r| if r.changed { Err("Internal error") } else { r.outcome.clone() })
    }

    fn write(&self, outcome: impl Fn(&Response) -> Result<Option<Json>, &'static str>) -> Vec<u8> {
        let response = |r: &Response| {
            let mut members = vec![("command", Json::Text(r.command.clone()))];
            match outcome(r) {
                Ok(Some(data)) => members.push(("data", data)),
                Ok(None) => {}
                Err(why) => members.push(("error", why.into())),
            }
            members.extend(r.correlation.as_deref().map(|c| ("correlationData", c.into())));
            Json::Object(members)
        };
        let responses = Json::List(self.responses.iter().map(response).collect());
        Json::Object(vec![("responses", responses)]).compact().into_bytes()
    }
}

/// Carries out the commands of a message, one after the other.
pub(super) fn run(state: &mut State, payload: &[u8], admin: &str) -> Finished {
    let mut done = Finished { responses: Vec::new(), kicks: Vec::new(), changed: false };
    let unknown = |why| Response {
        command: "Unknown command".to_owned(),
        outcome: Err(why),
        changed: false,
        correlation: None,
    };
    let Ok(tree) = serde_json::from_slice::<Value>(payload) else {
        done.responses.push(unknown("Payload not valid JSON"));
        return done;
    };
    let Some(Value::Array(commands)) = Command(&tree).get("commands") else {
        done.responses.push(unknown("Invalid/missing commands"));
        return done;
    };
    for value in commands {
        if !value.is_object() {
            done.responses.push(unknown("Command not an object"));
            continue;
        }
        let command = Command(value);
        let Ok(name) = command.text("command") else {
            done.responses.push(unknown("Missing command"));
            continue;
        };
        let Ok(correlation) = command.text_or_none("correlationData") else {
            let why = "Invalid correlationData data type.";
            done.responses.push(Response { command: name.to_owned(), ..unknown(why) });
            // As with the plugin nothing after it counts.
            break;
        };
        let mut work = Work { state, kicks: &mut done.kicks };
        let (known, outcome) = one(&mut work, name, command);
        let text = |key| command.text(key).unwrap_or_default();
        let about = ["username", "groupname", "rolename"].map(text);
        tracing::info!(%admin, command = name, ?about, error = outcome.as_ref().err(), "dynamic security");
        let changed = matches!(outcome, Ok(Done::Changed));
        done.changed |= changed;
        let outcome = outcome.map(|done| match done {
            Done::Changed => None,
            Done::Data(data) => Some(data),
        });
        done.responses.push(Response {
            command: known.unwrap_or(name).to_owned(),
            outcome,
            changed,
            correlation: correlation.map(str::to_owned),
        });
    }
    done
}

type Handler = fn(&mut Work<'_>, Command<'_>) -> Outcome;

const COMMANDS: &[(&str, Handler)] = &[
    ("setDefaultACLAccess", set_default_access),
    ("getDefaultACLAccess", get_default_access),
    ("createClient", clients::create),
    ("deleteClient", clients::delete),
    ("getClient", clients::get),
    ("listClients", clients::list),
    ("modifyClient", clients::modify),
    ("setClientPassword", clients::set_password),
    ("setClientId", clients::set_id),
    ("addClientRole", clients::add_role),
    ("removeClientRole", clients::remove_role),
    ("enableClient", clients::enable),
    ("disableClient", clients::disable),
    ("addGroupClient", groups::add_client),
    ("createGroup", groups::create),
    ("deleteGroup", groups::delete),
    ("getGroup", groups::get),
    ("listGroups", groups::list),
    ("modifyGroup", groups::modify),
    ("removeGroupClient", groups::remove_client),
    ("addGroupRole", groups::add_role),
    ("removeGroupRole", groups::remove_role),
    ("setAnonymousGroup", groups::set_anonymous),
    ("getAnonymousGroup", groups::get_anonymous),
    ("createRole", roles::create),
    ("getRole", roles::get),
    ("listRoles", roles::list),
    ("modifyRole", roles::modify),
    ("deleteRole", roles::delete),
    ("addRoleACL", roles::add_acl),
    ("removeRoleACL", roles::remove_acl),
];

fn one<'n>(work: &mut Work<'_>, name: &'n str, command: Command<'_>) -> (Option<&'n str>, Outcome) {
    match COMMANDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        Some((known, handle)) => (Some(known), handle(work, command)),
        None => (None, Err("Unknown command")),
    }
}

fn set_default_access(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let acls = command.objects("acls").ok_or("Missing/invalid actions array")?;
    for acl in acls {
        let (Ok(kind), Some(allow)) = (acl.text("acltype"), acl.get("allow").and_then(Value::as_bool)) else {
            continue;
        };
        for (name, access) in work.state.default_access.named() {
            if name.eq_ignore_ascii_case(kind) {
                *access = allow;
            }
        }
    }
    Ok(Done::Changed)
}

fn get_default_access(work: &mut Work<'_>, _: Command<'_>) -> Outcome {
    let acl = |(name, allow): (&'static str, &mut bool)| {
        Json::Object(vec![("acltype", name.into()), ("allow", Json::Bool(*allow))])
    };
    let acls = work.state.default_access.named().into_iter().map(acl).collect();
    Ok(Done::Data(Json::Object(vec![("acls", Json::List(acls))])))
}

/// The part of a list that is asked for, with the number of all.
pub(super) fn page<'s, T>(
    command: Command<'_>,
    key: &'static str,
    all: impl ExactSizeIterator<Item = (&'s String, &'s T)>,
    told: fn(&str, &T) -> Json,
) -> Json
where
    T: 's,
{
    let verbose = command.truth("verbose", false);
    let (count, offset) = (command.number("count", -1), command.number("offset", 0));
    let total = Json::Number(i64::try_from(all.len()).unwrap_or(i64::MAX));
    let take = usize::try_from(count).map_or(usize::MAX, |n| n.max(1));
    let shown = all.skip(usize::try_from(offset).unwrap_or(0)).take(take);
    let shown = shown.map(|(name, item)| if verbose { told(name, item) } else { name.as_str().into() });
    Json::Object(vec![("totalCount", total), (key, Json::List(shown.collect()))])
}
