package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"time"
	"unsafe"
)

// HTTP from a CGI program on wfn: net/http asks through connections that lead to the host, which sends on what is
// written to them. With this file in the package, http.Get and every client without a transport of its own work. See
// docs/capabilities.md, "Programs of WASI preview 1".
func init() {
	http.DefaultTransport = &http.Transport{
		DialContext:    func(context.Context, string, string) (net.Conn, error) { return dial(0) },
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return dial(1) },
	}
}

//go:wasmimport wfn_http connect
func wfnConnect(tls int32) int32

//go:wasmimport wfn_http write
func wfnWrite(connection int32, bytes unsafe.Pointer, length int32) int32

//go:wasmimport wfn_http read
func wfnRead(connection int32, buffer unsafe.Pointer, length int32) int32

//go:wasmimport wfn_http wait
func wfnWait(milliseconds int32) int32

//go:wasmimport wfn_http close
func wfnClose(connection int32) int32

const wfnAgain = -1

// connection is a stream of bytes to the host, by its number.
type connection int32

func dial(tls int32) (net.Conn, error) {
	number := wfnConnect(tls)
	if number < 0 {
		return nil, errors.New("wfn_http: too many connections are open")
	}
	return connection(number), nil
}

func (c connection) Read(buffer []byte) (int, error) {
	if len(buffer) == 0 {
		return 0, nil
	}
	for {
		switch count := wfnRead(int32(c), unsafe.Pointer(&buffer[0]), int32(len(buffer))); {
		case count > 0:
			return int(count), nil
		case count == 0:
			return 0, io.EOF
		case count != wfnAgain:
			return 0, net.ErrClosed
		}
		pause()
	}
}

func (c connection) Write(bytes []byte) (int, error) {
	written := 0
	for written < len(bytes) {
		switch count := wfnWrite(int32(c), unsafe.Pointer(&bytes[written]), int32(len(bytes)-written)); {
		case count >= 0:
			written += int(count)
		case count != wfnAgain:
			return written, net.ErrClosed
		default:
			pause()
		}
	}
	return written, nil
}

// pause lets other goroutines run, which are all on this one thread, then waits for the host for a moment.
func pause() {
	runtime.Gosched()
	wfnWait(1)
}

func (c connection) Close() error {
	wfnClose(int32(c))
	return nil
}

// What ends a request is its context and the deadline of the invocation.
func (c connection) SetDeadline(time.Time) error      { return nil }
func (c connection) SetReadDeadline(time.Time) error  { return nil }
func (c connection) SetWriteDeadline(time.Time) error { return nil }

func (c connection) LocalAddr() net.Addr  { return address{} }
func (c connection) RemoteAddr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "wfn" }
func (address) String() string  { return "wfn" }
