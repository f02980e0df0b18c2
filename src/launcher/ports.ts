import { readdir, readFile, readlink } from 'node:fs/promises'
import { createServer } from 'node:net'

export type Address = { readonly host: string; readonly port: number }

/** Why the address cannot be listened on; null if it can. */
export const addressProblem = ({ host, port }: Address): Promise<string | null> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)))
  })

/** Who listens on the port, as far as /proc lets us see: "nginx (process 812)". */
export async function holderOf(port: number): Promise<string | null> {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  const tables = await Promise.all(['tcp', 'tcp6'].map((name) => readFile(`/proc/net/${name}`, 'utf8').catch(() => '')))
  const rows = tables.flatMap((table) => table.split('\n')).map((row) => row.trim().split(/\s+/))
  const inodes = new Set(
    rows.filter((row) => row[1]?.endsWith(`:${hex}`) && row[3] === '0A').map((row) => `socket:[${row[9]}]`),
  )
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const files = await readdir(`/proc/${pid}/fd`).catch(() => [])
    for (const file of files) {
      if (!inodes.has(await readlink(`/proc/${pid}/fd/${file}`).catch(() => ''))) continue
      return `${(await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '?')).trim()} (process ${pid})`
    }
  }
  return null
}
