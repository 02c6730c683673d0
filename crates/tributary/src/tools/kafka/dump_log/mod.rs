//! `kafka-dump-log`: what stands in segments, indexes and producer snapshots.

mod decoders;
mod index;
mod segment;

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::options::{Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};
use decoders::Parser;

const STRING_DECODER: &str = "org.apache.kafka.tools.api.StringDecoder";

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    Flag::switch(
        "print-data-log",
        "If set, printing the messages content when dumping data logs. Automatically set if any decoder option is \
         specified.",
    ),
    Flag::switch("verify-index-only", "If set, just verify the index log without printing its content."),
    Flag::switch(
        "index-sanity-check",
        "If set, just checks the index sanity without printing its content. This is the same check that is executed on \
         broker startup to determine if an index needs rebuilding or not.",
    ),
    Flag::text(
        "files",
        "file1, file2, ...",
        "REQUIRED: The comma separated list of data and index log files to be dumped.",
    ),
    Flag::integer("max-message-size", "size", "Size of largest message.").or("5242880"),
    Flag::integer(
        "max-bytes",
        "size",
        "Limit the amount of total batches read in bytes avoiding reading the whole .log file(s).",
    )
    .or("2147483647"),
    Flag::switch(
        "deep-iteration",
        "If set, uses deep instead of shallow iteration. Automatically set if print-data-log is enabled.",
    ),
    Flag::optional(
        "value-decoder-class",
        "",
        "If set, used to deserialize the messages. This class should implement org.apache.kafka.tools.api.Decoder \
         trait. Custom jar should be available in kafka/libs directory.",
    )
    .or(STRING_DECODER),
    Flag::optional(
        "key-decoder-class",
        "",
        "If set, used to deserialize the keys. This class should implement org.apache.kafka.tools.api.Decoder trait. \
         Custom jar should be available in kafka/libs directory.",
    )
    .or(STRING_DECODER),
    Flag::switch(
        "offsets-decoder",
        "If set, log data will be parsed as offset data from the __consumer_offsets topic.",
    ),
    Flag::switch(
        "transaction-log-decoder",
        "If set, log data will be parsed as transaction metadata from the __transaction_state topic.",
    ),
    Flag::switch(
        "cluster-metadata-decoder",
        "If set, log data will be parsed as cluster metadata records.",
    ),
    Flag::switch(
        "remote-log-metadata-decoder",
        "If set, log data will be parsed as TopicBasedRemoteLogMetadataManager (RLMM) metadata records. Instead, the \
         value-decoder-class option can be used if a custom RLMM implementation is configured.",
    ),
    Flag::switch(
        "share-group-state-decoder",
        "If set, log data will be parsed as share group state data from the __share_group_state topic.",
    ),
    Flag::switch(
        "skip-record-metadata",
        "Skip metadata when printing records. This flag also skips control records.",
    ),
];

/// Runs the tool.
pub fn main(args: &[String]) -> ExitCode {
    let outcome = match Options::parse(FLAGS, args) {
        Ok(options) => dump(&options),
        Err(error) => Err(error.into()),
    };
    run::finish(outcome, FLAGS, |failure| eprintln!("Exception in thread \"main\" {failure}"))
}

/// What to print of segments.
#[derive(Debug)]
struct Detail {
    parser: Parser,
    contents: bool,
    records: bool,
    skip_metadata: bool,
    bytes_max: u64,
}

/// Index entries that do not fit what they point at: told at the end.
#[derive(Debug, Default)]
struct Findings {
    /// By file: indexed offset and the offset found, descending.
    index_mismatches: BTreeMap<PathBuf, BTreeMap<std::cmp::Reverse<i64>, i64>>,
    timestamp_mismatches: BTreeMap<PathBuf, Vec<(i64, i64)>>,
    timestamps_out_of_order: BTreeMap<PathBuf, Vec<(i64, i64)>>,
    offsets_not_found: BTreeMap<PathBuf, Vec<(i64, i64)>>,
    /// By file: an offset and the one that follows it.
    gaps: BTreeMap<PathBuf, BTreeMap<i64, i64>>,
}

