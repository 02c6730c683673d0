//! Commands about clients.

use std::num::NonZeroU32;

use super::command::{Command, Wrong, is_plain};
use super::control::{Done, Outcome, Work, page};
use super::json::Json;
use super::state::{Client, NO_PRIORITY, Ranked, State, Texts, client_json};
use crate::auth::{Hashing, PasswordHash};

/// Mosquitto's own number of rounds.
pub(super) const ITERATIONS: NonZeroU32 = match NonZeroU32::new(101) {
    Some(n) => n,
    None => NonZeroU32::MIN,
};

pub(super) fn user<'a>(command: Command<'a>) -> Result<&'a str, &'static str> {
    let user = Wrong::say(command.text("username"), "Invalid/missing username")?;
    if is_plain(user) { Ok(user) } else { Err("Username not valid UTF-8") }
}

pub(super) fn role<'a>(command: Command<'a>) -> Result<&'a str, &'static str> {
    let role = Wrong::say(command.text("rolename"), "Invalid/missing rolename")?;
    if is_plain(role) { Ok(role) } else { Err("Role name not valid UTF-8") }
}

pub(super) fn texts(command: Command<'_>) -> Result<Texts, &'static str> {
    let name = Wrong::say(command.text_or_none("textname"), "Invalid/missing textname")?;
    let description = Wrong::say(command.text_or_none("textdescription"), "Invalid/missing textdescription")?;
    Ok(Texts { name: name.map(str::to_owned), description: description.map(str::to_owned) })
}

/// Takes over the texts that are there.
pub(super) fn change_texts(texts: &mut Texts, command: Command<'_>) {
    for (to, key) in [(&mut texts.name, "textname"), (&mut texts.description, "textdescription")] {
        if let Ok(text) = command.text(key) {
            *to = Some(text.to_owned());
        }
    }
}

/// The roles of a command; `None` where it names none.
pub(super) fn roles(
    state: &State,
    command: Command<'_>,
    wrong: &'static str,
) -> Result<Option<Ranked>, &'static str> {
    let Some(list) = command.get("roles") else { return Ok(None) };
    let mut roles = Ranked::default();
    for item in list.as_array().ok_or(wrong)? {
        let item = Command(item);
        let name = Wrong::say(item.text("rolename"), wrong)?;
        if !state.roles.contains_key(name) {
            return Err("Role not found");
        }
        roles.add(name, item.number("priority", NO_PRIORITY));
    }
    Ok(Some(roles))
}

const WRONG_ROLES: &str = "'roles' not an array or missing/invalid rolename";

fn hash(password: &str) -> Result<PasswordHash, &'static str> {
    PasswordHash::new(password.as_bytes(), Hashing::Pbkdf2(ITERATIONS)).map_err(|_| "Internal error")
}

fn known<'s>(work: &'s mut Work<'_>, user: &str) -> Result<&'s mut Client, &'static str> {
    work.state.clients.get_mut(user).ok_or("Client not found")
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

pub(super) fn create(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let user = user(command)?;
    let password = Wrong::say(command.text_or_none("password"), "Invalid/missing password")?;
    let client_id = Wrong::say(command.text_or_none("clientid"), "Invalid/missing client id")?;
    if client_id.is_some_and(|id| !is_plain(id)) {
        return Err("Client ID not valid UTF-8");
    }
    let texts = texts(command)?;
    if work.state.clients.contains_key(user) {
        return Err("Client already exists");
    }
    let password = password.map(hash).transpose()?;
    let roles = roles(work.state, command, WRONG_ROLES)?.unwrap_or_default();
    let groups = groups(command);
    if groups.iter().any(|(name, _)| !work.state.groups.contains_key(*name)) {
        return Err("Group not found");
    }
    let client_id = client_id.and_then(non_empty);
    let client = Client { client_id, texts, password, roles, ..Client::default() };
    work.state.clients.insert(user.to_owned(), client);
    for (name, priority) in groups {
        // Named twice: once is enough.
        let _ = work.state.add_member(user, name, priority);
    }
    Ok(Done::Changed)
}

fn groups<'a>(command: Command<'a>) -> Vec<(&'a str, i32)> {
    let list = command.objects("groups").into_iter().flatten();
    list.filter_map(|g| Some((g.text("groupname").ok()?, g.number("priority", NO_PRIORITY)))).collect()
}

pub(super) fn delete(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let user = Wrong::say(command.text("username"), "Invalid/missing username")?;
    known(work, user)?;
    work.state.remove_from_groups(user);
    work.state.clients.remove(user);
    work.kick(user);
    Ok(Done::Changed)
}

pub(super) fn disable(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let user = user(command)?;
    known(work, user)?.disabled = true;
    work.kick(user);
    Ok(Done::Changed)
}

pub(super) fn enable(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    known(work, user(command)?)?.disabled = false;
    Ok(Done::Changed)
}

pub(super) fn set_id(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let user = user(command)?;
    let client_id = Wrong::say(command.text_or_none("clientid"), "Invalid/missing client ID")?;
    if client_id.is_some_and(|id| !is_plain(id)) {
        return Err("Client ID not valid UTF-8");
    }
    known(work, user)?.client_id = client_id.and_then(non_empty);
    work.kick(user);
    Ok(Done::Changed)
}

pub(super) fn set_password(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let user = user(command)?;
    let password = Wrong::say(command.text("password"), "Invalid/missing password")?;
    if password.is_empty() {
        return Err("Empty password is not allowed");
    }
    known(work, user)?.password = Some(hash(password)?);
    work.kick(user);
    Ok(Done::Changed)
}

/// All or nothing: where a role is wrong, nothing else is changed either.
pub(super) fn modify(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let user = user(command)?;
    known(work, user)?;
    let roles = roles(work.state, command, WRONG_ROLES)?;
    let password = command.text("password").ok().filter(|p| !p.is_empty()).map(hash).transpose()?;
    let client = known(work, user)?;
    if let Ok(id) = command.text("clientid") {
        client.client_id = non_empty(id);
    }
    if password.is_some() {
        client.password = password;
    }
    change_texts(&mut client.texts, command);
    if let Some(roles) = roles {
        client.roles = roles;
    }
    if command.objects("groups").is_some() {
        work.state.remove_from_groups(user);
        for (name, priority) in groups(command) {
            // As with the plugin groups that are not there are passed over.
            let _ = work.state.add_member(user, name, priority);
        }
    }
    work.kick(user);
    Ok(Done::Changed)
}

pub(super) fn get(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let user = user(command)?;
    let client = known(work, user)?;
    Ok(Done::Data(Json::Object(vec![("client", client_json(user, client))])))
}

pub(super) fn list(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    Ok(Done::Data(page(command, "clients", work.state.clients.iter(), client_json)))
}

pub(super) fn add_role(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let (user, role) = (user(command)?, role(command)?);
    known(work, user)?;
    if !work.state.roles.contains_key(role) {
        return Err("Role not found");
    }
    if !known(work, user)?.roles.add(role, command.number("priority", NO_PRIORITY)) {
        return Err("Internal error");
    }
    work.kick(user);
    Ok(Done::Changed)
}

pub(super) fn remove_role(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let (user, role) = (user(command)?, role(command)?);
    known(work, user)?;
    if !work.state.roles.contains_key(role) {
        return Err("Role not found");
    }
    known(work, user)?.roles.remove(role);
    work.kick(user);
    Ok(Done::Changed)
}
