package main

import (
	"crypto/subtle"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The groups that the supervisor's paths are bound to.
const (
	agentGroup  = "k3s:agent"
	serverGroup = "k3s:server"
	nodesGroup  = "system:nodes"
)

// A caller is who asks on a supervisor path.
type caller struct {
	name   string
	groups []string
}

// identify finds the caller by the cluster's own users or by a client certificate; false if the credentials are wrong.
func (s *supervisor) identify(r *http.Request) (*caller, bool) {
	if user, given, has := r.BasicAuth(); has {
		secret := map[string]string{"node": s.passwords.node, "server": s.passwords.server}[user]
		if secret == "" || subtle.ConstantTimeCompare([]byte(parseToken(given).password), []byte(secret)) != 1 {
			return nil, false
		}
		return &caller{user, []string{map[string]string{"node": agentGroup, "server": serverGroup}[user]}}, true
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		leaf := r.TLS.PeerCertificates[0]
		between := x509.NewCertPool()
		for _, cert := range r.TLS.PeerCertificates[1:] {
			between.AddCert(cert)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: s.pki.client.pool(), Intermediates: between, KeyUsages: calls}); err != nil {
			return nil, false
		}
		return &caller{leaf.Subject.CommonName, leaf.Subject.Organization}, true
	}
	return nil, true
}

// only lets callers of one of the groups through: 401 for wrong credentials, 403 for none or for those of somebody else.
func (s *supervisor) only(groups []string, next func(http.ResponseWriter, *http.Request, *caller)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, right := s.identify(r)
		switch {
		case !right:
			refuse(w, http.StatusUnauthorized, "Unauthorized")
		case who == nil || !slices.ContainsFunc(who.groups, func(g string) bool { return slices.Contains(groups, g) }):
			refuse(w, http.StatusForbidden, "not authorized")
		default:
			next(w, r, who)
		}
	}
}

func refuse(w http.ResponseWriter, code int, message string) {
	reason := map[int]metav1.StatusReason{
		http.StatusBadRequest: metav1.StatusReasonBadRequest, http.StatusUnauthorized: metav1.StatusReasonUnauthorized, http.StatusForbidden: metav1.StatusReasonForbidden,
		http.StatusMethodNotAllowed: metav1.StatusReasonMethodNotAllowed, http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
	}[code]
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	})
}
