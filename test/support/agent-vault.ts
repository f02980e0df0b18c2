/** Disks in a real agent's pool and a vault in a directory, for tests of the data path without a guest. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  asId,
  type BackupId,
  type LayerId,
  newId,
  type OperationId,
  type PointId,
  type ProjectId,
  type RequestId,
  type VaultId,
  type VolumeId,
} from '../../src/domain/ids.ts'
import type {
  BackupFacts,
  BackupRef,
  SourcePoint,
  VaultAccess,
  VaultIdentity,
  VaultMover,
} from '../../src/ports/vault-mover.ts'
import type { AgentProcess } from './agent-process.ts'
import { qemuIo } from './qcow2-pool.ts'
import { layerRecordOf } from './real-guest.ts'

const run = promisify(execFile)
const operation = newId<OperationId>()

export const moverOf = (agent: AgentProcess, epoch = 1, resource = 'operation:backup'): VaultMover =>
  agent.client.mover({ fence: { resource, epoch, operation }, requestId: asId<RequestId>('req-test') })

export const aKey = (): string => randomBytes(32).toString('base64')

export const vaultAt = (directory: string, changes: Partial<VaultAccess> = {}): VaultAccess => ({
  vault: newId<VaultId>(),
  place: { kind: 'directory', directory },
  key: aKey(),
  bytesPerSecond: null,
  parallel: 8,
  ...changes,
})

export const identityOf = ({ vault }: VaultAccess): VaultIdentity => ({
  format: 1,
  vault,
  name: 'v',
  createdAt: '2026-01-01T00:00:00Z',
  slots: [],
})

export const backupFacts: BackupFacts = {
  name: 'nightly',
  description: null,
  createdAt: '2026-01-01T00:00:00Z',
  volumeName: 'data',
  projectName: 'demo',
  bootable: false,
  metadata: { team: 'blue' },
  imageMetadata: null,
  consistency: 'crash',
  instance: null,
}

/** A volume of an agent's pool whose points are frozen layers, as the product makes them. */
export class TestVolume {
  readonly agent: AgentProcess
  readonly id = newId<VolumeId>()
  readonly project = newId<ProjectId>()
  readonly sizeBytes: number
  chain: readonly LayerId[] = []

  private constructor(agent: AgentProcess, sizeBytes: number) {
    this.agent = agent
    this.sizeBytes = sizeBytes
  }

  static async make(agent: AgentProcess, sizeBytes: number): Promise<TestVolume> {
    const volume = new TestVolume(agent, sizeBytes)
    await volume.#grow([])
    return volume
  }

  ref = (): BackupRef => ({ volume: this.id, backup: newId<BackupId>(), project: this.project })

  fileOf = (layer: LayerId): string => join(this.agent.directory, 'state/pool/layers', `${layer}.qcow2`)

  /** Commands of `qemu-io` on the head. */
  do = (...commands: string[]): Promise<void> => qemuIo(this.fileOf(this.chain.at(-1)!), ...commands)

  /** Freezes the head and goes on in a new one. */
  async point(): Promise<SourcePoint> {
    const [layer, point] = [this.chain.at(-1)!, newId<PointId>()]
    const pool = (await this.agent.pool()).id
    const storage = await this.agent.storage()
    await storage.mark(layer, point, layerRecordOf(layer, pool, 'frozen', this.sizeBytes))
    const taken = { pool, point: { layer, point }, chain: this.chain, sizeBytes: this.sizeBytes }
    await this.#grow(this.chain)
    return taken
  }

  /** The head is new, upon the point. */
  rollBack = ({ chain }: SourcePoint): Promise<void> => this.#grow(chain)

  /** A blank layer to be filled. */
  async target(sizeBytes = this.sizeBytes): Promise<{ pool: SourcePoint['pool']; layer: LayerId; sizeBytes: number }> {
    const pool = (await this.agent.pool()).id
    const layer = newId<LayerId>()
    await (await this.agent.storage()).newLayer(layer, null, sizeBytes, layerRecordOf(layer, pool, 'prepared', sizeBytes))
    return { pool, layer, sizeBytes }
  }

  /** What the layer reads as upon those below it. */
  async bytesOf(layer: LayerId): Promise<Buffer> {
    const raw = join(this.agent.directory, `${layer}.raw`)
    await run('qemu-img', ['convert', '-U', '-f', 'qcow2', '-O', 'raw', this.fileOf(layer), raw])
    const bytes = await readFile(raw)
    await rm(raw)
    return bytes
  }

  async #grow(upon: readonly LayerId[]): Promise<void> {
    const pool = (await this.agent.pool()).id
    const layer = newId<LayerId>()
    const below = upon.at(-1)
    const parent = below === undefined ? null : { layer: below, point: newId<PointId>() }
    const record = layerRecordOf(layer, pool, 'head', this.sizeBytes, parent)
    await (await this.agent.storage()).newLayer(layer, parent, this.sizeBytes, record)
    this.chain = [...upon, layer]
  }
}
