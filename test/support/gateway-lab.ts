// SPDX-License-Identifier: Apache-2.0
// The mesh lab as two networks: n1 is `near`, n2 is `far`, and the pod `stranger` is the gateway of `far`: the only way there
// that the configuration tells.
import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { EmbeddedAuthority } from '../../mesh/identity/embedded-authority.ts'
import { createCertificateRequest, exportPrivateKey, generateKeyPair } from '../../mesh/identity/pki.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import { AGENT_ENVIRONMENT } from './compile-caches.ts'
import type { GatewayEvent, GatewayOrder } from './east-west-gateway.ts'
import { labDirectory } from './lab-directory.ts'
import { type LabPod, labMesh, MeshLab, poll } from './mesh-lab.ts'

const PROGRAM = fileURLToPath(new URL('./east-west-gateway.ts', import.meta.url))
export const HOST = 'cart.shop.svc.cluster.local'
export const GATEWAY_IP = '10.1.0.3'
export const CART_VIP = '10.96.0.10'
export const PORTS = '{80: 8080, 90: 9000, 91: 9001, 92: 9002}'
export const identity = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}`

/** What differs from a mesh in which everything is right. */
export interface GatewayMesh {
  readonly denied?: readonly string[]
  /** Service account the gateway is said to have. */
  readonly gatewayAccount?: string
  /** Whom the service says it is. */
  readonly serviceIdentity?: string
  readonly hasGateway?: boolean
  /** Addresses of further gateways of the same network. */
  readonly otherGateways?: readonly string[]
}

/** The configuration of both nodes. */
export function gatewayMesh({
  denied = [],
  gatewayAccount = 'gateway',
  serviceIdentity = identity('cart'),
  hasGateway = true,
  otherGateways = [],
}: GatewayMesh): string {
  const gateway = 'networkGateway: {destination: shop/ew.shop, hboneMtlsPort: 15008}'
  const instance = (ip: string): string =>
    `- {uid: gw-${ip}, name: gateway, namespace: shop, serviceAccount: ${gatewayAccount}, trustDomain: cluster.local, ` +
    `workloadIps: ["${ip}"], network: far, services: {shop/ew.shop: {}}}\n`
  return labMesh(denied)
    .replaceAll('{80: 8080}', PORTS)
    .replaceAll(/uid: (front|batch),/g, 'uid: $1, network: near,')
    .replace('uid: cart,', `uid: cart, network: far, ${hasGateway ? `${gateway},` : ''}`)
    .replace('vips: ["/10.96.0.10"]', `vips: ["near/${CART_VIP}"], subjectAltNames: ["${serviceIdentity}"]`)
    .replace('workloads:\n', `workloads:\n${[GATEWAY_IP, ...otherGateways].map(instance).join('')}`)
    .replace(
      'services:\n',
      'services:\n- {name: ew, namespace: shop, hostname: ew.shop, vips: [], ports: {15008: 15008}}\n',
    )
}

/** A gateway that runs, and what it has seen. */
export interface RunningGateway {
  readonly events: readonly GatewayEvent[]
  /** Waits for the end of a CONNECT that was seen after the first `known` events. */
  ended(known: number): Promise<GatewayEvent>
  kill(): void
}

/** Issues a certificate of the lab's CA. */
async function certificateOf(
  lab: MeshLab,
  name: string,
): Promise<Pick<GatewayOrder, 'certificatePem' | 'privateKeyPem' | 'rootPem'>> {
  const authority = await EmbeddedAuthority.open({
    ...{ directory: join(lab.directory, 'ca'), trustDomain: 'cluster.local', clock: systemClock },
  })
  const pair = await generateKeyPair()
  const request = await createCertificateRequest(pair, identity(name))
  const chain = await authority.issue(identity(name), request, 3600)
  return {
    certificatePem: chain[0] ?? '',
    privateKeyPem: await exportPrivateKey(pair.privateKey),
    rootPem: chain.at(-1) ?? '',
  }
}

/** Starts the program in a pod that is not enrolled, with the identity `gateway`; it ends with the test. */
export async function startGateway(
  t: Test,
  lab: MeshLab,
  order: Pick<GatewayOrder, 'targets' | 'secret'>,
  pod: LabPod = 'stranger',
): Promise<RunningGateway> {
  const events: GatewayEvent[] = []
  const certificate = await certificateOf(lab, 'gateway')
  const start = (): ChildProcess =>
    spawn(process.execPath, ['--no-warnings', PROGRAM, 'serve'], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: AGENT_ENVIRONMENT,
    })
  const child = lab.namespaceOf(pod).run(start)
  t.teardown(() => child.kill())
  child.on('message', (event: GatewayEvent) => events.push(event))
  child.send({ ...certificate, ...order } satisfies GatewayOrder)
  await poll('the gateway', () => events.some(({ type }) => type === 'up') || null)
  return {
    events,
    ended: (known) =>
      poll('the end at the gateway', () => events.slice(known).find(({ type }) => type === 'ended') ?? null),
    kill: () => child.kill('SIGKILL'),
  }
}

/** Both nodes serve when this resolves; it ends with the test. */
export async function startGatewayLab(t: Test, mesh: GatewayMesh = {}): Promise<MeshLab> {
  const lab = await MeshLab.start(labDirectory(t), gatewayMesh(mesh), {}, async () => ({
    n1: { SIDESTEP_NETWORK: 'near' },
    n2: { SIDESTEP_NETWORK: 'far' },
  }))
  t.teardown(() => lab.close())
  return lab
}

/** Puts another configuration in force at both nodes. */
export async function reconfigure(lab: MeshLab, mesh: GatewayMesh): Promise<void> {
  const before = await Promise.all((['n1', 'n2'] as const).map((node) => versionOf(lab, node)))
  await lab.configure(gatewayMesh(mesh))
  await poll('the new configuration', async () => {
    const now = await Promise.all((['n1', 'n2'] as const).map((node) => versionOf(lab, node)))
    return now.every((version, index) => version !== before[index]) || null
  })
}

/** Of the model that every worker of the node has. */
async function versionOf(lab: MeshLab, node: 'n1' | 'n2'): Promise<number | undefined> {
  const { text } = await lab.admin(node, '/workers')
  const { model } = JSON.parse(text) as { model: { inForce?: { version?: number } | null } } // as: the route's answer
  return model.inForce?.version
}