impl Findings {
    fn tell(&self) {
        for (file, pairs) in &self.index_mismatches {
            eprintln!("Mismatches in :{}", file.display());
            for (indexed, found) in pairs {
                eprintln!("  Index offset: {}, log offset: {found}", indexed.0);
            }
        }
        for (file, pairs) in &self.timestamp_mismatches {
            eprintln!("Found timestamp mismatch in :{}", file.display());
            for (indexed, found) in pairs {
                eprintln!("  Index timestamp: {indexed}, log timestamp: {found}");
            }
        }
        for (file, pairs) in &self.timestamps_out_of_order {
            eprintln!("Found out of order timestamp in :{}", file.display());
            for (indexed, before) in pairs {
                eprintln!("  Index timestamp: {indexed}, Previously indexed timestamp: {before}");
            }
        }
        for (file, pairs) in &self.offsets_not_found {
            eprintln!("The following indexed offsets are not found in :{}", file.display());
            for (indexed, found) in pairs {
                eprintln!("Indexed offset: {indexed}, found log offset: {found}");
            }
        }
        for (file, pairs) in &self.gaps {
            eprintln!("Non-consecutive offsets in {}", file.display());
            for (before, after) in pairs {
                eprintln!("  {before} is followed by {after}");
            }
        }
    }
}

fn dump(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        "This tool helps to parse a log file and dump its contents to the console, useful for debugging a seemingly \
         corrupt log segment.",
        "kafka-dump-log --print-data-log --files data/sensors-0/00000000000000000000.log",
    )?;
    run::require(options, &["files"])?;
    let decoders = [
        "offsets-decoder",
        "transaction-log-decoder",
        "cluster-metadata-decoder",
        "remote-log-metadata-decoder",
        "value-decoder-class",
        "key-decoder-class",
        "share-group-state-decoder",
    ];
    let contents = options.has("print-data-log") || options.count(&decoders) > 0;
    let bytes_max: i32 = options.number("max-bytes")?.unwrap_or(i32::MAX);
    let detail = Detail {
        parser: parser(options)?,
        contents,
        records: contents || options.has("deep-iteration"),
        skip_metadata: options.has("skip-record-metadata"),
        bytes_max: u64::try_from(bytes_max).unwrap_or_default(),
    };
    let batch_max: i32 = options.number("max-message-size")?.unwrap_or_default();
    let wish = index::Wish {
        sanity_only: options.has("index-sanity-check"),
        verify_only: options.has("verify-index-only"),
        batch_max: u64::try_from(batch_max).unwrap_or_default(),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut findings = Findings::default();
    for file in options.value("files")?.unwrap_or_default().split(',') {
        let outcome = dump_file(&mut out, Path::new(file), &detail, &wish, &mut findings);
        // What was found out so far comes first.
        out.flush()?;
        outcome?;
    }
    findings.tell();
    Ok(())
}

fn dump_file(
    out: &mut impl Write,
    file: &Path,
    detail: &Detail,
    wish: &index::Wish,
    findings: &mut Findings,
) -> Result<(), Failure> {
    writeln!(out, "Dumping {}", file.display())?;
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("log" | "checkpoint") => segment::dump(out, file, detail, findings),
        Some("index") => index::dump_offsets(out, file, wish, findings),
        Some("timeindex") => index::dump_times(out, file, wish, findings),
        Some("snapshot") => index::dump_producers(out, file),
        Some("txnindex") => index::dump_aborted(out, file),
        _ => {
            out.flush()?;
            eprintln!("Ignoring unknown file {}", file.display());
            Ok(())
        }
    }
}

fn parser(options: &Options) -> Result<Parser, Failure> {
    Ok(if options.has("offsets-decoder") {
        Parser::Offsets
    } else if options.has("transaction-log-decoder") {
        Parser::Transactions
    } else if options.has("cluster-metadata-decoder") {
        Parser::Metadata
    } else if options.has("remote-log-metadata-decoder") || options.has("share-group-state-decoder") {
        return Err(Failure::new(
            "java.lang.UnsupportedOperationException",
            "records of remote log metadata and of share group state are not known to this program",
        ));
    } else {
        let class = |option| options.value(option).map(|class| class.unwrap_or(STRING_DECODER).to_owned());
        Parser::Plain {
            key: decoders::Plain::of(&class("key-decoder-class")?)?,
            value: decoders::Plain::of(&class("value-decoder-class")?)?,
        }
    })
}

/// A file's base offset, which is its name.
fn base_offset(file: &Path) -> Result<i64, Failure> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let digits = name.split('.').next().unwrap_or_default();
    digits.parse().map_err(|_| {
        Failure::new("java.lang.NumberFormatException", format!("For input string: \"{digits}\""))
    })
}

fn not_found(file: &Path, error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::new("java.nio.file.NoSuchFileException", file.display().to_string())
        }
        _ => Failure::new("java.io.IOException", format!("{}: {error}", file.display())),
    }
}

fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}
