//! `kafka-acls`: who may do what.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead as _;
use std::process::ExitCode;

use client::Admin;
use client::admin::{
    AclBinding, AclBindingFilter, AclOperation, AclPatternType, AclPermissionType, AclResourceType,
};

use super::options::{Flag, HELP, OptionError, Options, VERSION};
use super::run::{self, Failure, Stop};

/// The one resource of type cluster.
const CLUSTER_NAME: &str = "kafka-cluster";

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    Flag::text(
        "bootstrap-server",
        "server to connect to",
        "A list of host/port pairs to use for establishing the connection to the Kafka cluster. This list should be in \
         the form host1:port1,host2:port2,... This config is required for acl management using admin client API.",
    ),
    Flag::text(
        "bootstrap-controller",
        "controller to connect to",
        "A list of host/port pairs to use for establishing the connection to the Kafka cluster. This list should be in \
         the form host1:port1,host2:port2,... This config is required for acl management using admin client API.",
    ),
    Flag::optional(
        "command-config",
        "command-config",
        "A property file containing configs to be passed to Admin Client.",
    ),
    Flag::text(
        "topic",
        "topic",
        "topic to which ACLs should be added or removed. A value of '*' indicates ACL should apply to all topics.",
    ),
    Flag::switch("cluster", "Add/Remove cluster ACLs."),
    Flag::text(
        "group",
        "group",
        "Consumer Group to which the ACLs should be added or removed. A value of '*' indicates the ACLs should apply \
         to all groups.",
    ),
    Flag::text(
        "transactional-id",
        "transactional-id",
        "The transactionalId to which ACLs should be added or removed. A value of '*' indicates the ACLs should apply \
         to all transactionalIds.",
    ),
    Flag::switch(
        "idempotent",
        "Enable idempotence for the producer. This should be used in combination with the --producer option. Note that \
         idempotence is enabled automatically if the producer is authorized to a particular transactional-id.",
    ),
    Flag::text(
        "delegation-token",
        "delegation-token",
        "Delegation token to which ACLs should be added or removed. A value of '*' indicates ACL should apply to all \
         tokens.",
    ),
    Flag::untyped(
        "resource-pattern-type",
        "ANY|MATCH|LITERAL|PREFIXED",
        "The type of the resource pattern or pattern filter. When adding acls, this should be a specific pattern type, \
         e.g. 'literal' or 'prefixed'. When listing or removing acls, a specific pattern type can be used to list or \
         remove acls from specific resource patterns, or use the filter values of 'any' or 'match', where 'any' will \
         match any pattern type, but will match the resource name exactly, where as 'match' will perform pattern \
         matching to list or remove all acls that affect the supplied resource(s). WARNING: 'match', when used in \
         combination with the '--remove' switch, should be used with care.",
    )
    .or("LITERAL"),
    Flag::switch("add", "Indicates you are trying to add ACLs."),
    Flag::switch("remove", "Indicates you are trying to remove ACLs."),
    Flag::switch(
        "list",
        "List ACLs for the specified resource, use --topic <topic> or --group <group> or --cluster to specify a \
         resource.",
    ),
    Flag::text(
        "operation",
        "",
        "Operation that is being allowed or denied. Valid operation names are: \n\tAll\n\tRead\n\tWrite\n\tCreate\n\t\
         Delete\n\tAlter\n\tDescribe\n\tClusterAction\n\tDescribeConfigs\n\tAlterConfigs\n\tIdempotentWrite\n\t\
         CreateTokens\n\tDescribeTokens\n\tTwoPhaseCommit\n",
    )
    .or("All"),
    Flag::text(
        "allow-principal",
        "allow-principal",
        "principal is in principalType:name format. Note that principalType must be supported by the Authorizer being \
         used. For example, User:'*' is the wild card indicating all users.",
    ),
    Flag::text(
        "deny-principal",
        "deny-principal",
        "principal is in principalType:name format. By default anyone not added through --allow-principal is denied \
         access. You only need to use this option as negation to already allowed set. Note that principalType must be \
         supported by the Authorizer being used. For example if you wanted to allow access to all users in the system \
         but not test-user you can define an ACL that allows access to User:'*' and specify \
         --deny-principal=User:test@EXAMPLE.COM. AND PLEASE REMEMBER DENY RULES TAKES PRECEDENCE OVER ALLOW RULES.",
    ),
    Flag::optional(
        "principal",
        "principal",
        "List ACLs for the specified principal. principal is in principalType:name format. Note that principalType \
         must be supported by the Authorizer being used. Multiple --principal option can be passed.",
    ),
    Flag::text(
        "allow-host",
        "allow-host",
        "Host from which principals listed in --allow-principal will have access. If you have specified \
         --allow-principal then the default for this option will be set to '*' which allows access from all hosts.",
    ),
    Flag::text(
        "deny-host",
        "deny-host",
        "Host from which principals listed in --deny-principal will be denied access. If you have specified \
         --deny-principal then the default for this option will be set to '*' which denies access from all hosts.",
    ),
    Flag::switch(
        "producer",
        "Convenience option to add/remove ACLs for producer role. This will generate ACLs that allows WRITE,DESCRIBE \
         and CREATE on topic.",
    ),
    Flag::switch(
        "consumer",
        "Convenience option to add/remove ACLs for consumer role. This will generate ACLs that allows READ,DESCRIBE \
         on topic and READ on group.",
    ),
    Flag::switch("force", "Assume Yes to all queries and do not prompt."),
    Flag::text(
        "user-principal",
        "user-principal",
        "Specifies a user principal as a resource in relation with the operation. For instance one could grant \
         CreateTokens or DescribeTokens permission on a given user principal.",
    ),
    super::options::ZOOKEEPER,
    Flag::text("authorizer", "", "").hidden(),
    Flag::text("authorizer-properties", "", "").hidden(),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let options = match Options::parse(FLAGS, args) {
        Ok(options) => options,
        Err(error) => return run::usage(&super::usage::render(FLAGS), &error.to_string()),
    };
    let outcome = match check(&options) {
        Ok(()) => act(&options).await,
        Err(stop) => Err(stop),
    };
    run::finish(outcome, FLAGS, |failure| {
        println!("Error while executing ACL command: {}\n{failure}\n", failure.message);
    })
}

