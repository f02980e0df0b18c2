/** Stands in for the controller: healthy once the database answers. */
import { createServer } from 'node:http'
import { connect } from '../../../src/adapters/database/connect.ts'
import { controllerConfig } from '../../../src/config.ts'

const { listen, databaseUrl, adminPassword } = controllerConfig()
if (databaseUrl === null || adminPassword === null) throw new Error('started without a database or a password')
const pool = connect(databaseUrl)
await pool.query('select count(*) from operations')
const server = createServer((_, answer) => answer.end('ok')).listen(listen.port, listen.host)
process.on('SIGTERM', () => server.close(() => process.exit(0)))
