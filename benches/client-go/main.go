// client-go's delaying queue with the same work as benches/suite gives to others: 10,000 items due within 50 ms go in, their
// time passes, all come out. Prints CPU time in ns and allocated bytes, each for an item: the medians of some rounds.
package main

import (
	"fmt"
	"runtime"
	"sort"
	"syscall"
	"time"

	"k8s.io/client-go/util/workqueue"
)

const (
	items  = 10_000
	rounds = 9
)

// cpu is the time of all threads: the queue has a goroutine of its own, and so has the collector.
func cpu() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func scatter(n uint64) uint64 {
	z := (n ^ (n >> 30)) * 0xBF58476D1CE4E5B9
	return z ^ (z >> 27)
}

func round() (int64, int64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := cpu()
	queue := workqueue.NewDelayingQueue()
	defer queue.ShutDown()
	for n := uint64(0); n < items; n++ {
		queue.AddAfter(n, time.Duration(scatter(n)%50_000)*time.Microsecond)
	}
	for queue.Len() < items {
		time.Sleep(10 * time.Millisecond)
	}
	for n := 0; n < items; n++ {
		item, _ := queue.Get()
		queue.Done(item)
	}
	took := cpu() - start
	runtime.ReadMemStats(&after)
	return took / items, int64(after.TotalAlloc-before.TotalAlloc) / items
}

func main() {
	var nanoseconds, bytes []int64
	for n := 0; n < rounds; n++ {
		took, allocated := round()
		nanoseconds, bytes = append(nanoseconds, took), append(bytes, allocated)
	}
	for _, values := range [][]int64{nanoseconds, bytes} {
		sort.Slice(values, func(a, b int) bool { return values[a] < values[b] })
	}
	fmt.Println(nanoseconds[rounds/2], bytes[rounds/2])
}
