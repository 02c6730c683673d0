use super::*;

const PARSER: Parser = Parser {
    prog: "kafka-cluster",
    about: "The Kafka cluster tool.",
    args: &[],
    groups: &[],
    commands: &[
        Command {
            name: "cluster-id",
            help: "Get information about the ID of a cluster.",
            about: "",
            args: CLUSTER,
            groups: ONE,
        },
        Command {
            name: "unregister",
            help: "Unregister a broker.",
            about: "",
            args: UNREGISTER,
            groups: ONE,
        },
    ],
    title: "",
    metavar: "",
    tells_defaults: true,
    example: "kafka-cluster cluster-id",
};
const ONE: &[Group] = &[Group::EXACTLY_ONE];
const SERVER: Arg = Arg::text(
    &["--bootstrap-server", "-b"],
    "A list of host/port pairs to use for establishing the connection to the Kafka cluster.",
)
.group(0);
const CONTROLLER: Arg = Arg::text(&["--bootstrap-controller", "-C"], "Controllers.").group(0);
const CONFIG: Arg = Arg::text(
    &["--config"],
    "(DEPRECATED) A property file containing configurations for the Admin client. This option will be removed in a \
         future version. Use --command-config instead.",
);
const CLUSTER: &[Arg] = &[SERVER, CONTROLLER, CONFIG];
const UNREGISTER: &[Arg] =
    &[SERVER, CONTROLLER, Arg::of(Takes::Integer, &["--id", "-i"], "The ID.").required()];

fn parse(args: &str) -> Result<Parsed, NotParsed> {
    PARSER.parse(&args.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
}

fn wrong(args: &str) -> String {
    match parse(args) {
        Err(NotParsed::Wrong { text, .. }) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn takes_what_argparse4j_takes() {
    let parsed = parse("unregister -bx:1 --id -7").expect("parses");
    assert_eq!((parsed.command, parsed.text("--bootstrap-server")), ("unregister", Some("x:1")));
    assert_eq!(parsed.number::<i32>("--id"), Some(-7));
    assert_eq!(parse("cl --bootstrap-s=a").expect("parses").command, "cluster-id");
}

#[test]
fn says_what_argparse4j_says() {
    assert_eq!(
        wrong(""),
        "usage: kafka-cluster [-h] {cluster-id,unregister} ...\nkafka-cluster: error: too few arguments\n"
    );
    let usage = "usage: kafka-cluster unregister [-h] --id ID\n                     (--bootstrap-server BOOTSTRAP_SERVER |\n                     --bootstrap-controller BOOTSTRAP_CONTROLLER)\n";
    assert_eq!(
        wrong("unregister -b x"),
        format!("{usage}kafka-cluster: error: argument --id/-i is required\n")
    );
    assert_eq!(
        wrong("unregister -i foo"),
        format!(
            "{usage}kafka-cluster: error: argument --id/-i: could  not convert 'foo' to Integer\n(For input string: \
                 \"foo\")\n"
        )
    );
    assert!(wrong("cluster-id").ends_with(
        "kafka-cluster:  error:  one  of   the  arguments  --bootstrap-server/-b  --\nbootstrap-controller/-C is \
             required\n"
    ));
    assert!(wrong("cluster-id -b a --nope").ends_with(
        "kafka-cluster: error: unrecognized arguments: '--nope'\n\nDid you mean:\n\t--config\n\t--help\n"
    ));
}

#[test]
fn help_is_set_justified() {
    let Err(NotParsed::Help(help)) = parse("cluster-id --help") else { panic!("no help") };
    let expected = "
optional arguments:
  -h, --help             show this help message and exit
  --bootstrap-server BOOTSTRAP_SERVER, -b BOOTSTRAP_SERVER
                         A list of host/port pairs  to use for establishing
                         the connection to the Kafka cluster.
  --bootstrap-controller BOOTSTRAP_CONTROLLER, -C BOOTSTRAP_CONTROLLER
                         Controllers.
  --config CONFIG        (DEPRECATED)   A    property    file    containing
                         configurations for the  Admin  client. This option
                         will be  removed  in  a  future  version.  Use  --
                         command-config instead.
";
    assert!(help.contains(expected), "{help}");
}
