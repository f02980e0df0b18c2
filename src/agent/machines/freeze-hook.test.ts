import { expect, test } from 'vitest'
import { namesHook } from './freeze-hook.ts'

test.each([
  '-F',
  '-F/etc/qemu/fsfreeze-hook',
  '-dF',
  '--fsfreeze-hook',
  '--fsfreeze-hook=/opt/hook',
  '-m virtio-serial -p /dev/vport1p1 -F',
])('qemu-ga %s has a hook', (line) => {
  expect(namesHook(['/usr/sbin/qemu-ga', ...line.split(' ')])).toBe(true)
})

test.each(['', '-m virtio-serial -f /run/F', '-d', '--fsfreeze-hooks-no', '-p /dev/F', '-l-F', '-- -F'])(
  'qemu-ga %s has none',
  (line) => {
    expect(namesHook(['/opt/-F/qemu-ga', ...line.split(' ')])).toBe(false)
  },
)
