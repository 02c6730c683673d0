//! The `tributary` binary: one program that is also every tool it is called as.

mod bridge_command;
mod cli;
mod config;
mod daemon;
mod logging;
mod serve;
mod tools;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    daemon::detach();
    let mut args = std::env::args_os().map(|a| a.to_string_lossy().into_owned());
    let program = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    cli::run(&program, &args)
}
