//! Answers of the broker, for people.

use std::fmt::Write;

use serde_json::Value;

const INVALID: &str = "Error: Invalid response from server.\n";

/// What goes to standard output, and to standard error.
pub(super) fn answer(payload: &[u8]) -> (String, String) {
    let complain = |text: &str| (String::new(), text.to_owned());
    let Ok(tree) = serde_json::from_slice::<Value>(payload) else {
        return complain("Error: Payload not JSON.\n");
    };
    let response = tree.get("responses").and_then(Value::as_array).and_then(|r| r.first());
    let Some((response, command)) = response.and_then(|r| Some((r, r.get("command")?.as_str()?))) else {
        return complain("Error: Payload missing data.\n");
    };
    if let Some(error) = response.get("error") {
        return complain(&format!("{command}: Error: {}\n", error.as_str().unwrap_or_default()));
    }
    let data = response.get("data");
    let text = match command.to_ascii_lowercase().as_str() {
        "listclients" => list(data, "clients", "username"),
        "listgroups" => list(data, "groups", "groupname"),
        "listroles" => list(data, "roles", "rolename"),
        "getclient" => client(data),
        "getgroup" => group(data),
        "getrole" => role(data),
        "getdefaultaclaccess" => default_access(data),
        "getanonymousgroup" => {
            data.and_then(|d| d.get("group")?.get("groupname")?.as_str()).map(|name| format!("{name}\n"))
        }
        _ => Some(String::new()),
    };
    text.map_or_else(|| complain(INVALID), |text| (text, String::new()))
}

fn text<'v>(of: &'v Value, key: &str) -> Option<&'v str> {
    of.get(key).and_then(Value::as_str)
}

fn list(data: Option<&Value>, key: &str, name: &str) -> Option<String> {
    let items = data?.get(key)?.as_array()?;
    let names = items.iter().filter_map(|item| item.as_str().or_else(|| text(item, name)));
    Some(names.map(|name| format!("{name}\n")).collect())
}

fn priority(of: &Value) -> String {
    let priority = of.get("priority").and_then(Value::as_f64).map_or(-1, |n| n as i64);
    format!(" (priority: {priority})")
}

/// Names in a column under a title.
fn column(out: &mut String, title: &str, width: usize, items: Option<&Value>, key: &str, ranked: bool) {
    let Some(items) = items.and_then(Value::as_array) else {
        let _ = writeln!(out, "{title}");
        return;
    };
    let named = items.iter().filter_map(|item| Some((item, text(item, key)?)));
    for (at, (item, name)) in named.enumerate() {
        let title = if at == 0 { title } else { "" };
        let priority = if ranked { priority(item) } else { String::new() };
        let _ = writeln!(out, "{title:width$} {name}{priority}");
    }
}

fn client(data: Option<&Value>) -> Option<String> {
    let client = data?.get("client")?;
    let mut out = format!("Username: {}\n", text(client, "username")?);
    match text(client, "clientid") {
        Some(id) => out += &format!("Clientid: {id}\n"),
        None => out += "Clientid:\n",
    }
    if let Some(disabled) = client.get("disabled").and_then(Value::as_bool) {
        out += &format!("Disabled: {disabled}\n");
    }
    column(&mut out, "Roles:", 9, client.get("roles"), "rolename", true);
    column(&mut out, "Groups:", 9, client.get("groups"), "groupname", true);
    Some(out)
}

fn group(data: Option<&Value>) -> Option<String> {
    let group = data?.get("group")?;
    let mut out = format!("Groupname: {}\n", text(group, "groupname")?);
    column(&mut out, "Roles:", 10, group.get("roles"), "rolename", true);
    if group.get("clients").is_some_and(Value::is_array) {
        column(&mut out, "Clients:", 10, group.get("clients"), "username", false);
    }
    Some(out)
}

fn role(data: Option<&Value>) -> Option<String> {
    let role = data?.get("role")?;
    let mut out = format!("Rolename: {}\n", text(role, "rolename")?);
    let acls = role.get("acls").and_then(Value::as_array).into_iter().flatten();
    for (at, (acl, kind)) in acls.filter_map(|a| Some((a, text(a, "acltype")?))).enumerate() {
        let title = if at == 0 { "ACLs:" } else { "" };
        let _ = write!(out, "{title:9} {kind:20}");
        if let Some(allow) = acl.get("allow").and_then(Value::as_bool) {
            out += if allow { " : allow" } else { " : deny " };
        }
        if let Some(topic) = text(acl, "topic") {
            let _ = write!(out, " : {topic}");
        }
        let _ = writeln!(out, "{}", priority(acl));
    }
    Some(out)
}

fn default_access(data: Option<&Value>) -> Option<String> {
    let mut out = String::new();
    for acl in data?.get("acls")?.as_array()? {
        let allow = if acl.get("allow")?.as_bool()? { "allow" } else { "deny" };
        let _ = writeln!(out, "{:20} : {allow}", text(acl, "acltype")?);
    }
    Some(out)
}