fn check(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        "This tool helps to manage acls on kafka.",
        "kafka-acls --bootstrap-server localhost:9092 --add --allow-principal User:alice --producer --topic sensors",
    )?;
    let usage = |message: &str| Err(Stop::Usage(message.to_owned()));
    match options.count(&["bootstrap-server", "bootstrap-controller"]) {
        2 => return usage("Only one of --bootstrap-server or --bootstrap-controller must be specified"),
        0 if !options.has("zookeeper") && !options.has("authorizer-properties") => {
            return usage("One of --bootstrap-server or --bootstrap-controller must be specified");
        }
        _ => {}
    }
    if options.count(&["add", "remove", "list"]) != 1 {
        return usage("Command must include exactly one action: --list, --add, --remove. ");
    }
    let roles_and_rules =
        ["producer", "consumer", "allow-host", "allow-principal", "deny-host", "deny-principal"];
    run::exclude(options, "list", &roles_and_rules)?;
    // A role says itself what it has to be allowed.
    run::exclude(options, "producer", &["operation", "deny-principal", "deny-host"])?;
    run::exclude(options, "consumer", &["operation", "deny-principal", "deny-host"])?;
    if options.has("principal") && !options.has("list") {
        return usage("The --principal option is only available if --list is set");
    }
    if options.has("producer") && !options.has("topic") {
        return usage("With --producer you must specify a --topic");
    }
    if options.has("idempotent") && !options.has("producer") {
        return usage("The --idempotent option is only available if --producer is set");
    }
    let not_consumers = !options.has("producer") && options.count(&["cluster", "transactional-id"]) > 0;
    let lacks = options.count(&["topic", "group"]) < 2;
    if options.has("consumer") && (lacks || not_consumers) {
        return usage(
            "With --consumer you must specify a --topic and a --group and no --cluster or --transactional-id option \
             should be specified.",
        );
    }
    Ok(())
}

