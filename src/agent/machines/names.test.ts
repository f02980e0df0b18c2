import { expect, test } from 'vitest'
import { asId, type LayerId, newId } from '../../domain/ids.ts'
import { fileNodeOf, layerOfNode, nodeOf } from './names.ts'

test('a node name is one that QEMU accepts, and leads back to its layer', () => {
  for (let n = 0; n < 200; n++) {
    const layer = newId<LayerId>()
    expect(nodeOf(layer)).toMatch(/^[a-z][A-Za-z0-9._-]{0,30}$/)
    expect(layerOfNode(nodeOf(layer))).toBe(layer)
    expect(fileNodeOf(layer)).not.toBe(nodeOf(layer))
  }
})

test('other nodes are nobody of ours', () => {
  for (const node of ['', '#block123', 'lxyz', fileNodeOf(asId<LayerId>('00000000-0000-4000-8000-000000000000'))])
    expect(layerOfNode(node)).toBeNull()
})
