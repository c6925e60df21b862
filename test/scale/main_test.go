package scale

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kmend/kmend/test/server"
	"github.com/kmend/kmend/test/throttled"
)

// kmend is the program under test, built by TestMain; kmend-agent is beside it.
var kmend string

func TestMain(m *testing.M) {
	throttled.RunIfAsked()
	os.Exit(server.Built(m, func(dir string) { kmend = filepath.Join(dir, "kmend") }, "kmend", "kmend-agent"))
}
