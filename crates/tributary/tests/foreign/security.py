#!/usr/bin/env python3
"""Who is it, and may it: librdkafka and our own tools over TLS, SASL and access control lists, against a node of its own.

  security.py --ours PATH      ends with `N passed, M failed`"""
import argparse, os, shutil, signal, socket, subprocess, sys, tempfile, time, traceback

import confluent_kafka as ck
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, NewTopic,
                                   ResourcePatternType, ResourceType)

p = argparse.ArgumentParser()
p.add_argument("--ours", required=True)
p.add_argument("--only", default="")
a = p.parse_args()
OURS = os.path.abspath(a.ours)
home = tempfile.mkdtemp(prefix="security-")
WAIT = 30
tests = []


def test(function):
    tests.append(function)
    return function


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def certificate(name, subject):
    """`name.pem`: key and certificate, signed by the authority."""
    with open(os.path.join(home, name + ".ext"), "w") as f:
        f.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", name + ".key", "-out", name + ".csr", "-subj", subject)
    openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", name + ".ext", "-out", name + ".crt")
    with open(os.path.join(home, name + ".pem"), "w") as out:
        for part in (".key", ".crt"):
            out.write(open(os.path.join(home, name + part)).read())


openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
certificate("broker", "/O=Firm/CN=localhost")
certificate("bob", "/O=Firm/CN=Bob")
OPEN, SASL_SSL, SSL = ("localhost:%d" % free_port() for _ in range(3))
with open(os.path.join(home, "server.properties"), "w") as f:
    f.write("""listeners=PLAINTEXT://%s,SASL_SSL://%s,SSL://%s
log.dirs=%s/data
ssl.keystore.type=PEM
ssl.keystore.location=%s/broker.pem
listener.name.ssl.ssl.client.auth=required
listener.name.ssl.ssl.truststore.location=%s/ca.pem
ssl.principal.mapping.rules=RULE:^CN=([^,]+),.*$/$1/L,DEFAULT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_eve="eve";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
group.initial.rebalance.delay.ms=0
""" % (OPEN, SASL_SSL, SSL, home, home, home))
node = None


def start():
    global node
    node = subprocess.Popen([OURS, "kafka-server-start", os.path.join(home, "server.properties")], stdout=subprocess.PIPE, text=True)
    for line in node.stdout:
        if line.strip() == "ready":
            return
    raise AssertionError("the node did not start")


def tool(*args, fails=False):
    done = subprocess.run([OURS, *args], capture_output=True, text=True, timeout=WAIT * 2)
    assert (done.returncode != 0) == fails, "%r: %s%s" % (args, done.stdout, done.stderr)
    return done.stdout + done.stderr


def configs(*args):
    return tool("kafka-configs", "--bootstrap-server", OPEN, *args)


