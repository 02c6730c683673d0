//! The `--help` texts.

use super::options::Tool;

const CONNECTION: &str = "\
Connection:
  -h, --host HOST           server to connect to (default: localhost)
  -p, --port PORT           port (default: 1883)
      --unix PATH           connect to a Unix socket instead
  -L, --url URL             all in one: mqtt://[user[:password]@]host[:port]/topic; mqtts, ws, wss
  -A ADDRESS                local address to connect from
      --nodelay             send small packets at once (TCP_NODELAY)
  -i, --id ID               client id (default: the server chooses one)
  -I, --id-prefix PREFIX    client id = PREFIX and the process number
  -u, --username NAME       user name
  -P, --pw PASSWORD         password
  -k, --keepalive SECONDS   keep alive, 5 to 65535 (default: 60)
  -c, --disable-clean-session
                            keep the session: the server stores what comes while away (needs -i)
  -x SECONDS                session expiry interval, MQTT 5 only; -1, 4294967295 or ∞ = never
                            (default: never with -c, else 0)
  -V, --protocol-version V  mqttv5, mqttv311 or mqttv31; also 5, 311, 31
  -M COUNT                  unacknowledged QoS 1 and 2 messages at once (default: 20)
  -D, --property COMMAND NAME VALUE
                            an MQTT 5 property for connect, publish, subscribe, unsubscribe, disconnect or
                            will; user-property takes a name and a value
      --will-topic TOPIC    have the server publish a message if this client vanishes
      --will-payload TEXT   its payload (default: empty)
      --will-qos QOS        its QoS
      --will-retain         retain it
  -d, --debug               show each packet
      --quiet               no error messages
      --version             show the version
      --help                show this

TLS and WebSocket:
      --cafile FILE         certificates that the server's may come from (turns TLS on, port 8883)
      --capath DIRECTORY    the same, a directory of such files
      --tls-use-os-certs    the same, those of the operating system (default on port 8883)
      --cert FILE           this client's certificate
      --key FILE            its private key
      --insecure            do not check that the certificate names the host; for tests only
      --tls-version V       tlsv1.3 or tlsv1.2, at least (default: tlsv1.2)
      --ciphers LIST        as OpenSSL names them, separated by :
      --tls-alpn PROTOCOL   protocol to ask for in the handshake
      --ws                  MQTT in WebSocket (default port: 80, with TLS 443)
      --ws-path PATH        where (default: /mqtt)

--psk, --psk-identity, --keyform, --tls-engine, --tls-engine-kpass-sha1 and --proxy are not supported.
";

const OUTPUT: &str = "  -F FORMAT                 how to print a message. %t topic, %p payload, %x %X payload in hexadecimal, %l its
                            length, %q QoS, %r retain flag, %m packet id, %j JSON, %J JSON with the payload
                            as JSON, %I time, %U Unix time, %A %C %D %E %F %P %R %S MQTT 5 properties;
                            @Y @m @d @H @M @S @N … parts of the time; \\\\ \\0 \\a \\e \\n \\r \\t \\v
      --pretty              print JSON over several lines
  -N                        no end of line after each message
  -v, --verbose             print the topic in front of each payload
";

/// What `--help` prints.
pub fn text(tool: Tool) -> String {
    let body = match tool {
        Tool::Publish => {
            "\
mosquitto_pub publishes MQTT messages on a topic, then ends.

Usage: mosquitto_pub [connection options] -t TOPIC {-m TEXT | -f FILE | -s | -l | -n}

Message:
  -t, --topic TOPIC         topic to publish on
  -m, --message TEXT        send TEXT
  -f, --file FILE           send the contents of FILE
  -s, --stdin-file          send all of standard input as one message
  -l, --stdin-line          send each line of standard input as a message
  -n, --null-message        send an empty message
  -q, --qos QOS             quality of service 0, 1 or 2 (default: 0)
  -r, --retain              have the server retain the message
      --repeat COUNT        send the message COUNT times
      --repeat-delay SECONDS
                            wait between repetitions (default: 0)
"
        }
        .to_owned(),
        Tool::Subscribe => {
            "\
mosquitto_sub subscribes to MQTT topics and prints the messages that come.

Usage: mosquitto_sub [connection options] -t FILTER [-t FILTER ...]

Subscription:
  -t, --topic FILTER        topic filter to subscribe to; may be repeated
  -q, --qos QOS             highest quality of service wanted (default: 0)
  -T, --filter-out FILTER   do not print messages on these topics; may be repeated
  -U, --unsubscribe FILTER  unsubscribe; may be repeated
  -C COUNT                  end after COUNT messages
  -W SECONDS                end after SECONDS, with exit code 27
  -E                        end when the subscription is acknowledged
  -R                        do not print retained messages
      --retained-only       print only retained messages; end at the first other one
      --remove-retained     have the server drop the retained messages that come
      --retain-as-published keep the retain flag as it was published (MQTT 5)
      --random-filter PERCENT
                            print only this share of the messages, chosen at random
"
            .to_owned()
                + OUTPUT
        }
        Tool::Control => String::new(),
        Tool::Request => {
            "\
mosquitto_rr publishes an MQTT request and prints the response.

Usage: mosquitto_rr [connection options] -t TOPIC -e TOPIC {-m TEXT | -f FILE | -s | -n}

Request and response:
  -t, --topic TOPIC         topic to publish the request on
  -e TOPIC                  topic on which the response is awaited
  -m, --message TEXT        send TEXT
  -f, --file FILE           send the contents of FILE
  -s, --stdin-file          send all of standard input
  -n, --null-message        send an empty message
  -q, --qos QOS             quality of service 0, 1 or 2 (default: 0)
  -W SECONDS                give up after SECONDS, with exit code 27
  -R                        no retained messages
      --retain-as-published keep the retain flag as it was published (MQTT 5)
"
            .to_owned()
                + OUTPUT
        }
    };
    let name = tool.name();
    let file = format!(
        "\nOptions, one a line, are also read from $XDG_CONFIG_HOME/{name} or else $HOME/.config/{name}.\n"
    );
    let example = match tool {
        Tool::Publish => "mosquitto_pub -h localhost -t sensors/1/temp -q 1 -m 21.5",
        Tool::Subscribe => "mosquitto_sub -h localhost -t 'sensors/#' -v",
        Tool::Control => "mosquitto_ctrl -u admin dynsec listClients",
        Tool::Request => "mosquitto_rr -h localhost -t door/open -e door/answer -m now -W 5",
    };
    format!("{body}\n{CONNECTION}{file}\nExample:\n  {example}\n")
}

/// What `--version` prints.
pub fn version(tool: Tool) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("{} version {version} running on Tributary {version}.\n", tool.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_usage_and_an_example() {
        for tool in [Tool::Publish, Tool::Subscribe, Tool::Request] {
            let text = text(tool);
            assert!(text.contains(&format!("Usage: {} ", tool.name())));
            assert!(text.contains(&format!("Example:\n  {} ", tool.name())));
            assert!(text.lines().all(|line| line.chars().count() <= 112), "{text}");
        }
    }
}
