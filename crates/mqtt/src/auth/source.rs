//! Who retained a message: asked again when it is delivered, so that a right withdrawn from its publisher counts
//! (`check_retain_source`).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::{Access, Login, Principal};
use crate::config::ListenAddress;
use crate::net::Listener;

/// Port of the listener (a Unix socket's is 0), user name and client id, apart by zero bytes, which none of them holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source<'s> {
    port: u16,
    user_name: Option<&'s str>,
    client_id: &'s str,
}

fn port_of(listener: &Listener) -> u16 {
    match &listener.bound {
        ListenAddress::Tcp(address) => address.port(),
        ListenAddress::Unix(_) => 0,
    }
}

impl<'s> Source<'s> {
    /// The source that a client's messages have, where there are rules to ask.
    pub(crate) fn of(login: &Login) -> Option<Arc<[u8]>> {
        login.listener.security.load().authorizer.as_ref()?;
        let port = port_of(&login.listener);
        let user = login.user_name.as_deref().map(|u| format!("u{u}")).unwrap_or_default();
        Some(format!("{port}\0{user}\0{}", login.client_id()).into_bytes().into())
    }

    /// Takes one apart.
    pub(crate) fn parse(bytes: &'s [u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(bytes).ok()?.splitn(3, '\0');
        let port = parts.next()?.parse().ok()?;
        let user_name = parts.next()?.strip_prefix('u');
        Some(Self { port, user_name, client_id: parts.next()? })
    }

    /// Whether it may still publish the topic by the rules of its listener; where that is no more nobody can say no.
    pub(crate) fn may_write(&self, listeners: &[Arc<Listener>], topic: &str) -> bool {
        let Some(listener) = listeners.iter().find(|l| port_of(l) == self.port) else { return true };
        let security = listener.security.load();
        let Some(authorizer) = &security.authorizer else { return true };
        let peer = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let who = Principal { user_name: self.user_name, client_id: self.client_id, peer };
        authorizer.allows(&who, Access::Write, topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_taken_apart() {
        let parse = |text: &'static str| Source::parse(text.as_bytes());
        let source = |user_name, client_id| Some(Source { port: 1883, user_name, client_id });
        assert_eq!(parse("1883\0ualice\0c"), source(Some("alice"), "c"));
        assert_eq!(parse("1883\0\0c"), source(None, "c"));
        assert_eq!(parse("1883\0u\0"), source(Some(""), ""));
        for wrong in ["", "1883", "1883\0x", "x\0\0c", "99999\0\0c"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
