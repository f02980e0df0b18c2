import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Qcow2Pool, qcow2Pool } from '../../../../test/support/qcow2-pool.ts'
import { makeLayer } from '../../../../test/support/storage-fixtures.ts'
import { newId, type OperationId } from '../../../domain/ids.ts'
import { orphansOf } from '../orphans.ts'
import { isGone, type ProcessMark } from '../processes.ts'

const worker = join(import.meta.dirname, '../../../../test/support/hold-worker.ts')
const MiB = 1024 ** 2

describe('a hold', () => {
  let runtime = ''
  let pool: Qcow2Pool
  beforeEach(async () => {
    runtime = await mkdtemp(join(tmpdir(), 'comeback-holds-'))
    pool = await qcow2Pool({ runtime })
  })
  afterEach(async () => {
    await pool.close()
    await rm(runtime, { recursive: true })
  })
  const noteDirectory = () => join(runtime, `holds-${pool.driver.pool}`)
  const note = async (holder: OperationId): Promise<{ daemon: ProcessMark }> =>
    JSON.parse(await readFile(join(noteDirectory(), `${holder}.json`), 'utf8'))

  test('outlives an agent that is killed, and its successor releases it and clears up after the dead', async () => {
    const [layer, holder] = [await makeLayer(pool, null, MiB), newId<OperationId>()]
    const args = [worker, pool.directory, runtime, pool.driver.pool, holder, layer]
    const agent = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(agent.stdout, 'data', { signal: AbortSignal.timeout(20_000) })
    agent.kill('SIGKILL')
    await once(agent, 'exit')

    await expect(pool.openForWriting(layer)).rejects.toThrow(/lock/)
    const successor = await pool.another()
    await expect(successor.hold(newId(), [layer])).rejects.toThrow(/held open/)
    const { daemon } = await note(holder)
    await successor.release(holder)
    expect(await isGone(daemon)).toBe(true)
    const close = await pool.openForWriting(layer)
    await close()
    expect(await orphansOf(noteDirectory())).toEqual([])
    expect(await readdir(noteDirectory())).toEqual([])
  })

  test('a daemon that a killed agent was just about to note is ended by its successor', async () => {
    const [layer, holder] = [await makeLayer(pool, null, MiB), newId<OperationId>()]
    const agent = spawn(process.execPath, [worker, pool.directory, runtime, pool.driver.pool, holder, layer])
    await once(agent.stdout, 'data', { signal: AbortSignal.timeout(20_000) })
    agent.kill('SIGKILL')
    await once(agent, 'exit')
    await writeFile(join(noteDirectory(), `${newId()}.json.tmp`), '{"state"')
    const { daemon } = await note(holder)
    await rm(join(noteDirectory(), `${holder}.json`)) // as if it had died before the note
    expect(await orphansOf(noteDirectory())).toContainEqual(daemon)
    await pool.another()
    expect(await isGone(daemon)).toBe(true)
    expect(await orphansOf(noteDirectory())).toEqual([])
    expect(await readdir(noteDirectory())).toEqual([])
  })

  test('is taken anew when its process is gone, as after a reboot', async () => {
    const [layer, holder] = [await makeLayer(pool, null, MiB), newId<OperationId>()]
    await pool.driver.hold(holder, [layer])
    const { daemon } = await note(holder)
    process.kill(daemon.pid, 'SIGKILL')
    await expect.poll(() => isGone(daemon)).toBe(true)
    await pool.driver.hold(holder, [layer])
    await expect(pool.openForWriting(layer)).rejects.toThrow(/lock/)
    await pool.driver.release(holder)
  })

  test('a number that the system has given to another process since is not mistaken for it', async () => {
    const holder = newId<OperationId>()
    const stranger = { pid: process.pid, start: '1' }
    await writeFile(join(noteDirectory(), `${holder}.json`), JSON.stringify({ state: 'held', daemon: stranger, layers: [] }))
    await pool.driver.release(holder)
    expect(await readdir(noteDirectory())).not.toContain(`${holder}.json`)
  })

  test('several at once get each a process of its own', async () => {
    const layers = await Promise.all([1, 2, 3].map(() => makeLayer(pool, null, MiB)))
    const holders = layers.map(() => newId<OperationId>())
    await Promise.all(holders.map((holder, at) => pool.driver.hold(holder, [layers[at]!])))
    await pool.driver.release(holders[0]!)
    expect(await Promise.all(layers.map((layer) => pool.driver.hasWriter(layer)))).toEqual([false, true, true])
    await Promise.all(holders.map((holder) => pool.driver.release(holder)))
  })

  test('waits a moment for a machine that is just letting go', async () => {
    const patient = await qcow2Pool({ holdPatienceMs: 5000 })
    const layer = await makeLayer(patient, null, MiB)
    const close = await patient.openForWriting(layer)
    const holder = newId<OperationId>()
    const holding = patient.driver.hold(holder, [layer])
    await close()
    await holding
    await patient.driver.release(holder)
    await patient.close()
  })
})
