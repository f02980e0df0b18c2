import { expect, test } from 'vitest'
import { requireFreePlace } from './place.ts'

const taken = [
  { directory: '/var/lib/comeback/pool', what: "pool 'local'" },
  { directory: '/var/lib/comeback/agent', what: "the agent's state" },
]

test.each(['/srv/vault', '/var/lib/comeback/pool2', '/var/lib/comeback/vaults/a', '/var/lib/comeback-pool'])(
  '%s is free',
  (directory) => {
    expect(() => requireFreePlace(directory, taken)).not.toThrow()
  },
)

test.each([
  ['srv/vault', 'begin at the root'],
  ['/srv/../vault', "without '..'"],
  ['/srv/vault/', "without '..'"],
  ['/srv//vault', "without '..'"],
  ['/', "without '..'"],
  ['/srv/va\0ult', "without '..'"],
  ['/var/lib/comeback/pool', "inside pool 'local'"],
  ['/var/lib/comeback/pool/vault', "inside pool 'local'"],
  ['/var/lib/comeback/agent/vault', "inside the agent's state"],
  ['/var/lib', "pool 'local' lies inside it"],
])('%s is refused: %s', (directory, why) => {
  expect(() => requireFreePlace(directory, taken)).toThrow(why)
})
