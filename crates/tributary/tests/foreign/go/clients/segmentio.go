package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
)

var segmentio = []test{
	{"kafka-go every codec and acks", segmentioCodecs},
	{"kafka-go group", segmentioGroup},
	{"kafka-go offsets in transactions", segmentioTransactions},
	{"kafka-go admin", segmentioAdmin},
	{"kafka-go connection", segmentioConnection},
}

func segmentioClient() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: wait}
}

func segmentioTopic(partitions int) string {
	topic := name("segmentio")
	created := must(segmentioClient().CreateTopics(within(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}},
	}))
	check(created.Errors[topic], "create topic")
	return topic
}

func segmentioProduce(topic string, texts []string, codec kafka.Compression, acks kafka.RequiredAcks) {
	messages := make([]kafka.Message, len(texts))
	for i, text := range texts {
		messages[i] = kafka.Message{Key: []byte(text), Value: []byte(text), Headers: []kafka.Header{{Key: "h", Value: []byte("1")}}}
	}
	writer := &kafka.Writer{Addr: kafka.TCP(bootstrap), Topic: topic, Balancer: &kafka.RoundRobin{}, RequiredAcks: acks,
		Compression: codec, BatchTimeout: 5 * time.Millisecond}
	check(writer.WriteMessages(within(), messages...), "produce")
	check(writer.Close(), "close")
}

func segmentioReader(topic, group string) *kafka.Reader {
	config := kafka.ReaderConfig{Brokers: []string{bootstrap}, MaxWait: 100 * time.Millisecond, MaxBytes: 1 << 20, MinBytes: 1}
	config.Topic = topic
	if group != "" {
		config.GroupID = group
		config.StartOffset = kafka.FirstOffset
		config.HeartbeatInterval = 200 * time.Millisecond
		config.SessionTimeout = 10 * time.Second
		config.JoinGroupBackoff = 100 * time.Millisecond
	}
	return kafka.NewReader(config)
}

func segmentioCodecs() {
	for _, codec := range []kafka.Compression{0, kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
		for _, acks := range []kafka.RequiredAcks{kafka.RequireAll, kafka.RequireOne, kafka.RequireNone} {
			topic, texts := segmentioTopic(1), values(codec.String(), 300)
			segmentioProduce(topic, texts, codec, acks)
			reader := segmentioReader(topic, "")
			var got []string
			for ctx := within(); len(got) < len(texts); {
				message := must(reader.ReadMessage(ctx))
				got = append(got, string(message.Value))
			}
			check(reader.Close(), "close")
			same(codec.String(), got, texts)
		}
	}
}

// segmentioMember reads and commits until it is closed.
type segmentioMember struct {
	reader *kafka.Reader
	owned  atomic.Int64
	stop   context.CancelFunc
	ended  chan struct{}
}

func newSegmentioMember(group, topic string, got *received) *segmentioMember {
	ctx, stop := context.WithCancel(context.Background())
	m := &segmentioMember{reader: segmentioReader(topic, group), stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(m.ended)
		for ctx.Err() == nil {
			message, err := m.reader.FetchMessage(ctx)
			if err != nil {
				continue
			}
			got.add(string(message.Value))
			if err := m.reader.CommitMessages(context.Background(), message); err != nil {
				fmt.Println("kafka-go: commit:", err)
			}
		}
	}()
	return m
}

func (m *segmentioMember) close() {
	m.stop()
	<-m.ended
	check(m.reader.Close(), "close")
}

// assigned says how many partitions each member of the group has.
func segmentioAssigned(group, topic string) []int {
	described := must(segmentioClient().DescribeGroups(within(), &kafka.DescribeGroupsRequest{GroupIDs: []string{group}}))
	counts := []int{}
	if g := described.Groups[0]; g.GroupState == "Stable" {
		for _, member := range g.Members {
			n := 0
			for _, t := range member.MemberAssignments.Topics {
				if t.Topic == topic {
					n += len(t.Partitions)
				}
			}
			counts = append(counts, n)
		}
	}
	return counts
}

func segmentioGroup() {
	topic, group, got := segmentioTopic(4), name("group"), &received{}
	one := newSegmentioMember(group, topic, got)
	until("the first to get all", func() bool { return slices.Equal(segmentioAssigned(group, topic), []int{4}) })
	two := newSegmentioMember(group, topic, got)
	until("a share each", func() bool { return slices.Equal(segmentioAssigned(group, topic), []int{2, 2}) })
	texts := values("group", 200)
	segmentioProduce(topic, texts, kafka.Snappy, kafka.RequireAll)
	until("200 records", func() bool { return got.count() >= 200 })
	same("records of both", got.all(), texts)
	one.close()
	until("the survivor to get all", func() bool { return slices.Equal(segmentioAssigned(group, topic), []int{4}) })
	two.close()
	more, after := values("more", 20), &received{}
	segmentioProduce(topic, more, 0, kafka.RequireAll)
	three := newSegmentioMember(group, topic, after)
	until("20 more records", func() bool { return after.count() >= 20 })
	same("records after the commits", after.all(), more)
	three.close()
}

func segmentioOffset(group, topic string) int64 {
	fetched := must(segmentioClient().OffsetFetch(within(), &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0}}}))
	check(fetched.Error, "fetch offsets")
	check(fetched.Topics[topic][0].Error, "fetch offsets")
	return fetched.Topics[topic][0].CommittedOffset
}

