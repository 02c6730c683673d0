//! `kafka-delegation-tokens`: creates, renews, expires and describes delegation tokens.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::admin::Target;
use client::{Admin, AdminConfig, BrokerError};
use kafka_codec::ErrorCode;
use kafka_codec::messages::create_delegation_token_request::CreatableRenewers;
use kafka_codec::messages::describe_delegation_token_request::DescribeDelegationTokenOwner;
use kafka_codec::messages::{
    CreateDelegationTokenRequest, DescribeDelegationTokenRequest, ExpireDelegationTokenRequest,
    RenewDelegationTokenRequest,
};

use super::calendar;
use super::options::{Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};

const DATE: &str = "yyyy-MM-ddTHH:mm";
const ACTIONS: [&str; 4] = ["create", "renew", "expire", "describe"];

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    Flag::text("bootstrap-server", "", "REQUIRED: server(s) to use for bootstrapping."),
    Flag::text(
        "command-config",
        "",
        "REQUIRED: A property file containing configs to be passed to Admin Client. Token management operations are \
         allowed in secure mode only. This config file is used to pass security related configs.",
    ),
    Flag::switch(
        "create",
        "Create a new delegation token. Use --renewer-principal option to pass renewer principals.",
    ),
    Flag::switch("renew", "Renew delegation token. Use --renew-time-period option to set renew time period."),
    Flag::switch("expire", "Expire delegation token. Use --expiry-time-period option to expire the token."),
    Flag::switch(
        "describe",
        "Describe delegation tokens for the given principals. Use --owner-principal to pass owner/renewer principals. If \
         --owner-principal option is not supplied, all the user-owned tokens and tokens where the user has Describe \
         permissions will be returned.",
    ),
    Flag::optional(
        "owner-principal",
        "",
        "owner is a Kafka principal. They should be in principalType:name format.",
    ),
    Flag::optional(
        "renewer-principal",
        "",
        "renewer is a Kafka principal. They should be in principalType:name format.",
    ),
    Flag::optional_long(
        "max-life-time-period",
        "",
        "Max life period for the token in milliseconds. If the value is -1, then token max life time will default to the \
         server side config value of (delegation.token.max.lifetime.ms).",
    ),
    Flag::optional_long(
        "renew-time-period",
        "",
        "Renew time period in milliseconds. If the value is -1, then the renew time period will default to the server side \
         config value of (delegation.token.expiry.time.ms).",
    ),
    Flag::optional_long(
        "expiry-time-period",
        "",
        "Expiry time period in milliseconds. If the value is -1, then the token will get invalidated immediately.",
    ),
    Flag::optional("hmac", "", "HMAC of the delegation token"),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let outcome = match Options::parse(FLAGS, args) {
        Ok(options) => match check(&options) {
            Ok(()) => act(&options).await.map_err(Stop::from),
            Err(stop) => Err(stop),
        },
        Err(error) => Err(Failure::from(error).into()),
    };
    run::finish(outcome, FLAGS, run::trace)
}

fn check(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        "This tool helps to create, renew, expire, or describe delegation tokens.",
        "kafka-delegation-tokens --bootstrap-server localhost:9092 --command-config client.properties --describe",
    )?;
    if options.count(&ACTIONS) != 1 {
        let text = "Command must include exactly one action: --create, --renew, --expire or --describe";
        return Err(Stop::Usage(text.to_owned()));
    }
    run::require(options, &["bootstrap-server", "command-config"])?;
    if options.has("create") {
        run::require(options, &["max-life-time-period"])?;
    }
    if options.has("renew") {
        run::require(options, &["hmac", "renew-time-period"])?;
    }
    if options.has("expire") {
        run::require(options, &["hmac", "expiry-time-period"])?;
    }
    run::exclude(options, "create", &["hmac", "renew-time-period", "expiry-time-period"])?;
    run::exclude(
        options,
        "renew",
        &["renewer-principal", "max-life-time-period", "expiry-time-period", "owner-principal"],
    )?;
    run::exclude(
        options,
        "expire",
        &["renew", "max-life-time-period", "renew-time-period", "owner-principal"],
    )?;
    run::exclude(
        options,
        "describe",
        &["renew-time-period", "max-life-time-period", "hmac", "expiry-time-period"],
    )
}