/// A resource pattern, or the filter for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Resource {
    kind: AclResourceType,
    name: String,
    pattern: AclPatternType,
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, pattern) = (self.kind.name(), self.pattern.name());
        write!(f, "ResourcePattern(resourceType={kind}, name={}, patternType={pattern})", self.name)
    }
}

/// A rule without its resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    principal: String,
    host: String,
    operation: AclOperation,
    permission: AclPermissionType,
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (operation, permission) = (self.operation.name(), self.permission.name());
        let Self { principal, host, .. } = self;
        write!(f, "(principal={principal}, host={host}, operation={operation}, permissionType={permission})")
    }
}

type Rules = BTreeMap<Resource, BTreeSet<Entry>>;

async fn act(options: &Options) -> Result<(), Stop> {
    let servers = match options.has("bootstrap-controller") {
        true => None,
        false => {
            let property = options.value("authorizer-properties")?;
            let zookeeper = property.and_then(|text| text.strip_prefix("zookeeper.connect="));
            run::bootstrap_or_zookeeper(options, zookeeper)?
        }
    };
    let admin = run::admin_at(
        servers.as_deref(),
        options.value("bootstrap-controller")?,
        options.value("command-config")?,
    )?;
    let outcome = if options.has("add") {
        add(&admin, options).await
    } else if options.has("remove") {
        remove(&admin, options).await
    } else {
        list(&admin, options).await
    };
    admin.close().await;
    outcome
}

async fn add(admin: &Admin, options: &Options) -> Result<(), Stop> {
    let pattern = pattern_type(options)?;
    if !matches!(pattern, AclPatternType::Literal | AclPatternType::Prefixed) {
        return Err(Stop::Usage(format!(
            "A '--resource-pattern-type' value of '{}' is not valid when adding acls.",
            pattern.name()
        )));
    }
    let rules = rules(options)?;
    if rules.values().any(BTreeSet::is_empty) {
        return Err(Stop::Usage(
            "You must specify one of: --allow-principal, --deny-principal when trying to add ACLs."
                .to_owned(),
        ));
    }
    for (resource, entries) in rules {
        let existing = admin.describe_acls(&filter(&resource, None)).await.map_err(Failure::execution)?;
        let (old, new): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| existing.contains(&binding(&resource, entry)));
        for entry in old {
            println!("Acl (pattern={resource}, entry={entry}) already exists.");
        }
        if new.is_empty() {
            continue;
        }
        println!("Adding ACLs for resource `{resource}`: \n {}\n", lines(&new));
        let bindings: Vec<_> = new.iter().map(|entry| binding(&resource, entry)).collect();
        for outcome in admin.create_acls(&bindings).await.map_err(Failure::execution)? {
            outcome.map_err(Failure::execution)?;
        }
    }
    Ok(())
}

async fn remove(admin: &Admin, options: &Options) -> Result<(), Stop> {
    for (resource, entries) in rules(options)? {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let question = match entries.is_empty() {
            true => {
                format!("Are you sure you want to delete all ACLs for resource filter `{resource}`? (y/n)")
            }
            false => format!(
                "Are you sure you want to remove ACLs: \n {}\n from resource filter `{resource}`? (y/n)",
                lines(&entries)
            ),
        };
        if !confirmed(options, &question)? {
            continue;
        }
        let filters: Vec<_> = match entries.is_empty() {
            true => vec![filter(&resource, None)],
            false => entries.iter().map(|entry| filter(&resource, Some(entry))).collect(),
        };
        for outcome in admin.delete_acls(&filters).await.map_err(Failure::execution)? {
            outcome.map_err(Failure::execution)?;
        }
    }
    Ok(())
}

