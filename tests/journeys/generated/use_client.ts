// A program over the types that `openapi-typescript` makes: it provisions a tenant, and reads it.
import createClient from 'openapi-fetch'
import type { components, paths } from './schema.js'

declare const process: { env: Record<string, string>; argv: string[] }

const client = createClient<paths>({
  baseUrl: process.env.HTTP_URL,
  headers: { Authorization: `Bearer ${process.env.TOKEN}` },
})

function given<T>(value: T | undefined, otherwise: unknown): T {
  if (value === undefined) throw new Error(JSON.stringify(otherwise))
  return value
}

const body: components['schemas']['NewTenant'] = {
  name: 'Generated',
  subdomain: process.argv[2],
  admin: { email: 'ada@generated.example', name: 'Ada' },
} as components['schemas']['NewTenant']
const made = await client.POST('/api/v1/tenants', {
  body,
  params: { header: { 'Idempotency-Key': process.argv[2] } },
})
const outcome = given(made.data, made.error)
const tenant_id: string = outcome.tenant_id
const path = { tenant_id, operation_id: given(outcome.operation_id ?? undefined, outcome) }
const run = await client.GET('/api/v1/tenants/{tenant_id}/operations/{operation_id}', { params: { path } })
const kind: string = given(run.data, run.error).kind
const read = await client.GET('/api/v1/tenants/{tenant_id}', { params: { path: { tenant_id } } })
const tenant = given(read.data, read.error)
if (tenant.name !== 'Generated' || kind !== 'provisioning') throw new Error(JSON.stringify(tenant))
const nobody = { tenant_id: '0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10' }
const missing = await client.GET('/api/v1/tenants/{tenant_id}', { params: { path: nobody } })
if (missing.error?.type !== '/problems/tenant-not-found') throw new Error(JSON.stringify(missing))
console.log(tenant_id)
