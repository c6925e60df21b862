package recorder

import (
	"os"
	"testing"

	"github.com/kmend/kmend/test/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }
