// SPDX-License-Identifier: Apache-2.0
// Opens what the option configSource names: where the configuration is read, and what replicas that read there share.
// One more source is one more entry of SOURCES, one choice of the option, one branch in contradictions.ts.
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { MeshError } from '../mesh/errors/mesh-error.ts'
import { RedisLink } from '../mesh/redis/redis-link.ts'
import type { Clock } from '../mesh/runtime/clock.ts'
import type { Log } from '../mesh/runtime/log.ts'
import type { Attestor } from './ca/attestation.ts'
import { openJoinTokenDirectory } from './ca/join-token-directory.ts'
import { openJoinTokenRedis } from './ca/join-token-redis.ts'
import type { JoinTokenStore } from './ca/join-tokens.ts'
import { type KeyStore, openDirectoryKeyStore } from './ca/key-store.ts'
import type { ControllerConfig } from './config.ts'
import { type LeaderDuty, type LeaderElection, soleLeader } from './leader.ts'
import type { MeshView } from './mesh-view.ts'
import { connectTo } from './redis-connect.ts'
import type { ConfigSource } from './watch/config-source.ts'
import type { ConfigStore } from './watch/config-store.ts'
import { DirectorySource } from './watch/directory.ts'
import { LeaderLock } from './watch/leader-lock.ts'
import { type ObjectWriter, redisObjectWriter } from './watch/object-writer.ts'
import { RedisSource } from './watch/redis.ts'

/** What a controller stands on. */
export interface Sources {
  readonly source: ConfigSource
  readonly joinTokens: JoinTokenStore
  /** Of the CA: keys, rotation, revocations. */
  readonly keys: KeyStore
  readonly election: LeaderElection
  /** Changes the configuration; null where that is done without us. */
  readonly objects: ObjectWriter | null
  /** Who is believed besides nodes that joined; `store` is what the source fills. */
  attestors(store: ConfigStore): readonly Attestor[]
  /**
   * What the leader does to the place where the configuration is; `mesh` is what became of it, `serverRootsPem` what the
   * controllers' certificates are verified with.
   */
  duties(mesh: MeshView, log: Log, serverRootsPem: () => Promise<string>): readonly LeaderDuty[]
  /** After everything else has stopped. */
  close(): Promise<void>
}

type Opener = (config: ControllerConfig, clock: Clock) => Sources | Promise<Sources>

const SOURCES: Readonly<Record<string, Opener>> = {
  directory: openDirectory,
  redis: openRedis,
  kubernetes: openKubernetes,
}

/** Without an apiserver there are no accounts, and nobody reads a status. */
const NOBODY = { attestors: () => [], duties: () => [] }

/** Opens the source; nothing is read or dialled yet. */
export async function openSources(config: ControllerConfig, clock: Clock): Promise<Sources> {
  const open = SOURCES[config.configSource]
  if (open === undefined) throw new MeshError('INTERNAL', { detail: `no source ${config.configSource}` })
  return await open(config, clock)
}

/** Loaded only where there is an apiserver: its client has its price in memory. */
async function openKubernetes(config: ControllerConfig, clock: Clock): Promise<Sources> {
  const kubernetes = await import('./kubernetes/sources.ts')
  return kubernetes.openKubernetes(config, clock)
}

function openDirectory(config: ControllerConfig, clock: Clock): Sources {
  return {
    source: new DirectorySource(config.configDirectory, clock),
    joinTokens: openJoinTokenDirectory(join(config.stateDirectory, 'join-tokens')),
    keys: openKeys(config),
    election: soleLeader(),
    objects: null,
    ...NOBODY,
    close: async () => {},
  }
}

function openRedis(config: ControllerConfig, clock: Clock): Sources {
  const { redisPrefix: prefix } = config
  const connect = () => connectTo(config)
  const link = new RedisLink(connect)
  return {
    source: new RedisSource({ connect, clock, random: Math.random, prefix }),
    joinTokens: openJoinTokenRedis(link, prefix),
    // Never in Redis: replicas share a directory, or each has the same files of a CA elsewhere.
    keys: openKeys(config),
    election: redisElection({ connect, clock, prefix }),
    objects: redisObjectWriter(link, prefix),
    ...NOBODY,
    close: () => link.close(),
  }
}

/** The CA's directory. */
export function openKeys({ caDirectory, stateDirectory }: ControllerConfig): KeyStore {
  return openDirectoryKeyStore(caDirectory || join(stateDirectory, 'ca'))
}

function redisElection(
  options: Pick<ConstructorParameters<typeof LeaderLock>[0], 'connect' | 'clock' | 'prefix'>,
): LeaderElection {
  let lock: LeaderLock | null = null
  return {
    get fence() {
      return lock?.fence ?? null
    },
    start: (onChange) => {
      lock = new LeaderLock({
        ...options,
        monotonicMs: () => performance.now(),
        random: Math.random,
        // Another one after every start: a replica that was started again is not the one that led.
        holder: `${hostname()} ${process.pid} ${randomUUID()}`,
        onChange,
      })
      lock.start()
    },
    stop: async () => await lock?.stop(),
  }
}
