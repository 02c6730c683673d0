//! `-d`: the same program again, in the background; this one ends when the other says `ready`.

use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

/// Tells the program in the background that it is there.
const MARK: &str = "TRIBUTARY_IN_BACKGROUND";

/// Leaves the terminal's session where this is the program in the background.
pub fn detach() {
    if std::env::var_os(MARK).is_some() {
        // Fails only for a process that leads a session already.
        let _ = rustix::process::setsid();
    }
}

/// Starts `mosquitto args…` in the background; its exit code, should it end before it is ready. What it says until
/// then is said here.
pub fn start(args: &[String]) -> ExitCode {
    let spawned = std::env::current_exe().and_then(|program| {
        Command::new(program)
            .arg("mosquitto")
            .args(args)
            .env(MARK, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    });
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            eprintln!("Error: cannot start in the background: {error}");
            return ExitCode::FAILURE;
        }
    };
    let complaints = child.stderr.take();
    let copied = std::thread::spawn(move || {
        if let Some(mut complaints) = complaints {
            let _ = io::copy(&mut complaints, &mut io::stderr());
        }
    });
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if line == "ready" {
                return ExitCode::SUCCESS;
            }
        }
    }
    let _ = copied.join();
    let code = child.wait().ok().and_then(|status| status.code());
    ExitCode::from(code.and_then(|c| u8::try_from(c).ok()).unwrap_or(1))
}
