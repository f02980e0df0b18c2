import { readdir, readFile, readlink } from 'node:fs/promises'
import { get } from 'node:http'
import { createServer } from 'node:net'
import { z } from 'zod'

const health = z.object({ agents: z.object({ configured: z.number(), met: z.number() }) })
/** How many agents a controller was told of, and how many it has met. */
export type Health = z.infer<typeof health>

export type Address = { readonly host: string; readonly port: number }

/** Why the address cannot be listened on; null if it can. */
export const addressProblem = ({ host, port }: Address): Promise<string | null> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)))
  })

/** The sockets that listen on the port, as /proc/PID/fd names them. */
async function listening(port: number): Promise<ReadonlySet<string>> {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  const tables = await Promise.all(['tcp', 'tcp6'].map((name) => readFile(`/proc/net/${name}`, 'utf8').catch(() => '')))
  const rows = tables.flatMap((table) => table.split('\n')).map((row) => row.trim().split(/\s+/))
  return new Set(rows.filter((row) => row[1]?.endsWith(`:${hex}`) && row[3] === '0A').map((row) => `socket:[${row[9]}]`))
}

/** Who listens on the port, as far as /proc lets us see: "nginx (process 812)". */
export async function holderOf(port: number): Promise<string | null> {
  const inodes = await listening(port)
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const files = await readdir(`/proc/${pid}/fd`).catch(() => [])
    for (const file of files) {
      if (!inodes.has(await readlink(`/proc/${pid}/fd/${file}`).catch(() => ''))) continue
      return `${(await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '?')).trim()} (process ${pid})`
    }
  }
  return null
}

/**
 * What a controller there says of itself; null when none answers, or it is not well. It is asked only once somebody listens: who connects again and again to a port of the
 * range for outgoing connections on its own host is given that very port by the kernel after some hundred times, is connected
 * with itself, and keeps the controller from listening.
 *
 * Not by fetch: one that was answered by a process that is killed meanwhile has been seen to wait for ever, past its deadline.
 */
export async function healthOf(url: string): Promise<Health | null> {
  if ((await listening(Number(new URL(url).port))).size === 0) return null
  return await new Promise((resolve) => {
    const asked = get(`${url}/healthz`, { agent: false }, (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (chunk) => {
        text += String(chunk)
      })
      answer.once('end', () => resolve(answer.statusCode === 200 ? healthIn(text) : null))
    })
    asked.setTimeout(2_000, () => asked.destroy())
    asked.once('error', () => resolve(null)).once('close', () => resolve(null))
  })
}

function healthIn(text: string): Health | null {
  try {
    return health.safeParse(JSON.parse(text)).data ?? null
  } catch {
    return null
  }
}
