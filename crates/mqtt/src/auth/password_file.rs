//! Mosquitto's `password_file`: `name:$6$salt$hash` (SHA-512) and `name:$7$iterations$salt$hash` (PBKDF2), and of our own
//! `name:$scram-sha-256$iterations$salt$stored$server`, whose user need not send the password.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::security::scram::{ScramMechanism, ScramSecret};
use hashbrown::HashMap;
use ring::{digest, pbkdf2};

use super::{Authenticator, Credentials, Verdict};

/// Bytes of a SHA-512 hash.
const HASH_BYTES: usize = 64;
const SALT_BYTES: usize = 12;
/// As many rounds as a file may ask of every CONNECT.
const ITERATIONS_MAX: u32 = 10_000_000;

/// How a password is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// `$6$`: one round of SHA-512.
    Sha512,
    /// `$7$`: PBKDF2 with SHA-512 and this many rounds.
    Pbkdf2(NonZeroU32),
    /// `$scram-sha-256$`: keys of SCRAM with this many rounds.
    Scram(NonZeroU32),
}

/// A password as it stands in the file.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    hashing: Hashing,
    salt: Vec<u8>,
    /// The hash, or SCRAM's stored key.
    hash: Vec<u8>,
    /// SCRAM's server key.
    server_key: Vec<u8>,
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash").field("hashing", &self.hashing).finish_non_exhaustive()
    }
}

impl PasswordHash {
    /// Hashes a password with a new salt.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new(password: &[u8], hashing: Hashing) -> Result<Self, getrandom::Error> {
        let mut salt = vec![0; SALT_BYTES];
        getrandom::fill(&mut salt)?;
        let mut server_key = Vec::new();
        let hash = match hashing {
            Hashing::Scram(rounds) => {
                let secret = scram(password, salt.clone(), rounds);
                server_key = secret.server_key;
                secret.stored_key
            }
            Hashing::Sha512 => sha512(password, &salt),
            Hashing::Pbkdf2(rounds) => {
                let mut hash = vec![0; HASH_BYTES];
                pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, rounds, &salt, password, &mut hash);
                hash
            }
        };
        Ok(Self { hashing, salt, hash, server_key })
    }

    /// A hash of PBKDF2 that was made elsewhere; `None` where it is none.
    pub(crate) fn from_pbkdf2(rounds: NonZeroU32, salt: Vec<u8>, hash: Vec<u8>) -> Option<Self> {
        let fits = rounds.get() <= ITERATIONS_MAX && hash.len() == HASH_BYTES;
        fits.then_some(Self { hashing: Hashing::Pbkdf2(rounds), salt, hash, server_key: Vec::new() })
    }

    /// Rounds, salt and hash, where it is one of PBKDF2.
    pub(crate) fn pbkdf2(&self) -> Option<(NonZeroU32, &[u8], &[u8])> {
        match self.hashing {
            Hashing::Pbkdf2(rounds) => Some((rounds, &self.salt, &self.hash)),
            _ => None,
        }
    }

    /// Reads what stands behind the colon.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut fields = text.split('$');
        if fields.next() != Some("") {
            return Err("the password is not hashed: use mosquitto_passwd -U");
        }
        let kind = fields.next();
        let hashing = match kind {
            Some("6") => Hashing::Sha512,
            Some("7" | "scram-sha-256") => {
                let rounds = fields.next().and_then(|n| n.parse().ok()).and_then(NonZeroU32::new);
                let rounds = rounds.filter(|n| n.get() <= ITERATIONS_MAX);
                let rounds = rounds.ok_or("the number of iterations is not valid")?;
                if kind == Some("7") { Hashing::Pbkdf2(rounds) } else { Hashing::Scram(rounds) }
            }
            _ => return Err("the kind of hash is not $6$, $7$ or $scram-sha-256$"),
        };
        let mut decoded = || fields.next().and_then(|f| STANDARD.decode(f).ok()).filter(|b| !b.is_empty());
        let salt = decoded().ok_or("the salt is not base64")?;
        let mut server_key = Vec::new();
        let hash = if let Hashing::Scram(_) = hashing {
            let mut key = || decoded().filter(|k| k.len() == 32).ok_or("a key is not base64 of 32 bytes");
            let stored_key = key()?;
            server_key = key()?;
            stored_key
        } else {
            decoded().filter(|h| h.len() == HASH_BYTES).ok_or("the hash is not base64 of 64 bytes")?
        };
        if fields.next().is_some() {
            return Err("something follows the hash");
        }
        Ok(Self { hashing, salt, hash, server_key })
    }

    /// Whether this is the password; takes the same time however wrong it is.
    pub fn matches(&self, password: &[u8]) -> bool {
        let is_same = |hash: &[u8]| {
            let differences = hash.iter().zip(&self.hash).fold(0u8, |d, (a, b)| d | (a ^ b));
            std::hint::black_box(differences) == 0 && hash.len() == self.hash.len()
        };
        match self.hashing {
            Hashing::Sha512 => is_same(&sha512(password, &self.salt)),
            Hashing::Scram(rounds) => is_same(&scram(password, self.salt.clone(), rounds).stored_key),
            Hashing::Pbkdf2(rounds) => {
                pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA512, rounds, &self.salt, password, &self.hash).is_ok()
            }
        }
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, hash) = (STANDARD.encode(&self.salt), STANDARD.encode(&self.hash));
        match self.hashing {
            Hashing::Sha512 => write!(f, "$6${salt}${hash}"),
            Hashing::Pbkdf2(rounds) => write!(f, "$7${rounds}${salt}${hash}"),
            Hashing::Scram(rounds) => {
                write!(f, "$scram-sha-256${rounds}${salt}${hash}${}", STANDARD.encode(&self.server_key))
            }
        }
    }
}

