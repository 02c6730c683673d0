//! `dynsec init`: a new file with one administrator.

use std::fs;
use std::io::Write;
use std::path::Path;

use mqtt::DynamicSecurity;

use super::Ended;
use super::command::new_password;

/// Writes the file.
pub(super) fn init(args: &[String]) -> Result<String, Ended> {
    let (path, user, password) = match args {
        [path, user] => (path, user, new_password(user)?),
        [path, user, password] => (path, user, password.clone()),
        [] | [_] => {
            let text = "dynsec init: Not enough arguments - filename, or admin-user missing.\n";
            return Err(Ended::Invalid(text.to_owned()));
        }
        _ => return Err(Ended::Invalid("dynsec init: Too many arguments.\n".to_owned())),
    };
    if Path::new(path).exists() {
        let text =
            format!("dynsec init: '{path}' already exists. Remove the file or use a different location..\n");
        return Err(Ended::Done(text));
    }
    let text = DynamicSecurity::initial_file(user, &password)
        .map_err(|_| Ended::Done("dynsec init: Internal error while encoding password.\n".to_owned()))?;
    let mut options = fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    if written.is_err() {
        return Err(Ended::Done(format!("dynsec init: Unable to open '{path}' for writing.\n")));
    }
    crate::tools::mosquitto::print(&format!(
        "The client '{user}' has been created in the file '{path}'.\n{EXPLANATION}"
    ));
    Err(Ended::Done(String::new()))
}

const EXPLANATION: &str = "\
This client is configured to allow you to administer the dynamic security plugin only.
It does not have access to publish messages to normal topics.
You should create your application clients to do that, for example:
   mosquitto_ctrl <connect options> dynsec createClient <username>
   mosquitto_ctrl <connect options> dynsec createRole <rolename>
   mosquitto_ctrl <connect options> dynsec addRoleACL <rolename> publishClientSend my/topic [priority]
   mosquitto_ctrl <connect options> dynsec addClientRole <username> <rolename> [priority]
See https://mosquitto.org/documentation/dynamic-security/ for details of all commands.
";
