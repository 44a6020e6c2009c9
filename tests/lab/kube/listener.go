package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
)

// A handover is the listener of port 6443. Connections go to a small server of ours until the API server begins to accept them,
// and to the API server, which serves our paths as well, from then on. So the port answers from the first moment, and client
// certificates reach the API server as they are.
type handover struct {
	listener   net.Listener
	early, api chan net.Conn
	accepting  chan struct{} // closed once the API server accepts
	once       sync.Once
	closed     chan struct{}
}

func listen(address string) (*handover, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	h := &handover{listener: l, early: make(chan net.Conn), api: make(chan net.Conn), accepting: make(chan struct{}), closed: make(chan struct{})}
	go h.distribute()
	return h, nil
}

func (h *handover) distribute() {
	for {
		conn, err := h.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of descriptors, perhaps; nothing else to do about it
			continue
		}
		go h.deliver(conn)
	}
}

func (h *handover) deliver(conn net.Conn) {
	to := h.early
	select {
	case <-h.accepting:
		to = h.api
	default:
		var itself bool
		if conn, itself = calledByAPIServer(conn); itself {
			to = h.api // waits, as it would in the backlog of a listener of its own
		}
	}
	select {
	case to <- conn:
	case <-h.closed:
		_ = conn.Close()
	}
}

// calledByAPIServer tells the API server's calls to itself, which only its own certificate satisfies, by the name they ask for in
// the first message, and returns the connection as if nothing had been read.
func calledByAPIServer(conn net.Conn) (net.Conn, bool) {
	if host, _, err := net.SplitHostPort(conn.RemoteAddr().String()); err != nil || !net.ParseIP(host).IsLoopback() {
		return conn, false
	}
	hello := make([]byte, 4096)
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	n, _ := conn.Read(hello)
	_ = conn.SetReadDeadline(time.Time{})
	return &rereadConn{conn, hello[:n]}, bytes.Contains(hello[:n], []byte(genericapiserver.LoopbackClientServerNameOverride))
}

// A rereadConn gives out again what was read of it before.
type rereadConn struct {
	net.Conn
	before []byte
}

func (c *rereadConn) Read(b []byte) (int, error) {
	if len(c.before) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.before)
	c.before = c.before[n:]
	return n, nil
}

// serveEarly answers with the handler until the API server takes over; connections end with their request.
func (h *handover) serveEarly(ctx context.Context, p *pki, handler http.Handler) error {
	cert, err := tls.LoadX509KeyPair(p.crt("serving-k3s"), p.key("serving-k3s"))
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 30 * time.Second, ErrorLog: log.New(os.Stderr, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert, ClientCAs: p.client.pool(), MinVersion: tls.VersionTLS12},
		// One request for each connection, so that the next one meets the API server.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	server.SetKeepAlivesEnabled(false)
	go func() { _ = server.ServeTLS(&part{h, h.early}, "", "") }()
	go func() {
		select {
		case <-h.accepting:
		case <-ctx.Done():
		}
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(stop)
	}()
	return nil
}

// forAPIServer is the listener that the API server is given; its address is the real one, which the API server advertises.
func (h *handover) forAPIServer() net.Listener { return &apiPart{part{h, h.api}} }

func (h *handover) close() {
	h.once.Do(func() {
		close(h.closed)
		_ = h.listener.Close()
	})
}

// A part is the listener for one of the two servers.
type part struct {
	*handover
	conns chan net.Conn
}

func (p *part) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *part) Addr() net.Addr { return p.listener.Addr() }
func (p *part) Close() error   { return nil }

type apiPart struct{ part }

func (p *apiPart) Accept() (net.Conn, error) {
	select {
	case <-p.accepting:
	default:
		close(p.accepting) // only ever called by the API server's one accept loop
	}
	return p.part.Accept()
}
func (p *apiPart) Close() error {
	p.close()
	return nil
}
