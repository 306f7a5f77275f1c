// iiif-processor behind HTTP, for the tests: node server.mjs FOLDER [S3_ENDPOINT]; prints its port.
//
// Identifiers are s3://[region/]bucket/key (read from S3_ENDPOINT), paths below FOLDER, and absolute paths that lie in it.
// The package leaves statuses to whoever uses it: 404 for what is not there, 500 for what it throws.
import { realpathSync, createReadStream } from 'node:fs'
import { createServer } from 'node:http'
import { resolve, sep } from 'node:path'
import { Readable } from 'node:stream'
import { Processor } from 'iiif-processor'

const [folder, s3Endpoint] = process.argv.slice(2)
const root = realpathSync(folder)

class Missing extends Error {}

async function source({ id }) {
  const s3 = /^s3:\/\/(?:[a-z]{2}-[a-z]+-\d\/)?([^/]+)\/(.+)$/.exec(id)
  return s3 ? fromS3(s3[1], s3[2]) : fromDisk(id)
}

async function fromS3(bucket, key) {
  const url = `${s3Endpoint}/${bucket}/${key.split('/').map(encodeURIComponent).join('/')}`
  // moto's server only looks whether there is a signature; a real S3 would want one.
  const answer = await fetch(url, { headers: { Authorization: 'AWS test:test' } })
  if (!answer.ok) throw new Missing(`${answer.status} for ${bucket}/${key}`)
  return Readable.fromWeb(answer.body)
}

function fromDisk(id) {
  // The package strips the first slash of an identifier.
  for (const path of [resolve(root, id), resolve('/', id)]) {
    try {
      const real = realpathSync(path)
      if (real.startsWith(root + sep)) return createReadStream(real)
    } catch (error) {
      if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error
    }
  }
  throw new Missing(`no file ${id}`)
}

async function answer(request, response) {
  const give = (status, type, body) => {
    response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) })
    response.end(body)
  }
  try {
    const processor = new Processor(`http://${request.headers.host}${request.url}`, source)
    const result = await processor.execute()
    if (result.type === 'content') give(200, result.contentType, result.body)
    else if (result.type === 'redirect') response.writeHead(303, { Location: result.location }).end()
    else give(result.statusCode, 'text/plain', result.message)
  } catch (error) {
    give(error instanceof Missing ? 404 : error.statusCode || 500, 'text/plain', error.message)
  }
}

const server = createServer(answer)
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
