package main

import (
	"crypto"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A nodeRequest is what a node says of itself in the headers of a request for a certificate.
type nodeRequest struct {
	name, password string
	ips            []string
}

// A refusal is an error with the status that tells it.
type refusal struct {
	code    int
	message string
}

func (r refusal) Error() string { return r.message }

func (s *supervisor) servingKubelet(n nodeRequest) (*authority, string, subject) {
	return s.pki.server, "serving-kubelet", subject{n.name, nil, append([]string{n.name, "localhost", "127.0.0.1"}, n.ips...), serves}
}

func (s *supervisor) clientKubelet(n nodeRequest) (*authority, string, subject) {
	return s.pki.client, "client-kubelet", subject{"system:node:" + n.name, []string{nodesGroup}, nil, calls}
}

// kubeletCertificate signs for the node that asks, once its password is known to be the one it first came with.
func (s *supervisor) kubeletCertificate(of func(nodeRequest) (*authority, string, subject)) func(http.ResponseWriter, *http.Request, *caller) {
	return func(w http.ResponseWriter, r *http.Request, who *caller) {
		n := nodeRequest{
			strings.ToLower(r.Header.Get("k3s-Node-Name")), r.Header.Get("k3s-Node-Password"), trimmed(strings.Split(r.Header.Get("k3s-Node-IP"), ",")),
		}
		err := s.checkNode(r, n, who)
		if err == nil {
			ca, shared, holder := of(n)
			err = s.signFor(w, r, ca, shared, holder)
		}
		var no refusal
		switch {
		case errors.As(err, &no):
			refuse(w, no.code, no.message)
		case err != nil:
			refuse(w, http.StatusInternalServerError, err.Error())
		}
	}
}

// sharedCertificate signs a certificate that is the same for every node.
func (s *supervisor) sharedCertificate(shared, name string) func(http.ResponseWriter, *http.Request, *caller) {
	return func(w http.ResponseWriter, r *http.Request, _ *caller) {
		if err := s.signFor(w, r, s.pki.client, shared, subject{name, nil, nil, calls}); err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
		}
	}
}

// signFor answers a POST of a DER request with a certificate for its key, and a GET with one for the key that all nodes share, and
// that key.
func (s *supervisor) signFor(w http.ResponseWriter, r *http.Request, ca *authority, shared string, who subject) error {
	var public crypto.PublicKey
	var key []byte
	switch r.Method {
	case http.MethodPost:
		der, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return err
		}
		request, err := x509.ParseCertificateRequest(der)
		if err == nil {
			err = request.CheckSignature()
		}
		if err != nil {
			return refusal{http.StatusBadRequest, err.Error()}
		}
		public = request.PublicKey
	case http.MethodGet:
		signer, err := readKey(s.pki.key(shared))
		if err != nil {
			return err
		}
		if key, err = os.ReadFile(s.pki.key(shared)); err != nil {
			return err
		}
		public = signer.Public()
	default:
		return refusal{http.StatusMethodNotAllowed, "only GET and POST"}
	}
	cert, err := ca.sign(public, who)
	if err != nil {
		return err
	}
	plain(w, append(cert, key...))
	return nil
}

func (s *supervisor) checkNode(r *http.Request, n nodeRequest, who *caller) error {
	if n.name == "" {
		return refusal{http.StatusBadRequest, "node name not set"}
	}
	if n.password == "" {
		return refusal{http.StatusBadRequest, "node password not set"}
	}
	if node, is := strings.CutPrefix(who.name, "system:node:"); is && node != n.name {
		return refusal{http.StatusBadRequest, fmt.Sprintf("node %s asks for the certificate of %s", node, n.name)}
	}
	core := s.core.Load()
	if core == nil {
		if n.name == s.nodeName && !s.settings.on("disable-agent") {
			return nil
		}
		return refusal{http.StatusServiceUnavailable, "core not ready"}
	}
	secrets, name := (*core).CoreV1().Secrets("kube-system"), n.name+".node-password.k3s"
	known, err := secrets.Get(r.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		salt, immutable := randomToken(), true
		_, err = secrets.Create(r.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Immutable: &immutable, Data: map[string][]byte{"hash": []byte(salt + ":" + salted(salt, n.password))},
		}, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	salt, sum, _ := strings.Cut(string(known.Data["hash"]), ":")
	if subtle.ConstantTimeCompare([]byte(sum), []byte(salted(salt, n.password))) != 1 {
		return refusal{http.StatusForbidden, fmt.Sprintf("unable to verify password for node %s: hash does not match", n.name)}
	}
	return nil
}
