//! Clients, groups and roles, and the file they are kept in.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::command::Command;
use super::json::Json;
use crate::auth::PasswordHash;

/// Where nothing else is said.
pub(super) const NO_PRIORITY: i32 = -1;
const SALT_BYTES: usize = 12;

/// Names for people.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
}

/// Names with priorities, in the order they count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranked(Vec<(String, i32)>);

impl Ranked {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Whether it was not there before.
    pub(super) fn add(&mut self, name: &str, priority: i32) -> bool {
        if self.0.iter().any(|(known, _)| known == name) {
            return false;
        }
        self.0.push((name.to_owned(), priority));
        self.0.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        true
    }

    pub(super) fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(known, _)| known != name);
        self.0.len() != before
    }

    pub(super) fn to_json(&self, key: &'static str) -> Json {
        Json::List(self.0.iter().map(|(name, priority)| ranked(key, name, *priority)).collect())
    }
}

fn ranked(key: &'static str, name: &str, priority: i32) -> Json {
    let mut members = vec![(key, name.into())];
    if priority != NO_PRIORITY {
        members.push(("priority", Json::Number(priority.into())));
    }
    Json::Object(members)
}

#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    pub(super) client_id: Option<String>,
    pub(super) texts: Texts,
    pub(super) disabled: bool,
    pub(super) password: Option<PasswordHash>,
    pub(super) roles: Ranked,
    pub(super) groups: Ranked,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) texts: Texts,
    pub(super) roles: Ranked,
    pub(super) clients: BTreeMap<String, i32>,
}

/// What an entry of a role is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AclType {
    Send,
    Receive,
    SubscribeLiteral,
    SubscribePattern,
    UnsubscribeLiteral,
    UnsubscribePattern,
}

/// In the order they are told.
const ACL_TYPES: [(AclType, &str); 6] = [
    (AclType::Send, "publishClientSend"),
    (AclType::Receive, "publishClientReceive"),
    (AclType::SubscribeLiteral, "subscribeLiteral"),
    (AclType::SubscribePattern, "subscribePattern"),
    (AclType::UnsubscribeLiteral, "unsubscribeLiteral"),
    (AclType::UnsubscribePattern, "unsubscribePattern"),
];

impl AclType {
    pub(super) fn parse(text: &str) -> Option<Self> {
        ACL_TYPES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(kind, _)| *kind)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acl {
    pub(super) kind: AclType,
    pub(super) topic: String,
    pub(super) priority: i32,
    pub(super) allow: bool,
}

/// The entries of a role, of each kind in the order they count.
#[derive(Clone, Debug, Default)]
pub(super) struct Acls(Vec<Acl>);

impl Acls {
    /// Those of a list; entries that are wrong are left out, as with the plugin.
    pub(super) fn of<'a>(list: impl Iterator<Item = Command<'a>>) -> Self {
        let mut acls = Self::default();
        for item in list {
            let kind = item.text("acltype").ok().and_then(AclType::parse);
            let (Some(kind), Ok(topic)) = (kind, item.text("topic")) else { continue };
            let (priority, allow) = (item.number("priority", 0), item.truth("allow", false));
            acls.add(Acl { kind, topic: topic.to_owned(), priority, allow });
        }
        acls
    }

    pub(super) fn of_kind(&self, kind: AclType) -> impl Iterator<Item = &Acl> {
        self.0.iter().filter(move |a| a.kind == kind)
    }

    /// Whether there was none of this kind for the topic.
    pub(super) fn add(&mut self, acl: Acl) -> bool {
        if self.of_kind(acl.kind).any(|a| a.topic == acl.topic) {
            return false;
        }
        self.0.push(acl);
        // Stable: of two with the same priority the older one counts first.
        self.0.sort_by_key(|a| std::cmp::Reverse(a.priority));
        true
    }

    pub(super) fn remove(&mut self, kind: AclType, topic: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|a| !(a.kind == kind && a.topic == topic));
        self.0.len() != before
    }

    fn to_json(&self) -> Json {
        let of = |(kind, name): &(AclType, &'static str)| {
            let one = |a: &Acl| {
                Json::Object(vec![
                    ("acltype", (*name).into()),
                    ("topic", a.topic.as_str().into()),
                    ("priority", Json::Number(a.priority.into())),
                    ("allow", Json::Bool(a.allow)),
                ])
            };
            self.of_kind(*kind).map(one).collect::<Vec<_>>()
        };
        Json::List(ACL_TYPES.iter().flat_map(of).collect())
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Role {
    pub(super) texts: Texts,
    pub(super) acls: Acls,
}

/// What is allowed where no role says anything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DefaultAccess {
    pub(super) send: bool,
    pub(super) receive: bool,
    pub(super) subscribe: bool,
    pub(super) unsubscribe: bool,
}

