//! Commands about groups.

use super::clients::{change_texts, role, roles, texts, user};
use super::command::{Command, Wrong, is_plain};
use super::control::{Done, Outcome, Work, page};
use super::json::Json;
use super::state::{Group, NO_PRIORITY, group_json};

fn group<'a>(command: Command<'a>) -> Result<&'a str, &'static str> {
    let group = Wrong::say(command.text("groupname"), "Invalid/missing groupname")?;
    if is_plain(group) { Ok(group) } else { Err("Group name not valid UTF-8") }
}

fn known<'s>(work: &'s mut Work<'_>, group: &str) -> Result<&'s mut Group, &'static str> {
    work.state.groups.get_mut(group).ok_or("Group not found")
}

pub(super) fn create(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let name = group(command)?;
    let texts = texts(command)?;
    if work.state.groups.contains_key(name) {
        return Err("Group already exists");
    }
    let roles = roles(work.state, command, "Internal error")?.unwrap_or_default();
    work.state.groups.insert(name.to_owned(), Group { texts, roles, ..Group::default() });
    Ok(Done::Changed)
}

pub(super) fn delete(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let name = group(command)?;
    known(work, name)?;
    work.kick_group(name);
    if let Some(gone) = work.state.groups.remove(name) {
        for user in gone.clients.keys() {
            if let Some(client) = work.state.clients.get_mut(user) {
                client.groups.remove(name);
            }
        }
    }
    if work.state.anonymous_group.as_deref() == Some(name) {
        work.state.anonymous_group = None;
    }
    Ok(Done::Changed)
}

pub(super) fn get(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let name = group(command)?;
    let group = known(work, name)?;
    Ok(Done::Data(Json::Object(vec![("group", group_json(name, group))])))
}

pub(super) fn list(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    Ok(Done::Data(page(command, "groups", work.state.groups.iter(), group_json)))
}

/// All or nothing: where a role is wrong, nothing else is changed either.
pub(super) fn modify(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let name = group(command)?;
    known(work, name)?;
    let roles = roles(work.state, command, "'roles' not an array or missing/invalid rolename")?;
    // Those who leave it are concerned too.
    work.kick_group(name);
    let group = known(work, name)?;
    change_texts(&mut group.texts, command);
    if let Some(roles) = roles {
        group.roles = roles;
    }
    if let Some(clients) = command.objects("clients") {
        let gone: Vec<String> = std::mem::take(&mut group.clients).into_keys().collect();
        for user in gone {
            if let Some(client) = work.state.clients.get_mut(&user) {
                client.groups.remove(name);
            }
        }
        for client in clients {
            if let Ok(user) = client.text("username") {
                // As with the plugin clients that are not there are passed over.
                let _ = work.state.add_member(user, name, client.number("priority", NO_PRIORITY));
            }
        }
    }
    work.kick_group(name);
    Ok(Done::Changed)
}

pub(super) fn add_client(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let (user, name) = (user(command)?, group(command)?);
    work.state.add_member(user, name, command.number("priority", NO_PRIORITY))?;
    work.kick(user);
    Ok(Done::Changed)
}

pub(super) fn remove_client(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let (user, name) = (user(command)?, group(command)?);
    work.state.remove_member(user, name)?;
    work.kick(user);
    Ok(Done::Changed)
}

pub(super) fn add_role(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let (name, role) = (group(command)?, role(command)?);
    known(work, name)?;
    if !work.state.roles.contains_key(role) {
        return Err("Role not found");
    }
    if !known(work, name)?.roles.add(role, command.number("priority", NO_PRIORITY)) {
        return Err("Group is already in this role");
    }
    work.kick_group(name);
    Ok(Done::Changed)
}

pub(super) fn remove_role(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let (name, role) = (group(command)?, role(command)?);
    known(work, name)?;
    if !work.state.roles.contains_key(role) {
        return Err("Role not found");
    }
    known(work, name)?.roles.remove(role);
    work.kick_group(name);
    Ok(Done::Changed)
}

pub(super) fn set_anonymous(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let name = group(command)?;
    known(work, name)?;
    work.state.anonymous_group = Some(name.to_owned());
    work.kicks.push(None);
    Ok(Done::Changed)
}

pub(super) fn get_anonymous(work: &mut Work<'_>, _: Command<'_>) -> Outcome {
    let name = work.state.anonymous_group.as_deref().unwrap_or_default();
    let group = Json::Object(vec![("groupname", name.into())]);
    Ok(Done::Data(Json::Object(vec![("group", group)])))
}