func segmentioTransactions() {
	client, topic, group, id := segmentioClient(), segmentioTopic(1), name("group"), name("txn")
	begin := func() *kafka.ProducerSession {
		var started *kafka.InitProducerIDResponse
		until("a producer id", func() bool {
			started = must(client.InitProducerID(within(), &kafka.InitProducerIDRequest{TransactionalID: id,
				TransactionTimeoutMs: 20000, ProducerID: -1, ProducerEpoch: -1}))
			return !errors.Is(started.Error, kafka.ConcurrentTransactions)
		})
		check(started.Error, "init producer id")
		return started.Producer
	}
	end := func(producer *kafka.ProducerSession, committed bool) error {
		return must(client.EndTxn(within(), &kafka.EndTxnRequest{TransactionalID: id, ProducerID: producer.ProducerID,
			ProducerEpoch: producer.ProducerEpoch, Committed: committed})).Error
	}
	send := func(producer *kafka.ProducerSession, offset int64) {
		added := must(client.AddOffsetsToTxn(within(), &kafka.AddOffsetsToTxnRequest{TransactionalID: id,
			ProducerID: producer.ProducerID, ProducerEpoch: producer.ProducerEpoch, GroupID: group}))
		check(added.Error, "add offsets")
		sent := must(client.TxnOffsetCommit(within(), &kafka.TxnOffsetCommitRequest{TransactionalID: id, GroupID: group,
			ProducerID: producer.ProducerID, ProducerEpoch: producer.ProducerEpoch, GenerationID: -1,
			Topics: map[string][]kafka.TxnOffsetCommit{topic: {{Partition: 0, Offset: offset}}}}))
		check(sent.Topics[topic][0].Error, "commit offsets")
	}
	producer := begin()
	send(producer, 5)
	check(end(producer, true), "commit")
	equal("committed", segmentioOffset(group, topic), 5)
	producer = begin()
	send(producer, 9)
	check(end(producer, false), "abort")
	equal("committed after an abort", segmentioOffset(group, topic), 5)
	send(producer, 10)
	successor := begin()
	if err := end(producer, true); !errors.Is(err, kafka.ProducerFenced) {
		panic("a fenced producer was told " + errorText(err))
	}
	send(successor, 11)
	check(end(successor, true), "commit")
	equal("committed by the successor", segmentioOffset(group, topic), 11)
}

func segmentioAdmin() {
	client, topic := segmentioClient(), segmentioTopic(2)
	again := must(client.CreateTopics(within(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}}}))
	if !errors.Is(again.Errors[topic], kafka.TopicAlreadyExists) {
		panic("created twice")
	}
	altered := must(client.IncrementalAlterConfigs(within(), &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
		Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: "3600000", ConfigOperation: kafka.ConfigOperationSet}},
	}}}))
	check(altered.Resources[0].Error, "alter configs")
	described := must(client.DescribeConfigs(within(), &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{"retention.ms"}}}}))
	equal("retention.ms", described.Resources[0].ConfigEntries[0].ConfigValue, "3600000")
	check(must(client.CreatePartitions(within(), &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 4}}})).Errors[topic], "create partitions")
	until("four partitions", func() bool {
		return len(must(client.Metadata(within(), &kafka.MetadataRequest{Topics: []string{topic}})).Topics[0].Partitions) == 4
	})
	group, got := name("group"), &received{}
	m := newSegmentioMember(group, topic, got)
	until("all partitions", func() bool { return slices.Equal(segmentioAssigned(group, topic), []int{4}) })
	if err := must(client.DeleteGroups(within(), &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})).Errors[group]; !errors.Is(err, kafka.NonEmptyGroup) {
		panic("deleting a group with members was answered " + errorText(err))
	}
	segmentioProduce(topic, values("records", 8), kafka.Zstd, kafka.RequireAll)
	until("8 records", func() bool { return got.count() == 8 })
	m.close()
	equal("committed", segmentioOffset(group, topic), 2)
	deleted := must(client.OffsetDelete(within(), &kafka.OffsetDeleteRequest{GroupID: group, Topics: map[string][]int{topic: {0}}}))
	check(deleted.Error, "delete offset")
	check(deleted.Topics[topic][0].Error, "delete offset")
	equal("a deleted offset", segmentioOffset(group, topic), -1)
	check(must(client.DeleteGroups(within(), &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})).Errors[group], "delete group")
	for _, listed := range must(client.ListGroups(within(), &kafka.ListGroupsRequest{})).Groups {
		if listed.GroupID == group {
			panic("a deleted group is listed")
		}
	}
	check(must(client.DeleteTopics(within(), &kafka.DeleteTopicsRequest{Topics: []string{topic}})).Errors[topic], "delete topic")
	until("the topic to go", func() bool {
		return !slices.ContainsFunc(must(client.Metadata(within(), &kafka.MetadataRequest{})).Topics, func(t kafka.Topic) bool { return t.Name == topic })
	})
}

// The older half of the library: one connection to a partition's leader.
func segmentioConnection() {
	topic := segmentioTopic(1)
	leader := must(kafka.DialLeader(within(), "tcp", bootstrap, topic, 0))
	defer leader.Close()
	texts := values("connection", 50)
	for _, text := range texts {
		must(leader.WriteMessages(kafka.Message{Value: []byte(text), Time: time.Now()}))
	}
	first, last, err := leader.ReadOffsets()
	check(err, "read offsets")
	equal("first", first, 0)
	equal("last", last, 50)
	must(leader.Seek(10, kafka.SeekAbsolute))
	batch := leader.ReadBatch(1, 1<<20)
	var got []string
	for len(got) < 40 {
		message := must(batch.ReadMessage())
		got = append(got, string(message.Value))
	}
	check(batch.Close(), "close")
	same("records", got, texts[10:])
	controller := must(leader.Controller())
	equal("brokers", len(must(leader.Brokers())), 1)
	equal("the controller is the broker", fmt.Sprintf("%s:%d", controller.Host, controller.Port), bootstrap)
}
