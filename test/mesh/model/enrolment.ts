// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { decideEnrolment, type EnrolmentFacts, isNativeTunnel } from '../../../mesh/model/enrolment.ts'

const POD: EnrolmentFacts = { labels: {}, annotations: {}, isHostNetwork: false, namespaceLabels: {} }
const ours = (mode: unknown) => ({ 'sidestep.dev/mode': mode })
const theirs = (mode: unknown) => ({ 'istio.io/dataplane-mode': mode })

t.test(
  'the pod’s word counts before its namespace’s, ours before Istio’s, a word that is none not at all',
  async (t) => {
    const cases: readonly (readonly [object, object, string])[] = [
      [{}, {}, 'unsaid'],
      [{}, theirs('ambient'), 'wanted'],
      [{}, ours('ambient'), 'wanted'],
      [{}, ours('none'), 'unwanted'],
      [ours('ambient'), {}, 'wanted'],
      [theirs('ambient'), ours('none'), 'wanted'],
      [theirs('none'), ours('ambient'), 'unwanted'],
      [{ ...ours('none'), ...theirs('ambient') }, ours('ambient'), 'unwanted'],
      [{ ...ours('ambient'), ...theirs('none') }, ours('none'), 'wanted'],
      [ours('Ambient'), {}, 'unsaid'],
      [ours('toString'), ours('ambient'), 'wanted'],
      [{ ...ours(''), ...theirs('none') }, ours('ambient'), 'unwanted'],
      [ours(['ambient']), {}, 'unsaid'],
    ]
    for (const [labels, namespaceLabels, verdict] of cases) {
      const facts = { ...POD, labels: { ...labels }, namespaceLabels: { ...namespaceLabels } }
      t.equal(decideEnrolment(facts), verdict, JSON.stringify([labels, namespaceLabels]))
    }
    t.equal(decideEnrolment({ ...POD, namespaceLabels: undefined }), 'unsaid')
  },
)

t.test('what cannot be counts before every word', async (t) => {
  const labels = ours('ambient')
  t.equal(decideEnrolment({ ...POD, labels, isHostNetwork: true }), 'host-network')
  const annotations = { 'sidecar.istio.io/status': '' }
  t.equal(decideEnrolment({ ...POD, labels, annotations }), 'sidecar')
  const native = { ...labels, 'networking.istio.io/tunnel': 'x, http' }
  t.equal(decideEnrolment({ ...POD, labels: native }), 'native')
  t.equal(isNativeTunnel({ 'networking.istio.io/tunnel': 'https' }), false)
  t.equal(isNativeTunnel({}), false)
})