async fn list(admin: &Admin, options: &Options) -> Result<(), Stop> {
    let resources = resources(options)?;
    let filters = match resources.is_empty() {
        true => vec![AclBindingFilter::ANY],
        false => resources.iter().map(|resource| filter(resource, None)).collect(),
    };
    let mut found = Rules::new();
    for filter in filters {
        for acl in admin.describe_acls(&filter).await.map_err(Failure::execution)? {
            let resource =
                Resource { kind: acl.resource_type, name: acl.resource_name, pattern: acl.pattern_type };
            found.entry(resource).or_default().insert(Entry {
                principal: acl.principal,
                host: acl.host,
                operation: acl.operation,
                permission: acl.permission,
            });
        }
    }
    let principals = principals(options, "principal")?;
    if principals.is_empty() {
        print_rules(&found, |_| true);
    }
    for principal in principals {
        println!("ACLs for principal `{principal}`");
        print_rules(&found, |entry| entry.principal == principal);
    }
    Ok(())
}

fn print_rules(rules: &Rules, shown: impl Fn(&Entry) -> bool) {
    for (resource, entries) in rules {
        let entries: Vec<Entry> = entries.iter().filter(|entry| shown(entry)).cloned().collect();
        if !entries.is_empty() {
            println!("Current ACLs for resource `{resource}`:\n{}\n", lines(&entries));
        }
    }
}

fn lines(entries: &[Entry]) -> String {
    entries.iter().map(|entry| format!("\t{entry}")).collect::<Vec<_>>().join("\n")
}

fn confirmed(options: &Options, question: &str) -> Result<bool, Failure> {
    if options.has("force") {
        return Ok(true);
    }
    println!("{question}");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\r', '\n']).eq_ignore_ascii_case("y"))
}

fn binding(resource: &Resource, entry: &Entry) -> AclBinding {
    AclBinding {
        resource_type: resource.kind,
        resource_name: resource.name.clone(),
        pattern_type: resource.pattern,
        principal: entry.principal.clone(),
        host: entry.host.clone(),
        operation: entry.operation,
        permission: entry.permission,
    }
}

fn filter(resource: &Resource, entry: Option<&Entry>) -> AclBindingFilter {
    AclBindingFilter {
        resource_type: resource.kind,
        resource_name: Some(resource.name.clone()),
        pattern_type: resource.pattern,
        principal: entry.map(|entry| entry.principal.clone()),
        host: entry.map(|entry| entry.host.clone()),
        operation: entry.map_or(AclOperation::Any, |entry| entry.operation),
        permission: entry.map_or(AclPermissionType::Any, |entry| entry.permission),
    }
}

fn pattern_type(options: &Options) -> Result<AclPatternType, OptionError> {
    let text = options.value("resource-pattern-type")?.unwrap_or_default();
    match AclPatternType::from_name(&text.to_uppercase()) {
        AclPatternType::Unknown => Err(OptionError::BadArgument("resource-pattern-type", text.to_owned())),
        pattern => Ok(pattern),
    }
}

/// The resources that the command line names.
fn resources(options: &Options) -> Result<BTreeSet<Resource>, Failure> {
    let pattern = pattern_type(options)?;
    let mut all = BTreeSet::new();
    let named = [
        ("topic", AclResourceType::Topic),
        ("group", AclResourceType::Group),
        ("transactional-id", AclResourceType::TransactionalId),
        ("delegation-token", AclResourceType::DelegationToken),
        ("user-principal", AclResourceType::User),
    ];
    for (option, kind) in named {
        for name in options.values(option) {
            // Transactional ids may begin and end with white space.
            let name = if kind == AclResourceType::TransactionalId { name } else { name.trim() };
            all.insert(Resource { kind, name: name.to_owned(), pattern });
        }
    }
    if pattern == AclPatternType::Literal && options.count(&["cluster", "idempotent"]) > 0 {
        all.insert(cluster());
    }
    Ok(all)
}

