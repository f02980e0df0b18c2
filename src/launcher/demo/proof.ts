/**
 * What proves the story: on each disk the guest writes a token that it was given, bytes that it draws itself and that nobody
 * else ever sees, and a file whose name tells the chapter. Later a guest that was started anew reads all of it back. The token must
 * be the same byte for byte, the bytes must have the same SHA-256, and no file may be there that belongs to another chapter.
 */
import { randomBytes } from 'node:crypto'
import type { Shell } from '../guest/shell.ts'

export const places = { vda: '/story', vdb: '/data/story' } as const
type Device = keyof typeof places
const devices = Object.keys(places) as Device[]

/** What one disk holds. */
export type Content = { readonly files: string; readonly token: string; readonly sha256: string }
export type Chapter = { readonly name: string; readonly boot: string; readonly disks: Readonly<Record<Device, Content>> }

const bytesEach = 256 * 1024

/** Has the guest write a chapter over the former one, and wait until both disks have it. */
export async function write(guest: Shell, name: string): Promise<Chapter> {
  const tokens = { vda: token(name), vdb: token(name) }
  const lines = devices.map((device) => {
    const place = places[device]
    return `mkdir -p ${place} && rm -f ${place}/* && printf %s ${tokens[device]} >${place}/token && head -c ${bytesEach} /dev/urandom >${place}/bytes && : >${place}/only-${name}`
  })
  await guest.run([...lines, 'sync'].join(' && '))
  const written = await read(guest, name)
  const wrong = devices.filter((device) => written.disks[device].token !== tokens[device])
  if (wrong.length > 0) throw new Error(`the guest did not write what it was told on ${wrong.join(' and ')}`)
  return written
}

const token = (name: string): string => `${name}-${randomBytes(24).toString('hex')}`

/** What the guest reads, in its own words. */
export async function read(guest: Shell, name: string): Promise<Chapter> {
  const one = (place: string) =>
    `cd ${place} && echo "$(ls | tr '\\n' ' ')|$(cat token)|$(sha256sum <bytes | cut -d' ' -f1)|$(wc -c <bytes)"`
  const output = await guest.run(
    [...devices.map((device) => one(places[device])), 'cat /proc/sys/kernel/random/boot_id'].join(' && '),
  )
  const lines = output.split('\n').map((line) => line.trim())
  const [vda, vdb] = lines.map(contentOf)
  const boot = lines.at(-1)
  if (vda === undefined || vdb === undefined || lines.length !== 3 || !boot)
    throw new Error(`the guest's words make no sense: ${output}`)
  return { name, boot, disks: { vda, vdb } }
}

function contentOf(line: string): Content | undefined {
  const [files, text, sha256, size] = line.split('|')
  if (files === undefined || text === undefined || sha256 === undefined) return undefined
  return Number(size) === bytesEach
    ? { files: files.trim(), token: text, sha256 }
    : { files: files.trim(), token: text, sha256: `of ${size} bytes` }
}

/** Why the words do not prove that the chapter is back; empty when they do. */
export function doubts(wanted: Chapter, found: Chapter, before: readonly Chapter[]): string[] {
  const wrong = devices.flatMap((device) =>
    (['files', 'token', 'sha256'] as const).flatMap((fact) => {
      const [is, was] = [found.disks[device][fact], wanted.disks[device][fact]]
      return is === was ? [] : [`${device}: its ${fact} read ${is}, and ${wanted.name} had ${was}`]
    }),
  )
  const sameBoot = before.some(({ boot }) => boot === found.boot)
  return sameBoot ? [...wrong, 'the guest was not started anew, so it may have read its memory'] : wrong
}
