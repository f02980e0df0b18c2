import { memoryPool } from '../support/memory-pool.ts'
import { storageDriverConformance } from './storage-driver.ts'

storageDriverConformance('memory, one point a layer', async () => memoryPool('one'))

storageDriverConformance('memory, many points a layer', async () => memoryPool('many'), {
  noUnmarkedParents: 'a child is made from a point inside the layer, which must be there',
  pullOnly: "a layer's other points would change if another were committed into it",
  layersStayWritable: 'a point inside the layer is made while the layer is written',
})
