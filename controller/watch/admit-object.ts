// SPDX-License-Identifier: Apache-2.0
// Decides what becomes of one value that a source read: it counts, it is broken, or it is not for us. Pure.
import { nearest } from '../../mesh/model/finding.ts'
import { type ConfigObject, groupOf, type ObjectOrigin, type ObjectRef, refOf } from './config-object.ts'
import { findKind, WATCHED_KINDS, type WatchedKind } from './kinds.ts'
import { readObject } from './read-object.ts'
import { checkKind } from './schema/check-kind.ts'
import { quote, type ValueMistake, type ValueMistakes } from './value-mistakes.ts'

/** Kinds that share a file with ours and are none of our business. */
const KINDS_OF_OTHERS = new Set([
  ...['ConfigMap', 'Secret', 'ServiceAccount', 'Deployment', 'ReplicaSet', 'StatefulSet', 'DaemonSet', 'Job'],
  ...['CronJob', 'Role', 'RoleBinding', 'ClusterRole', 'ClusterRoleBinding', 'Ingress'],
  'NetworkPolicy', // of other groups than Kubernetes' own
  ...[
    'PersistentVolume',
    'PersistentVolumeClaim',
    'StorageClass',
    'PodDisruptionBudget',
    'Endpoints',
    'Lease',
  ],
  ...['HorizontalPodAutoscaler', 'CustomResourceDefinition', 'PriorityClass', 'ResourceQuota', 'LimitRange'],
  ...['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration', 'APIService'],
])

/** What became of a value. */
export type Admission =
  | { readonly verdict: 'good'; readonly object: ConfigObject; readonly mistakes: readonly ValueMistake[] }
  /**
   * It does not count; the last good version does. `ref` is null when it cannot be told which object it was meant to
   * be. `closing` is what to use when there is no last good version: a policy that is read in part refuses, one that is
   * not there opens.
   */
  | {
      readonly verdict: 'broken'
      readonly ref: ObjectRef | null
      readonly closing: ConfigObject | null
      readonly mistakes: readonly ValueMistake[]
    }
  | { readonly verdict: 'ignored'; readonly mistakes: readonly ValueMistake[] }

/** Reads and checks one value. */
export function admitObject(value: unknown, origin: ObjectOrigin | null): Admission {
  const { object, partial, mistakes } = readObject(value, origin)
  if (partial === null) return { verdict: 'broken', ref: null, closing: null, mistakes: mistakes.all }
  const group = groupOf(partial.apiVersion)
  const kind = findKind(group, partial.kind)
  if (kind === undefined) return refuseKind(partial, mistakes)
  if (!kind.versions.includes(versionOf(partial))) return refuseVersion(partial, kind, mistakes)
  checkKind(partial, mistakes)
  if (object !== null && !mistakes.hasErrors) return { verdict: 'good', object, mistakes: mistakes.all }
  return broken(partial, mistakes)
}

// Translation reads a broken policy as refusing whatever it might have meant.
function broken(partial: ConfigObject, mistakes: ValueMistakes): Admission {
  const isPolicy = groupOf(partial.apiVersion) === 'security.istio.io' || partial.kind === 'NetworkPolicy'
  const closing = isPolicy ? partial : null
  return { verdict: 'broken', ref: refOf(partial), closing, mistakes: mistakes.all }
}

function versionOf({ apiVersion }: ConfigObject): string {
  return apiVersion.slice(apiVersion.indexOf('/') + 1)
}

// A misspelt kind may have been any object: which one it was is not told.
function refuseKind({ apiVersion, kind }: ConfigObject, mistakes: ValueMistakes): Admission {
  if (KINDS_OF_OTHERS.has(kind)) {
    mistakes.add('info', ['kind'], `objects of kind ${kind} are not read`)
    return { verdict: 'ignored', mistakes: mistakes.all }
  }
  const group = groupOf(apiVersion)
  const elsewhere = WATCHED_KINDS.filter((each) => each.kind === kind)
  if (elsewhere.length > 0) {
    const groups = elsewhere.map((each) => preferred(each))
    const near = nearest(apiVersion, groups) || (groups[0] ?? '')
    mistakes.add('error', ['apiVersion'], `there is no ${kind} in ${quote(apiVersion)}`, near)
  } else {
    const inGroup = WATCHED_KINDS.filter((each) => each.group === group).map((each) => each.kind)
    const all = WATCHED_KINDS.map((each) => each.kind)
    const near = nearest(kind, inGroup) || nearest(kind, all)
    // Without a near name it is a kind of somebody else.
    mistakes.add(near === '' ? 'info' : 'error', ['kind'], `objects of kind ${kind} are not read`, near)
    if (near === '') return { verdict: 'ignored', mistakes: mistakes.all }
  }
  return { verdict: 'broken', ref: null, closing: null, mistakes: mistakes.all }
}

function refuseVersion(object: ConfigObject, kind: WatchedKind, mistakes: ValueMistakes): Admission {
  const { versions, group } = kind
  const near = nearest(versionOf(object), versions) || (versions[0] ?? '')
  const message = `version ${quote(versionOf(object))} of ${kind.kind} is not read`
  mistakes.add('error', ['apiVersion'], message, group === '' ? near : `${group}/${near}`)
  return broken(object, mistakes)
}

function preferred({ group, versions }: WatchedKind): string {
  return group === '' ? (versions[0] ?? '') : `${group}/${versions[0]}`
}