impl DefaultAccess {
    /// In the order they are told.
    pub(super) fn named(&mut self) -> [(&'static str, &mut bool); 4] {
        [
            ("publishClientSend", &mut self.send),
            ("publishClientReceive", &mut self.receive),
            ("subscribe", &mut self.subscribe),
            ("unsubscribe", &mut self.unsubscribe),
        ]
    }
}

/// Everything a file holds.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) default_access: DefaultAccess,
    pub(super) clients: BTreeMap<String, Client>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) roles: BTreeMap<String, Role>,
    pub(super) anonymous_group: Option<String>,
}

fn texts(of: Command<'_>) -> Texts {
    let text = |name| of.text(name).ok().map(str::to_owned);
    Texts { name: text("textname"), description: text("textdescription") }
}

fn add_texts(members: &mut Vec<(&'static str, Json)>, texts: &Texts) {
    for (key, text) in [("textname", &texts.name), ("textdescription", &texts.description)] {
        members.extend(text.as_deref().map(|t| (key, t.into())));
    }
}

fn password(of: Command<'_>) -> Result<Option<PasswordHash>, ()> {
    let (Ok(salt), Ok(hash)) = (of.text("salt"), of.text("password")) else { return Ok(None) };
    if !of.get("iterations").is_some_and(Value::is_number) {
        return Ok(None);
    }
    let rounds = u32::try_from(of.number("iterations", 0)).ok().and_then(NonZeroU32::new).ok_or(())?;
    let decoded = |text: &str| STANDARD.decode(text).map_err(|_| ());
    let salt = decoded(salt)?;
    if salt.len() != SALT_BYTES {
        return Err(());
    }
    PasswordHash::from_pbkdf2(rounds, salt, decoded(hash)?).map(Some).ok_or(())
}

impl State {
    /// Reads a file. Entries that are wrong are left out, as with the plugin; what is no such file at all is refused.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut state = Self::default();
        if bytes.is_empty() {
            return Ok(state);
        }
        let tree: Value = serde_json::from_slice(bytes).map_err(|e| format!("is not valid JSON: {e}"))?;
        let tree = Command(&tree);
        if let Some(access) = tree.get("defaultACLAccess").filter(|v| v.is_object()).map(Command) {
            for (name, allow) in state.default_access.named() {
                *allow = access.truth(name, false);
            }
        }
        let list = |name: &str| match tree.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(_)) => Ok(tree.objects(name).map(Iterator::collect).unwrap_or_default()),
            Some(_) => Err(format!("{name} is not a list")),
        };
        for role in list("roles")? {
            let Ok(name) = role.text("rolename") else { continue };
            let acls = role.objects("acls").map(Acls::of).unwrap_or_default();
            state.roles.insert(name.to_owned(), Role { texts: texts(role), acls });
        }
        for client in list("clients")? {
            let Ok(name) = client.text("username") else { continue };
            let Ok(password) = password(client) else { continue };
            let made = Client {
                client_id: client.text("clientid").ok().map(str::to_owned),
                texts: texts(client),
                disabled: client.truth("disabled", false),
                password,
                roles: state.known_roles(client),
                groups: Ranked::default(),
            };
            state.clients.insert(name.to_owned(), made);
        }
        for group in list("groups")? {
            let Ok(name) = group.text("groupname") else { continue };
            let roles = state.known_roles(group);
            state.groups.insert(name.to_owned(), Group { texts: texts(group), roles, ..Group::default() });
            for client in group.objects("clients").into_iter().flatten() {
                if let Ok(user) = client.text("username") {
                    let _ = state.add_member(user, name, client.number("priority", NO_PRIORITY));
                }
            }
        }
        let anonymous = tree.text("anonymousGroup").ok();
        state.anonymous_group = anonymous.filter(|g| state.groups.contains_key(*g)).map(str::to_owned);
        Ok(state)
    }

    fn known_roles(&self, of: Command<'_>) -> Ranked {
        let mut roles = Ranked::default();
        for role in of.objects("roles").into_iter().flatten() {
            if let Ok(name) = role.text("rolename")
                && self.roles.contains_key(name)
            {
                roles.add(name, role.number("priority", NO_PRIORITY));
            }
        }
        roles
    }

    /// Puts a client into a group.
    pub(super) fn add_member(&mut self, user: &str, group: &str, priority: i32) -> Result<(), &'static str> {
        let client = self.clients.get_mut(user).ok_or("Client not found")?;
        let known = self.groups.get_mut(group).ok_or("Group not found")?;
        if known.clients.contains_key(user) {
            return Err("Client is already in this group");
        }
        known.clients.insert(user.to_owned(), priority);
        client.groups.add(group, priority);
        Ok(())
    }

    /// Takes a client out of a group.
    pub(super) fn remove_member(&mut self, user: &str, group: &str) -> Result<(), &'static str> {
        let client = self.clients.get_mut(user).ok_or("Client not found")?;
        let known = self.groups.get_mut(group).ok_or("Group not found")?;
        known.clients.remove(user);
        client.groups.remove(group);
        Ok(())
    }

    /// Takes a client out of all groups.
    pub(super) fn remove_from_groups(&mut self, user: &str) {
        for one in self.groups.values_mut() {
            one.clients.remove(user);
        }
        if let Some(client) = self.clients.get_mut(user) {
            client.groups = Ranked::default();
        }
    }

    /// The file's content.
    pub(super) fn to_json(&self) -> Json {
        let mut access = self.default_access;
        let access = access.named().into_iter().map(|(name, allow)| (name, Json::Bool(*allow))).collect();
        let clients = self.clients.iter().map(|(name, client)| {
            let mut members = client_members(name, client);
            if let Some((rounds, salt, hash)) = client.password.as_ref().and_then(PasswordHash::pbkdf2) {
                members.push(("password", Json::Text(STANDARD.encode(hash))));
                members.push(("salt", Json::Text(STANDARD.encode(salt))));
                members.push(("iterations", Json::Number(rounds.get().into())));
            }
            Json::Object(members)
        });
        let groups = self.groups.iter().map(|(name, group)| {
            let mut members = vec![("groupname", name.as_str().into())];
            add_texts(&mut members, &group.texts);
            members.push(("roles", group.roles.to_json("rolename")));
            let clients = group.clients.iter().map(|(user, priority)| ranked("username", user, *priority));
            members.push(("clients", Json::List(clients.collect())));
            Json::Object(members)
        });
        let roles = self.roles.iter().map(|(name, role)| role_json(name, role));
        let mut members = vec![
            ("defaultACLAccess", Json::Object(access)),
            ("clients", Json::List(clients.collect())),
            ("groups", Json::List(groups.collect())),
        ];
        members.extend(self.anonymous_group.as_deref().map(|g| ("anonymousGroup", g.into())));
        members.push(("roles", Json::List(roles.collect())));
        Json::Object(members)
    }
}

