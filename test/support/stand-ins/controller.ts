/** Stands in for the controller: healthy once the database answers; has met its agents some moments later. */
import { createServer } from 'node:http'
import { connect } from '../../../src/adapters/database/connect.ts'
import { controllerConfig } from '../../../src/config.ts'

const { listen, databaseUrl, adminPassword } = controllerConfig()
if (databaseUrl === null || adminPassword === null) throw new Error('started without a database or a password')
const words = process.env['COMEBACK_STAND_IN_SAYS']
if (words !== undefined) throw new Error(words)
const pool = connect(databaseUrl)
await pool.query('select count(*) from operations')
const metAt = Date.now() + Number(process.env['STAND_IN_MEETS_AFTER_MS'] ?? 0)
const agents = () => ({ configured: 1, met: Date.now() < metAt ? 0 : 1 })
const server = createServer((_, answer) => answer.end(JSON.stringify({ agents: agents() }))).listen(listen.port, listen.host)
process.on('SIGTERM', () => server.close(() => process.exit(0)))