/// A principal: type and name.
type Principal = (String, String);

fn principals(options: &Options, name: &str) -> Result<Vec<Principal>, Failure> {
    let parse = |text: &&str| {
        let (kind, name) =
            text.trim().split_once(':').filter(|(kind, name)| !kind.is_empty() && !name.is_empty())?;
        Some((kind.to_owned(), name.to_owned()))
    };
    let refused = |text: &str| {
        Failure::illegal_argument(format!(
            "expected a string in format principalType:principalName but got {}",
            text.trim()
        ))
    };
    options.values(name).iter().map(|text| parse(text).ok_or_else(|| refused(text))).collect()
}

fn shown(principals: &[Principal]) -> String {
    let names: Vec<_> = principals.iter().map(|(kind, name)| format!("{kind}:{name}")).collect();
    format!("[{}]", names.join(", "))
}

fn granted(code: i16) -> Result<(), Failure> {
    match ErrorCode::from_wire(code) {
        ErrorCode::None => Ok(()),
        code => Err(Failure::execution(client::Error::Broker(BrokerError::new(code)))),
    }
}

fn hmac(options: &Options) -> Result<Vec<u8>, Failure> {
    let text = options.value("hmac")?.unwrap_or_default();
    STANDARD.decode(text).map_err(|error| Failure::illegal_argument(error.to_string()))
}

async fn act(options: &Options) -> Result<(), Failure> {
    let mut properties = run::load_properties(options.value("command-config")?.unwrap_or_default())?;
    let servers = options.value("bootstrap-server")?.unwrap_or_default();
    properties.insert("bootstrap.servers".to_owned(), servers.to_owned());
    let admin = Admin::new(AdminConfig::from_properties(properties)?)?;
    let outcome = if options.has("create") {
        create(&admin, options).await
    } else if options.has("renew") {
        renew(&admin, options).await
    } else if options.has("expire") {
        expire(&admin, options).await
    } else {
        describe(&admin, options).await
    };
    admin.close().await;
    outcome
}

async fn create(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let renewers = principals(options, "renewer-principal")?;
    let max_lifetime_ms = options.number::<i64>("max-life-time-period")?.unwrap_or(-1);
    println!(
        "Calling create token operation with renewers :{} , max-life-time-period :{max_lifetime_ms}",
        shown(&renewers)
    );
    // Nobody: the requester.
    let (owner_kind, owner_name) =
        principals(options, "owner-principal")?.into_iter().next().unwrap_or_default();
    let renewer = |(principal_type, principal_name): &Principal| CreatableRenewers {
        principal_type: principal_type.clone(),
        principal_name: principal_name.clone(),
        ..CreatableRenewers::default()
    };
    let request = CreateDelegationTokenRequest {
        owner_principal_type: Some(owner_kind),
        owner_principal_name: Some(owner_name),
        renewers: renewers.iter().map(renewer).collect(),
        max_lifetime_ms,
        ..CreateDelegationTokenRequest::default()
    };
    let token = admin.send_to(Target::Any, request).await.map_err(Failure::execution)?;
    granted(token.error_code)?;
    println!("Created delegation token with tokenId : {}", token.token_id);
    print_tokens(&[Token {
        id: token.token_id,
        hmac: token.hmac.to_vec(),
        owner: format!("{}:{}", token.principal_type, token.principal_name),
        requester: format!(
            "{}:{}",
            token.token_requester_principal_type, token.token_requester_principal_name
        ),
        renewers: shown(&renewers),
        times_ms: [token.issue_timestamp_ms, token.expiry_timestamp_ms, token.max_timestamp_ms],
    }]);
    Ok(())
}

