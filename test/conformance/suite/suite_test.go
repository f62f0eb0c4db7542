// SPDX-License-Identifier: Apache-2.0
// The conformance suite of the Gateway API as one program; its options are those of the suite.
package suite

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) {
	conformance.RunConformance(t)
}
