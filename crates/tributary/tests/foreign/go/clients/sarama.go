package main

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

var saramas = []test{
	{"sarama every codec and acks", saramaCodecs},
	{"sarama group, range", func() { saramaGroup(sarama.NewBalanceStrategyRange()) }},
	{"sarama group, sticky", func() { saramaGroup(sarama.NewBalanceStrategySticky()) }},
	{"sarama group, cooperative", func() { saramaGroup(sarama.NewBalanceStrategyCooperativeSticky()) }},
	{"sarama transactions", saramaTransactions},
	{"sarama admin", saramaAdmin},
	{"sarama as of old brokers", saramaOldVersions},
}

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.MaxWaitTime = 50 * time.Millisecond
	config.Consumer.IsolationLevel = sarama.ReadCommitted
	config.Consumer.Group.Session.Timeout = 10 * time.Second
	config.Consumer.Group.Heartbeat.Interval = 200 * time.Millisecond
	return config
}

func saramaAdminClient() sarama.ClusterAdmin {
	return must(sarama.NewClusterAdmin([]string{bootstrap}, saramaConfig()))
}

func saramaTopic(partitions int32) string {
	admin := saramaAdminClient()
	defer admin.Close()
	topic := name("sarama")
	check(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false), "create topic")
	return topic
}

func saramaMessages(topic string, texts []string) []*sarama.ProducerMessage {
	messages := make([]*sarama.ProducerMessage, len(texts))
	for i, text := range texts {
		messages[i] = &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(text), Value: sarama.StringEncoder(text)}
	}
	return messages
}

func saramaProduce(config *sarama.Config, topic string, texts []string) {
	producer := must(sarama.NewSyncProducer([]string{bootstrap}, config))
	defer producer.Close()
	check(producer.SendMessages(saramaMessages(topic, texts)), "produce")
}

// saramaRead reads committed records of all partitions until there are `n`.
func saramaRead(config *sarama.Config, topic string, n int) []string {
	consumer := must(sarama.NewConsumer([]string{bootstrap}, config))
	defer consumer.Close()
	got := &received{}
	for _, partition := range must(consumer.Partitions(topic)) {
		part := must(consumer.ConsumePartition(topic, partition, sarama.OffsetOldest))
		defer part.Close()
		go func() {
			for message := range part.Messages() {
				got.add(string(message.Value))
			}
		}()
	}
	until("records", func() bool { return got.count() >= n })
	return got.all()
}

func saramaCodecs() {
	codecs := []sarama.CompressionCodec{
		sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD,
	}
	for _, codec := range codecs {
		for _, acks := range []sarama.RequiredAcks{sarama.WaitForAll, sarama.WaitForLocal, sarama.NoResponse} {
			config := saramaConfig()
			config.Producer.Compression = codec
			config.Producer.RequiredAcks = acks
			if acks == sarama.WaitForAll {
				config.Producer.Idempotent = true
				config.Net.MaxOpenRequests = 1
			}
			topic, texts := saramaTopic(3), values(codec.String(), 300)
			saramaProduce(config, topic, texts)
			same(codec.String(), saramaRead(config, topic, len(texts)), texts)
		}
	}
}

// Versions of the protocol from before flexible messages and record batches.
func saramaOldVersions() {
	for _, version := range []sarama.KafkaVersion{sarama.V0_11_0_0, sarama.V1_0_0_0, sarama.V2_0_0_0, sarama.V2_8_0_0, sarama.V3_6_0_0} {
		config := saramaConfig()
		config.Version = version
		topic, texts := saramaTopic(2), values(version.String(), 50)
		saramaProduce(config, topic, texts)
		same(version.String(), saramaRead(config, topic, len(texts)), texts)
	}
}

// saramaMember is a consumer of a group that marks what it gets.
type saramaMember struct {
	group sarama.ConsumerGroup
	got   *received
	owned atomic.Int64
	stop  context.CancelFunc
	ended chan struct{}
}

