//! Exercises producer, consumer, groups and admin client end to end against any Kafka cluster.
//!
//! `client-check HOST:PORT [CHECK …]` runs all checks, or those whose name contains one of the words, and ends with
//! `N passed, M failed`; exit code 1 when one failed. Every check makes topics and groups of its own, with names that
//! do not repeat, so it may run against a cluster that is in use.

mod admin;
mod consumer;
mod groups;
mod harness;
mod producer;
mod share;
mod transactions;

use std::process::ExitCode;

use harness::Checks;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(bootstrap) = arguments.next() else {
        eprintln!("usage: client-check HOST:PORT [CHECK …]");
        return ExitCode::from(2);
    };
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::from(2);
        }
    };
    let checks = Checks::new(bootstrap, arguments.collect());
    runtime.block_on(async {
        admin::run(&checks).await;
        producer::run(&checks).await;
        consumer::run(&checks).await;
        groups::run(&checks).await;
        transactions::run(&checks).await;
        share::run(&checks).await;
    });
    checks.finish()
}
