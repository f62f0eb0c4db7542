// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import t from 'tap'
import {
  CLASS_ACCEPTED,
  CONDITION_TABLES,
  conditionOf,
  ENFORCED,
} from '../../../controller/status/conditions.ts'
import { classStatus } from '../../../controller/status/gateway-status.ts'
import { MAX_STATUS_MESSAGE } from '../../../controller/status/status-patch.ts'
import { WAYPOINT_CLASS, WAYPOINT_CONTROLLER } from '../../../controller/translate/waypoint-class.ts'
import { toObject } from '../../support/yaml-objects.ts'

const golden = ['mesh', 'routes']
  .map((name) => readFileSync(new URL(`../../fixtures/status/${name}.json`, import.meta.url), 'utf8'))
  .join('')

t.test('the status of a condition follows from its reason', async (t) => {
  const condition = { type: 'sidestep.dev/Enforced', status: 'True', reason: 'Exact', message: 'a; b' }
  t.same(conditionOf(ENFORCED, 'Exact', 'a', '', 'b'), condition)
  t.equal(conditionOf(ENFORCED, 'Nowhere').status, 'False')
})

t.test('every reason is provoked by a test', async (t) => {
  const spec = { controllerName: WAYPOINT_CONTROLLER, parametersRef: { name: 'x' } }
  const metadata = { name: WAYPOINT_CLASS }
  const apiVersion = 'gateway.networking.k8s.io/v1'
  const [accepted] = classStatus(toObject({ apiVersion, kind: 'GatewayClass', metadata, spec })).conditions
  t.match(accepted, { type: CLASS_ACCEPTED.type, status: 'False', reason: 'InvalidParameters' })
  for (const { type, reasons } of CONDITION_TABLES)
    for (const [reason, { status }] of Object.entries(reasons)) {
      if (reason !== 'InvalidParameters') t.ok(golden.includes(`"${type}=${status} ${reason}: `), reason)
      // SPEC Kubernetes metav1.Condition: the apiserver takes no other.
      t.match(reason, /^[A-Za-z]+[A-Za-z0-9]$/)
    }
})

t.test('a message is cut where nobody reads on', async (t) => {
  const { message } = conditionOf(ENFORCED, 'Nowhere', 'x'.repeat(MAX_STATUS_MESSAGE), 'y')
  t.equal(message.length, MAX_STATUS_MESSAGE)
  t.ok(message.endsWith('x…'))
  t.equal(conditionOf(ENFORCED, 'Nowhere', 'x'.repeat(MAX_STATUS_MESSAGE)).message.at(-1), 'x')
})
