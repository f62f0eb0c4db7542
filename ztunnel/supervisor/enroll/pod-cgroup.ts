// SPDX-License-Identifier: Apache-2.0
// Which pod a process belongs to, by the names of its control groups. Pure. Whoever is root in a pod may make control groups
// below his own and name them as he likes: the outermost name counts, which only the node's kubelet gives.

/** A pod's uid as the apiserver gives it; systemd's slices have _ for - in it. Or the kubelet's own, of a pod from a file. */
const UIDS = [
  { length: 36, form: /^[0-9a-f]{8}([-_])[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}$/ },
  { length: 32, form: /^[0-9a-f]{32}$/ },
]
const SLICE = '.slice'
/** Below it every user of the node may make what he likes. */
const USER_SLICE = 'user.slice'

/** The uid of the pod, of the text of /proc/PID/cgroup; null for none, and when two lines name different ones. */
export function podOfCgroups(text: string): string | null {
  let found: string | null = null
  for (const line of text.split('\n')) {
    // SPEC cgroups(7): hierarchy:controllers:path; the path may contain colons.
    const path = line.split(':').slice(2).join(':')
    const uid = podOfPath(path)
    if (uid === null) continue
    if (found !== null && found !== uid) return null
    found = uid
  }
  return found
}

function podOfPath(path: string): string | null {
  for (const part of path.split('/')) {
    if (part === USER_SLICE) return null
    const uid = podOfPart(part)
    if (uid !== null) return uid
  }
  return null
}

// `pod<uid>` of the cgroupfs driver; `kubepods-burstable-pod<uid>.slice` of systemd's.
function podOfPart(part: string): string | null {
  const isSlice = part.endsWith(SLICE)
  const name = isSlice ? part.slice(0, -SLICE.length) : part
  for (const { length, form } of UIDS) {
    const uid = name.slice(-length)
    const before = name.slice(0, -length)
    const isNamed = isSlice ? before.endsWith('-pod') && before.includes('kubepods') : before === 'pod'
    if (isNamed && form.test(uid)) return uid.replaceAll('_', '-')
  }
  return null
}
