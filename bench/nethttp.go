// A Go net/http server that answers every request with "Hello, World!".
//
// Usage: nethttp PORT. Listens on 127.0.0.1:PORT until killed.
package main

import (
	"log"
	"net/http"
	"os"
)

func hello(w http.ResponseWriter, _ *http.Request) {
	body := []byte("Hello, World!")
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", "13")
	if _, err := w.Write(body); err != nil {
		log.Print(err)
	}
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: nethttp PORT")
	}
	http.HandleFunc("/", hello)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
