// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { podOfCgroups } from '../../../../ztunnel/supervisor/enroll/pod-cgroup.ts'
import { startCpuTime } from '../../../support/cpu-time.ts'

const UID = '0f4a2c1e-9d3b-4e55-8a77-1c2d3e4f5a6b'
const OTHER = 'ffffffff-9d3b-4e55-8a77-1c2d3e4f5a6b'
const underscored = UID.replaceAll('-', '_')

t.test('a pod is known by the spellings of both drivers and both versions', async (t) => {
  for (const path of [
    `/kubepods/pod${UID}/c1`,
    `/kubepods/burstable/pod${UID}/c1`,
    `/kubepods/besteffort/pod${UID}`,
    `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${underscored}.slice/cri-containerd-abc.scope`,
    `/kubepods.slice/kubepods-pod${underscored}.slice/crio-abc.scope`,
    `/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod${underscored}.slice/x`,
    `/system.slice/docker-abc.scope/kubepods/pod${UID}/c1`,
    `/../../pod${UID}/c1`, // seen from another group
  ]) {
    t.equal(podOfCgroups(`0::${path}\n`), UID, path)
    t.equal(podOfCgroups(`9:name=systemd:/\n4:memory:/x/y\n3:cpu,cpuacct:${path}\n`), UID, path)
    t.equal(podOfCgroups(`2:pids:${path}\n1:cpu:${path}\n`), UID, path)
  }
})

t.test('a pod from a file has an uid of the kubelet', async (t) => {
  const uid = '0123456789abcdef'.repeat(2)
  for (const path of [
    `/kubepods/burstable/pod${uid}/c1`,
    `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${uid}.slice/cri-containerd-abc.scope`,
  ])
    t.equal(podOfCgroups(`0::${path}\n`), uid, path)
  for (const part of [`pod${uid}0`, `pod${uid.slice(1)}`, `pod${uid.toUpperCase()}`, `xpod${uid}`, uid])
    t.equal(podOfCgroups(`0::/kubepods/${part}/c\n`), null, part)
})

t.test('other processes belong to none', async (t) => {
  for (const text of [
    '',
    '0::/\n',
    '0::/system.slice/sshd.service\n',
    `0::/${UID}\n`,
    '0::/kubepods/pod\n',
    '0::/kubepods/burstable\n',
    `0::/kubepods/pod${UID.toUpperCase()}\n`,
    `0::/kubepods/pod${UID}x/c\n`,
    `0::/kubepods/xpod${UID}/c\n`,
    `0::/kubepods/pod${UID}.scope\n`,
    `0::/kubepods/pod${UID.replace('-', '_')}/c\n`,
    `0::/system-pod${underscored}.slice/c\n`,
    `pod${UID}`,
  ])
    t.equal(podOfCgroups(text), null, text)
})

t.test('who names groups of his own names no other pod', async (t) => {
  t.equal(podOfCgroups(`0::/kubepods/pod${UID}/c1/kubepods/pod${OTHER}/c2\n`), UID, 'the outermost counts')
  t.equal(podOfCgroups(`0::/kubepods/pod${UID}/pod${OTHER}\n`), UID)
  const slice = '/user.slice/user-1000.slice/user@1000.service/app.slice'
  t.equal(podOfCgroups(`0::${slice}/kubepods/pod${UID}/c1\n`), null, 'a user of the node')
  t.equal(podOfCgroups(`2:pids:/kubepods/pod${UID}/c\n1:cpu:/kubepods/pod${OTHER}/c\n`), null, 'two pods')
  t.equal(podOfCgroups(`0::/x:y:/kubepods/pod${UID}/c1\n`), UID, 'colons belong to the path')
})

t.test('whatever stands below a pod’s group, it is that pod’s', async (t) => {
  const part = fc.oneof(
    fc.stringMatching(/^[a-z.:@-]{1,12}$/),
    fc.constantFrom(`pod${OTHER}`, 'kubepods', `kubepods-pod${OTHER.replaceAll('-', '_')}.slice`),
  )
  fc.assert(
    fc.property(fc.array(part, { maxLength: 20 }), (below) => {
      t.equal(podOfCgroups(`0::/kubepods/pod${UID}/${below.join('/')}\n`), UID)
    }),
    { numRuns: 200 },
  )
  const cpuMs = startCpuTime()
  podOfCgroups(`0::/${'kubepods-'.repeat(7_000)}pod\n`)
  podOfCgroups(`0::/${'a-'.repeat(30_000)}\n`)
  podOfCgroups('0::/\n'.repeat(16_000))
  t.ok(cpuMs() < 2_000, 'a file of the largest size takes no time')
})
