/** The demo guest under a QEMU of our own, without agent or controller: for tests of the guest itself and for bare figures. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { createConnection, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { QmpClient } from '../../src/agent/qmp/client.ts'
import { type DemoGuest, ensureDemoGuest, guestKernelArguments } from '../../src/launcher/guest/build.ts'

const run = promisify(execFile)

const guestFolder = new URL('../../.cache/guest', import.meta.url).pathname

/** Built once a machine; its key says when it has to be built again. */
export const demoGuest = (): Promise<DemoGuest> => ensureDemoGuest(guestFolder)

/** Has an installation find the guest built, instead of downloading its parts and building it again. */
export async function lendGuest(state: string): Promise<void> {
  await demoGuest()
  await symlink(guestFolder, join(state, 'guest'))
}

export type BareGuest = {
  readonly console: () => Promise<string>
  /** The first match of the pattern on the console. */
  readonly says: (pattern: RegExp, seconds?: number) => Promise<string>
  /** Evaluates one shell line in the guest. */
  readonly shell: (line: string, seconds?: number) => Promise<{ output: string; code: number }>
  readonly guestAgent: (command: string) => Promise<unknown>
  readonly qmp: (command: string) => Promise<void>
  readonly execute: (command: string, args: object) => Promise<unknown>
  readonly exited: Promise<unknown>
  readonly kill: () => Promise<void>
}

export async function bootBareGuest(options: {
  root: string
  disks?: readonly string[]
  kernelArguments?: string
}): Promise<BareGuest> {
  const guest = await demoGuest()
  const folder = await mkdtemp(join(tmpdir(), 'comeback-bare-'))
  const at = (name: string) => join(folder, name)
  const disks = [options.root, ...(options.disks ?? [])].flatMap((file, n) => [
    ...['-drive', `if=none,id=d${n},format=qcow2,file=${file}`],
    ...['-device', `virtio-blk-pci,drive=d${n},id=vd${n}`],
  ])
  const port = (id: string, name: string) => [
    ...['-chardev', `socket,id=${id},path=${at(id)},server=on,wait=off`],
    ...['-device', `virtserialport,chardev=${id},name=${name}`],
  ]
  const qemu = spawn(
    'qemu-system-x86_64',
    [
      ...[
        '-machine',
        'q35',
        '-accel',
        'tcg',
        '-cpu',
        'max',
        '-m',
        '128',
        '-nodefaults',
        '-no-user-config',
        '-display',
        'none',
        '-no-reboot',
      ],
      ...[
        '-kernel',
        guest.kernel,
        '-initrd',
        guest.ramdisk,
        '-append',
        `${guestKernelArguments} ${options.kernelArguments ?? ''}`,
      ],
      ...['-chardev', `file,id=con,path=${at('console')}`, '-serial', 'chardev:con'],
      ...['-qmp', `unix:${at('qmp')},server=on,wait=off`, '-device', 'virtio-serial-pci'],
      ...port('cmd', 'cmd'),
      ...port('qga', 'org.qemu.guest_agent.0'),
      ...['-netdev', 'user,id=n0,net=10.7.3.0/24,dhcpstart=10.7.3.77,restrict=on'],
      ...['-device', 'virtio-net-pci,netdev=n0,mac=fa:16:3e:11:22:33,romfile='],
      ...disks,
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  const exited = once(qemu, 'exit')
  let lastWords: string | undefined
  let monitor: Promise<QmpClient> | undefined
  const console = async () => lastWords ?? (await readFile(at('console'), 'utf8').catch(() => ''))
  return {
    console,
    exited,
    says: async (pattern, seconds = 240) => {
      for (const end = Date.now() + seconds * 1000; Date.now() < end && qemu.exitCode === null; await sleep(50)) {
        const found = pattern.exec(await console())
        if (found) return found[1] ?? found[0]
      }
      throw new Error(`the guest did not say ${pattern}; its console: ${await console()}`)
    },
    shell: async (line, seconds = 120) => {
      const answer = await talk(at('cmd'), `${line}\n`, /^=RC (\d+)\r?\n/m, seconds)
      const code = Number(/^=RC (\d+)/m.exec(answer)?.[1])
      return { output: answer.replace(/^=RC \d+\r?\n/m, '').trim(), code }
    },
    guestAgent: async (command) => JSON.parse(await talk(at('qga'), `{"execute":"${command}"}\n`, /\n/, 60)),
    qmp: async (command) => {
      await talk(at('qmp'), `{"execute":"qmp_capabilities"}{"execute":"${command}"}\n`, /"return".*"return"/s, 60)
    },
    execute: async (command, args) => {
      monitor ??= QmpClient.connect(at('qmp'))
      return (await monitor).execute(command, args, { deadlineMs: 120_000 })
    },
    kill: async () => {
      await killed(qemu, exited)
      lastWords = await console()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function killed(qemu: ChildProcess, exited: Promise<unknown>): Promise<void> {
  if (qemu.exitCode === null && qemu.signalCode === null) qemu.kill('SIGKILL')
  await exited
}

/** Sends, and reads until the pattern is there. */
async function talk(path: string, message: string, until: RegExp, seconds: number): Promise<string> {
  const socket: Socket = createConnection(path)
  const timer = setTimeout(() => socket.destroy(new Error(`no answer on ${path} to ${message}`)), seconds * 1000)
  try {
    socket.write(message)
    let answer = ''
    for await (const chunk of socket.setEncoding('utf8')) {
      answer += chunk
      if (until.test(answer)) return answer
    }
    throw new Error(`${path} was closed after: ${answer}`)
  } finally {
    clearTimeout(timer)
    socket.destroy()
  }
}

/** A disk file of the test's own over the guest's root disk, or an empty one. */
export async function newDisk(file: string, from?: string, mib = 64): Promise<string> {
  const over = from === undefined ? [] : ['-b', from, '-F', 'qcow2']
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', ...over, file, ...(from === undefined ? [`${mib}M`] : [])], {
    timeout: 120_000,
  })
  return file
}
