/**
 * Notifications from PostgreSQL, over one connection of their own that is made again whenever it breaks. They only wake:
 * one may get lost, so every subscriber also looks by itself now and then, and is woken after each reconnection.
 */
import { setTimeout as wait } from 'node:timers/promises'
import pg from 'pg'

export const channels = { work: 'comeback_work', events: 'comeback_events' } as const
export type Channel = (typeof channels)[keyof typeof channels]

/** Called with the notification's payload, or with null when notifications may have been missed. */
type OnWake = (payload: string | null) => void

export interface Listener {
  subscribe(channel: Channel, onWake: OnWake): () => void
  close(): Promise<void>
}

const longestPauseMs = 2_000

export function listen(url: string): Listener {
  const subscribers = new Map<Channel, Set<OnWake>>(Object.values(channels).map((channel) => [channel, new Set()]))
  const closing = new AbortController()
  const running = keepListening(url, subscribers, closing.signal)
  return {
    subscribe(channel, onWake) {
      subscribers.get(channel)?.add(onWake)
      return () => void subscribers.get(channel)?.delete(onWake)
    },
    async close() {
      closing.abort()
      await running
    },
  }
}

type Subscribers = ReadonlyMap<string, ReadonlySet<OnWake>>

async function keepListening(url: string, subscribers: Subscribers, closing: AbortSignal): Promise<void> {
  for (let pauseMs = 50; !closing.aborted; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
    const heard = await listenOnce(url, subscribers, closing).catch(() => false)
    if (heard) pauseMs = 50
    await wait(pauseMs, undefined, { signal: closing }).catch(() => {})
  }
}

/** Listens until the connection ends. Answers whether there was one. */
async function listenOnce(url: string, subscribers: Subscribers, closing: AbortSignal): Promise<boolean> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'comeback-listen',
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
  })
  const ended = new Promise<void>((resolve) => client.once('end', resolve))
  const close = () => void client.end().catch(() => {})
  client.on('error', close)
  client.on('notification', ({ channel, payload }) => {
    for (const wake of subscribers.get(channel) ?? []) wake(payload ?? '')
  })
  await client.connect()
  closing.addEventListener('abort', close)
  try {
    for (const channel of subscribers.keys()) await client.query(`listen ${channel}`)
    for (const wakes of subscribers.values()) for (const wake of wakes) wake(null)
    if (closing.aborted) close()
    await ended
    return true
  } finally {
    closing.removeEventListener('abort', close)
    close()
  }
}

/** Waits until woken, until some time has passed, or until aborted, whichever is first. What woke it before counts too. */
export function wakeable(listener: Listener, channel: Channel, concerns: (payload: string) => boolean) {
  let woken = false
  let onWake = () => {}
  const unsubscribe = listener.subscribe(channel, (payload) => {
    if (payload !== null && !concerns(payload)) return
    woken = true
    onWake()
  })
  return {
    async next(atMostMs: number, signal?: AbortSignal): Promise<void> {
      if (!woken && !signal?.aborted) {
        const { promise, resolve } = Promise.withResolvers<void>()
        const timer = setTimeout(resolve, atMostMs)
        const onAbort = () => resolve()
        signal?.addEventListener('abort', onAbort)
        onWake = resolve
        await promise
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
      }
      woken = false
    },
    [Symbol.dispose]: unsubscribe,
  }
}
