/** The OpenAPI 3.1 page, made from the endpoints. `contract/openapi.json` is its committed copy; `node contract/openapi.ts` writes it. */
import { writeFile } from 'node:fs/promises'
import { z } from 'zod'
import { kindOf, type RefusalCode } from '../src/domain/refusals.ts'
import { type Endpoint, everywhere, none } from './endpoint.ts'
import { errorBody, statusOf } from './errors.ts'
import { endpoints } from './index.ts'

type Json = Record<string, unknown>

export function openApi(): Json {
  const components: Json = {}
  const schema = schemaWriter(components)
  const paths: Record<string, Json> = {}
  for (const endpoint of Object.values<Endpoint>(endpoints)) {
    paths[endpoint.path] = { ...paths[endpoint.path], [endpoint.method.toLowerCase()]: described(endpoint, schema) }
  }
  schema(errorBody)
  return {
    openapi: '3.1.0',
    info: {
      title: 'Comeback',
      version: '1',
      description: 'Brings virtual machines back. Tokens are those of the identity service (`/identity/v3/auth/tokens`).',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ token: [] }],
    tags: [...new Set(Object.values<Endpoint>(endpoints).map(({ noun }) => noun))].map((name) => ({ name })),
    paths,
    components: {
      schemas: Object.fromEntries(Object.entries(components).sort(([a], [b]) => (a < b ? -1 : 1))),
      securitySchemes: { token: { type: 'apiKey', in: 'header', name: 'X-Auth-Token' } },
    },
  }
}

type Write = (schema: z.ZodType) => Json

/** Writes a schema; named ones go to the components and are referred to. */
function schemaWriter(components: Json): Write {
  return (schema) => {
    const { $schema, $defs, ...written } = z.toJSONSchema(schema, {
      io: 'input',
      unrepresentable: 'any',
      override: ({ jsonSchema }) => {
        // zod spells out calendars and digits; the format says it.
        if (jsonSchema.format === 'date-time' || jsonSchema.format === 'uuid') delete jsonSchema.pattern
      },
    }) as Json
    const hoisted = JSON.parse(JSON.stringify({ $defs, written }).replaceAll('"#/$defs/', '"#/components/schemas/')) as {
      $defs?: Json
      written: Json
    }
    Object.assign(components, hoisted.$defs)
    const id = schema.meta()?.id
    if (id === undefined) return hoisted.written
    components[id] = hoisted.written
    return { $ref: `#/components/schemas/${id}` }
  }
}

function described(endpoint: Endpoint, schema: Write): Json {
  const { id, noun, summary, description, who, body } = endpoint
  const audience = { anyone: 'No token needed.', project: '', admin: 'Administrators only.' }[who]
  return {
    operationId: id,
    tags: [noun],
    summary,
    description: [description, audience].filter(Boolean).join(' ') || undefined,
    ...(who === 'anyone' ? { security: [] } : {}),
    parameters: parameters(endpoint, schema),
    ...(body === none ? {} : { requestBody: { required: true, content: { 'application/json': { schema: schema(body) } } } }),
    responses: { ...successes(endpoint, schema), ...failures(endpoint) },
  }
}

function parameters({ params, query, method, gives }: Endpoint, schema: Write): Json[] {
  const of = (place: string, object: z.ZodType) => {
    const { properties = {}, required = [] } = schema(object) as { properties?: Json; required?: string[] }
    return Object.entries(properties).map(([name, property]) => {
      const { description, ...rest } = property as Json
      return { name, in: place, required: required.includes(name), ...(description ? { description } : {}), schema: rest }
    })
  }
  return [
    ...of('path', params),
    ...of('query', query),
    ...(method !== 'GET' ? [header('Idempotency-Key', 'A retry with the same key is the same operation')] : []),
    ...(gives === 'operation' ? [header('Prefer', '`wait` or `wait=<seconds>`: answer 200 when it has ended')] : []),
    ...(gives === 'events' ? [header('Last-Event-ID', 'Number of the last event received')] : []),
  ]
}

const header = (name: string, description: string): Json => ({
  name,
  in: 'header',
  required: false,
  description,
  schema: { type: 'string' },
})

function successes({ gives, answer }: Endpoint, schema: Write): Json {
  if (gives === 'events') {
    const content = { 'text/event-stream': { schema: { type: 'string' }, 'x-event-data': schema(answer) } }
    return { 200: { description: 'A stream of events', content }, 204: { description: 'Nothing is left to receive' } }
  }
  const content = { 'application/json': { schema: schema(answer) } }
  if (gives === 'value') return { 200: { description: 'Done', content } }
  const location = { Location: { description: 'The operation', schema: { type: 'string' } } }
  return {
    202: { description: 'Begun; what was answered survives a power cut', headers: location, content },
    200: { description: 'Ended while you waited: its `state` says how', headers: location, content },
  }
}

function failures({ refusals, who }: Endpoint): Json {
  const codes: readonly RefusalCode[] = [...(who === 'anyone' ? [] : everywhere), ...refusals]
  const byStatus = Map.groupBy(codes, (code) => statusOf[kindOf(code)])
  const content = { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } }
  return Object.fromEntries(
    [...byStatus].sort(([a], [b]) => a - b).map(([status, of]) => [status, { description: of.join(', '), content }]),
  )
}

if (import.meta.main) {
  await writeFile(new URL('openapi.json', import.meta.url), `${JSON.stringify(openApi(), null, 2)}\n`)
}
