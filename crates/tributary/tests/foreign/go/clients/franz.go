package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var franz = []test{
	{"franz-go every codec and acks", franzCodecs},
	{"franz-go classic group", func() { franzGroup(kgo.Balancers(kgo.CooperativeStickyBalancer())) }},
	{"franz-go eager group", func() { franzGroup(kgo.Balancers(kgo.RangeBalancer())) }},
	{"franz-go consumer-protocol group", func() { franzGroup(kgo.ServerSideBalancer()) }},
	{"franz-go static member comes back", franzStaticMember},
	{"franz-go transactions", franzTransactions},
	{"franz-go consumes, transforms and produces once", func() { franzExactlyOnce(kgo.Balancers(kgo.CooperativeStickyBalancer())) }},
	{"franz-go consumes, transforms and produces once, consumer protocol", func() { franzExactlyOnce(kgo.ServerSideBalancer()) }},
	{"franz-go admin", franzAdmin},
}

func franzClient(options ...kgo.Opt) *kgo.Client {
	return must(kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap)}, options...)...))
}

func franzTopic(partitions int32, configs ...string) string {
	admin := kadm.NewClient(franzClient())
	defer admin.Close()
	set := map[string]*string{}
	for i := 0; i < len(configs); i += 2 {
		set[configs[i]] = &configs[i+1]
	}
	topic := name("franz")
	created := must(admin.CreateTopic(within(), partitions, 1, set, topic))
	check(created.Err, "create topic")
	return topic
}

func franzProduce(client *kgo.Client, topic string, texts []string) {
	records := make([]*kgo.Record, len(texts))
	for i, text := range texts {
		records[i] = &kgo.Record{Topic: topic, Key: []byte(text), Value: []byte(text)}
	}
	check(client.ProduceSync(within(), records...).FirstErr(), "produce")
}

// franzRead reads committed records until there are `n`.
func franzRead(topic string, n int) []string {
	client := franzClient(kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer client.Close()
	var texts []string
	for ctx := within(); len(texts) < n; {
		fetches := client.PollFetches(ctx)
		check(fetches.Err0(), "poll")
		fetches.EachError(func(topic string, partition int32, err error) { check(err, "fetch") })
		fetches.EachRecord(func(r *kgo.Record) { texts = append(texts, string(r.Value)) })
	}
	return texts
}

func franzCodecs() {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for codec, compression := range codecs {
		for _, acks := range []kgo.Acks{kgo.AllISRAcks(), kgo.LeaderAck(), kgo.NoAck()} {
			options := []kgo.Opt{kgo.ProducerBatchCompression(compression), kgo.RequiredAcks(acks)}
			if acks != kgo.AllISRAcks() {
				options = append(options, kgo.DisableIdempotentWrite())
			}
			topic, texts := franzTopic(3), values(codec, 300)
			producer := franzClient(options...)
			franzProduce(producer, topic, texts)
			producer.Close()
			same(codec, franzRead(topic, len(texts)), texts)
		}
	}
}

// member is a consumer of a group that polls until it is closed.
type member struct {
	client *kgo.Client
	// Which partitions it has, as it is told.
	owned atomic.Int64
	stop  context.CancelFunc
	ended chan struct{}
}

func newMember(group, topic string, got *received, options ...kgo.Opt) *member {
	m := &member{ended: make(chan struct{})}
	count := func(sign int64) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			m.owned.Add(sign * int64(len(partitions[topic])))
		}
	}
	m.client = franzClient(append([]kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.SessionTimeout(10 * time.Second),
		kgo.HeartbeatInterval(200 * time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(count(1)), kgo.OnPartitionsRevoked(count(-1)), kgo.OnPartitionsLost(count(-1)),
	}, options...)...)
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	go func() {
		defer close(m.ended)
		for {
			fetches := m.client.PollFetches(ctx)
			if ctx.Err() != nil {
				return
			}
			fetches.EachRecord(func(r *kgo.Record) { got.add(string(r.Value)) })
		}
	}()
	return m
}

func (m *member) close() {
	m.stop()
	<-m.ended
	check(m.client.CommitUncommittedOffsets(within()), "commit")
	m.client.Close()
}

func franzGroup(protocol kgo.Opt) {
	topic, group := franzTopic(4), name("group")
	got := &received{}
	one := newMember(group, topic, got, protocol)
	until("the first to get all", func() bool { return one.owned.Load() == 4 })
	two := newMember(group, topic, got, protocol)
	until("a share each", func() bool { return one.owned.Load() == 2 && two.owned.Load() == 2 })
	producer := franzClient()
	defer producer.Close()
	texts := values("group", 200)
	franzProduce(producer, topic, texts)
	until("200 records", func() bool { return got.count() >= 200 })
	same("records of both", got.all(), texts)
	check(two.client.CommitUncommittedOffsets(within()), "commit")
	one.close()
	until("the survivor to get all", func() bool { return two.owned.Load() == 4 })
	two.close()
	// What was committed survives: a new member reads only what came after.
	more := values("more", 20)
	franzProduce(producer, topic, more)
	after := &received{}
	three := newMember(group, topic, after, protocol)
	until("20 more records", func() bool { return after.count() >= 20 })
	same("records after the commits", after.all(), more)
	three.close()
	admin := kadm.NewClient(producer)
	var sum int64
	must(admin.FetchOffsets(within(), group)).Each(func(o kadm.OffsetResponse) {
		check(o.Err, "fetch offset")
		sum += o.At
	})
	equal("committed", sum, 220)
}

