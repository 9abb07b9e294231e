// A candidate in Go for the tests of leases: client-go's own elector, told by flags, one line per event on stdout.
//
//	leading      it leads; its work holds the file -chair, and "two leaders" is printed if another does
//	lost         its work has ended
//	leader NAME  the leader that it sees
//	over         the elector has returned
//
// SIGTERM: the work ends, then the Lease is released. Progress goes to stderr, as client-go logs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// work is what a leader does: hold the chair. Told to end before it has begun, it never begins.
type work struct {
	sync.Mutex
	chair       *os.File
	began, over bool
}

func (w *work) begin() {
	w.Lock()
	defer w.Unlock()
	if w.over {
		return
	}
	w.began = true
	if err := syscall.Flock(int(w.chair.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		fmt.Println("two leaders")
	}
	fmt.Println("leading")
}

func (w *work) end() {
	w.Lock()
	defer w.Unlock()
	if w.began && !w.over {
		w.chair.Close()
		fmt.Println("lost")
	}
	w.over = true
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the server")
	namespace := flag.String("namespace", "default", "where the Lease is")
	name := flag.String("name", "", "what the Lease is called")
	identity := flag.String("identity", "", "the identity of this candidate")
	chair := flag.String("chair", "", "a file that only a leader may hold")
	lease := flag.Duration("lease", 15*time.Second, "LeaseDuration")
	renew := flag.Duration("renew", 10*time.Second, "RenewDeadline")
	retry := flag.Duration("retry", 2*time.Second, "RetryPeriod")
	flag.Parse()

	file, err := os.OpenFile(*chair, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	client, err := coordinationv1.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}

	work := &work{chair: file}
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		work.end()
		cancel()
	}()
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: *namespace, Name: *name},
			Client:     client,
			LockConfig: resourcelock.ResourceLockConfig{Identity: *identity},
		},
		LeaseDuration:   *lease,
		RenewDeadline:   *renew,
		RetryPeriod:     *retry,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { work.begin() },
			OnStoppedLeading: work.end,
			OnNewLeader:      func(leader string) { fmt.Printf("leader %s\n", leader) },
		},
	})
	fmt.Println("over")
}