func newSaramaMember(config *sarama.Config, group, topic string, got *received) *saramaMember {
	ctx, stop := context.WithCancel(context.Background())
	m := &saramaMember{group: must(sarama.NewConsumerGroup([]string{bootstrap}, group, config)), got: got, stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(m.ended)
		for ctx.Err() == nil {
			if err := m.group.Consume(ctx, []string{topic}, m); errors.Is(err, sarama.ErrClosedConsumerGroup) {
				return
			}
		}
	}()
	return m
}

func (m *saramaMember) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	m.owned.Add(1)
	defer m.owned.Add(-1)
	for message := range claim.Messages() {
		m.got.add(string(message.Value))
		session.MarkMessage(message, "")
	}
	return nil
}

func (m *saramaMember) close() {
	m.stop()
	<-m.ended
	check(m.group.Close(), "close")
}

func saramaGroup(strategy sarama.BalanceStrategy) {
	config := saramaConfig()
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy}
	topic, group, got := saramaTopic(4), name("group"), &received{}
	one := newSaramaMember(config, group, topic, got)
	until("the first to get all", func() bool { return one.owned.Load() == 4 })
	two := newSaramaMember(config, group, topic, got)
	until("a share each", func() bool { return one.owned.Load() == 2 && two.owned.Load() == 2 })
	texts := values("group", 200)
	saramaProduce(config, topic, texts)
	until("200 records", func() bool { return got.count() >= 200 })
	same("records of both", got.all(), texts)
	one.close()
	until("the survivor to get all", func() bool { return two.owned.Load() == 4 })
	two.close()
	more, after := values("more", 20), &received{}
	saramaProduce(config, topic, more)
	three := newSaramaMember(config, group, topic, after)
	until("20 more records", func() bool { return after.count() >= 20 })
	same("records after the commits", after.all(), more)
	three.close()
}

func saramaTransactions() {
	source, target, group, id := saramaTopic(1), saramaTopic(2), name("group"), name("txn")
	saramaProduce(saramaConfig(), source, values("source", 10))
	config := saramaConfig()
	config.Producer.Idempotent = true
	config.Producer.Transaction.ID = id
	config.Net.MaxOpenRequests = 1
	producer := must(sarama.NewSyncProducer([]string{bootstrap}, config))
	admin := saramaAdminClient()
	defer admin.Close()
	committed := func() int64 {
		response := must(admin.ListConsumerGroupOffsets(group, map[string][]int32{source: {0}}))
		return response.GetBlock(source, 0).Offset
	}
	var expected []string
	for round, text := range values("round", 6) {
		check(producer.BeginTxn(), "begin")
		texts := []string{text + "a", text + "b"}
		check(producer.SendMessages(saramaMessages(target, texts)), "produce")
		offsets := map[string][]*sarama.PartitionOffsetMetadata{source: {{Partition: 0, Offset: int64(round + 1)}}}
		check(producer.AddOffsetsToTxn(offsets, group), "send offsets")
		if round%2 == 0 {
			check(producer.CommitTxn(), "commit")
			expected = append(expected, texts...)
			equal("committed offset", committed(), int64(round+1))
		} else {
			check(producer.AbortTxn(), "abort")
			equal("committed offset after an abort", committed(), int64(round))
		}
	}
	same("committed", saramaRead(saramaConfig(), target, len(expected)), expected)
	check(producer.BeginTxn(), "begin")
	check(producer.SendMessages(saramaMessages(target, []string{"zombie"})), "produce")
	successor := must(sarama.NewSyncProducer([]string{bootstrap}, config))
	defer successor.Close()
	check(successor.BeginTxn(), "begin")
	check(successor.SendMessages(saramaMessages(target, []string{"new"})), "produce")
	if err := producer.CommitTxn(); err == nil {
		panic("a fenced producer committed")
	}
	check(successor.CommitTxn(), "commit")
	_ = producer.Close()
	same("committed", saramaRead(saramaConfig(), target, len(expected)+1), append(expected, "new"))
}