fn cluster() -> Resource {
    Resource {
        kind: AclResourceType::Cluster,
        name: CLUSTER_NAME.to_owned(),
        pattern: AclPatternType::Literal,
    }
}

fn principals(options: &Options, option: &'static str) -> Result<BTreeSet<String>, Failure> {
    let mut all = BTreeSet::new();
    for principal in options.values(option) {
        let principal = principal.trim();
        if !principal.contains(':') {
            return Err(Failure::illegal_argument(format!(
                "expected a string in format principalType:principalName but got {principal}"
            )));
        }
        all.insert(principal.to_owned());
    }
    Ok(all)
}

/// Rules of the named principals and hosts for these operations.
fn entries(options: &Options, operations: &[AclOperation]) -> Result<BTreeSet<Entry>, Failure> {
    let mut all = BTreeSet::new();
    let sides = [
        ("allow-principal", "allow-host", AclPermissionType::Allow),
        ("deny-principal", "deny-host", AclPermissionType::Deny),
    ];
    for (principal_option, host_option, permission) in sides {
        let mut hosts: Vec<_> = options.values(host_option).into_iter().map(str::trim).collect();
        if hosts.is_empty() {
            hosts.push("*");
        }
        for principal in principals(options, principal_option)? {
            for host in &hosts {
                all.extend(operations.iter().map(|operation| Entry {
                    principal: principal.clone(),
                    host: (*host).to_owned(),
                    operation: *operation,
                    permission,
                }));
            }
        }
    }
    Ok(all)
}

/// What the command line adds or removes.
fn rules(options: &Options) -> Result<Rules, Stop> {
    use AclOperation::{Create, Describe, IdempotentWrite, Read, Write};
    let resources = resources(options)?;
    if resources.is_empty() {
        return Err(Stop::Usage(
            "You must provide at least one resource: --topic <topic> or --cluster or --group <group> or \
             --delegation-token <Delegation Token ID>"
                .to_owned(),
        ));
    }
    let mut rules = Rules::new();
    if options.count(&["producer", "consumer"]) == 0 {
        let operations: Vec<_> = options.values("operation").into_iter().map(operation).collect();
        let entries = entries(options, &operations)?;
        rules.extend(resources.iter().map(|resource| (resource.clone(), entries.clone())));
    }
    let mut role = |name: &str, kind: AclResourceType, operations: &[AclOperation]| -> Result<(), Failure> {
        if options.has(name) {
            for resource in resources.iter().filter(|resource| resource.kind == kind) {
                rules.entry(resource.clone()).or_default().extend(entries(options, operations)?);
            }
        }
        Ok(())
    };
    role("producer", AclResourceType::Topic, &[Write, Describe, Create])?;
    role("producer", AclResourceType::TransactionalId, &[Write, Describe])?;
    role("consumer", AclResourceType::Topic, &[Read, Describe])?;
    role("consumer", AclResourceType::Group, &[Read])?;
    if options.has("producer") && options.has("idempotent") {
        rules.insert(cluster(), entries(options, &[IdempotentWrite])?);
    }
    for (resource, entries) in &rules {
        let valid = supported(resource.kind);
        if entries.iter().any(|entry| !valid.contains(&entry.operation)) {
            let valid: Vec<_> = valid.iter().map(|operation| operation.name()).collect();
            return Err(Stop::Usage(format!(
                "ResourceType {} only supports operations [{}]",
                resource.kind.name(),
                valid.join(", ")
            )));
        }
    }
    Ok(rules)
}

/// `Read`, `READ`, `DescribeConfigs`, `describeconfigs`.
fn operation(text: &str) -> AclOperation {
    let text = text.trim();
    let named = |operation: &&AclOperation| operation.name().replace('_', "").eq_ignore_ascii_case(text);
    AclOperation::ALL.iter().find(named).copied().unwrap_or(AclOperation::Unknown)
}

