import { createHash } from 'node:crypto'
import { createServer, type Server } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Holds a lock of this machine while `work` runs. It is the name of an abstract unix socket: the kernel frees it with the
 * process, however that ends, so there is never a stale one to judge. `onWait` is called once if another process holds it.
 */
export async function withLock<T>(name: string, work: () => Promise<T>, onWait: () => void = () => {}): Promise<T> {
  const path = `\0comeback-${process.getuid?.() ?? 0}-${createHash('sha256').update(name).digest('hex').slice(0, 32)}`
  let held = await tryListen(path)
  if (!held) onWait()
  while (!held) {
    await sleep(50)
    held = await tryListen(path)
  }
  try {
    return await work()
  } finally {
    held.close()
  }
}

const tryListen = (path: string): Promise<Server | null> =>
  new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? resolve(null) : reject(error)))
    server.listen({ path, exclusive: true }, () => {
      server.unref()
      resolve(server)
    })
  })
