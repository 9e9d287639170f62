// {{name}} is an HTTP function: a net/http handler, run as a CGI program.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/cgi"
	"os"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", greet)
	mux.HandleFunc("POST /", echo)

	// Routes start below the path that the host serves this app at.
	if err := cgi.Serve(http.StripPrefix(os.Getenv("SCRIPT_NAME"), mux)); err != nil {
		log.Fatal(err)
	}
}

func greet(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("name")
	if name == "" {
		name = "world"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Hello, %s, from {{name}}!\n", name)
}

func echo(w http.ResponseWriter, r *http.Request) {
	var received any
	if err := json.NewDecoder(r.Body).Decode(&received); err != nil {
		http.Error(w, "the body is not JSON: "+err.Error(), http.StatusBadRequest)
		return
	}
	// What is logged goes to stderr and lands in the app's log.
	log.Printf("received %T", received)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"received": received})
}
