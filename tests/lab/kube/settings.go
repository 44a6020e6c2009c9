package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// settings are the values of all flags, from (strongest first) the command line, the environment and the configuration files.
type settings map[string][]string

// parseSettings reads args for a command that knows the given flags. An unknown flag is an error; an unknown key of a configuration
// file, which may serve several commands, only a warning.
func parseSettings(command string, known map[string]flag, args []string) (settings, error) {
	given, err := parseWords(known, args)
	if err != nil {
		fmt.Fprint(os.Stderr, flagUsage(command, known))
		return nil, err
	}
	path := given.get("config", "/etc/rancher/k3s/config.yaml")
	if env := os.Getenv("K3S_CONFIG_FILE"); env != "" {
		path = env
	}
	out, err := readConfigFiles(path)
	if err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(out)) {
		if name, ok := shortFlags[key]; ok {
			out[name] = out[key]
			delete(out, key)
		} else if _, ok := known[key]; !ok {
			warn("Unknown flag --%s found in config.yaml, skipping", key)
			delete(out, key)
		}
	}
	for name, f := range known {
		if value := os.Getenv(f.env); f.env != "" && value != "" {
			out[name] = []string{value}
		}
	}
	maps.Copy(out, given)
	for name, f := range known {
		if f.kind == list {
			out[name] = split(out[name])
		}
	}
	return out, nil
}

func parseWords(known map[string]flag, args []string) (settings, error) {
	out := settings{}
	for i := 0; i < len(args); i++ {
		if !strings.HasPrefix(args[i], "-") || strings.Trim(args[i], "-") == "" {
			return nil, fmt.Errorf("unexpected argument %q", args[i])
		}
		name, value, has := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		if long, ok := shortFlags[name]; ok {
			name = long
		}
		f, ok := known[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("flag provided but not defined: -%s", name)
		case !has && f.boolean():
			value = "true"
		case !has && i+1 == len(args):
			return nil, fmt.Errorf("flag needs an argument: -%s", name)
		case !has:
			i++
			value = args[i]
		}
		if f.boolean() && value != "true" && value != "false" {
			return nil, fmt.Errorf("invalid boolean value %q for -%s", value, name)
		}
		if f.repeated() {
			out[name] = append(out[name], value)
		} else {
			out[name] = []string{value}
		}
	}
	return out, nil
}

func flagUsage(command string, known map[string]flag) string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: k3s %s [OPTIONS]\n\noptions:\n", command)
	for _, name := range slices.Sorted(maps.Keys(known)) {
		b.WriteString("   --" + name)
		if !known[name].boolean() {
			b.WriteString(" value")
		}
		if env := known[name].env; env != "" {
			b.WriteString("   [$" + env + "]")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func split(values []string) (out []string) {
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

// get returns the value that counts, or otherwise when there is none.
func (s settings) get(name, otherwise string) string {
	if values := s[name]; len(values) > 0 && values[len(values)-1] != "" {
		return values[len(values)-1]
	}
	return otherwise
}

// first returns the first of several values, or otherwise when there is none.
func (s settings) first(name, otherwise string) string {
	if values := s[name]; len(values) > 0 {
		return values[0]
	}
	return otherwise
}

func (s settings) on(name string) bool { return s.get(name, "") == "true" }

// secret returns the value of name, or the content of the file that name-file names.
func (s settings) secret(name string) (string, error) {
	if value := s.get(name, ""); value != "" {
		return value, nil
	}
	path := s.get(name+"-file", "")
	if path == "" {
		return "", nil
	}
	content, err := os.ReadFile(path)
	return strings.TrimSpace(string(content)), err
}