fn client_members(name: &str, client: &Client) -> Vec<(&'static str, Json)> {
    let mut members = vec![("username", name.into())];
    members.extend(client.client_id.as_deref().map(|id| ("clientid", id.into())));
    add_texts(&mut members, &client.texts);
    if client.disabled {
        members.push(("disabled", Json::Bool(true)));
    }
    members.push(("roles", client.roles.to_json("rolename")));
    members
}

/// A client as it is told.
pub(super) fn client_json(name: &str, client: &Client) -> Json {
    let mut members = client_members(name, client);
    members.push(("groups", client.groups.to_json("groupname")));
    Json::Object(members)
}

/// A group as it is told.
pub(super) fn group_json(name: &str, group: &Group) -> Json {
    let mut members = vec![("groupname", name.into())];
    add_texts(&mut members, &group.texts);
    let clients = group.clients.keys().map(|user| Json::Object(vec![("username", user.as_str().into())]));
    members.push(("clients", Json::List(clients.collect())));
    members.push(("roles", group.roles.to_json("rolename")));
    Json::Object(members)
}

/// A role, in the file and as it is told.
pub(super) fn role_json(name: &str, role: &Role) -> Json {
    let mut members = vec![("rolename", name.into())];
    add_texts(&mut members, &role.texts);
    members.push(("acls", role.acls.to_json()));
    Json::Object(members)
}