fn supported(kind: AclResourceType) -> Vec<AclOperation> {
    use AclOperation::*;
    let mut operations = match kind {
        AclResourceType::Topic => {
            vec![Read, Write, Create, Describe, Delete, Alter, DescribeConfigs, AlterConfigs]
        }
        AclResourceType::Group => vec![Read, Describe, Delete, DescribeConfigs, AlterConfigs],
        AclResourceType::Cluster => {
            vec![Create, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite, Alter, Describe]
        }
        AclResourceType::TransactionalId => vec![Describe, Write, TwoPhaseCommit],
        AclResourceType::DelegationToken => vec![Describe],
        AclResourceType::User => vec![CreateTokens, DescribeTokens],
        AclResourceType::Any | AclResourceType::Unknown => Vec::new(),
    };
    operations.push(All);
    operations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &str) -> Result<Rules, String> {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        let options = Options::parse(FLAGS, &args).expect("parses");
        check(&options).and_then(|()| rules(&options)).map_err(|stop| match stop {
            Stop::Usage(text) => text,
            Stop::Failed(failure) => failure.message,
            Stop::Exit(code) => format!("exit {code}"),
        })
    }

    fn text(args: &str) -> String {
        let rules = parsed(&format!("--bootstrap-server b:1 --add {args}")).expect("rules");
        let mut lines = Vec::new();
        for (resource, entries) in rules {
            for e in entries {
                lines.push(format!(
                    "{}:{} {} {} {} {}",
                    resource.kind.name(),
                    resource.name,
                    e.permission.name(),
                    e.principal,
                    e.host,
                    e.operation.name()
                ));
            }
        }
        lines.join("\n")
    }

    #[test]
    fn roles_are_rules() {
        assert_eq!(
            text(
                "--producer --idempotent --consumer --topic t --group g --transactional-id x --allow-principal User:a"
            ),
            "TOPIC:t ALLOW User:a * READ\nTOPIC:t ALLOW User:a * WRITE\nTOPIC:t ALLOW User:a * CREATE\nTOPIC:t ALLOW \
             User:a * DESCRIBE\nGROUP:g ALLOW User:a * READ\nCLUSTER:kafka-cluster ALLOW User:a * \
             IDEMPOTENT_WRITE\nTRANSACTIONAL_ID:x ALLOW User:a * WRITE\nTRANSACTIONAL_ID:x ALLOW User:a * DESCRIBE"
        );
        assert_eq!(
            text(
                "--topic t --operation Read --operation DESCRIBECONFIGS --allow-principal User:a --allow-host h --deny-principal User:b"
            ),
            "TOPIC:t ALLOW User:a h READ\nTOPIC:t ALLOW User:a h DESCRIBE_CONFIGS\nTOPIC:t DENY User:b * READ\nTOPIC:t DENY User:b \
             * DESCRIBE_CONFIGS"
        );
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        let wrong = |args: &str| parsed(&format!("--bootstrap-server b:1 {args}")).expect_err("refused");
        assert_eq!(
            wrong("--add --list"),
            "Command must include exactly one action: --list, --add, --remove. "
        );
        assert_eq!(wrong("--add --producer"), "With --producer you must specify a --topic");
        assert!(
            wrong("--add --allow-principal User:a").starts_with("You must provide at least one resource")
        );
        assert_eq!(
            wrong("--add --group g --operation Write --allow-principal User:a"),
            "ResourceType GROUP only supports operations [READ, DESCRIBE, DELETE, DESCRIBE_CONFIGS, ALTER_CONFIGS, ALL]"
        );
        assert_eq!(
            wrong("--add --topic t --allow-principal alice"),
            "expected a string in format principalType:principalName but got alice"
        );
    }
}
