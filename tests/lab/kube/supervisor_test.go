package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
)

func testSupervisor(t *testing.T, embedded bool) *supervisor {
	t.Helper()
	dir := t.TempDir()
	p, err := loadOrCreatePKI(filepath.Join(dir, "tls"), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	return &supervisor{cluster: &cluster{
		dir:      dir,
		settings: settings{"disable-agent": {"true"}}, pki: p, passwords: passwords{"secret", "secret"}, datastore: &datastore{embedded: embedded},
		nodeName: "server-0", advertise: "192.0.2.1", port: 6443, podCIDR: "10.42.0.0/16", serviceCIDR: "10.43.0.0/16", dns: "10.43.0.10", domain: "cluster.local",
	}}
}

// The table of status codes that k3s' clients rely on.
func TestStatusCodes(t *testing.T) {
	without, with := testSupervisor(t, false), testSupervisor(t, true)
	var core kubernetes.Interface = fake.NewClientset()
	with.core.Store(&core)
	named := http.Header{"K3s-Node-Name": {"N1"}}
	first := http.Header{"K3s-Node-Name": {"N1"}, "K3s-Node-Password": {"one"}}
	other := http.Header{"K3s-Node-Name": {"n1"}, "K3s-Node-Password": {"two"}}
	const serving = "/v1-k3s/serving-kubelet.crt"
	for _, c := range []struct {
		s          *supervisor
		path, user string
		header     http.Header
		code       int
	}{
		{without, "/ping", "", nil, 200}, {without, "/cacerts", "", nil, 200}, {without, "/readyz", "", nil, 503},
		{without, "/v1-k3s/config", "", nil, 403}, {without, "/v1-k3s/config", "node:wrong", nil, 401}, {without, "/v1-k3s/config", "nobody:secret", nil, 401},
		{without, "/v1-k3s/config", "server:secret", nil, 403}, {without, "/v1-k3s/config", "node:secret", nil, 200},
		{without, "/v1-k3s/config", "node:K10abc::node:secret", nil, 200},
		{without, "/v1-k3s/readyz", "node:secret", nil, 503}, {with, "/v1-k3s/readyz", "node:secret", nil, 200},
		{without, "/v1-k3s/server-bootstrap", "", nil, 403}, {without, "/v1-k3s/server-bootstrap", "node:secret", nil, 403},
		{without, "/v1-k3s/server-bootstrap", "server:secret", nil, 400}, {with, "/v1-k3s/server-bootstrap", "server:secret", nil, 200},
		{with, serving, "node:secret", nil, 400}, {with, serving, "node:secret", named, 400}, {without, serving, "node:secret", first, 503},
		{with, serving, "node:secret", first, 200}, {with, serving, "node:secret", other, 403}, {with, serving, "node:secret", first, 200},
	} {
		server := httptest.NewTLSServer(c.s.wrap(http.HandlerFunc(unavailable)))
		request, err := http.NewRequest(http.MethodGet, server.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range c.header {
			request.Header[http.CanonicalHeaderKey(key)] = value
		}
		if user, password, has := strings.Cut(c.user, ":"); has {
			request.SetBasicAuth(user, password)
		}
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != c.code {
			t.Errorf("%s as %q %v: %d, want %d", c.path, c.user, c.header, response.StatusCode, c.code)
		}
		_ = response.Body.Close()
		server.Close()
	}
}

func TestBootstrapBody(t *testing.T) {
	s := testSupervisor(t, true)
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/v1-k3s/server-bootstrap", nil)
	r.SetBasicAuth("server", "secret")
	s.wrap(nil).ServeHTTP(w, r)
	var body map[string]struct {
		Timestamp string
		Content   []byte
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	if got := string(body["ServerCA"].Content); got != string(s.pki.server.chain) {
		t.Errorf("ServerCA: %q", got)
	}
	for _, key := range []string{"ServerCAKey", "ClientCA", "ClientCAKey", "RequestHeaderCA", "RequestHeaderCAKey", "ServiceKey", "ETCDServerCA", "ETCDServerCAKey", "ETCDPeerCA", "ETCDPeerCAKey"} {
		if len(body[key].Content) == 0 || body[key].Timestamp == "" {
			t.Errorf("%s is missing", key)
		}
	}
}

// A client certificate says who calls, if the cluster's CA signed it; a request for a certificate is signed for its own key.
func TestClientCertificate(t *testing.T) {
	s := testSupervisor(t, false)
	var core kubernetes.Interface = fake.NewClientset()
	s.core.Store(&core)
	server := httptest.NewUnstartedServer(s.wrap(http.HandlerFunc(unavailable)))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	post := func(ca *authority, name string) (*http.Response, []byte) {
		base := t.TempDir() + "/client"
		if err := ca.issue(base, subject{name, []string{nodesGroup}, nil, calls}); err != nil {
			t.Fatal(err)
		}
		pair, err := tls.LoadX509KeyPair(base+".crt", base+".key")
		if err != nil {
			t.Fatal(err)
		}
		transport := server.Client().Transport.(*http.Transport).Clone()
		transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
		request, err := http.NewRequest(http.MethodPost, server.URL+"/v1-k3s/client-kubelet.crt", strings.NewReader(string(der)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("k3s-Node-Name", "n1")
		request.Header.Set("k3s-Node-Password", "one")
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response, body
	}
	response, body := post(s.pki.client, "system:node:n1")
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", response.Status, body)
	}
	certs, err := parseCertificates(body)
	if err != nil || !key.PublicKey.Equal(certs[0].PublicKey) || certs[0].Subject.CommonName != "system:node:n1" || strings.Contains(string(body), "KEY") {
		t.Errorf("%v: %s", err, body)
	}
	if response, _ := post(s.pki.client, "system:node:n2"); response.StatusCode != http.StatusBadRequest {
		t.Errorf("another node's certificate: %s", response.Status)
	}
	if response, _ := post(s.pki.etcd, "system:node:n1"); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("another CA's certificate: %s", response.Status)
	}
}
