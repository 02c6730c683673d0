//! `kafka-server-stop`, and what is left of ZooKeeper's commands.

use std::process::ExitCode;

use super::processes;

const STOP_USAGE: &str = "\
USAGE: kafka-server-stop [--node-id=ID] [--process-role=ROLE]

Ends the brokers that were started from this program with kafka-server-start or serve. One process does every
role here, so --process-role changes nothing.

Example:
  kafka-server-stop";

/// Sends every broker of this program SIGTERM.
pub fn kafka_server_stop(args: &[String]) -> ExitCode {
    if args.iter().any(|arg| matches!(arg.as_str(), "--help" | "-h")) {
        println!("{STOP_USAGE}");
        return ExitCode::SUCCESS;
    }
    let known = |arg: &&String| !arg.starts_with("--node-id") && !arg.starts_with("--process-role");
    if let Some(unknown) = args.iter().filter(|arg| arg.starts_with('-')).find(known) {
        eprintln!("{unknown}: unexpected argument\n{STOP_USAGE}");
        return ExitCode::FAILURE;
    }
    let servers = match processes::servers() {
        Ok(servers) => servers,
        Err(error) => {
            eprintln!("cannot list processes: {error}");
            return ExitCode::FAILURE;
        }
    };
    let brokers: Vec<_> = servers.iter().filter(|server| server.command != "mosquitto").collect();
    if brokers.is_empty() {
        println!("No kafka server to stop");
        return ExitCode::FAILURE;
    }
    let mut code = ExitCode::SUCCESS;
    for broker in brokers {
        if let Err(error) = processes::terminate(broker.pid) {
            eprintln!("cannot stop process {}: {error}", broker.pid);
            code = ExitCode::FAILURE;
        }
    }
    code
}

const JMX_USAGE: &str = "\
There is no Java here, hence no JMX. The same figures are to be had as Prometheus metrics from the console's
address:

Example:
  curl http://127.0.0.1:8080/metrics";

/// Explains: there is no JMX.
pub fn kafka_jmx(args: &[String]) -> ExitCode {
    println!("{JMX_USAGE}");
    match args.iter().any(|arg| arg == "--help") {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Explains and succeeds: what ZooKeeper did is part of the broker.
pub fn zookeeper_server_start(args: &[String]) -> ExitCode {
    if args.iter().all(|arg| arg == "-daemon") {
        eprintln!("USAGE: zookeeper-server-start [-daemon] zookeeper.properties");
        return ExitCode::FAILURE;
    }
    println!(
        "No ZooKeeper is needed: coordination is built into the broker, nothing was started and {} was not read.\n\
         Go on with: kafka-server-start config/server.properties",
        args.iter().find(|arg| !arg.starts_with('-')).map_or("the file", String::as_str)
    );
    ExitCode::SUCCESS
}

/// Explains and succeeds.
pub fn zookeeper_server_stop(_args: &[String]) -> ExitCode {
    println!(
        "No zookeeper server to stop: coordination is built into the broker. To stop that: kafka-server-stop"
    );
    ExitCode::SUCCESS
}
