/**
 * Start, stop and reboot. A machine is started only from the rows and only if the storage agrees with them (parts/machine.ts).
 *
 * Rebooting stops the process and starts a new one: seen to be faster to the guest's userland than a reset, and it takes up
 * what changed meanwhile.
 */
import type { HostId, InstanceId } from '../domain/ids.ts'
import type { StopMode } from '../ports/host-agent.ts'
import { noUndo, saga } from './parts/define.ts'
import { setInstanceState } from './parts/instance-state.ts'
import { leaveClean } from './parts/left-clean.ts'
import { startMachine } from './parts/machine.ts'

export type StartParams = { readonly instance: InstanceId; readonly host: HostId }
export type StopParams = StartParams & { readonly stop: StopMode; readonly wasRunning: boolean }

export const startInstance = saga<StartParams>('start-instance')
  .step('startMachine', {
    do: ({ params, world }) => startMachine(world, params.instance),
    undo: async ({ params, world }) =>
      void (await world.hosts(params.host).stopMachine(params.instance, { mode: 'hard', graceSeconds: 0 })),
  })
  .commit('running', ({ params }, tx) => setInstanceState(tx, params.instance, 'running'))
  .build()

export const stopInstance = saga<StopParams>('stop-instance')
  .step('stopMachine', {
    do: ({ params, world }) => world.hosts(params.host).stopMachine(params.instance, params.stop),
    undo: async ({ params, world }) => {
      if (params.wasRunning) await startMachine(world, params.instance)
    },
  })
  .commit('stopped', async ({ params, done }, tx) => {
    await setInstanceState(tx, params.instance, 'stopped')
    if (done.stopMachine.clean) await leaveClean(tx, params.instance)
  })
  .build(({ done }) => ({ stopped: done.stopMachine.how }))

export const rebootInstance = saga<StopParams>('reboot-instance')
  .step('stopMachine', {
    do: ({ params, world }) => world.hosts(params.host).stopMachine(params.instance, params.stop),
    undo: async ({ params, world }) => {
      if (params.wasRunning) await startMachine(world, params.instance)
    },
  })
  .step('startMachine', {
    do: ({ params, world }) => startMachine(world, params.instance),
    undo: noUndo('the machine is meant to run, before as after'),
  })
  .commit('running', ({ params }, tx) => setInstanceState(tx, params.instance, 'running'))
  .afterUndo(async ({ params }, tx) => {
    if (!params.wasRunning) await setInstanceState(tx, params.instance, 'stopped')
  })
  .build(({ done }) => ({ stopped: done.stopMachine.how }))