func franzStaticMember() {
	topic, group := franzTopic(4), name("group")
	got := &received{}
	one := newMember(group, topic, got, kgo.InstanceID("one"))
	two := newMember(group, topic, got, kgo.InstanceID("two"))
	until("a share each", func() bool { return one.owned.Load() == 2 && two.owned.Load() == 2 })
	_, generation := two.client.GroupMetadata()
	one.close() // a static member does not leave
	again := newMember(group, topic, got, kgo.InstanceID("one"))
	until("its partitions back", func() bool { return again.owned.Load() == 2 })
	_, now := two.client.GroupMetadata()
	equal("generation, as there was no rebalance", now, generation)
	admin := kadm.NewClient(franzClient())
	defer admin.Close()
	left := must(admin.LeaveGroup(within(), kadm.LeaveGroup(group).InstanceIDs("one").Reason("test")))
	check(left.Error(), "remove a static member")
	until("the survivor to get all", func() bool { return two.owned.Load() == 4 })
	again.stop()
	<-again.ended
	again.client.Close()
	two.close()
}

func franzTransactions() {
	topic, id := franzTopic(2), name("txn")
	producer := franzClient(kgo.TransactionalID(id), kgo.TransactionTimeout(20*time.Second))
	admin := kadm.NewClient(franzClient())
	defer admin.Close()
	var expected []string
	for round, text := range values("round", 6) {
		check(producer.BeginTransaction(), "begin")
		franzProduce(producer, topic, []string{text + "a", text + "b"})
		described := must(admin.DescribeTransactions(within(), id))[id]
		check(described.Err, "describe transaction")
		equal("state", described.State, "Ongoing")
		if round%2 == 0 {
			check(producer.EndTransaction(within(), kgo.TryCommit), "commit")
			expected = append(expected, text+"a", text+"b")
		} else {
			check(producer.EndTransaction(within(), kgo.TryAbort), "abort")
		}
	}
	same("committed", franzRead(topic, len(expected)), expected)
	// A successor fences it; what it had open is aborted.
	check(producer.BeginTransaction(), "begin")
	franzProduce(producer, topic, []string{"zombie"})
	successor := franzClient(kgo.TransactionalID(id))
	defer successor.Close()
	check(successor.BeginTransaction(), "begin")
	franzProduce(successor, topic, []string{"new"})
	err := producer.EndTransaction(within(), kgo.TryCommit)
	if !errors.Is(err, kerr.ProducerFenced) && !errors.Is(err, kerr.InvalidProducerEpoch) {
		panic("a fenced producer was told " + errorText(err))
	}
	check(successor.EndTransaction(within(), kgo.TryCommit), "commit")
	producer.Close()
	same("committed", franzRead(topic, len(expected)+1), append(expected, "new"))
	producers := must(admin.DescribeProducers(within(), kadm.TopicsSet{topic: {0: {}, 1: {}}}))
	producers.EachProducer(func(p kadm.DescribedProducer) { equal("open transaction", p.CurrentTxnStartOffset, -1) })
	listed := must(admin.ListTransactions(within(), nil, []string{"CompleteCommit"}))
	if _, found := listed[id]; !found {
		panic("the transaction is not listed")
	}
}

func errorText(err error) string {
	if err == nil {
		return "nothing"
	}
	return err.Error()
}

func franzExactlyOnce(protocol kgo.Opt) {
	source, target, group, id := franzTopic(2), franzTopic(2), name("group"), name("txn")
	plain := franzClient()
	texts := values("once", 200)
	franzProduce(plain, source, texts)
	plain.Close()
	for done, life := 0, 0; done < 200; life++ {
		session := must(kgo.NewGroupTransactSession(
			kgo.SeedBrokers(bootstrap), kgo.TransactionalID(id), kgo.ConsumerGroup(group), kgo.ConsumeTopics(source),
			kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), protocol))
		for ctx := within(); done < 200; {
			fetches := session.PollRecords(ctx, 40)
			check(fetches.Err0(), "poll")
			check(session.Begin(), "begin")
			n := 0
			fetches.EachRecord(func(r *kgo.Record) {
				session.Produce(ctx, &kgo.Record{Topic: target, Key: r.Key, Value: r.Value}, func(_ *kgo.Record, err error) {})
				n++
			})
			if life == 0 && done >= 80 {
				_, err := session.End(ctx, kgo.TryAbort)
				check(err, "abort")
				break
			}
			committed, err := session.End(ctx, kgo.TryCommit)
			check(err, "commit")
			if committed {
				done += n
			}
		}
		session.Close()
	}
	same("transformed", franzRead(target, 200), texts)
}

