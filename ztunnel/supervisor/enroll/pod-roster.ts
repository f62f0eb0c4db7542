// SPDX-License-Identifier: Apache-2.0
// What a source of enrolment tells the supervisor: which pods of this node are in the mesh.
import type { PodInfo } from '../../../mesh/generations/pods.ts'
import type { PodRedirect } from './pod-redirect.ts'

/** Hears of pods from one source. A pod is enrolled while some source names it. */
export interface PodRoster {
  /**
   * Enrols a pod; its namespace is `netns`, a descriptor that becomes the roster's. Null when it is served; otherwise why
   * not yet: it is tried again until the pod is removed.
   */
  add(pod: PodInfo, netns: number, redirect?: PodRedirect | null): Promise<string | null>
  /** The pod wishes another redirection: its connections go on. Nothing for an unknown pod. */
  redirect(uid: string, redirect: PodRedirect | null): void
  /** Un-enrols; an unknown pod is none already. */
  remove(uid: string): void
  /** Un-enrols a pod that goes on without the mesh: what it has open may end in its time. */
  release(uid: string): void
  /** Un-enrols every pod but these. */
  retain(uids: ReadonlySet<string>): void
  /** False: nobody has said lately which pods there are. */
  setCurrent(isCurrent: boolean): void
}
