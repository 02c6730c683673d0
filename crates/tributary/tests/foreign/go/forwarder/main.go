// A plain forwarder as teams write it: subscribe on the MQTT broker, hand each message to a Kafka producer.
// It acknowledges to MQTT before Kafka has acknowledged, as such forwarders do. Benchmarks only.
//
//	forwarder MQTT_HOST:PORT FILTER KAFKA_HOST:PORT TOPIC
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: forwarder MQTT_HOST:PORT FILTER KAFKA_HOST:PORT TOPIC")
		os.Exit(2)
	}
	address, filter, kafka, topic := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	producer, err := kgo.NewClient(kgo.SeedBrokers(kafka), kgo.DefaultProduceTopic(topic))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	options := mqtt.NewClientOptions().AddBroker("tcp://" + address).SetClientID("forwarder").SetOrderMatters(true)
	subscriber := mqtt.NewClient(options)
	if token := subscriber.Connect(); token.Wait() && token.Error() != nil {
		fmt.Fprintln(os.Stderr, token.Error())
		os.Exit(1)
	}
	forward := func(_ mqtt.Client, message mqtt.Message) {
		record := &kgo.Record{Key: []byte(message.Topic()), Value: message.Payload()}
		producer.Produce(context.Background(), record, nil)
	}
	if token := subscriber.Subscribe(filter, 1, forward); token.Wait() && token.Error() != nil {
		fmt.Fprintln(os.Stderr, token.Error())
		os.Exit(1)
	}
	fmt.Println("ready")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	<-stop
	producer.Flush(context.Background())
}