async fn renew(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let renew_period_ms = options.number::<i64>("renew-time-period")?.unwrap_or(-1);
    println!(
        "Calling renew token operation with hmac :{} , renew-time-period :{renew_period_ms}",
        options.value("hmac")?.unwrap_or("null")
    );
    let request = RenewDelegationTokenRequest {
        hmac: hmac(options)?.into(),
        renew_period_ms,
        ..RenewDelegationTokenRequest::default()
    };
    let renewed = admin.send_to(Target::Any, request).await.map_err(Failure::execution)?;
    granted(renewed.error_code)?;
    let date = calendar::format(renewed.expiry_timestamp_ms, DATE);
    print!("Completed renew operation. New expiry date : {date}");
    Ok(())
}

async fn expire(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let expiry_time_period_ms = options.number::<i64>("expiry-time-period")?.unwrap_or(-1);
    println!(
        "Calling expire token operation with hmac :{} , expire-time-period :{expiry_time_period_ms}",
        options.value("hmac")?.unwrap_or("null")
    );
    let request = ExpireDelegationTokenRequest {
        hmac: hmac(options)?.into(),
        expiry_time_period_ms,
        ..ExpireDelegationTokenRequest::default()
    };
    let expired = admin.send_to(Target::Any, request).await.map_err(Failure::execution)?;
    granted(expired.error_code)?;
    let date = calendar::format(expired.expiry_timestamp_ms, DATE);
    print!("Completed expire operation. New expiry date : {date}");
    Ok(())
}

async fn describe(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let owners = principals(options, "owner-principal")?;
    if owners.is_empty() {
        println!("Calling describe token operation for current user.");
    } else {
        println!("Calling describe token operation for owners: {}", shown(&owners));
    }
    let owner = |(principal_type, principal_name): Principal| DescribeDelegationTokenOwner {
        principal_type,
        principal_name,
        ..DescribeDelegationTokenOwner::default()
    };
    let owners: Vec<_> = owners.into_iter().map(owner).collect();
    let request = DescribeDelegationTokenRequest {
        owners: Some(owners).filter(|owners| !owners.is_empty()),
        ..DescribeDelegationTokenRequest::default()
    };
    let described = admin.send_to(Target::Any, request).await.map_err(Failure::execution)?;
    granted(described.error_code)?;
    print!("Total number of tokens : {}", described.tokens.len());
    let tokens: Vec<Token> = described
        .tokens
        .into_iter()
        .map(|token| Token {
            id: token.token_id,
            hmac: token.hmac.to_vec(),
            owner: format!("{}:{}", token.principal_type, token.principal_name),
            requester: format!(
                "{}:{}",
                token.token_requester_principal_type, token.token_requester_principal_name
            ),
            renewers: shown(
                &token
                    .renewers
                    .into_iter()
                    .map(|renewer| (renewer.principal_type, renewer.principal_name))
                    .collect::<Vec<_>>(),
            ),
            times_ms: [token.issue_timestamp, token.expiry_timestamp, token.max_timestamp],
        })
        .collect();
    print_tokens(&tokens);
    Ok(())
}

struct Token {
    id: String,
    hmac: Vec<u8>,
    owner: String,
    requester: String,
    renewers: String,
    /// Issued, expires, ends for good.
    times_ms: [i64; 3],
}

fn print_tokens(tokens: &[Token]) {
    let line = |[id, hmac, owner, requester, renewers, issued, expires, most]: [&str; 8]| {
        println!(
            "\n{id:<15} {hmac:<30} {owner:<15} {requester:<15} {renewers:<25} {issued:<15} {expires:<15} {most:<15}"
        );
    };
    line(["TOKENID", "HMAC", "OWNER", "REQUESTER", "RENEWERS", "ISSUEDATE", "EXPIRYDATE", "MAXDATE"]);
    for token in tokens {
        let [issued, expires, most] = token.times_ms.map(|ms| calendar::format(ms, DATE));
        let hmac = STANDARD.encode(&token.hmac);
        line([&token.id, &hmac, &token.owner, &token.requester, &token.renewers, &issued, &expires, &most]);
    }
}
