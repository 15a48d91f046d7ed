// Payload's REST API with SQLite and one collection of users, without its admin pages (Next).
import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { sqliteAdapter } from '@payloadcms/db-sqlite'
import { buildConfig, getPayload, handleEndpoints } from 'payload'

const [port, database] = process.argv.slice(2)
const config = buildConfig({
  collections: [{ slug: 'users', auth: true, fields: [] }],
  db: sqliteAdapter({ client: { url: `file:${database}` }, push: true }),
  secret: 'only for this test, and long enough for an HMAC key',
  telemetry: false,
})
const payload = await getPayload({ config })
const user = { email: 'ada@example.com', password: 'correct horse' }
await payload.create({ collection: 'users', data: user })

createServer(async (incoming, outgoing) => {
  const { headers, method, url } = incoming
  const hasBody = !['GET', 'HEAD'].includes(method)
  const more = hasBody ? { body: Readable.toWeb(incoming), duplex: 'half' } : {}
  const request = new Request(`http://${headers.host}${url}`, { headers, method, ...more })
  const answer = await handleEndpoints({ config, request })
  for (const [name, value] of answer.headers) outgoing.appendHeader(name, value)
  outgoing.writeHead(answer.status).end(Buffer.from(await answer.arrayBuffer()))
}).listen(port, '127.0.0.1')
