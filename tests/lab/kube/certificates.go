package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// An authority is a CA: the certificate that signs, its key, and the whole chain as it is on disk.
type authority struct {
	cert  *x509.Certificate
	key   crypto.Signer
	chain []byte
}

// A subject is what a leaf certificate says of its holder.
type subject struct {
	name   string
	groups []string
	sans   []string
	usages []x509.ExtKeyUsage
}

var (
	serves = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	calls  = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	both   = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
)

// loadOrCreateAuthority reads base.crt and base.key, which somebody may have put there, or makes them. The first certificate of a
// chain is the one that signs.
func loadOrCreateAuthority(base, name string) (*authority, error) {
	chain, err := os.ReadFile(base + ".crt")
	if errors.Is(err, fs.ErrNotExist) {
		return createAuthority(base, name)
	}
	if err != nil {
		return nil, err
	}
	certs, err := parseCertificates(chain)
	if err != nil {
		return nil, fmt.Errorf("%s.crt: %w", base, err)
	}
	key, err := readKey(base + ".key")
	if err != nil {
		return nil, err
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(certs[0].PublicKey) {
		return nil, fmt.Errorf("%s.key is not the key of the first certificate in %s.crt", base, base)
	}
	return &authority{certs[0], key, chain}, nil
}

func createAuthority(base, name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: fmt.Sprintf("%s@%d", name, now.Unix())},
		NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(10, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(base+".crt", chain, 0o600); err != nil {
		return nil, err
	}
	return &authority{cert, key, chain}, writeKey(base+".key", key)
}

// sign returns a year's certificate for the public key, followed by the authority's chain.
func (a *authority) sign(public crypto.PublicKey, who subject) ([]byte, error) {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: who.name, Organization: who.groups},
		NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: who.usages,
	}
	for _, san := range who.sans {
		if ip := net.ParseIP(san); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if san != "" && !slices.Contains(template.DNSNames, san) {
			template.DNSNames = append(template.DNSNames, san)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), a.chain...), nil
}

// issue writes base.crt for the key in base.key, which it makes if there is none.
func (a *authority) issue(base string, who subject) error {
	key, err := loadOrCreateKey(base + ".key")
	if err != nil {
		return err
	}
	cert, err := a.sign(key.Public(), who)
	if err != nil {
		return err
	}
	return os.WriteFile(base+".crt", cert, 0o600)
}

// hash identifies the authority in a token: of the file if it holds one certificate, of the root if it holds a chain, so that a
// renewed intermediate keeps the tokens.
func (a *authority) hash() (string, error) {
	certs, err := parseCertificates(a.chain)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(a.chain)
	if len(certs) > 1 {
		sum = sha256.Sum256(certs[len(certs)-1].Raw)
	}
	return hex.EncodeToString(sum[:]), nil
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.chain)
	return pool
}

func parseCertificates(content []byte) (certs []*x509.Certificate, err error) {
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return certs, nil
}

// readKey reads a private key in any of its usual encodings.
func readKey(path string) (crypto.Signer, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if signer, ok := key.(crypto.Signer); ok {
				return signer, nil
			}
		}
		if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return key, nil
		}
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%s: no private key in it", path)
}

func writeKey(path string, key crypto.Signer) error {
	var block pem.Block
	var err error
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		block.Type = "EC PRIVATE KEY"
		block.Bytes, err = x509.MarshalECPrivateKey(k)
	case *rsa.PrivateKey:
		block.Type = "RSA PRIVATE KEY"
		block.Bytes = x509.MarshalPKCS1PrivateKey(k)
	default:
		err = fmt.Errorf("a key of type %T", key)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&block), 0o600)
}

func loadOrCreateKey(path string) (crypto.Signer, error) {
	if _, err := os.Stat(path); err == nil {
		return readKey(path)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return key, writeKey(path, key)
}

// createServiceKey makes the RSA key that signs service accounts' tokens, unless one is there.
func createServiceKey(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	return writeKey(path, key)
}
