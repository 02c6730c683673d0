// Go's Kafka clients, unchanged, against a broker: franz-go, sarama and kafka-go.
//
//	clients HOST:PORT [ONLY]      ends with `N passed, M failed`
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// wait is how long anything may take.
const wait = 60 * time.Second

var bootstrap string

// A test panics when what it says does not hold.
type test struct {
	name string
	run  func()
}

func main() {
	bootstrap = os.Args[1]
	only := ""
	if len(os.Args) > 2 {
		only = os.Args[2]
	}
	var chosen []test
	for _, t := range slices.Concat(franz, saramas, segmentio) {
		if strings.Contains(t.name, only) {
			chosen = append(chosen, t)
		}
	}
	var group sync.WaitGroup
	slots := make(chan struct{}, 6) // most of a test is waiting
	failures := make(chan string, len(chosen))
	for _, t := range chosen {
		group.Go(func() {
			slots <- struct{}{}
			began := time.Now()
			verdict := "pass"
			if failure := failing(t.run); failure != "" {
				failures <- failure
				verdict = "FAIL"
				fmt.Printf("FAIL %s: %s\n", t.name, failure)
			}
			fmt.Printf("%s %s %.1f\n", verdict, t.name, time.Since(began).Seconds())
			<-slots
		})
	}
	group.Wait()
	fmt.Printf("%d passed, %d failed\n", len(chosen)-len(failures), len(failures))
	if len(failures) > 0 {
		os.Exit(1)
	}
}

func failing(run func()) (failure string) {
	defer func() {
		if p := recover(); p != nil {
			failure = fmt.Sprint(p)
		}
	}()
	run()
	return ""
}

func name(what string) string {
	var random [5]byte
	_, _ = rand.Read(random[:])
	return what + "-" + hex.EncodeToString(random[:])
}

func within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	context.AfterFunc(ctx, cancel)
	return ctx
}

func check(err error, what string) {
	if err != nil {
		panic(fmt.Sprintf("%s: %v", what, err))
	}
}

func must[T any](value T, err error) T {
	check(err, "unexpected error")
	return value
}

func equal[T comparable](what string, got, expected T) {
	if got != expected {
		panic(fmt.Sprintf("%s: got %v, expected %v", what, got, expected))
	}
}

// same compares without regard to order.
func same(what string, got, expected []string) {
	got, expected = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(expected))
	if slices.Equal(got, expected) {
		return
	}
	without := func(texts, others []string) []string {
		return slices.DeleteFunc(slices.Clone(texts), func(t string) bool { return slices.Contains(others, t) })
	}
	panic(fmt.Sprintf("%s: got %d instead of %d; missing %.300q, unexpected %.300q", what, len(got), len(expected),
		without(expected, got), without(got, expected)))
}

func until(what string, condition func() bool) {
	for deadline := time.Now().Add(wait); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			panic("waited in vain for " + what)
		}
	}
}

// values are `n` different texts that begin with `what`.
func values(what string, n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf("%s %d %s", what, i, strings.Repeat("abc", 20))
	}
	return texts
}

// received collects, from several goroutines, what consumers were given.
type received struct {
	lock  sync.Mutex
	texts []string
}

func (r *received) add(text string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.texts = append(r.texts, text)
}

func (r *received) all() []string {
	r.lock.Lock()
	defer r.lock.Unlock()
	return slices.Clone(r.texts)
}

func (r *received) count() int { return len(r.all()) }