def scram(user, password):
    return {"bootstrap.servers": SASL_SSL, "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user, "sasl.password": password, "ssl.ca.location": os.path.join(home, "ca.pem")}


def admin(**more):
    return AdminClient({"bootstrap.servers": OPEN, **more})


def create(topic):
    ad = admin()
    for f in ad.create_topics([NewTopic(topic, 1, 1)]).values():
        f.result(WAIT)


def allow(principal, kind, name, operation):
    ad = admin()
    binding = AclBinding(kind, name, ResourcePatternType.LITERAL, principal, "*", operation, AclPermissionType.ALLOW)
    for f in ad.create_acls([binding]).values():
        f.result(WAIT)


def produce(config, topic, value):
    """The error of a produced record, or None."""
    errors = []
    pr = ck.Producer({**config, "message.timeout.ms": 8000})
    pr.produce(topic, value, on_delivery=lambda e, m: errors.append(e))
    pr.flush(WAIT)
    assert errors, "no answer"
    return errors[0]


def read(config, topic, n):
    c = ck.Consumer({**config, "group.id": "g-" + topic, "auto.offset.reset": "earliest"})
    c.subscribe([topic])
    out, deadline = [], time.monotonic() + WAIT
    while len(out) < n and time.monotonic() < deadline:
        m = c.poll(0.5)
        if m is not None and not m.error():
            out.append(m.value())
    c.close()
    return out


@test
def scram_over_tls_with_rights_survives_a_kill():
    create("vault")
    configs("--alter", "--entity-type", "users", "--entity-name", "alice", "--add-config", "SCRAM-SHA-512=[password=secret]")
    alice = scram("alice", "secret")
    error = produce(alice, "vault", "refused")
    assert error.code() == ck.KafkaError.TOPIC_AUTHORIZATION_FAILED, error
    allow("User:alice", ResourceType.TOPIC, "vault", AclOperation.WRITE)
    allow("User:alice", ResourceType.TOPIC, "vault", AclOperation.READ)
    allow("User:alice", ResourceType.GROUP, "g-vault", AclOperation.READ)
    assert produce(alice, "vault", "one") is None
    node.send_signal(signal.SIGKILL)
    node.wait()
    start()
    assert produce(alice, "vault", "two") is None
    assert read(alice, "vault", 2) == [b"one", b"two"]


@test
def wrong_passwords_and_certificates_are_refused():
    for config in (scram("alice", "wrong"), scram("nobody", "secret")):
        errors = []
        ad = AdminClient({**config, "error_cb": errors.append})
        try:
            ad.list_topics(timeout=4)
            raise AssertionError("let in")
        except ck.KafkaException:
            pass
        ad.poll(1)
        assert any(e.code() == ck.KafkaError._AUTHENTICATION for e in errors), errors
    bare = {"bootstrap.servers": SSL, "security.protocol": "SSL", "ssl.ca.location": os.path.join(home, "ca.pem")}
    try:
        AdminClient(bare).list_topics(timeout=4)
        raise AssertionError("let in without a certificate")
    except ck.KafkaException:
        pass


@test
def a_certificate_names_its_user():
    create("mutual")
    allow("User:bob", ResourceType.TOPIC, "mutual", AclOperation.WRITE)
    bob = {"bootstrap.servers": SSL, "security.protocol": "SSL", "ssl.ca.location": os.path.join(home, "ca.pem"),
           "ssl.certificate.location": os.path.join(home, "bob.crt"), "ssl.key.location": os.path.join(home, "bob.key")}
    assert produce(bob, "mutual", "x") is None
    names = AdminClient(bob).list_topics(timeout=WAIT).topics
    assert list(names) == ["mutual"], "others' topics are hidden: %r" % list(names)


@test
def our_tools_log_in_too():
    create("tools")
    for mechanism, user, password in (("SCRAM-SHA-512", "carol", "pw,1"), ("PLAIN", "eve", "eve")):
        if mechanism != "PLAIN":
            configs("--alter", "--entity-type", "users", "--entity-name", user, "--add-config",
                    "%s=[iterations=8192,password=%s]" % (mechanism, password))
        module = "plain.PlainLoginModule" if mechanism == "PLAIN" else "scram.ScramLoginModule"
        path = os.path.join(home, user + ".properties")
        with open(path, "w") as f:
            f.write("security.protocol=SASL_SSL\nssl.truststore.type=PEM\nssl.truststore.location=%s/ca.pem\nsasl.mechanism=%s\n"
                    "sasl.jaas.config=org.apache.kafka.common.security.%s required username=\"%s\" password=\"%s\";\n"
                    % (home, mechanism, module, user, password))
        listed = tool("kafka-topics", "--bootstrap-server", SASL_SSL, "--command-config", path, "--list")
        assert "tools" not in listed, listed
        allow("User:" + user, ResourceType.TOPIC, "tools", AclOperation.DESCRIBE)
        listed = tool("kafka-topics", "--bootstrap-server", SASL_SSL, "--command-config", path, "--list")
        assert "tools" in listed, listed
        with open(path, "a") as f:
            f.write("sasl.jaas.config=org.apache.kafka.common.security.%s required username=\"%s\" password=\"no\";\n" % (module, user))
        refused = tool("kafka-topics", "--bootstrap-server", SASL_SSL, "--command-config", path, "--list", fails=True)
        assert "SaslAuthenticationException" in refused, refused


@test
def users_clients_and_addresses_have_their_configurations():
    configs("--alter", "--entity-type", "users", "--entity-name", "dave", "--entity-type", "clients", "--entity-default",
            "--add-config", "producer_byte_rate=1048576,request_percentage=50")
    configs("--alter", "--entity-type", "ips", "--entity-name", "192.0.2.1", "--add-config", "connection_creation_rate=5")
    told = configs("--describe", "--entity-type", "users", "--entity-name", "dave", "--entity-type", "clients", "--entity-default")
    assert "Quota configs for user-principal 'dave', the default client-id are" in told, told
    assert "producer_byte_rate=1048576.0" in told, told
    assert "ip '192.0.2.1' are connection_creation_rate=5.0" in configs("--describe", "--entity-type", "ips")
    told = configs("--describe", "--entity-type", "users", "--entity-name", "carol")
    assert "SCRAM credential configs for user-principal 'carol' are SCRAM-SHA-512=iterations=8192" in told, told
    configs("--alter", "--entity-type", "users", "--entity-name", "carol", "--delete-config", "SCRAM-SHA-512")
    assert "carol" not in configs("--describe", "--entity-type", "users")


@test
def entries_are_described_and_deleted():
    create("acls")
    allow("User:x", ResourceType.TOPIC, "acls", AclOperation.READ)
    ad = admin()
    wanted = AclBindingFilter(ResourceType.TOPIC, "acls", ResourcePatternType.MATCH, None, None, AclOperation.ANY, AclPermissionType.ANY)
    assert len(ad.describe_acls(wanted).result(WAIT)) == 1
    for f in ad.delete_acls([wanted]).values():
        assert len(f.result(WAIT)) == 1
    assert ad.describe_acls(wanted).result(WAIT) == []


failed = 0
chosen = [t for t in tests if a.only in t.__name__]
start()
try:
    for t in chosen:
        try:
            t()
            print("pass %s" % t.__name__, flush=True)
        except Exception:
            failed += 1
            print("FAIL %s" % t.__name__, flush=True)
            traceback.print_exc()
finally:
    node.terminate()
    node.wait()
    shutil.rmtree(home, ignore_errors=True)
print("%d passed, %d failed" % (len(chosen) - failed, failed), flush=True)
os._exit(1 if failed else 0)
