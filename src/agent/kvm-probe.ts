/**
 * Asks KVM to run code instead of believing /dev/kvm: there are machines on which it exists, runs real-mode code, and hangs every
 * ordinary guest. The probe is a firmware of 246 bytes that goes to long mode with paging on, counts three million times in
 * memory and leaves with 0x2a through QEMU's exit device. Source: kvm-probe.S.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { readIfThere, writeDurably } from '../adapters/storage/qcow2/durable.ts'

const code = Buffer.from(
  '+roCBLAx7i5mDwEW8AAPIMBmg8gBDyLAZuogAA8ACABmuBAAjtiOwI7QvACAAABmugIEsDLuMcC/ABAAALkADAAA/POrxwUAEAAAAyAAAMcFAC' +
    'AAAAMwAADHBQAwAACDAAAAuAAQAAAPItgPIOCDyCAPIuC5gAAAwA8yDQABAAAPMA8gwA0AAACADyLA6pQADwAYAGa6AgSwM+65wMYtAEj/BCUA' +
    'QAAA/8l19LA07ma6AQWwKkiBPCUAQAAAwMYtAHQCsBXu9Ov9Dx+AAAAAAAAAAAAAAAAA//8AAACazwD//wAAAJLPAP//AAAAmq8AHwDQAA8A',
  'base64',
)

const romBytes = 64 * 1024
const halt = 0xf4
/** Where a processor begins: a jump to the start of the ROM, in the place that every processor knows. */
const resetVector = Buffer.from([0xea, 0x00, 0x00, 0x00, 0xf0])
const resetAt = 0xfff0

/** (0x2a << 1) | 1: how the exit device says it. */
const worked = 85
/** Emulated it takes 0.1 s; on a broken KVM it hangs for ever. */
const usualDeadlineMs = 1_500

export function probeRom(): Buffer {
  const rom = Buffer.alloc(romBytes, halt)
  code.copy(rom)
  resetVector.copy(rom, resetAt)
  return rom
}

/** Whether that accelerator runs code. */
export async function acceleratorWorks(accelerator: 'kvm' | 'tcg', { deadlineMs = usualDeadlineMs } = {}): Promise<boolean> {
  const directory = await mkdtemp(join(tmpdir(), 'comeback-probe-'))
  try {
    const rom = join(directory, 'probe.rom')
    await writeFile(rom, probeRom())
    const args = ['-accel', accelerator, '-machine', 'pc', '-m', '16', '-nodefaults', '-no-user-config', '-display', 'none']
    const more = ['-no-reboot', '-bios', rom, '-device', 'isa-debug-exit,iobase=0x501,iosize=1']
    const child = spawn('qemu-system-x86_64', [...args, ...more], {
      stdio: 'ignore',
      timeout: deadlineMs,
      killSignal: 'SIGKILL',
    })
    const [exitCode] = await once(child, 'exit').catch(() => [null])
    return exitCode === worked
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

export type Choice = { readonly accelerator: 'kvm' | 'tcg'; readonly kvmGroup: number | null; readonly why: string }

/** KVM if it is there and works. */
async function probe(): Promise<Choice> {
  const device = await stat('/dev/kvm').catch(() => null)
  if (device === null) return { accelerator: 'tcg', kvmGroup: null, why: 'there is no /dev/kvm' }
  if (!(await acceleratorWorks('kvm')))
    return { accelerator: 'tcg', kvmGroup: null, why: '/dev/kvm is there, but code hangs on it' }
  return { accelerator: 'kvm', kvmGroup: device.gid, why: 'KVM runs code' }
}

const choices = z.object({ accelerator: z.enum(['kvm', 'tcg']), kvmGroup: z.number().nullable(), why: z.string() })
const remembered = z
  .string()
  .transform((text, context): unknown => {
    try {
      return JSON.parse(text)
    } catch {
      context.addIssue('not JSON')
      return z.NEVER
    }
  })
  .pipe(z.object({ bootId: z.string(), choice: choices }))

/** Probed once a boot: a broken KVM costs the whole deadline. */
export async function chooseAccelerator(memory: string, bootId: string): Promise<Choice> {
  const before = remembered.safeParse((await readIfThere(memory)) ?? '')
  if (before.success && before.data.bootId === bootId) return before.data.choice
  const choice = await probe()
  await writeDurably(memory, JSON.stringify({ bootId, choice }))
  return choice
}
