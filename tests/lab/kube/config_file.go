package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// readConfigFiles reads a configuration file and the drop-ins in the directory beside it, in the order of their names. A later value
// replaces an earlier one, unless its key ends in "+", which appends. A file that is not there is an empty one.
func readConfigFiles(path string) (settings, error) {
	files := []string{path}
	for _, pattern := range []string{"*.yaml", "*.yml"} {
		dropIns, err := filepath.Glob(filepath.Join(path+".d", pattern))
		if err != nil {
			return nil, err
		}
		files = append(files, dropIns...)
	}
	slices.Sort(files[1:])
	out := settings{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := out.merge(content); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return out, nil
}

func (s settings) merge(content []byte) error {
	keys := map[string]any{}
	if err := yaml.Unmarshal(content, &keys); err != nil {
		return err
	}
	for key, value := range keys {
		values, err := stringsOf(value)
		if err != nil {
			return fmt.Errorf("key %s: %w", key, err)
		}
		if name, appends := strings.CutSuffix(key, "+"); appends {
			s[name] = append(s[name], values...)
		} else {
			s[key] = values
		}
	}
	return nil
}

func stringsOf(value any) (out []string, err error) {
	switch v := value.(type) {
	case nil:
	case map[string]any:
		return nil, errors.New("a map is not allowed here")
	case []any:
		for _, e := range v {
			more, err := stringsOf(e)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	case float64: // every number of a YAML file; 6443 must not become 6443e+0
		out = []string{fmt.Sprintf("%v", int64(v))}
		if v != float64(int64(v)) {
			out = []string{fmt.Sprint(v)}
		}
	default:
		out = []string{fmt.Sprint(v)}
	}
	return out, nil
}
