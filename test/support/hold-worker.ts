/** An agent that takes a hold and then does nothing until it is killed. Arguments: directory, runtime, pool, holder, layer. */
import { Qcow2Driver } from '../../src/adapters/storage/qcow2/driver.ts'
import { asId } from '../../src/domain/ids.ts'

const [directory = '', runtime = '', pool = '', holder = '', layer = ''] = process.argv.slice(2)
const driver = await Qcow2Driver.open(asId(pool), { directory, runtime, diskOwner: null, lowUser: null })
await driver.hold(asId(holder), [asId(layer)])
process.stdout.write('held\n')
setInterval(() => undefined, 60_000)
