import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import {
  deleteKeypair,
  findKeypair,
  generateKeypair,
  importKeypair,
  type KeypairRow,
  listKeypairs,
} from '../../../app/keypairs.ts'
import { asId, type UserId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import { read } from '../../http/bodies.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { speaks } from '../microversions.ts'
import { queryOf } from '../query.ts'
import { microseconds } from './links.ts'

type ByName = { Params: { name: string } }

const body = z.strictObject({
  keypair: z.strictObject({
    name: z
      .string()
      .min(1)
      .max(255)
      .regex(/^[a-zA-Z0-9 _@.-]+$/, { message: 'Keypair name contains unsafe characters' }),
    public_key: z.string().min(1).max(16_384).nullish(),
    type: z.literal('ssh', { message: 'Only SSH keys are offered' }).optional(),
    user_id: z.string().max(64).optional(),
  }),
})

export function keypairs(app: FastifyInstance, { db, policy }: ApiNeeds): void {
  app.get('/v2.1/os-keypairs', async (request) => {
    const found = await listKeypairs(db, ownerOf(request, 'index'))
    return { keypairs: found.map((row) => ({ keypair: brief(request, row) })) }
  })

  app.post('/v2.1/os-keypairs', async (request, reply) => {
    request.audited.action = 'os_compute_api:os-keypairs:create'
    const { keypair } = read(body, request.body)
    if (keypair.type !== undefined && !speaks(request, 2)) throw tooEarly('type', 2)
    if (keypair.user_id !== undefined && !speaks(request, 10)) throw tooEarly('user_id', 10)
    const user = ownerOf(request, 'create', keypair.user_id)
    request.audited.target = keypair.name
    reply.code(speaks(request, 2) ? 201 : 200)
    if (keypair.public_key) {
      const row = await importKeypair(db, user, keypair.name, keypair.public_key)
      return { keypair: { ...brief(request, row), user_id: user } }
    }
    if (speaks(request, 92))
      throw refuse.malformed({ why: "'public_key' is a required property: keys are not generated from microversion 2.92 on." })
    const row = await generateKeypair(db, user, keypair.name)
    return { keypair: { ...brief(request, row), user_id: user, private_key: row.privateKey } }
  })

  app.get<ByName>('/v2.1/os-keypairs/:name', async (request) => {
    const row = await findKeypair(db, ownerOf(request, 'show'), request.params.name)
    return {
      keypair: {
        ...brief(request, row),
        user_id: row.user_id,
        id: 0,
        created_at: microseconds(row.created_at),
        updated_at: null,
        deleted: false,
        deleted_at: null,
      },
    }
  })

  app.delete<ByName>('/v2.1/os-keypairs/:name', async (request, reply) => {
    await deleteKeypair(db, ownerOf(request, 'delete'), request.params.name)
    return reply.code(speaks(request, 2) ? 204 : 202).send()
  })

  /** One's own keys; another user's for an administrator, since 2.10. */
  function ownerOf(request: FastifyRequest, verb: 'index' | 'show' | 'create' | 'delete', named?: string): UserId {
    const caller = callerOf(request)
    const other = named ?? (speaks(request, 10) ? queryOf(request).one('user_id') : undefined)
    const user = other === undefined ? caller.user : asId<UserId>(other)
    policy.require(caller, `os_compute_api:os-keypairs:${verb}`, { user_id: user })
    return user
  }
}

const tooEarly = (name: string, minor: number) =>
  refuse.malformed({ why: `Additional properties are not allowed ('${name}' was unexpected before microversion 2.${minor})` })

const brief = (request: FastifyRequest, row: KeypairRow) => ({
  name: row.name,
  public_key: row.public_key,
  fingerprint: row.fingerprint,
  ...(speaks(request, 2) ? { type: row.type } : {}),
})