func franzAdmin() {
	topic := franzTopic(2, "retention.ms", "3600000")
	client := franzClient()
	defer client.Close()
	admin := kadm.NewClient(client)
	again := must(admin.CreateTopics(within(), 1, 1, nil, topic))
	if !errors.Is(again[topic].Err, kerr.TopicAlreadyExists) {
		panic("created twice")
	}
	setting := func(key string) string {
		resource := must(must(admin.DescribeTopicConfigs(within(), topic)).On(topic, nil))
		check(resource.Err, "describe configs")
		for _, config := range resource.Configs {
			if config.Key == key {
				return config.MaybeValue()
			}
		}
		panic("no such config: " + key)
	}
	equal("retention.ms", setting("retention.ms"), "3600000")
	altered := must(admin.AlterTopicConfigs(within(), []kadm.AlterConfig{
		{Op: kadm.DeleteConfig, Name: "retention.ms"},
		{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: kadm.StringPtr("compact")},
	}, topic))
	check(must(altered.On(topic, nil)).Err, "alter configs")
	equal("retention.ms", setting("retention.ms"), "604800000")
	equal("cleanup.policy", setting("cleanup.policy"), "delete,compact")
	refused := must(admin.AlterTopicConfigs(within(), []kadm.AlterConfig{{Name: "no.such", Value: kadm.StringPtr("1")}}, topic))
	if err := must(refused.On(topic, nil)).Err; !errors.Is(err, kerr.InvalidConfig) {
		panic("an unknown config was answered " + errorText(err))
	}
	check(must(admin.CreatePartitions(within(), 2, topic)).Error(), "create partitions")
	until("four partitions", func() bool {
		return len(must(admin.ListTopics(within(), topic))[topic].Partitions) == 4
	})
	base := time.Now().Add(-time.Hour).UnixMilli() // what is much older, retention deletes
	for i := range 10 {
		record := &kgo.Record{Topic: topic, Partition: 0, Key: []byte("k"), Value: []byte("x"), Timestamp: time.UnixMilli(base + int64(i))}
		manual := franzClient(kgo.RecordPartitioner(kgo.ManualPartitioner()))
		check(manual.ProduceSync(within(), record).FirstErr(), "produce")
		manual.Close()
	}
	offset := func(listed kadm.ListedOffsets, err error) int64 {
		check(err, "list offsets")
		found, _ := listed.Lookup(topic, 0)
		check(found.Err, "list offsets")
		return found.Offset
	}
	equal("end", offset(admin.ListEndOffsets(within(), topic)), 10)
	equal("by time", offset(admin.ListOffsetsAfterMilli(within(), base+4, topic)), 4)
	equal("by the greatest time", offset(admin.ListMaxTimestampOffsets(within(), topic)), 9)
	deleted := must(admin.DeleteRecords(within(), kadm.OffsetsList{{Topic: topic, Partition: 0, At: 6}}.Offsets()))
	low, _ := deleted.Lookup(topic, 0)
	check(low.Err, "delete records")
	equal("low watermark", low.LowWatermark, 6)
	equal("start", offset(admin.ListStartOffsets(within(), topic)), 6)
	for what, protocol := range map[string]kgo.Opt{"classic": kgo.Balancers(kgo.RangeBalancer()), "consumer": kgo.ServerSideBalancer()} {
		group, got := name("group"), &received{}
		m := newMember(group, topic, got, protocol)
		until("all partitions", func() bool { return m.owned.Load() == 4 && got.count() == 4 })
		if what == "classic" {
			described := must(admin.DescribeGroups(within(), group))[group]
			check(described.Err, "describe group")
			equal("state", described.State, "Stable")
			equal("protocol", described.Protocol, "range")
			equal("members", len(described.Members), 1)
			equal("assigned", len(described.AssignedPartitions()[topic]), 4)
		} else {
			described := must(admin.DescribeConsumerGroups(within(), group))[group]
			check(described.Err, "describe group")
			equal("state", described.State, "Stable")
			equal("assignor", described.AssignorName, "uniform")
			equal("members", len(described.Members), 1)
			equal("assigned", len(described.AssignedPartitions()[topic]), 4)
		}
		if refused := must(admin.DeleteGroups(within(), group))[group].Err; !errors.Is(refused, kerr.NonEmptyGroup) {
			panic("deleting a group with members was answered " + errorText(refused))
		}
		m.close()
		equal("lag", must(admin.Lag(within(), group))[group].Lag.Total(), 0)
		check(must(admin.DeleteOffsets(within(), group, kadm.TopicsSet{topic: {0: {}}})).Error(), "delete offsets")
		_, found := must(admin.FetchOffsets(within(), group)).Lookup(topic, 0)
		equal("a deleted offset", found, false)
		check(must(admin.DeleteGroups(within(), group))[group].Err, "delete group")
		listed := must(admin.ListGroups(within()))
		_, found = listed[group]
		equal("a deleted group", found, false)
	}
	check(must(admin.DeleteTopics(within(), topic)).Error(), "delete topic")
	until("the topic to go", func() bool { return !must(admin.ListTopics(within())).Has(topic) })
}
