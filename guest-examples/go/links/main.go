// Asks every URL of a list, one a line, at the same time, and answers with the status of each: a net/http handler, run
// as a CGI program.
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"os"
	"sync"
)

const linksMax = 32

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /", check)
	mux.HandleFunc("POST /forward", forward)

	// Routes start below the path that the host serves this app at.
	if err := cgi.Serve(http.StripPrefix(os.Getenv("SCRIPT_NAME"), mux)); err != nil {
		log.Fatal(err)
	}
}

func check(w http.ResponseWriter, r *http.Request) {
	var urls []string
	lines := bufio.NewScanner(r.Body)
	for len(urls) < linksMax && lines.Scan() {
		if lines.Text() != "" {
			urls = append(urls, lines.Text())
		}
	}

	results := make([]string, len(urls))
	var all sync.WaitGroup
	for i, url := range urls {
		all.Add(1)
		go func() {
			defer all.Done()
			response, err := http.Get(url)
			if err != nil {
				log.Print(err)
				results[i] = "---"
				return
			}
			defer response.Body.Close()
			io.Copy(io.Discard, response.Body)
			results[i] = fmt.Sprint(response.StatusCode)
		}()
	}
	all.Wait()

	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for i, url := range urls {
		fmt.Fprintln(w, results[i], url)
	}
}

// forward passes the body on to the URL in the query, and what comes back to the caller, as they come.
func forward(w http.ResponseWriter, r *http.Request) {
	response, err := http.Post(r.URL.Query().Get("to"), r.Header.Get("Content-Type"), r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	w.WriteHeader(response.StatusCode)
	io.Copy(w, response.Body)
}
