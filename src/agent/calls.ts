/** What each call of the protocol does here. */
import type { z } from 'zod'
import { isFull } from '../adapters/storage/qcow2/durable.ts'
import type { OperationId, PoolId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { HostAgent, HostHello } from '../ports/host-agent.ts'
import type { LocalPool } from './machines/environment.ts'
import type { Machines } from './machines/machines.ts'
import type { HostCall, hostCalls, PoolCall } from './protocol.ts'

/** `signal`: somebody newer took over · `hungUp`: the caller is gone. */
export type CallContext = { readonly operation: OperationId; readonly signal: AbortSignal; readonly hungUp: AbortSignal }

type Implementations = {
  readonly [Name in HostCall]: (
    args: z.output<(typeof hostCalls)[Name]['args']>,
    context: CallContext,
  ) => ReturnType<HostAgent[Name]>
}

export const hostImplementations = (machines: Machines, hello: () => HostHello): Implementations => ({
  hello: async () => hello(),
  startMachine: ([spec]) => machines.start(spec),
  stopMachine: ([instance, how], { signal }) => machines.stop(instance, how, signal),
  resetMachine: ([instance]) => machines.reset(instance),
  machine: ([instance]) => machines.view(instance),
  machines: () => machines.views(),
  pauseMachine: ([instance], { operation }) => machines.pause(instance, operation),
  resumeMachine: ([instance]) => machines.resume(instance),
  pivot: ([request], { operation }) => machines.pivot(request, operation),
  attachDisk: ([instance, disk]) => machines.attach(instance, disk),
  detachDisk: ([instance, device]) => machines.detach(instance, device),
  resizeDisk: ([instance, device, size]) => machines.resize(instance, device, size),
  mergeLive: ([instance, device, pool, merge], { operation, signal, hungUp }) =>
    machines.merge(instance, { device, pool, merge, operation, signal: AbortSignal.any([signal, hungUp]) }),
  console: ([instance, lines]) => machines.console(instance, lines),
  forgetMachine: ([instance]) => machines.forget(instance),
})

export function poolOf(pools: ReadonlyMap<PoolId, LocalPool>, id: PoolId): LocalPool {
  const pool = pools.get(id)
  if (pool === undefined) throw refuse.notFound({ what: 'Pool', id })
  return pool
}

/** The arguments were checked against the call's schema, which the compiler holds against the driver's own signature. */
export async function callPool({ driver, name: pool }: LocalPool, name: PoolCall, args: readonly unknown[]): Promise<unknown> {
  const call: (...args: never[]) => Promise<unknown> = driver[name].bind(driver)
  try {
    return await call(...(args as never[]))
  } catch (error) {
    throw isFull(error) ? refuse.poolFull({ pool }) : error
  }
}
