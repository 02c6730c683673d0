//! `kafka-verifiable-producer`: counts up into a topic and says of every record what became of it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use client::{Producer, ProducerConfig, ProducerRecord};
use serde::Serialize;
use tokio::sync::mpsc;

use super::argparse::{Arg, NotParsed, Parsed, Parser, Takes};
use super::run::{self, Failure, Stop};
use super::signals::Signals;
use super::verifiable::{self, Nothing};

/// Records on their way whose outcome is still to be told.
const IN_FLIGHT_MAX: usize = 10_000;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

const PARSER: Parser = Parser {
    prog: "verifiable-producer",
    about: "This tool produces increasing integers to the specified topic and prints JSON metadata to stdout on each \
            \"send\" request, making externally visible which messages have been acked and which have not.",
    args: &[
        Arg::text(
            &["--bootstrap-server"],
            "REQUIRED: The server(s) to connect to. Comma-separated list of Kafka brokers in the form \
             HOST1:PORT1,HOST2:PORT2,...",
        )
        .metavar("HOST1:PORT1[,HOST2:PORT2[...]]")
        .group(0),
        Arg::text(&["--topic"], "Produce messages to this topic.").required(),
        Arg::of(
            Takes::Integer,
            &["--max-messages"],
            "Produce this many messages. If -1, produce messages until the process is killed externally.",
        )
        .metavar("MAX-MESSAGES")
        .or("-1"),
        Arg::of(
            Takes::Integer,
            &["--throughput"],
            "If set >= 0, throttle maximum message throughput to *approximately* THROUGHPUT messages/sec.",
        )
        .or("-1"),
        Arg::of(
            Takes::Integer,
            &["--acks"],
            "Acks required on each produced message. See Kafka docs on acks for details.",
        )
        .or("-1"),
        Arg::text(
            &["--producer.config"],
            "(DEPRECATED) Producer config properties file. This option will be removed in a future version. Use \
             --command-config instead.",
        )
        .metavar("CONFIG-FILE"),
        Arg::of(
            Takes::Long,
            &["--message-create-time"],
            "Send messages with creation time starting at the arguments value, in milliseconds since epoch",
        )
        .metavar("CREATE-TIME")
        .or("-1"),
        Arg::of(
            Takes::Integer,
            &["--value-prefix"],
            "If specified, each produced value will have this prefix with a dot separator",
        )
        .metavar("VALUE-PREFIX"),
        Arg::of(
            Takes::Integer,
            &["--repeating-keys"],
            "If specified, each produced record will have a key starting at 0 increment by 1 up to the number \
             specified (exclusive), then the key is set to 0 again",
        )
        .metavar("REPEATING-KEYS"),
        verifiable::COMMAND_CONFIG,
    ],
    groups: &[verifiable::CONNECTION],
    commands: &[],
    title: "",
    metavar: "",
    tells_defaults: true,
    example: "kafka-verifiable-producer --bootstrap-server localhost:9092 --topic sensors --max-messages 1000",
};

#[derive(Serialize)]
struct Sent<'a> {
    key: Option<&'a str>,
    value: &'a str,
    offset: i64,
    topic: &'a str,
    partition: i32,
}

#[derive(Serialize)]
struct Failed<'a> {
    key: Option<&'a str>,
    value: &'a str,
    topic: &'a str,
    exception: String,
    message: String,
}

#[derive(Serialize)]
struct Totals {
    sent: u64,
    acked: u64,
    target_throughput: i64,
    avg_throughput: f64,
}

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    if args.is_empty() {
        if let Err(NotParsed::Help(help)) = PARSER.parse(&["--help".to_owned()]) {
            print!("{help}");
        }
        return ExitCode::SUCCESS;
    }
    let outcome = match run::commands(&PARSER, args, 1) {
        Ok(parsed) => produce(&parsed).await,
        Err(stop) => Err(stop),
    };
    run::finish(outcome, &[], |failure| eprintln!("Exception in thread \"main\" {failure}"))
}

fn config(parsed: &Parsed) -> Result<ProducerConfig, Stop> {
    let file = match (parsed.text("--producer.config"), parsed.text("--command-config")) {
        (Some(_), Some(_)) => {
            eprintln!("Options --producer.config and --command-config are mutually exclusive.");
            return Err(Stop::Exit(1));
        }
        (Some(file), None) => {
            println!(
                "Option --producer.config has been deprecated and will be removed in a future version. Use \
                 --command-config instead."
            );
            Some(file)
        }
        (None, file) => file,
    };
    let mut properties = std::collections::BTreeMap::new();
    let mut set = |name: &str, value: &str| properties.insert(name.to_owned(), value.to_owned());
    set("bootstrap.servers", parsed.text("--bootstrap-server").unwrap_or_default());
    set("acks", parsed.text("--acks").unwrap_or("-1"));
    set("retries", "0");
    if let Some(file) = file {
        properties.extend(run::load_properties(file)?);
    }
    Ok(ProducerConfig::from_properties(properties)?)
}

