/** A machine that dies while its layers are merged: the merge has happened or not, the rows say which, and nothing stays locked. */
import { expect, test } from 'vitest'
import { mergerWatcher } from '../../src/app/watchers/merger.ts'
import type { InstanceId, PoolId } from '../../src/domain/ids.ts'
import { refuse } from '../../src/domain/refusals.ts'
import type { Merge } from '../../src/ports/storage-driver.ts'
import { MemoryHost } from '../support/memory-host.ts'
import { nativeServer } from '../support/native-server.ts'

type When = 'before' | 'after'

/** Its machines die at a merge, before or after it happened. */
class Dying extends MemoryHost {
  when: When = 'before'

  override async mergeLive(instance: InstanceId, device: string, pool: PoolId, merge: Merge): Promise<void> {
    const isOff = (await this.machine(instance)).state === 'off'
    if (!isOff && this.when === 'after') await super.mergeLive(instance, device, pool, merge)
    if (!isOff) this.kill(instance)
    throw refuse.hostFailure({ what: isOff ? 'the machine is off' : 'the machine ended meanwhile' })
  }
}

test.each(['before', 'after'] as const)('a machine that dies %s its merge', async (when) => {
  let host: Dying | undefined
  const server = await nativeServer({
    makeHost: (pools) => {
      host = new Dying(pools)
      return host
    },
  })
  if (!host) throw new Error('no host')
  host.when = when
  const { db, operations, commands, pool, user, instance, done } = server
  const alice = await user('alice', 'blue', 'member')
  const web = await instance(alice, 'web', 1)
  host.write(web, 'vda', 1, 0x11)
  const taken = await commands.createInstanceSnapshot(alice.caller, {
    instance: web,
    name: 'a',
    metadata: {},
    disks: null,
    consistency: 'crash',
  })
  await done(taken)
  host.write(web, 'vda', 2, 0x22)
  await done(await commands.deleteImage(alice.caller, taken.image))

  await mergerWatcher({ db, operations, storage: () => pool }, 0).look(new AbortController().signal)
  const merging = await db
    .selectFrom('operations')
    .select(['id', 'params'])
    .where('kind', '=', 'merge-layers')
    .executeTakeFirstOrThrow()
  expect((await operations.ended(merging.id)).state).toBe(when === 'after' ? 'done' : 'undone')
  expect(await db.selectFrom('locks').selectAll().where('operation_id', '=', merging.id).execute()).toEqual([])
  const { head } = await db.selectFrom('volumes').select('head_layer_id as head').executeTakeFirstOrThrow()
  const layers = await db.selectFrom('layers').select('id').execute()
  expect(layers).toHaveLength(when === 'after' ? 1 : 2)
  expect(pool.read(head!)).toEqual({ 1: 0x11, 2: 0x22 })
})
