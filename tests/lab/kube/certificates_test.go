package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
)

// A CA that somebody made beforehand: an intermediate and its root in one read-only file, the key in PKCS#8.
func TestForeignChain(t *testing.T) {
	dir := t.TempDir()
	root, err := createAuthority(filepath.Join(dir, "root"), "root")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := *root.cert
	template.Subject.CommonName, template.Signature = "intermediate", nil
	der, err := x509.CreateCertificate(rand.Reader, &template, root.cert, key.Public(), root.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	tls := filepath.Join(dir, "tls")
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), root.chain...)
	write(t, filepath.Join(tls, "server-ca.crt"), string(chain))
	write(t, filepath.Join(tls, "server-ca.key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	for _, name := range []string{"server-ca.crt", "server-ca.key"} {
		if err := os.Chmod(filepath.Join(tls, name), 0o400); err != nil {
			t.Fatal(err)
		}
	}

	p, err := loadOrCreatePKI(tls, []string{"example.test", "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	served, err := os.ReadFile(p.crt("serving-k3s"))
	if err != nil {
		t.Fatal(err)
	}
	certs, err := parseCertificates(served)
	if err != nil {
		t.Fatal(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root.cert)
	between.AddCert(certs[1])
	for _, name := range []string{"example.test", "192.0.2.1"} {
		if _, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	hash, err := p.server.hash()
	sum := sha256.Sum256(root.cert.Raw)
	if err != nil || hash != hex.EncodeToString(sum[:]) {
		t.Errorf("the hash is not the root's: %s, %v", hash, err)
	}
	again, err := loadOrCreatePKI(tls, nil)
	if err != nil || string(again.client.chain) != string(p.client.chain) {
		t.Errorf("another CA after a restart: %v", err)
	}
}

func TestForeignKey(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"one", "other"} {
		if _, err := createAuthority(filepath.Join(dir, name), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(dir, "other.key"), filepath.Join(dir, "one.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := loadOrCreateAuthority(filepath.Join(dir, "one"), ""); err == nil {
		t.Error("a key that is not the certificate's is taken")
	}
}