fn scram(password: &[u8], salt: Vec<u8>, rounds: NonZeroU32) -> ScramSecret {
    ScramSecret::new(ScramMechanism::Sha256, password, salt, rounds)
}

fn sha512(password: &[u8], salt: &[u8]) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA512);
    context.update(password);
    context.update(salt);
    context.finish().as_ref().to_vec()
}

/// The users of a file.
#[derive(Debug, Default)]
pub struct PasswordFile {
    users: HashMap<String, PasswordHash>,
}

impl PasswordFile {
    /// Reads the text of a password file, and answers every wrong line with its number, from 1. As with Mosquitto a
    /// wrong line lets nobody in, and the others count.
    pub fn parse(text: &str) -> (Self, Vec<(usize, String)>) {
        let mut users = HashMap::new();
        let mut problems = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parsed = match line.split_once(':') {
                None => Err("there is no : between user name and password".to_owned()),
                Some(("", _)) => Err("the user name is missing".to_owned()),
                Some((name, hash)) => PasswordHash::parse(hash)
                    .map(|h| (name.trim(), h))
                    .map_err(|why| format!("{name}: {why}")),
            };
            match parsed {
                Err(why) => problems.push((index + 1, why)),
                Ok((name, _)) if users.contains_key(name) => {
                    problems.push((index + 1, format!("{name}: stands in the file twice")));
                }
                Ok((name, hash)) => {
                    users.insert(name.to_owned(), hash);
                }
            }
        }
        (Self { users }, problems)
    }
}

impl Authenticator for PasswordFile {
    fn check(&self, credentials: &Credentials<'_>) -> Verdict {
        let known = credentials.user_name.and_then(|name| self.users.get(name));
        match (known, credentials.password) {
            // An empty password is none, whatever stands in the file.
            (Some(hash), Some(password)) if !password.is_empty() && hash.matches(password) => Verdict::Accept,
            _ => Verdict::NotAuthorized,
        }
    }

    fn knows(&self, user_name: &str) -> bool {
        self.users.contains_key(user_name)
    }

    fn scram_secret(&self, user_name: &str) -> Option<ScramSecret> {
        let known = self.users.get(user_name)?;
        let Hashing::Scram(rounds) = known.hashing else { return None };
        Some(ScramSecret {
            mechanism: ScramMechanism::Sha256,
            salt: known.salt.clone(),
            iterations: rounds,
            stored_key: known.hash.clone(),
            server_key: known.server_key.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Written by mosquitto_passwd 2.0.11 (with -H sha512, and by default).
    const FILE: &str = include_str!("testdata/passwords.txt");

    fn check(file: &PasswordFile, name: &str, password: &str) -> bool {
        let credentials = Credentials {
            client_id: "c",
            user_name: Some(name),
            password: Some(password.as_bytes()),
            peer: ([127, 0, 0, 1], 1).into(),
        };
        file.check(&credentials) == Verdict::Accept
    }

    #[test]
    fn mosquitto_s_own_hashes_are_understood() {
        let (file, problems) = PasswordFile::parse(FILE);
        assert!(problems.is_empty());
        for user in ["old", "new"] {
            assert!(check(&file, user, "correct horse"), "{user}");
            assert!(!check(&file, user, "correct horse "), "{user}");
            assert!(!check(&file, user, ""), "{user}");
        }
        assert!(!check(&file, "other", "correct horse"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let rounds = NonZeroU32::new(101).unwrap();
        for hashing in [Hashing::Sha512, Hashing::Pbkdf2(rounds), Hashing::Scram(rounds)] {
            let hash = PasswordHash::new(b"secret", hashing).unwrap();
            let again = PasswordHash::parse(&hash.to_string()).unwrap();
            assert_eq!(again, hash);
            assert!(again.matches(b"secret") && !again.matches(b"Secret"));
        }
    }

    #[test]
    fn wrong_lines_are_named() {
        let good = PasswordHash::new(b"x", Hashing::Sha512).unwrap();
        let text = format!(
            "# users\na:{good}\nb\n:{good}\na:{good}\nc:plain\nd:$1$aa$bb\ne:$7$0$aa$bb\nf:$6$!$bb\ng:{good}$x\n"
        );
        let (file, problems) = PasswordFile::parse(&text);
        assert_eq!(problems.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8, 9, 10]);
        assert!(check(&file, "a", "x") && !check(&file, "c", "plain"));
    }
}
