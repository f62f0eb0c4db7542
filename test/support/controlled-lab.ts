// SPDX-License-Identifier: Apache-2.0
// MeshLab under a controller: both nodes join with tokens and learn everything from it.
import { type ChildProcess, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { VirtualNetwork } from '../../mesh/reactor/netlink/virtual-network.ts'
import { ControllerProcess, clusterYaml } from './controller-process.ts'
import { labDirectory } from './lab-directory.ts'
import { type LabNode, type LabPod, MeshLab } from './mesh-lab.ts'

const PROXY = fileURLToPath(new URL('./tcp-proxy.ts', import.meta.url))
const PROXY_PORT = 15_013

export const PODS = [
  { name: 'front', ip: '10.1.0.1', node: 'n1' },
  { name: 'batch', ip: '10.1.0.2', node: 'n1' },
  { name: 'cart', ip: '10.2.0.1', node: 'n2' },
]
export const CART_VIP = '10.96.0.10'
const identity = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}`

type NodeOptions = Readonly<Record<LabNode, Readonly<Record<string, string>>>>

/** Starts both nodes under a controller; it ends with the test. `more` are further options of a node; `strangers`: as MeshLab. */
export async function startControlledLab(
  t: Test,
  more: (node: LabNode, network: VirtualNetwork) => Readonly<Record<string, string>> = () => ({}),
  strangers: Readonly<Record<string, string>> = {},
): Promise<{ readonly lab: MeshLab; readonly controller: ControllerProcess }> {
  const directory = labDirectory(t)
  let controller: ControllerProcess | null = null
  const prepare = async ({ network }: MeshLab): Promise<NodeOptions> => {
    const { namespace, ip } = network.node('control')
    const started = new ControllerProcess(directory, namespace, ip)
    controller = started
    t.teardown(() => started.close())
    await started.configure(clusterYaml(PODS, ['batch']))
    await started.start()
    const optionsOf = async (node: LabNode): Promise<Readonly<Record<string, string>>> => {
      const own = PODS.filter((pod) => pod.node === node).map(({ name }) => identity(name))
      const tokenFile = join(directory, `${node}.token`)
      writeFileSync(tokenFile, await started.joinToken(node, own), { mode: 0o600 })
      return {
        SIDESTEP_CONFIG_FILE: '',
        SIDESTEP_CA_DIRECTORY: '',
        SIDESTEP_CONTROLLER_ADDRESSES: started.address,
        SIDESTEP_CONTROLLER_ROOTS: started.rootsFile,
        SIDESTEP_CONTROLLER_TOKEN: tokenFile,
        ...more(node, network),
      }
    }
    return { n1: await optionsOf('n1'), n2: await optionsOf('n2') }
  }
  const lab = await MeshLab.start(directory, '', {}, prepare, strangers)
  t.teardown(() => lab.close())
  if (controller === null) throw new Error('nothing was prepared')
  return { lab, controller }
}

/** The same, with the CA of n1 behind something that can be cut, for good. */
export async function startCuttableLab(t: Test) {
  let proxy: ChildProcess | null = null
  const started = await startControlledLab(t, (node, network) => {
    if (node !== 'n1') return {}
    const { namespace, ip } = network.node('control')
    const args = ['--no-warnings', PROXY, String(PROXY_PORT), ip, '15012']
    proxy = namespace.run(() => spawn(process.execPath, args, { stdio: 'inherit', env: {} }))
    return { SIDESTEP_CA_ADDRESSES: `${ip}:${PROXY_PORT}` }
  })
  const cut = (): void => void proxy?.kill()
  t.teardown(cut)
  return { ...started, cut }
}

/** The serial number of the certificate that n1 has for a pod. */
export async function serialOf(lab: MeshLab, pod: LabPod): Promise<string> {
  const { text } = await lab.admin('n1', '/certificates')
  const reports = JSON.parse(text) as { identity: string; stored: string }[] // as: the route's answer
  const found = reports.find(({ identity }) => identity.endsWith(`/sa/${pod}`))
  if (found === undefined) throw new Error(text)
  return found.stored
}

/** Neither answered nor refused by then: nothing of ours waits so long. */
const GREETING_MS = 15_000

/** True when a pod is greeted by cart; a call that ends in neither way is told, and is no greeting. */
export async function isGreeted(lab: MeshLab, pod: LabPod): Promise<boolean> {
  const socket = lab.connect(pod, CART_VIP, 91)
  try {
    await socket.until(
      'an answer',
      ({ text, isClosed, hasEnded }) => text.endsWith('\r\n') || isClosed || hasEnded,
      GREETING_MS,
    )
  } catch (error) {
    process.stderr.write(`a call of ${pod} hangs: ${error instanceof Error ? error.message : error}\n`)
  }
  const isGood = socket.text === '220 cart\r\n'
  socket.destroy()
  return isGood
}
