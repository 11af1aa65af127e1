// The handlers of the mixed benchmark on Go's net/http: a quick page and some that wait or compute.
//
// Usage: handlers PORT. Listens on 127.0.0.1:PORT until killed.
package main

import (
	"log"
	"math/rand"
	"net/http"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	threadCPUClock = 3 // CLOCK_THREAD_CPUTIME_ID of clock_gettime(2)
	turns          = 5000
)

// sink keeps the compiler from leaving the loop out.
var sink uint64

func threadTime() time.Duration {
	var now syscall.Timespec
	at := uintptr(unsafe.Pointer(&now))
	if _, _, failed := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, threadCPUClock, at, 0); failed != 0 {
		log.Fatal(failed)
	}
	return time.Duration(now.Nano())
}

// compute uses CPU time of one thread, to which the goroutine is bound so that the clock means it.
func compute(wanted time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	end := threadTime() + wanted
	value := uint64(1)
	for threadTime() < end {
		for i := uint64(0); i < turns; i++ {
			value = (value*3 + i) & 0xFFFF
		}
	}
	atomic.StoreUint64(&sink, value)
}

func hello(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", "13")
	if _, err := w.Write([]byte("Hello, World!")); err != nil {
		log.Print(err)
	}
}

func after(path string, work func()) {
	http.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		work()
		hello(w)
	})
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: handlers PORT")
	}
	after("/", func() {})
	after("/sleep", func() { time.Sleep(100 * time.Millisecond) })
	after("/cpu", func() { compute(50 * time.Millisecond) })
	after("/work2", func() { compute(2 * time.Millisecond) })
	after("/nap", func() {
		time.Sleep(2*time.Millisecond + time.Duration(rand.Int63n(int64(6*time.Millisecond))))
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
