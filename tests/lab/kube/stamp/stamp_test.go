package stamp

import "testing"

func TestMinorOf(t *testing.T) {
	for version, want := range map[string]string{
		"v1.35.6+k3s1": "35", "v1.36.0": "36", "v1.35": "", "v1..6": "", "1.35.6": "", "v2.35.6": "", "v1.x.6": "", "": "",
	} {
		if got := minorOf(version); got != want {
			t.Errorf("minorOf(%q) = %q, not %q", version, got, want)
		}
	}
}
