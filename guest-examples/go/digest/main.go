// Answers the SHA-256 of a request's body: a net/http handler, run as a CGI program.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"os"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /", digest)
	mux.HandleFunc("GET /request", request)

	// Routes start below the path that the host serves this app at.
	if err := cgi.Serve(http.StripPrefix(os.Getenv("SCRIPT_NAME"), mux)); err != nil {
		log.Fatal(err)
	}
}

func digest(w http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	bytes, err := io.Copy(hash, r.Body)
	if err != nil {
		http.Error(w, "the body broke off: "+err.Error(), http.StatusBadRequest)
		return
	}
	answer(w, map[string]any{"bytes": bytes, "sha256": hex.EncodeToString(hash.Sum(nil))})
}

// request answers what net/http makes of the CGI variables.
func request(w http.ResponseWriter, r *http.Request) {
	answer(w, map[string]any{
		"method": r.Method,
		"url":    r.URL.String(),
		"host":   r.Host,
		"header": r.Header,
	})
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(value); err != nil {
		log.Print(err)
	}
}