func saramaAdmin() {
	topic := saramaTopic(2)
	admin := saramaAdminClient()
	defer admin.Close()
	if err := admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false); !errors.Is(err, sarama.ErrTopicAlreadyExists) {
		panic("created twice: " + errorText(err))
	}
	value := "3600000"
	check(admin.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
		"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value},
	}, false), "alter config")
	setting := func(key string) string {
		for _, entry := range must(admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{key}})) {
			if entry.Name == key {
				return entry.Value
			}
		}
		panic("no such config: " + key)
	}
	equal("retention.ms", setting("retention.ms"), value)
	both := "compact,delete"
	check(admin.AlterConfig(sarama.TopicResource, topic, map[string]*string{"cleanup.policy": &both}, false), "replace configs")
	equal("cleanup.policy", setting("cleanup.policy"), both)
	equal("retention.ms", setting("retention.ms"), "604800000")
	check(admin.CreatePartitions(topic, 4, nil, false), "create partitions")
	until("four partitions", func() bool { return len(must(admin.DescribeTopics([]string{topic}))[0].Partitions) == 4 })
	config := saramaConfig()
	config.Producer.Partitioner = sarama.NewManualPartitioner
	saramaProduce(config, topic, values("records", 10)) // to partition 0
	check(admin.DeleteRecords(topic, map[int32]int64{0: 6}), "delete records")
	listed := must(admin.ListOffsets(map[string]map[int32]int64{topic: {0: sarama.OffsetOldest}}, nil))
	equal("start", listed[topic][0].Offset, 6)
	brokers, controller, err := admin.DescribeCluster()
	check(err, "describe cluster")
	equal("the controller is the broker", controller, brokers[0].ID())
	dirs := must(admin.DescribeLogDirs([]int32{brokers[0].ID()}))
	if !slices.ContainsFunc(dirs[brokers[0].ID()], func(d sarama.DescribeLogDirsResponseDirMetadata) bool {
		return slices.ContainsFunc(d.Topics, func(t sarama.DescribeLogDirsResponseTopic) bool { return t.Topic == topic })
	}) {
		panic("the topic is in no log directory")
	}
	group, got := name("group"), &received{}
	m := newSaramaMember(saramaConfig(), group, topic, got)
	until("records", func() bool { return m.owned.Load() == 4 && got.count() == 4 })
	described := must(admin.DescribeConsumerGroups([]string{group}))[0]
	equal("state", described.State, "Stable")
	equal("members", len(described.Members), 1)
	if err := admin.DeleteConsumerGroup(group); !errors.Is(err, sarama.ErrNonEmptyGroup) {
		panic("deleting a group with members was answered " + errorText(err))
	}
	m.close()
	offset := func() int64 {
		return must(admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})).GetBlock(topic, 0).Offset
	}
	equal("committed", offset(), 10)
	altered := must(admin.AlterConsumerGroupOffsets(group, map[string]map[int32]sarama.OffsetAndMetadata{topic: {0: {Offset: 7}}}, nil))
	equal("alter offsets", altered.Errors[topic][0], sarama.ErrNoError)
	equal("altered", offset(), 7)
	check(admin.DeleteConsumerGroupOffset(group, topic, 0), "delete offset")
	equal("a deleted offset", offset(), -1)
	if _, found := must(admin.ListConsumerGroups())[group]; !found {
		panic("the group is not listed")
	}
	check(admin.DeleteConsumerGroup(group), "delete group")
	if _, found := must(admin.ListConsumerGroups())[group]; found {
		panic("a deleted group is listed")
	}
	check(admin.DeleteTopic(topic), "delete topic")
	until("the topic to go", func() bool { _, found := must(admin.ListTopics())[topic]; return !found })
}
