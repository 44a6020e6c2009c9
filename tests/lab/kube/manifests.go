package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// scanInterval is how often k3s looks at its manifests.
const scanInterval = 15 * time.Second

// A deployer applies the files of the directory `manifests` whenever they change.
type deployer struct {
	dir     string
	client  dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	applied map[string][sha256.Size]byte
}

func newDeployer(dir string, config *rest.Config) (*deployer, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	found, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found))
	return &deployer{dir, client, mapper, map[string][sha256.Size]byte{}}, nil
}

func (d *deployer) run(ctx context.Context) {
	for {
		wait := scanInterval
		if !d.scan(ctx) {
			wait = time.Second
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// scan applies what is new or changed, in the order of the names; false if something was not taken and is to be tried again.
func (d *deployer) scan(ctx context.Context) bool {
	all := true
	for _, path := range d.files() {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // gone since
		}
		sum := sha256.Sum256(content)
		if d.applied[path] == sum {
			continue
		}
		if err := d.apply(ctx, content); err != nil {
			warn("ApplyManifestFailed %s: %v", path, err)
			all = false
			continue
		}
		d.applied[path] = sum
		info("Applied manifest at %s", path)
	}
	return all
}

// files lists the manifests, also in directories that are links, as those of a mounted Secret are.
func (d *deployer) files() (out []string) {
	roots := []string{d.dir}
	entries, _ := os.ReadDir(d.dir)
	for _, e := range entries {
		if path := filepath.Join(d.dir, e.Name()); e.Type()&fs.ModeSymlink != 0 {
			if target, err := filepath.EvalSymlinks(path); err == nil {
				roots = append(roots, target)
			}
		}
	}
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			hidden := strings.HasPrefix(filepath.Base(path), ".") && path != root
			switch {
			case err != nil:
				return nil
			case e.IsDir() && hidden:
				return fs.SkipDir
			case e.IsDir() || hidden || exists(path+".skip"):
				return nil
			}
			if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
				out = append(out, path)
			}
			return nil
		})
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (d *deployer) apply(ctx context.Context, content []byte) error {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if len(object.Object) == 0 {
			continue
		}
		if err := d.applyObject(ctx, object); err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

func (d *deployer) applyObject(ctx context.Context, object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	mapping, err := d.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		d.mapper.Reset() // it may be of a definition that was just made
		return err
	}
	var resource dynamic.ResourceInterface = d.client.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		namespace := object.GetNamespace()
		if namespace == "" {
			namespace = "default"
		}
		resource = d.client.Resource(mapping.Resource).Namespace(namespace)
	}
	_, err = resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: "deploy", Force: true})
	return err
}