/// A record whose outcome is still to come.
struct Pending {
    key: Option<String>,
    value: String,
    delivery: client::producer::Delivery,
}

async fn produce(parsed: &Parsed) -> Result<(), Stop> {
    let producer = Producer::new(config(parsed)?)?;
    let topic = parsed.text("--topic").unwrap_or_default().to_owned();
    let (sender, receiver) = mpsc::channel(IN_FLIGHT_MAX);
    let teller = tokio::spawn(tell(receiver, topic.clone()));
    let mut signals = Signals::new()?;
    let started = Instant::now();
    verifiable::print("startup_complete", Nothing {})?;
    let mut sent = 0;
    let code = tokio::select! {
        outcome = send_all(&producer, parsed, &topic, sender, &mut sent) => {
            outcome?;
            0
        }
        code = signals.next() => code,
    };
    producer.close(CLOSE_TIMEOUT).await;
    let acked = teller.await.map_err(|error| Failure::kafka(error.to_string()))??;
    verifiable::print("shutdown_complete", Nothing {})?;
    let avg_throughput = acked as f64 / started.elapsed().as_secs_f64();
    let target_throughput = parsed.number("--throughput").unwrap_or(-1);
    verifiable::print("tool_data", Totals { sent, acked, target_throughput, avg_throughput })?;
    if code == 0 { Ok(()) } else { Err(Stop::Exit(code)) }
}

async fn send_all(
    producer: &Producer,
    parsed: &Parsed,
    topic: &str,
    sender: mpsc::Sender<Pending>,
    sent: &mut u64,
) -> Result<(), Failure> {
    let wanted = parsed.number::<i64>("--max-messages").filter(|count| *count >= 0);
    let wanted = wanted.map_or(u64::MAX, i64::unsigned_abs);
    let throughput = parsed.number::<i64>("--throughput").unwrap_or(-1);
    let create_time = parsed.number::<i64>("--message-create-time").filter(|time| *time != -1);
    let prefix = parsed.text("--value-prefix");
    let keys = parsed.number::<u64>("--repeating-keys").filter(|count| *count > 0);
    let started = Instant::now();
    for number in 0..wanted {
        let value = prefix.map_or_else(|| number.to_string(), |prefix| format!("{prefix}.{number}"));
        let key = keys.map(|count| (number % count).to_string());
        let mut record = ProducerRecord::new(topic, value.clone());
        record.key = key.clone().map(Into::into);
        let elapsed = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
        record.timestamp_ms = create_time.map(|time| time.saturating_add(elapsed));
        *sent += 1;
        match producer.send(record).await {
            Ok(delivery) => {
                // Nobody listens any more only when standard output is gone.
                if sender.send(Pending { key, value, delivery }).await.is_err() {
                    return Ok(());
                }
            }
            Err(error) => told_failure(key.as_deref(), &value, topic, &error)?,
        }
        if throughput > 0 {
            let due = Duration::from_secs_f64((number + 1) as f64 / throughput as f64);
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        } else if throughput == 0 {
            std::future::pending::<()>().await;
        }
    }
    Ok(())
}

fn told_failure(key: Option<&str>, value: &str, topic: &str, error: &client::Error) -> Result<(), Failure> {
    let exception = format!("class {}", error.java_exception());
    verifiable::print(
        "producer_send_error",
        Failed { key, value, topic, exception, message: error.to_string() },
    )
}

/// Tells outcomes in the order of sending; answers how many records were acknowledged.
async fn tell(mut pending: mpsc::Receiver<Pending>, topic: String) -> Result<u64, Failure> {
    let mut acked = 0;
    while let Some(Pending { key, value, delivery }) = pending.recv().await {
        let key = key.as_deref();
        match delivery.await {
            Ok(metadata) => {
                acked += 1;
                let (partition, offset) = (metadata.partition, metadata.offset);
                verifiable::print(
                    "producer_send_success",
                    Sent { key, value: &value, topic: &metadata.topic, partition, offset },
                )?;
            }
            Err(error) => told_failure(key, &value, &topic, &error)?,
        }
    }
    Ok(acked)
}
