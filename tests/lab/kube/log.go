package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

func logLine(out io.Writer, level, message string) {
	fmt.Fprintf(out, "time=%q level=%s msg=%q\n", time.Now().UTC().Format(time.RFC3339), level, message)
}

func info(format string, args ...any) { logLine(os.Stderr, "info", fmt.Sprintf(format, args...)) }
func warn(format string, args ...any) { logLine(os.Stderr, "warning", fmt.Sprintf(format, args...)) }
