//! `mosquitto_passwd`: keeps a `password_file`.

use std::fs::{self, File};
use std::io::{self, BufRead, IsTerminal, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mqtt::{Hashing, PasswordHash};

use super::failure::system_text;

const USAGE: &str = "\
mosquitto_passwd is a tool for managing password files for mosquitto.

Usage: mosquitto_passwd [-H sha512 | -H sha512-pbkdf2] [-c | -D] passwordfile username
       mosquitto_passwd [-H sha512 | -H sha512-pbkdf2] [-c] -b passwordfile username password
       mosquitto_passwd -U passwordfile
 -b : run in batch mode to allow passing passwords on the command line.
 -c : create a new password file. This will overwrite existing files.
 -D : delete the username rather than adding/updating its password.
 -H : specify the hashing algorithm. Defaults to sha512-pbkdf2, which is recommended.
      Mosquitto 1.6 and earlier defaulted to sha512. With scram-sha-256 clients of
      MQTT 5 need not send the password (only this broker reads such lines).
 -U : update a plain text password file to use hashed passwords.

Example:
  mosquitto_passwd -c /etc/mosquitto/passwd alice
";
/// Mosquitto's own number of rounds.
const ITERATIONS: NonZeroU32 = rounds(101);
/// What RFC 7677 asks for.
const SCRAM_ITERATIONS: NonZeroU32 = rounds(4096);
/// Longest user name and password that MQTT can say, bytes.
const TEXT_MAX: usize = 65_535;

const fn rounds(n: u32) -> NonZeroU32 {
    match NonZeroU32::new(n) {
        Some(n) => n,
        None => NonZeroU32::MIN,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// Adds or changes one user; in a new file where the flag is set.
    Put {
        create: bool,
        user: String,
        password: Option<String>,
    },
    Delete {
        user: String,
    },
    Update,
}

#[derive(Debug, PartialEq, Eq)]
struct Call {
    file: PathBuf,
    hashing: Hashing,
    action: Action,
}

/// Adds, changes and deletes users of a password file. `args` is without the program's name.
pub fn mosquitto_passwd(args: &[String]) -> ExitCode {
    let done = parse(args).and_then(|call| run(&call));
    if let Err(text) = &done {
        let _ = io::stderr().write_all(text.as_bytes());
    }
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(args: &[String]) -> Result<Call, String> {
    let (mut create, mut batch, mut delete, mut update) = (false, false, false, false);
    let mut hashing = Hashing::Pbkdf2(ITERATIONS);
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        match arg.as_str() {
            "-h" | "--help" => return Err(format!("\n{USAGE}")),
            "-c" | "--create" => create = true,
            "-b" | "--batch" => batch = true,
            "-D" | "--delete" => delete = true,
            "-U" | "--update" => update = true,
            "-H" | "--hash" => {
                at += 1;
                hashing = match args.get(at).map(String::as_str) {
                    Some("sha512") => Hashing::Sha512,
                    Some("sha512-pbkdf2") => hashing,
                    // Our own: its user can log in without sending the password.
                    Some("scram-sha-256") => Hashing::Scram(SCRAM_ITERATIONS),
                    Some(other) => return Err(format!("Error: Unknown hash type '{other}'\n")),
                    None => {
                        return Err("Error: -H argument given but not enough other arguments.\n".to_owned());
                    }
                };
            }
            _ => break,
        }
        at += 1;
    }
    for (both, names) in [
        (create && delete, "-c and -D"),
        (create && update, "-c and -U"),
        (batch && delete, "-b and -D"),
        (delete && update, "-D and -U"),
    ] {
        if both {
            return Err(format!("Error: {names} cannot be used together.\n"));
        }
    }
    let rest = args.get(at..).unwrap_or_default();
    let file = |path: &String| PathBuf::from(path);
    let (file, action) = match rest {
        [path] if update => (file(path), Action::Update),
        _ if update => return Err("Error: -U argument given but password file missing.\n".to_owned()),
        [path, user, password, ..] if batch => {
            (file(path), Action::Put { create, user: user.clone(), password: Some(password.clone()) })
        }
        _ if create && batch => {
            return Err(
                "Error: -c argument given but password file, username, or password missing.\n".to_owned()
            );
        }
        [path, user, ..] if delete => (file(path), Action::Delete { user: user.clone() }),
        _ if delete => {
            return Err("Error: -D argument given but password file or username missing.\n".to_owned());
        }
        [path, user] if !batch => (file(path), Action::Put { create, user: user.clone(), password: None }),
        _ if create => {
            return Err("Error: -c argument given but password file or username missing.\n".to_owned());
        }
        _ => return Err(format!("\n{USAGE}")),
    };
    if let Action::Put { user, .. } | Action::Delete { user } = &action {
        check_user(user)?;
    }
    if let Action::Put { password: Some(password), .. } = &action
        && password.len() > TEXT_MAX
    {
        return Err("Error: Password must be less than 65536 characters long.\n".to_owned());
    }
    Ok(Call { file, hashing, action })
}

fn check_user(user: &str) -> Result<(), String> {
    let wrong = if user.len() > TEXT_MAX {
        "be less than 65536 characters long"
    } else if user.bytes().any(|b| b.is_ascii_control()) {
        "not contain control characters"
    } else if user.contains(':') {
        "not contain the ':' character"
    } else {
        return Ok(());
    };
    Err(format!("Error: Username must {wrong}.\n"))
}

fn run(call: &Call) -> Result<(), String> {
    let path = &call.file;
    let hash = |password: &str| {
        PasswordHash::new(password.as_bytes(), call.hashing)
            .map(|hash| hash.to_string())
            .map_err(|_| "Error: Insufficient entropy available to perform password generation.\n".to_owned())
    };
    let text = match &call.action {
        Action::Put { create: true, user, password } => {
            let password = password.clone().map_or_else(ask, Ok)?;
            let line = format!("{user}:{}\n", hash(&password)?);
            let mut file = create_file(path).map_err(|e| {
                format!("Error: Unable to open file {} for writing. {}.\n", path.display(), system_text(&e))
            })?;
            return file
                .write_all(line.as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(|e| cannot_write(path, &e));
        }
        _ => fs::read_to_string(path).map_err(|e| {
            format!("Error: Unable to open password file {}. {}.\n", path.display(), system_text(&e))
        })?,
    };
    let named = |line: &str, user: &str| line.split_once(':').is_some_and(|(name, _)| name == user);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    match &call.action {
        Action::Put { user, password, .. } => {
            let password = password.clone().map_or_else(ask, Ok)?;
            let line = format!("{user}:{}", hash(&password)?);
            match lines.iter_mut().find(|l| named(l, user)) {
                Some(old) => *old = line,
                None => lines.push(line),
            }
        }
        Action::Delete { user } => {
            let before = lines.len();
            lines.retain(|l| !named(l, user));
            if lines.len() == before {
                return Err(format!("Warning: User {user} not found in password file.\n"));
            }
        }
        Action::Update => {
            for (index, line) in lines.iter_mut().enumerate().filter(|(_, l)| !l.is_empty()) {
                let corrupt = || format!("Error: Corrupt password file at line {}.\n", index + 1);
                let (user, password) = line.split_once(':').ok_or_else(corrupt)?;
                // Hashing a hash would lock its user out.
                if PasswordHash::parse(password).is_err() {
                    *line = format!("{user}:{}", hash(password)?);
                }
            }
        }
    }
    lines.push(String::new());
    replace(path, &lines.join("\n")).map_err(|e| cannot_write(path, &e))
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("Error: Unable to write password file {}. {}.\n", path.display(), system_text(error))
}

/// A file that only its owner and group may read.
fn create_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

/// Puts a whole new file in the place of the old one, with its permissions: never half a file.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let target = fs::canonicalize(path)?;
    let temporary = target.with_extension(format!("tmp{}", std::process::id()));
    let written = (|| {
        let mut file = create_file(&temporary)?;
        file.write_all(text.as_bytes())?;
        let old = fs::metadata(&target)?;
        file.set_permissions(old.permissions())?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            // Only root may give files away; the broker's user must still be able to read it.
            let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
        }
        file.sync_all()?;
        fs::rename(&temporary, &target)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Asks twice, without echo on a terminal.
fn ask() -> Result<String, String> {
    let first = prompt("Password: ")?;
    if first.is_empty() {
        return Err("Error: Empty password.\n".to_owned());
    }
    if prompt("Reenter password: ")? == first {
        Ok(first)
    } else {
        Err("Error: Passwords do not match.\n".to_owned())
    }
}

pub fn prompt(text: &str) -> Result<String, String> {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    let input = io::stdin();
    let quiet = input.is_terminal().then(|| Quiet::new(&input)).flatten();
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    if quiet.is_some() {
        let _ = out.write_all(b"\n");
    }
    drop(quiet);
    read.map_err(|e| format!("Error: {}.\n", system_text(&e)))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that shows nothing until this is dropped.
struct Quiet<'a> {
    input: &'a io::Stdin,
    before: rustix::termios::Termios,
}

impl<'a> Quiet<'a> {
    fn new(input: &'a io::Stdin) -> Option<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(input).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(input, OptionalActions::Flush, &silent).ok()?;
        Some(Self { input, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(self.input, rustix::termios::OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt::PasswordFile;

    fn call(text: &str) -> Result<(), String> {
        let args: Vec<String> = text.split(' ').filter(|a| !a.is_empty()).map(String::from).collect();
        parse(&args).and_then(|call| run(&call))
    }

    #[test]
    fn users_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwords");
        let file = path.display();
        call(&format!("-c -b {file} alice one")).unwrap();
        call(&format!("-b {file} bob two")).unwrap();
        call(&format!("-H sha512 -b {file} alice three")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("alice:$6$") && lines[1].starts_with("bob:$7$101$"), "{text}");
        call(&format!("-D {file} alice")).unwrap();
        assert_eq!(
            call(&format!("-D {file} alice")),
            Err("Warning: User alice not found in password file.\n".to_owned())
        );
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn an_update_hashes_what_is_plain_and_leaves_hashes_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwords");
        let hashed = PasswordHash::new(b"x", Hashing::Sha512).unwrap();
        fs::write(&path, format!("alice:plain\nbob:{hashed}\n")).unwrap();
        call(&format!("-U {}", path.display())).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("alice:$7$101$") && text.ends_with(&format!("\nbob:{hashed}\n")), "{text}");
        assert!(PasswordFile::parse(&text).1.is_empty());
        fs::write(&path, "alice:plain\nbob\n").unwrap();
        let refused = call(&format!("-U {}", path.display()));
        assert_eq!(refused, Err("Error: Corrupt password file at line 2.\n".to_owned()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "alice:plain\nbob\n");
    }

    #[test]
    fn wrong_calls_are_answered_as_mosquitto_does() {
        for (args, said) in [
            ("-c -D f u", "Error: -c and -D cannot be used together.\n"),
            ("-c -U f", "Error: -c and -U cannot be used together.\n"),
            ("-b -D f u", "Error: -b and -D cannot be used together.\n"),
            ("-D -U f", "Error: -D and -U cannot be used together.\n"),
            ("-D f", "Error: -D argument given but password file or username missing.\n"),
            ("-U", "Error: -U argument given but password file missing.\n"),
            ("-U f u", "Error: -U argument given but password file missing.\n"),
            ("-c f", "Error: -c argument given but password file or username missing.\n"),
            ("-c -b f u", "Error: -c argument given but password file, username, or password missing.\n"),
            ("-c -b f a:b p", "Error: Username must not contain the ':' character.\n"),
            ("-b f a\tb p", "Error: Username must not contain control characters.\n"),
            ("-H x -b f u p", "Error: Unknown hash type 'x'\n"),
            ("-H", "Error: -H argument given but not enough other arguments.\n"),
            (
                "-b /nonexistent u p",
                "Error: Unable to open password file /nonexistent. No such file or directory.\n",
            ),
            (
                "-c -b /nonexistent/f u p",
                "Error: Unable to open file /nonexistent/f for writing. No such file or directory.\n",
            ),
        ] {
            assert_eq!(call(args), Err(said.to_owned()), "{args}");
        }
        for args in ["", "-b f", "f", "-q f u", "-h"] {
            assert_eq!(call(args), Err(format!("\n{USAGE}")), "{args}");
        }
    }
}
