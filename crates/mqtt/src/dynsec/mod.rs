//! Mosquitto's dynamic security: clients, groups and roles that are changed by messages to
//! `$CONTROL/dynamic-security/v1` while the broker runs, and kept in its plugin's JSON file.
//!
//! [`DynamicSecurity`] is an [`Authenticator`] and an [`Authorizer`]; commands and answers are those of the plugin.

mod clients;
mod command;
mod control;
mod groups;
mod initial;
mod json;
mod rights;
mod roles;
mod state;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use state::State;

use crate::auth::{Access, Authenticator, Authorizer, Credentials, Principal, Verdict};

/// Where commands are published.
pub(crate) const REQUEST_TOPIC: &str = "$CONTROL/dynamic-security/v1";
/// Where they are answered.
pub(crate) const RESPONSE_TOPIC: &str = "$CONTROL/dynamic-security/v1/response";

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DynamicSecurityError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is not what the plugin writes.
    #[error("{0}")]
    Content(String),
}

/// The connections that a change concerns: those of a user, or of clients without a name.
pub(crate) type Kick = Option<String>;

/// What commands come to.
#[derive(Debug)]
pub(crate) struct Answer {
    /// For the response topic.
    pub(crate) payload: Vec<u8>,
    /// Connections to end.
    pub(crate) kicks: Vec<Kick>,
}

/// Users and rights of one file.
pub struct DynamicSecurity {
    path: PathBuf,
    state: RwLock<State>,
    version: AtomicU64,
    /// One message of commands at a time.
    commands: Mutex<()>,
}

impl fmt::Debug for DynamicSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicSecurity").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Files in use: whoever names one again gets what is in memory, which is never older than the file.
static OPEN: Mutex<Vec<(PathBuf, Weak<DynamicSecurity>)>> = Mutex::new(Vec::new());

impl DynamicSecurity {
    /// Reads a file; an empty one has nobody in it.
    ///
    /// # Errors
    /// [`DynamicSecurityError`]
    pub fn open(path: &Path) -> Result<Arc<Self>, DynamicSecurityError> {
        let path = std::fs::canonicalize(path)?;
        let mut open = OPEN.lock();
        open.retain(|(_, used)| used.strong_count() > 0);
        if let Some(used) = open.iter().find(|(p, _)| *p == path).and_then(|(_, used)| used.upgrade()) {
            return Ok(used);
        }
        let state = State::parse(&std::fs::read(&path)?).map_err(DynamicSecurityError::Content)?;
        let opened = Arc::new(Self {
            path: path.clone(),
            state: RwLock::new(state),
            version: AtomicU64::new(1),
            commands: Mutex::new(()),
        });
        open.push((path, Arc::downgrade(&opened)));
        Ok(opened)
    }

    /// Carries out a message of commands; what it changes is in the file when this returns. `admin` is for the log.
    pub(crate) fn control(&self, payload: &[u8], admin: &str) -> Answer {
        let _one = self.commands.lock();
        let mut state = self.state.read().clone();
        let done = control::run(&mut state, payload, admin);
        if !done.changed {
            return Answer { payload: done.payload(), kicks: done.kicks };
        }
        if let Err(error) = self.save(&state) {
            tracing::error!(path = %self.path.display(), %error, "dynamic security cannot be saved; nothing is changed");
            return Answer { payload: done.failed(), kicks: Vec::new() };
        }
        *self.state.write() = state;
        self.version.fetch_add(1, Ordering::SeqCst);
        Answer { payload: done.payload(), kicks: done.kicks }
    }

    fn save(&self, state: &State) -> io::Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let fresh = PathBuf::from(name);
        let mut options = std::fs::File::options();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&fresh)?;
        if let Ok(old) = std::fs::metadata(&self.path) {
            file.set_permissions(old.permissions())?;
        }
        file.write_all(state.to_json().pretty().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)
    }

    /// What it says about an access; `None` = nothing.
    fn decide(&self, who: &Principal<'_>, access: Access, topic: &str) -> Option<bool> {
        rights::decide(&self.state.read(), who.user_name, access, topic)
    }
}

impl Authenticator for DynamicSecurity {
    fn check(&self, credentials: &Credentials<'_>) -> Verdict {
        let hash = {
            let state = self.state.read();
            let Some(client) = credentials.user_name.and_then(|name| state.clients.get(name)) else {
                return Verdict::NotAuthorized;
            };
            let is_other = client.client_id.as_ref().is_some_and(|id| id != credentials.client_id);
            if client.disabled || is_other {
                return Verdict::NotAuthorized;
            }
            client.password.clone()
        };
        match (hash, credentials.password) {
            (Some(hash), Some(password)) if hash.matches(password) => Verdict::Accept,
            _ => Verdict::NotAuthorized,
        }
    }

    fn knows(&self, user_name: &str) -> bool {
        self.state.read().clients.contains_key(user_name)
    }
}

/// Rights by dynamic security and, where that says nothing, by another authorizer.
#[derive(Debug)]
pub struct DynamicRights {
    dynamic: Arc<DynamicSecurity>,
    other: Option<Arc<dyn Authorizer>>,
}

impl DynamicRights {
    /// See the type.
    pub fn new(dynamic: Arc<DynamicSecurity>, other: Option<Arc<dyn Authorizer>>) -> Self {
        Self { dynamic, other }
    }
}

impl Authorizer for DynamicRights {
    fn allows(&self, who: &Principal<'_>, access: Access, topic: &str) -> bool {
        match (self.dynamic.decide(who, access, topic), &self.other) {
            (Some(answer), _) => answer,
            (None, Some(other)) => other.allows(who, access, topic),
            (None, None) => false,
        }
    }

    fn version(&self) -> u64 {
        let other = self.other.as_ref().map_or(0, |o| o.version());
        self.dynamic.version.load(Ordering::SeqCst).wrapping_add(other << 32)
    }

    fn control(&self) -> Option<&Arc<DynamicSecurity>> {
        Some(&self.dynamic)
    }
}

/// Users of dynamic security, then those of another authenticator.
#[derive(Debug)]
pub struct DynamicUsers {
    dynamic: Arc<DynamicSecurity>,
    other: Option<Arc<dyn Authenticator>>,
}

impl DynamicUsers {
    /// See the type.
    pub fn new(dynamic: Arc<DynamicSecurity>, other: Option<Arc<dyn Authenticator>>) -> Self {
        Self { dynamic, other }
    }

    fn of(&self, user_name: &str) -> Option<&dyn Authenticator> {
        if self.dynamic.knows(user_name) {
            return Some(&*self.dynamic);
        }
        self.other.as_deref().filter(|o| o.knows(user_name))
    }
}

impl Authenticator for DynamicUsers {
    fn check(&self, credentials: &Credentials<'_>) -> Verdict {
        let of = credentials.user_name.and_then(|name| self.of(name));
        of.map_or(Verdict::NotAuthorized, |a| a.check(credentials))
    }

    fn knows(&self, user_name: &str) -> bool {
        self.of(user_name).is_some()
    }

    fn scram_secret(&self, user_name: &str) -> Option<crate::auth::ScramSecret> {
        self.of(user_name)?.scram_secret(user_name)
    }
}
