//! Commands about roles.

use mqtt_codec::topic;
use serde_json::Value;

use super::clients::{change_texts, role, texts};
use super::command::{Command, Wrong, is_plain};
use super::control::{Done, Outcome, Work, page};
use super::json::Json;
use super::state::{Acl, AclType, Acls, Role, role_json};

fn known<'s>(work: &'s mut Work<'_>, role: &str) -> Result<&'s mut Role, &'static str> {
    work.state.roles.get_mut(role).ok_or("Role not found")
}

pub(super) fn create(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let name = role(command)?;
    let texts = texts(command)?;
    if work.state.roles.contains_key(name) {
        return Err("Role already exists");
    }
    let acls = command.objects("acls").map(Acls::of).unwrap_or_default();
    work.state.roles.insert(name.to_owned(), Role { texts, acls });
    Ok(Done::Changed)
}

pub(super) fn delete(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let name = role(command)?;
    known(work, name)?;
    work.kick_role(name);
    work.state.roles.remove(name);
    for one in work.state.clients.values_mut() {
        one.roles.remove(name);
    }
    for one in work.state.groups.values_mut() {
        one.roles.remove(name);
    }
    Ok(Done::Changed)
}

pub(super) fn get(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let name = role(command)?;
    let role = known(work, name)?;
    Ok(Done::Data(Json::Object(vec![("role", role_json(name, role))])))
}

pub(super) fn list(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    Ok(Done::Data(page(command, "roles", work.state.roles.iter(), role_json)))
}

pub(super) fn modify(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let name = role(command)?;
    let role = work.state.roles.get_mut(name).ok_or("Role does not exist")?;
    change_texts(&mut role.texts, command);
    if let Some(acls) = command.objects("acls") {
        role.acls = Acls::of(acls);
    }
    Ok(Done::Changed)
}

fn kind(command: Command<'_>) -> Result<AclType, &'static str> {
    let text = command.get("acltype").and_then(Value::as_str).ok_or("Invalid/missing acltype")?;
    AclType::parse(text).ok_or("Unknown acltype")
}

fn filter<'a>(command: Command<'a>) -> Result<&'a str, &'static str> {
    let filter = Wrong::say(command.text("topic"), "Invalid/missing topic")?;
    if !is_plain(filter) {
        return Err("Topic not valid UTF-8");
    }
    if topic::validate_unshared_filter(filter).is_err() { Err("Invalid ACL topic") } else { Ok(filter) }
}

pub(super) fn add_acl(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let name = role(command)?;
    known(work, name)?;
    let (kind, topic) = (kind(command)?, filter(command)?.to_owned());
    let (priority, allow) = (command.number("priority", 0), command.truth("allow", false));
    if !known(work, name)?.acls.add(Acl { kind, topic, priority, allow }) {
        return Err("ACL with this topic already exists");
    }
    work.kick_role(name);
    Ok(Done::Changed)
}

pub(super) fn remove_acl(work: &mut Work<'_>, command: Command<'_>) -> Outcome {
    let name = role(command)?;
    known(work, name)?;
    let (kind, topic) = (kind(command)?, filter(command)?);
    if !known(work, name)?.acls.remove(kind, topic) {
        return Err("ACL not found");
    }
    work.kick_role(name);
    Ok(Done::Changed)
}
